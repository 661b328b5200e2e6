"""A self-contained copy of a checkpoint: weights, tokenizer and what is said of them, without optimizer state.

It can be served, sampled, inspected and trained from, at half the size or less, in bf16 at a quarter; it is no run's,
and no run goes on from it. What is read is hashed before it is copied, in pieces: numpy, never torch. Rejected: another
program's format, which has no place for the architecture, its windows and its tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.checkpoint.format import (
    DTYPE_BYTES,
    META_FILE,
    MODEL_FILE,
    CheckpointError,
    TensorInfo,
    check_hash,
    read_manifest,
    read_meta,
    read_tensor_infos,
)
from core.checkpoint.inspect import inspect_checkpoint
from core.checkpoint.staging import Staging, free_target, write_failure
from core.checkpoint.stored import Stored

Report = Callable[[int, int], None]

DTYPES = {"float32": "F32", "bfloat16": "BF16"}
# Values at a time: 4 MiB of fp32.
PIECE_VALUES = 1 << 20
_NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_STATE = re.compile(r"state-rank\d+\.safetensors")
# What meta.json says of the run alone.
_OF_THE_RUN = ("state", "next_batch")


class Exported(NamedTuple):
    """What was made: `bytes` on disk, of the `before` bytes that its source has. `notes` say what to know of it."""

    path: Path
    bytes: int
    before: int
    notes: tuple[str, ...]


def export_checkpoint(
    source: Path, out: Path, dtype: str | None = None, report: Report = lambda done, total: None
) -> Exported:
    """Copy a checkpoint to `out` without its optimizer state; its weights as float32, as bfloat16, or as they are.

    In bfloat16 matrices are rounded to the nearest, ties to even; vectors stay in fp32: a few hundred gates, which act
    on the whole stream. `report` gets the bytes that are done and all there are; what it raises ends the export.
    Raises CheckpointError where the source is incomplete, damaged or not what its spec says, and CheckpointUsageError
    where `out` is taken. Nothing is left behind that failed.
    """
    target = free_target(out)
    if problems := inspect_checkpoint(source).problems:
        raise CheckpointError(f"{source}: is not what its spec says, so nothing can load it: {problems[0]}")
    meta, manifest = read_meta(source), read_manifest(source)
    infos = read_tensor_infos(source / MODEL_FILE)
    if other := [info for info in infos if info.dtype not in _NUMPY]:
        raise CheckpointError(f"{source}: {other[0].name} is {other[0].dtype}, and weights are {', '.join(_NUMPY)}")
    names = [name for name in manifest if name not in (META_FILE, MODEL_FILE) and not _STATE.fullmatch(name)]
    hashed = sum(manifest[name]["bytes"] for name in (MODEL_FILE, *names))
    progress = _Progress(hashed + sum(info.end - info.begin for info in infos), report)
    for name in (MODEL_FILE, *names):
        check_hash(source / name, manifest[name]["sha256"], progress.add)
    files = {name: _read(source / name) for name in names}
    copying, staging = _Copying(source / MODEL_FILE, DTYPES[dtype] if dtype else None, progress), Staging(target)
    try:
        staging.begin()
        with copying.path.open("rb") as file:
            staging.write_stored(MODEL_FILE, [copying.stored(file, info) for info in infos])
        for name, content in files.items():
            staging.write_file(name, content)
        if target.exists():
            target.rmdir()  # refused by the system where somebody has put something there meanwhile
        staging.commit(_meta(meta, source, dtype))
    except OSError as error:
        staging.abandon()
        raise write_failure(error, out) from error
    except BaseException:
        staging.abandon()
        raise
    size, before = (sum(entry["bytes"] for entry in read_manifest(folder).values()) for folder in (target, source))
    return Exported(out, size, before, tuple(_notes(meta, copying.not_finite)))


@dataclass
class _Progress:
    """Counts bytes and reports them."""

    total: int
    report: Report
    done: int = 0

    def add(self, count: int) -> None:
        self.done += count
        self.report(min(self.done, self.total), self.total)


@dataclass
class _Copying:
    """Tensors of a file on their way to another, in `dtype` where one is asked for. Counts what is not finite."""

    path: Path
    dtype: str | None
    progress: _Progress
    not_finite: int = 0

    def stored(self, file: BinaryIO, info: TensorInfo) -> Stored:
        dtype = self.dtype or info.dtype
        if dtype == "BF16" and info.dtype != "BF16" and len(info.shape) < 2:
            dtype = "F32"
        return Stored(info.name, dtype, info.shape, partial(self._pieces, file, info, dtype))

    def _pieces(self, file: BinaryIO, info: TensorInfo, dtype: str) -> Iterator[bytes]:
        width = DTYPE_BYTES[info.dtype]
        for begin in range(info.begin, info.end, PIECE_VALUES * width):
            count = min(PIECE_VALUES * width, info.end - begin)
            try:
                file.seek(begin)
                raw = file.read(count)
            except OSError as error:
                raise CheckpointError(f"{self.path}: cannot be read: {error.strerror}") from error
            if len(raw) < count:
                raise CheckpointError(f"{self.path}: ends within tensor {info.name}; it is damaged")
            values = to_float32(raw, info.dtype)
            made = raw if dtype == info.dtype else from_float32(values, dtype)
            after = to_float32(made, dtype)
            self.not_finite += after.size - int(np.count_nonzero(np.isfinite(after)))
            self.progress.add(count)
            yield made


def to_float32(raw: bytes, dtype: str) -> NDArray[np.float32]:
    """The values of F32, F16 or BF16 bytes, exactly."""
    values: NDArray[Any] = np.frombuffer(raw, _NUMPY[dtype])
    if dtype == "BF16":  # the upper half of an fp32
        return (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return values.astype(np.float32, copy=False)


def from_float32(values: NDArray[np.float32], dtype: str) -> bytes:
    """Values as F32, or as BF16: rounded to the nearest, ties to even, as torch and every device does."""
    if dtype == "F32":
        return values.tobytes()
    bits = values.view(np.uint32)
    # Half of the last place, less one where the last bit kept is even: a carry then is the rounding up.
    rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype("<u2")
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype("<u2").tobytes()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error


def _meta(meta: dict[str, Any], source: Path, dtype: str | None) -> dict[str, Any]:
    """What the source says of itself, less what is the run's, and where this comes from."""
    exported = {"from": str(source.resolve()), "dtype": dtype, "daisy-tui": version("daisy-tui")}
    return {**{key: value for key, value in meta.items() if key not in _OF_THE_RUN}, "exported": exported}


def _notes(meta: dict[str, Any], not_finite: int) -> Iterator[str]:
    if not meta.get("tokenizer"):
        yield "it has no tokenizer, so it can be trained on and not sampled"
    if not_finite:
        values = "1 value is" if not_finite == 1 else f"{not_finite:,} values are"
        yield f"{values} not finite, and nothing will serve it; `daisy inspect --stats` names them"
