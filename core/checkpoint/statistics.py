"""What the weights of a checkpoint are like, and how two checkpoints' weights differ: numpy, never torch.

Files are read in chunks of half a million values, so that memory stays flat at any size. Reading was
preferred to mapping: the pages of a map count as the process's own memory, and a file that is cut
while it is mapped ends the process instead of raising. Sums are kept in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.checkpoint.format import DTYPE_BYTES, MODEL_FILE, CheckpointError, TensorInfo, check, read_tensor_infos

Array = NDArray[np.float64]
Report = Callable[[int, int], None]

# Values at a time: 2 MiB of fp32. Of 64 Ki, 128 Ki and 512 Ki this was the fastest, 3.7 ns a value.
CHUNK_VALUES = 1 << 19
# A value counts as near zero at up to this share of its tensor's root mean square.
NEAR_ZERO = 1e-3
_NUMPY = {"BF16": "<u2", "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
_NUMPY |= {"I8": "i1", "U8": "u1", "BOOL": "?"}


@dataclass(frozen=True)
class TensorStatistics:
    """One tensor in figures, all of its finite values: `nan` and `infinite` ones are counted and left out.

    `norm` is the root of the sum of squares and `std` divides by the number of values. `near_zero` is the
    share of values x with |x| <= 1e-3 * rms, where rms is the root mean square of the tensor: about 0.0008
    for normal weights around zero, 1 for a tensor of zeros. Without any finite value all are None.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    norm: float | None
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    near_zero: float | None
    nan: int
    infinite: int


@dataclass(frozen=True)
class Movement:
    """How far one tensor is from another, `left` to `right`, over the places where both are finite.

    `relative` is ||left - right|| / ||left||: 0 where nothing moved, None where all of left is zero and right
    is not, or no place is left. `cosine` is that of the angle between them, None where one is zero.
    `left_out` counts the places that are not finite.
    """

    name: str
    relative: float | None
    cosine: float | None
    norm_left: float
    norm_right: float
    norm_difference: float
    left_out: int


@dataclass(frozen=True)
class Histogram:
    """How often values lie where: `counts[i]` finite values of a tensor in the i-th of equal bins from `low` to `high`.

    Both ends are values of the tensor; where all values are one, all of them are in the bin in the middle. Without any
    finite value both ends are None. `left_out` counts the values that are not finite.
    """

    name: str
    low: float | None
    high: float | None
    counts: tuple[int, ...]
    left_out: int


def statistics(folder: Path, report: Report = lambda done, total: None) -> Iterator[TensorStatistics]:
    """The statistics of every tensor of a complete checkpoint, in the order of the file.

    `report` gets the bytes that are done and all there are. Raises CheckpointError where it is damaged.
    Every tensor is read twice, the second time for what is near zero, which is known by then. Squares
    of values beyond 1e150, which only float64 tensors can hold, overflow to infinity.
    """
    check(folder)
    path = folder / MODEL_FILE
    infos = sorted(read_tensor_infos(path), key=lambda info: info.begin)
    progress = _Progress(2 * _bytes(infos), report, share=2)
    with path.open("rb") as file:
        for info in infos:
            moments, nan, infinite = _Moments(), 0, 0
            for chunk in _chunks(file, path, info, progress):
                finite = _finite(chunk)
                nan += int(np.isnan(chunk).sum()) if finite.size < chunk.size else 0
                infinite += chunk.size - finite.size
                moments.add(finite)
            limit, near = NEAR_ZERO * moments.rms, 0
            for chunk in _chunks(file, path, info, progress):
                near += int(np.count_nonzero(np.abs(chunk) <= limit))
            some = moments.count > 0
            yield TensorStatistics(
                info.name,
                info.dtype,
                info.shape,
                norm=moments.norm if some else None,
                mean=moments.mean if some else None,
                std=moments.std if some else None,
                min=moments.min if some else None,
                max=moments.max if some else None,
                near_zero=near / moments.count if some else None,
                nan=nan,
                infinite=infinite - nan,
            )


def movements(left: Path, right: Path, report: Report = lambda done, total: None) -> list[Movement]:
    """How the tensors that two checkpoints share, by name and shape, differ: what moved most comes first.

    `report` gets the bytes that are done and all there are. Raises CheckpointError where one is damaged.
    """
    sides = []
    for folder in (left, right):
        check(folder)
        sides.append({info.name: info for info in read_tensor_infos(folder / MODEL_FILE)})
    shared = [(one, sides[1][name]) for name, one in sides[0].items() if name in sides[1]]
    pairs = [(one, other) for one, other in shared if one.shape == other.shape]
    progress = _Progress(_bytes([info for pair in pairs for info in pair]), report)
    paths = left / MODEL_FILE, right / MODEL_FILE
    with paths[0].open("rb") as file, paths[1].open("rb") as other_file:
        found = [
            _movement(one.name, _chunks(file, paths[0], one, progress), _chunks(other_file, paths[1], other, progress))
            for one, other in pairs
        ]
    return sorted(found, key=lambda moved: inf if moved.relative is None else moved.relative, reverse=True)


