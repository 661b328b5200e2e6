"""Show what a model will read: the tokens of a document or a range, each with its text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.dataset import dataset_tokenizer
from core.data.errors import DataUsageError, ShardError
from core.data.folder import open_documents, open_folder
from core.data.shards import Tokens, open_shard
from core.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class TokenView:
    """One token: its position in the shard, its id, and its bytes."""

    position: int
    id: int
    data: bytes


@dataclass(frozen=True)
class Preview:
    """A stretch of a shard, or of a document, which may run on into the next shards; positions then count on
    from the shard it begins in. `document` counts from 0 over the shards, where it was asked for."""

    shard: Path
    tokenizer: str
    document: int | None
    tokens: list[TokenView]
    continues: bool


def preview(
    path: Path, *, split: str = "train", document: int | None = None, start: int | None = None, stop: int | None = None
) -> Preview:
    """Tokens `start` to `stop` of a document, or of the first shard where no document is named.

    Raises ShardError for a document or range that is not there.
    """
    folder = open_folder(path)
    shards = folder.shards if path.is_file() else folder.splits().get(split, [])
    if not shards:
        raise DataUsageError(f"{path}: no shards of split '{split}'; there are {', '.join(folder.splits())}")
    tokenizer = dataset_tokenizer(folder.folder, folder.tokenizer)
    if document is None:
        shard, first, ids = shards[0], 0, open_shard(shards[0])
    else:
        shard, first, ids = _find_document(shards, tokenizer.eot_token_id, document, path)
    begin, end = _range(start, stop, len(ids), "document" if document is not None else "shard", shard)
    return Preview(
        shard, folder.tokenizer.name, document, _views(ids[begin:end], first + begin, tokenizer, shard), end < len(ids)
    )


def _find_document(shards: list[Path], eot: int, document: int, path: Path) -> tuple[Path, int, Tokens]:
    """The shard a document begins in, its first position there, and all its tokens."""
    seen = 0
    found: tuple[Path, int] | None = None
    parts: list[Tokens] = []
    for shard, tokens, starts in open_documents(shards, eot):
        index, first = document - seen, 0
        if found is None and 0 <= index < len(starts):
            first = int(starts[index])
            found = shard, first
        if found is not None:
            behind = starts[starts > first] if found == (shard, first) else starts
            parts.append(tokens[first : int(behind[0])] if len(behind) else tokens[first:])
            if len(behind):
                break
        seen += len(starts)
    if found is not None:
        return *found, np.concatenate(parts)
    raise DataUsageError(
        f"{path}: no document {document}; there are {seen} (0 to {seen - 1})" if seen else f"{path}: no documents"
    )


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
