"""Show what a model will read: the tokens of a document or a range, each with its text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.dataset import dataset_tokenizer
from core.data.errors import DataUsageError, ShardError
from core.data.folder import document_starts, open_folder
from core.data.shards import Tokens, open_shard
from core.data.tokenizers import Tokenizer

Starts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenView:
    """One token: its position in the shard, its id, and its bytes."""

    position: int
    id: int
    data: bytes


@dataclass(frozen=True)
class Preview:
    """A stretch of a shard, or of a document, which may run on into the next shards; positions then count on
    from the shard it begins in. `document` counts from 0 over the shards, where it was asked for; `length` is that of
    the whole document or shard in tokens, and `first` the stretch's first token in it."""

    shard: Path
    tokenizer: str
    document: int | None
    tokens: list[TokenView]
    first: int
    length: int

    @property
    def continues(self) -> bool:
        return self.first + len(self.tokens) < self.length


def preview(
    path: Path, *, split: str = "train", document: int | None = None, start: int | None = None, stop: int | None = None
) -> Preview:
    """Tokens `start` to `stop` of a document, or of the first shard where no document is named.

    Raises ShardError for a document or range that is not there.
    """
    return Documents(path, split).show(document, start, stop)


class Documents:
    """The documents of a split, or of one shard. How many begin in each shard is remembered as far as it was counted,
    and of the last shard where, so that walking from one to the next reads each shard once. For one thread at a time.

    Raises ShardError where there are none to open.
    """

    def __init__(self, path: Path, split: str = "train") -> None:
        folder = open_folder(path)
        self._path = path
        self._shards = folder.shards if path.is_file() else folder.splits().get(split, [])
        if not self._shards:
            raise DataUsageError(f"{path}: no shards of split '{split}'; there are {', '.join(folder.splits())}")
        self.tokenizer = dataset_tokenizer(folder.folder, folder.tokenizer)
        self._begin_here: list[int] = []  # documents, by shard
        self._last: tuple[int, Starts] | None = None

    def show(self, document: int | None = None, start: int | None = None, stop: int | None = None) -> Preview:
        """Tokens `start` to `stop` of a document, as `preview` does."""
        if document is None:
            shard, first, ids = self._shards[0], 0, open_shard(self._shards[0])
        else:
            shard, first, ids = self._find(document)
        what = "document" if document is not None else "shard"
        begin, end = _range(start, stop, len(ids), what, shard)
        views = _views(ids[begin:end], first + begin, self.tokenizer, shard)
        return Preview(shard, self.tokenizer.name, document, views, begin, len(ids))

    def _find(self, document: int) -> tuple[Path, int, Tokens]:
        """The shard a document begins in, its first position there, and all its tokens."""
        before = 0
        for index, shard in enumerate(self._shards):
            count = self._begin_here[index] if index < len(self._begin_here) else len(self._open(index)[1])
            if document < before + count:
                tokens, starts = self._open(index)
                at = document - before
                first = int(starts[at])
                if at + 1 < count:
                    return shard, first, tokens[first : int(starts[at + 1])]
                return shard, first, self._run_on(tokens[first:], index)
            before += count
        raise DataUsageError(
            f"{self._path}: no document {document}; there are {before} (0 to {before - 1})"
            if before
            else f"{self._path}: no documents"
        )

    def _run_on(self, begun: Tokens, index: int) -> Tokens:
        """The last document that begins in a shard, with what stands of it in the next ones."""
        parts = [begun]
        for later in range(index + 1, len(self._shards)):
            tokens, starts = self._open(later)
            parts.append(tokens[: int(starts[0])] if len(starts) else tokens)
            if len(starts):
                break
        return np.concatenate(parts) if len(parts) > 1 else begun

    def _open(self, index: int) -> tuple[Tokens, Starts]:
        """A shard's tokens, and where documents begin in it."""
        tokens = open_shard(self._shards[index])  # mapped anew: a map that was read through would fill memory
        if self._last is None or self._last[0] != index:
            self._last = index, document_starts(tokens, self.tokenizer.eot_token_id)
        starts = self._last[1]
        if index == len(self._begin_here):
            self._begin_here.append(len(starts))
        return tokens, starts


def _range(start: int | None, stop: int | None, length: int, what: str, shard: Path) -> tuple[int, int]:
    begin = 0 if start is None else start
    end = min(begin + 256 if stop is None else stop, length)
    if begin >= length:
        raise DataUsageError(f"{shard}: position {begin} is past the end of this {what} of {length} tokens")
    return begin, max(begin, end)


def _views(ids: Tokens, first: int, tokenizer: Tokenizer, shard: Path) -> list[TokenView]:
    views = []
    for offset, token in enumerate(ids.tolist()):
        if token >= tokenizer.vocab_size:
            raise ShardError(f"{shard}: token {token} at position {first + offset} is not one of '{tokenizer.name}'")
        views.append(TokenView(first + offset, token, tokenizer.token_bytes(token)))
    return views
