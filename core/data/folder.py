"""A folder of shards, or one shard, opened for reading: what it holds, in order, with its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.dataset import COMMUNITY_TOKENIZER, STAGING, STATE_FILE, Dataset, TokenizerInfo, read_dataset
from core.data.errors import DataUsageError, ShardError
from core.data.shards import Tokens

_SPLIT_IN_NAME = re.compile(r"_(train|val)_\d+\.bin$")
# Tokens looked at in one step when scanning: 8 MiB of uint16.
SCAN_TOKENS = 1 << 22


@dataclass(frozen=True)
class ShardFolder:
    """The shards of a folder in the order of their names; `dataset` is None without a dataset.json."""

    folder: Path
    shards: list[Path]
    dataset: Dataset | None

    @property
    def tokenizer(self) -> TokenizerInfo:
        return self.dataset.tokenizer if self.dataset else COMMUNITY_TOKENIZER

    def splits(self) -> dict[str, list[Path]]:
        """The shards by split, as their names tell; a shard whose name tells none is `train`."""
        found: dict[str, list[Path]] = {}
        for path in self.shards:
            found.setdefault(split_of(path), []).append(path)
        return dict(sorted(found.items()))


def open_folder(path: Path) -> ShardFolder:
    """What a folder, or the folder around one shard, holds. Raises ShardError where there are no shards."""
    if path.is_file() or (path.is_symlink() and not path.exists()):
        return ShardFolder(path.parent, [path], read_dataset(path.parent))
    if not path.is_dir():
        raise DataUsageError(f"{path}: no such folder or shard")
    dataset = read_dataset(path)
    shards = sorted(path.glob("*.bin"))
    if dataset is not None:
        missing = [name for name in dataset.entries() if not (path / name).is_file()]
        if missing:
            raise ShardError(f"{path / missing[0]}: listed in dataset.json, but missing ({len(missing)} in all)")
    if not shards:
        if (path / STAGING / STATE_FILE).exists():
            raise ShardError(f"{path}: holds only an unfinished preparation; repeat its command to finish it")
        raise DataUsageError(f"{path}: no shards (*.bin) in this folder")
    return ShardFolder(path, shards, dataset)


def split_of(path: Path) -> str:
    """`train` or `val`, from a shard's name."""
    match = _SPLIT_IN_NAME.search(path.name)
    return match[1] if match else "train"


def blocks(tokens: Tokens) -> Iterator[tuple[int, Tokens]]:
    """A shard's tokens in blocks of SCAN_TOKENS, each with its first position."""
    for start in range(0, len(tokens), SCAN_TOKENS):
        yield start, tokens[start : start + SCAN_TOKENS]


def document_starts(tokens: Tokens, eot_token_id: int) -> npt.NDArray[np.int64]:
    """Positions of the separators, shape (documents,): each document begins with end-of-text."""
    found = [start + np.flatnonzero(block == eot_token_id) for start, block in blocks(tokens)]
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, dtype=np.int64)
