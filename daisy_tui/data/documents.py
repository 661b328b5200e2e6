"""Documents as the Data screen walks through them: a page of tokens at a time, and each shard counted once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

from core.data.dataset import DATASET_FILE
from core.data.preview import Documents, Preview

PAGE_TOKENS = 1024


class Place(NamedTuple):
    """A page of a document. `document` and `page` count from 0."""

    path: Path
    split: str
    document: int = 0
    page: int = 0


class Page(NamedTuple):
    """What stands at a place. `special` are the ids that mean something other than text."""

    place: Place
    shown: Preview
    special: frozenset[int]

    @property
    def pages(self) -> int:
        """How many the document has."""
        return max(1, -(-self.shown.length // PAGE_TOKENS))


class DocumentReader:
    """Reads pages. A split stays open until another is asked for, or its dataset is replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[object, Documents] | None = None

    def read(self, place: Place) -> Page:
        """The page at a place. Raises ShardError for one that is not there."""
        with self._lock:
            key = (place.path, place.split, _stamp(place.path))
            if self._open is None or self._open[0] != key:
                self._open = key, Documents(place.path, place.split)
            documents = self._open[1]
            first = place.page * PAGE_TOKENS
            shown = documents.show(place.document, first, first + PAGE_TOKENS)
        tokenizer = documents.tokenizer
        named = (tokenizer.special_tokens() or {}).values()
        return Page(place, shown, frozenset({tokenizer.eot_token_id, *named}))


def _stamp(path: Path) -> int:
    """What changes when a dataset is replaced."""
    try:
        return (path / DATASET_FILE).stat().st_mtime_ns
    except OSError:
        return 0
