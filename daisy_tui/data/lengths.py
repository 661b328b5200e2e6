"""How long the documents of a dataset are, as a histogram: bars whose lengths double, for they spread over decades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.data.errors import DataUsageError
from core.data.folder import document_starts, open_folder
from core.data.shards import open_shard
from core.data.verify import Lengths


class Bar(NamedTuple):
    """The documents of `low` to `high` tokens, both included, and their tokens in all."""

    low: int
    high: int
    documents: int
    tokens: int


class LengthHistogram(NamedTuple):
    """Lengths in tokens without the separator. `bars` are one behind the other, from the shortest document's on."""

    documents: int
    mean: float
    median: float
    longest: int
    bars: tuple[Bar, ...]


def length_histogram(
    path: Path,
    split: str = "train",
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> LengthHistogram | None:
    """Count the lengths in a split, or one shard, by reading all of its tokens. None where `stop` said so.

    `report(shards_done, shards)` follows the reading, and `stop` is asked after every shard. Raises ShardError.
    """
    folder = open_folder(path)
    shards = folder.shards if path.is_file() else folder.splits().get(split, [])
    if not shards:
        raise DataUsageError(f"{path}: no shards of split '{split}'; there are {', '.join(folder.splits())}")
    lengths = Lengths()
    for done, shard in enumerate(shards, 1):
        tokens = open_shard(shard)
        lengths.add(document_starts(tokens, folder.tokenizer.eot_token_id), len(tokens))
        report(done, len(shards))
        if stop():
            return None
    values = lengths.values()
    if not len(values):
        return LengthHistogram(0, 0.0, 0.0, 0, ())
    # Bar 0 holds the empty ones, bar n those of 2^(n-1) to 2^n - 1: the number of bits of a length.
    bits = np.frexp(values)[1]
    documents = np.bincount(bits)
    tokens_in = np.bincount(bits, weights=values)
    bars = tuple(
        Bar(1 << bit >> 1, max(0, (1 << bit) - 1), int(documents[bit]), int(tokens_in[bit]))
        for bit in range(int(bits.min()), int(bits.max()) + 1)
    )
    return LengthHistogram(len(values), float(values.mean()), float(np.median(values)), int(values.max()), bars)
