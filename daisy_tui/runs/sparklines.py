"""The course of a run's training loss from a few places of its metrics.jsonl, and as a line of blocks.

A file of a million points is looked into at some fifty places, evenly spaced in bytes; as it grows every second place
is forgotten and new ones are added behind, so nothing is read twice. What a resume overtook is shown where it stands.
Rejected: `core.runs.curves`, which reads every byte and brings numpy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from core.runs.follow import record_of
from core.runs.opening import open_regular
from core.runs.trusted import is_number
from daisy_tui.glyphs import BLOCKS

MOST = 64  # values
_FIRST_STRIDE = 256  # bytes: less than a log point, so that a short run shows each of them
_CHUNKS = (1 << 12, 1 << 16)  # bytes read at a place, and where that holds no log point
_GAP = "·"


class LossSamples:
    """Training losses at evenly spaced places of a metrics.jsonl, which may grow, be replaced, or not be there.

    `values` are at most MOST + 1 losses, the first one first; NaN where a log point has none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._size = 0
        self._stride = _FIRST_STRIDE
        self._at: dict[int, tuple[int, float]] = {}  # the line that was found, and its loss, by the number of the place
        self.values: tuple[float, ...] = ()

    def look(self) -> None:
        """Take up what the file has gained."""
        try:
            with open_regular(self._path) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._file or status.st_size < self._size:
                    self._forget()
                if status.st_size != self._size:
                    self._file, self._size = status.st_ino, status.st_size
                    self._sample(file.fileno())
        except OSError:
            self._forget()

    def _forget(self) -> None:
        self._file, self._size, self._stride, self.values = 0, 0, _FIRST_STRIDE, ()
        self._at.clear()

    def _sample(self, descriptor: int) -> None:
        while self._size > self._stride * MOST:
            self._stride *= 2
            self._at = {place // 2: found for place, found in self._at.items() if place % 2 == 0}
        for place in range(self._size // self._stride + 1):
            if place not in self._at and (found := _loss_behind(descriptor, place * self._stride)) is not None:
                self._at[place] = found
        by_line = dict(self._at[place] for place in sorted(self._at))
        self.values = tuple(by_line[line] for line in sorted(by_line))


def _loss_behind(descriptor: int, offset: int) -> tuple[int, float] | None:
    """Where the first whole log point from an offset on begins, and its loss; None where there is none near."""
    begin = max(0, offset - 1)  # so that a line that begins at the offset itself counts
    for size in _CHUNKS:
        data = os.pread(descriptor, size, begin)
        place = data.find(b"\n") + 1 if offset else 0
        while (place or not offset) and (end := data.find(b"\n", place)) >= 0:
            if b'"train_loss"' in (line := data[place:end]) and (record := record_of(line)) is not None:
                loss = record.get("train_loss")
                return begin + place, math.nan if loss is None or not is_number(loss) else float(loss)
            place = end + 1
    return None


def blocks(values: Sequence[float], width: int) -> str:
    """Values as a line of blocks, at most `width` wide, the highest as a full one; a gap is a dot."""
    if not values or width <= 0:
        return ""
    columns = min(width, len(values))
    means = [_mean(values[len(values) * n // columns : len(values) * (n + 1) // columns]) for n in range(columns)]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return _GAP * columns
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] if math.isfinite(mean) else _GAP for mean in means)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
