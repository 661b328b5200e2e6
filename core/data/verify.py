"""Verify a dataset: every header, length and hash, every token inside the vocabulary; and count it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.dataset import ShardEntry, TokenizerInfo, dataset_tokenizer
from core.data.errors import ShardError
from core.data.folder import ShardFolder, blocks, document_starts, open_folder
from core.data.shards import Tokens, open_shard

PERCENTILES = (0, 50, 90, 99, 100)


@dataclass(frozen=True)
class SplitReport:
    """Counts of one split. Lengths are document lengths in tokens without the separator."""

    shards: int
    tokens: int
    documents: int
    lengths: dict[int, int]
    mean_length: float


@dataclass(frozen=True)
class Report:
    """What was found; `problems` is empty for a sound dataset, one line each otherwise."""

    tokenizer: TokenizerInfo
    hashes_checked: bool
    splits: dict[str, SplitReport]
    problems: list[str]


def verify(path: Path, report: Callable[[int, int], None] = lambda done, total: None) -> Report:
    """Read everything in a folder (or one shard). `report(bytes_done, bytes_total)` follows the reading.

    Raises ShardError only where there is nothing to verify; what is wrong is in `problems`.
    """
    folder = open_folder(path)
    problems = _dataset_problems(folder)
    total = sum(shard.stat().st_size for shard in folder.shards if shard.exists())
    listed = folder.dataset.entries() if folder.dataset else {}
    done = 0
    splits: dict[str, SplitReport] = {}
    for name, shards in folder.splits().items():
        lengths = Lengths()
        tokens = 0
        unreadable = False
        for shard in shards:
            try:
                ids = open_shard(shard)
                problems += _shard_problems(folder, listed.get(shard.name), shard, ids)
                tokens += len(ids)
                lengths.add(document_starts(ids, folder.tokenizer.eot_token_id), len(ids))
            except ShardError as error:
                problems.append(str(error))
                unreadable = True
            done += shard.stat().st_size if shard.exists() else 0
            report(done, total)
        splits[name] = lengths.report(len(shards), tokens)
        if not unreadable:
            problems += _count_problems(folder, name, splits[name])
    return Report(folder.tokenizer, folder.dataset is not None, splits, problems)


def _dataset_problems(folder: ShardFolder) -> list[str]:
    if folder.dataset is None:
        return []
    try:
        dataset_tokenizer(folder.folder, folder.dataset.tokenizer)
    except ShardError as error:
        return [str(error)]
    return []


def _shard_problems(folder: ShardFolder, entry: ShardEntry | None, shard: Path, ids: Tokens) -> list[str]:
    problems = []
    vocabulary = folder.tokenizer.vocab_size
    largest, at = max(((int(b.max()), start + int(b.argmax())) for start, b in blocks(ids)), default=(0, 0))
    if largest >= vocabulary:
        problems.append(
            f"{shard}: token {largest} at position {at} is outside the vocabulary of "
            f"'{folder.tokenizer.name}' (0 to {vocabulary - 1}); it was written by another tokenizer"
        )
    if folder.dataset is None:
        return problems
    if entry is None:
        problems.append(f"{shard}: not listed in dataset.json; it belongs to another dataset")
    elif entry.tokens != len(ids):
        problems.append(f"{shard}: {len(ids)} tokens, but dataset.json lists {entry.tokens}")
    else:
        with shard.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                problems.append(f"{shard}: its hash differs from dataset.json; the file was changed or damaged")
    return problems


def _count_problems(folder: ShardFolder, name: str, found: SplitReport) -> list[str]:
    if folder.dataset is None:
        if found.documents or len(folder.shards) == 1:
            return []
        eot = folder.tokenizer.eot_token_id
        return [f"{folder.folder}: {name} has no end-of-text ({eot}); it was written by another tokenizer"]
    listed = {str(split): counts for split, counts in folder.dataset.splits.items()}.get(name)
    complete = len(folder.shards) == len(folder.dataset.entries())
    if listed is None or not complete or listed.documents == found.documents:
        return []
    return [f"{folder.folder}: {name} has {found.documents} documents, but dataset.json says {listed.documents}"]


class Lengths:
    """Document lengths over a row of shards, in which a document may run on into the next shard."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.int64]] = []
        self._open = -1  # tokens so far of the document that the last shard ended in, or -1

    def add(self, starts: npt.NDArray[np.int64], tokens: int) -> None:
        """Take the next shard of the row: where documents begin in it, and how many tokens it has."""
        if len(starts) == 0:
            self._open += tokens if self._open >= 0 else 0
            return
        if self._open >= 0:
            self._parts.append(np.array([self._open + starts[0]], dtype=np.int64))
        self._parts.append(np.diff(starts) - 1)
        self._open = tokens - int(starts[-1]) - 1

    def values(self) -> npt.NDArray[np.int64]:
        """The lengths so far, shape (documents,), in tokens without the separator."""
        return np.concatenate([*self._parts, np.array([self._open] if self._open >= 0 else [], dtype=np.int64)])

    def report(self, shards: int, tokens: int) -> SplitReport:
        """Their counts."""
        lengths = self.values()
        if not len(lengths):
            return SplitReport(shards, tokens, 0, {}, 0.0)
        values = np.percentile(lengths, PERCENTILES)
        by_percentile = {p: round(float(v)) for p, v in zip(PERCENTILES, values, strict=True)}
        return SplitReport(shards, tokens, len(lengths), by_percentile, float(lengths.mean()))