def histogram(folder: Path, name: str, bins: int = 64, report: Report = lambda done, total: None) -> Histogram:
    """The histogram of one tensor of a complete checkpoint, which is read twice: for its ends, and to count.

    `report` gets the bytes that are done and all there are; what it raises ends the reading. Raises CheckpointError
    where the checkpoint is damaged or has no such tensor.
    """
    check(folder)
    path = folder / MODEL_FILE
    infos = {info.name: info for info in read_tensor_infos(path)}
    if name not in infos:
        raise CheckpointError(f"{path}: has no tensor '{name}'; `daisy inspect` names those that it has")
    info, counts, finite = infos[name], np.zeros(bins, np.int64), 0
    low, high = inf, -inf
    progress = _Progress(2 * _bytes([info]), report, share=2)
    with path.open("rb") as file:
        for chunk in _chunks(file, path, info, progress):
            if (values := _finite(chunk)).size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        span = high / 2 - low / 2  # of halves: the whole may overflow
        for chunk in _chunks(file, path, info, progress):
            values = _finite(chunk)
            finite += values.size
            shares = (values / 2 - low / 2) / span if span > 0 else np.full(values.size, 0.5)
            counts += np.bincount(np.minimum((shares * bins).astype(np.int64), bins - 1), minlength=bins)
    left_out = info.count - finite
    if not finite:
        return Histogram(name, None, None, (0,) * bins, left_out)
    return Histogram(name, low, high, tuple(map(int, counts)), left_out)


class _Moments:
    """Count, mean and squared deviations of values that come in chunks.

    Chunks are merged by the formula of Chan, Golub and LeVeque (1979): unlike a sum of squares less the
    squared mean, it keeps its digits where the mean is large against the deviations.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.min, self.max = inf, -inf
        self._squares = 0.0  # sum of squared deviations from the mean

    def add(self, values: Array) -> None:
        if not values.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            deviations = values - mean
            squares = float(np.dot(deviations, deviations))
        count = self.count + values.size
        apart = mean - self.mean
        self._squares += squares + apart * apart * (self.count * values.size / count)
        self.mean += apart * (values.size / count)
        self.count = count
        self.min, self.max = min(self.min, float(values.min())), max(self.max, float(values.max()))

    @property
    def std(self) -> float:
        return sqrt(self._squares / self.count) if self.count else 0.0

    @property
    def rms(self) -> float:
        return sqrt(self._squares / self.count + self.mean * self.mean) if self.count else 0.0

    @property
    def norm(self) -> float:
        return sqrt(self._squares + self.count * self.mean * self.mean)


class _Progress:
    """Counts bytes and reports them. With `share` 2 every byte is read twice, and counts once in all."""

    def __init__(self, total: int, report: Report, share: int = 1) -> None:
        self._read, self._total, self._report, self._share = 0, total, report, share

    def add(self, count: int) -> None:
        self._read += count
        self._report(self._read // self._share, self._total // self._share)


def _movement(name: str, left: Iterator[Array], right: Iterator[Array]) -> Movement:
    squares = dict.fromkeys(("left", "right", "difference", "product"), 0.0)
    compared = left_out = 0
    for one, other in zip(left, right, strict=True):
        a, b = one, other
        if _finite(a).size < a.size or _finite(b).size < b.size:
            both = np.isfinite(a) & np.isfinite(b)
            a, b = a[both], b[both]
        compared += a.size
        left_out += one.size - a.size
        with np.errstate(over="ignore", invalid="ignore"):
            difference = a - b
            for key, x, y in (("left", a, a), ("right", b, b), ("difference", difference, difference)):
                squares[key] += float(np.dot(x, y))
            squares["product"] += float(np.dot(a, b))
    norms = {key: sqrt(squares[key]) for key in ("left", "right", "difference")}
    still = norms["right"] == 0.0 and (compared > 0 or left_out == 0)
    relative = norms["difference"] / norms["left"] if norms["left"] else 0.0 if still else None
    scale = norms["left"] * norms["right"]
    cosine = max(-1.0, min(1.0, squares["product"] / scale)) if scale else None
    return Movement(name, relative, cosine, norms["left"], norms["right"], norms["difference"], left_out)


def _chunks(file: Any, path: Path, info: TensorInfo, progress: _Progress) -> Iterator[Array]:
    """The values of a tensor in float64, CHUNK_VALUES at a time."""
    done = 0
    while done < info.count:
        count = min(CHUNK_VALUES, info.count - done)
        width = DTYPE_BYTES[info.dtype]
        file.seek(info.begin + done * width)
        raw = file.read(count * width)
        if len(raw) < count * width:
            raise CheckpointError(f"{path}: ends within tensor {info.name}; it is damaged")
        values: NDArray[Any] = np.frombuffer(raw, _NUMPY[info.dtype])
        if info.dtype == "BF16":  # the upper half of an fp32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            yield values.astype(np.float64)
        done += count
        progress.add(count * width)


def _finite(values: Array) -> Array:
    """The finite ones of the values: the array itself where all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return values
    return values[np.isfinite(values)]


def _bytes(infos: list[TensorInfo]) -> int:
    return sum(info.end - info.begin for info in infos)
