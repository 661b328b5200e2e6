"""What a checkpoint is on disk, and how to tell a whole one: standard library only.

    step_<n>/model.safetensors         fp32 master weights
             state-rank<k>.safetensors optimizer state and random state of each rank
             meta.json                 hparams, step, tokens, windows, tokenizer, parent, versions
             manifest.json             size and SHA-256 of every other file, written last

A directory without a valid manifest is incomplete: it is never loaded, listed as latest, or deleted.
No pickle anywhere, so that opening a stranger's checkpoint runs nothing of theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from core.errors import DaisyError

MODEL_FILE = "model.safetensors"
META_FILE = "meta.json"
MANIFEST_FILE = "manifest.json"
_STEP = re.compile(r"step_(\d+)")
_HEADER_LIMIT = 1 << 28
_HASH_BLOCK = 1 << 20
# How deep the settings in a meta.json may be nested: what reads and prints them goes one call deeper for each.
DEEPEST = 50
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class CheckpointError(DaisyError):
    """A checkpoint that cannot be used: which file, what is wrong with it, what would work."""


class MissingError(CheckpointError, KeyError):
    """meta.json lacks what its reader needs. Also a KeyError, as a mapping raises it."""


class MetaData(dict[str, Any]):
    """What a meta.json says: a dict whose missing keys are named together with the file."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise MissingError(f"{self._path}: says no {key}, which is needed here; name a checkpoint that Daisy made")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as a safetensors header describes it. `begin` and `end` are bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        return prod(self.shape)


def state_file(rank: int) -> str:
    """The name of a rank's state file."""
    return f"state-rank{rank}.safetensors"


def checkpoint_name(step: int) -> str:
    """The name of the checkpoint of a step; names sort in the order of steps."""
    return f"step_{step:09d}"


def check(folder: Path, *, hashes: bool = False, report: Callable[[int], None] = lambda read: None) -> None:
    """Raise CheckpointError unless every file of the manifest is there in its size, and with `hashes` its content.

    `report` gets the number of bytes hashed, as often as there is news.
    """
    for name, entry in read_manifest(folder).items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; the checkpoint is incomplete")
        if path.stat().st_size != entry["bytes"]:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes instead of {entry['bytes']}; it is damaged")
        if hashes:
            check_hash(path, entry["sha256"], report)


def check_hash(path: Path, sha256: str, report: Callable[[int], None] = lambda read: None) -> None:
    """Raise CheckpointError unless a file's content is what the manifest says."""
    try:
        found = _sha256(path, report)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if found != sha256:
        raise CheckpointError(f"{path}: its content differs from the manifest's hash; it is damaged")


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest: file name to `bytes` and `sha256`. Raises CheckpointError where there is none that is valid."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint")
    data = _read_json(folder / MANIFEST_FILE, "the checkpoint is incomplete")
    valid = all(
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        and Path(name).name == name
        for name, entry in data.items()
    )
    if not valid or not {MODEL_FILE, META_FILE} <= data.keys():
        raise CheckpointError(f"{folder / MANIFEST_FILE}: not a manifest; the checkpoint is incomplete")
    return data


def read_meta(folder: Path) -> dict[str, Any]:
    """The meta data of a complete checkpoint, whose hash is always checked: it says what the weights mean.

    Its hparams, where it has any, are an object; a key that it lacks raises MissingError. Raises CheckpointError.
    """
    check(folder)
    path = folder / META_FILE
    check_hash(path, read_manifest(folder)[META_FILE]["sha256"])
    meta = MetaData(path, _read_json(path, "the checkpoint is damaged"))
    if not isinstance(meta.get("hparams", {}), dict):
        raise CheckpointError(f"{path}: hparams: not an object of settings; the checkpoint is damaged")
    if deep := [key for key, value in meta.get("hparams", {}).items() if _is_deep(value)]:
        raise CheckpointError(f"{path}: hparams.{deep[0]}: nested without end; the checkpoint is damaged")
    return meta


def complete_checkpoints(folder: Path) -> Iterator[Path]:
    """The complete checkpoints `step_<n>` in a folder, the oldest first. Links and incomplete ones are left out."""
    if not folder.is_dir():
        return
    named = [
        (int(m[1]), path) for path in folder.iterdir() if (m := _STEP.fullmatch(path.name)) and not path.is_symlink()
    ]
    for _, path in sorted(named):
        try:
            check(path)
        except CheckpointError:
            continue
        yield path


def read_tensor_infos(path: Path) -> list[TensorInfo]:
    """The tensors of a safetensors file, from its header alone. Raises CheckpointError where it is damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise CheckpointError(f"{path}: not a safetensors file")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        infos = [_tensor_info(name, e, 8 + length) for name, e in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged") from error
    for info in infos:
        expected = info.count * DTYPE_BYTES.get(info.dtype, -1)
        if info.end - info.begin != expected or not 8 + length <= info.begin <= info.end <= size:
            raise CheckpointError(f"{path}: tensor {info.name} does not lie where the header says")
    return infos


def _tensor_info(name: str, entry: dict[str, Any], start: int) -> TensorInfo:
    """A tensor from its entry in a header; `start` is where the data begins. Raises ValueError where it is none."""
    begin, end = entry["data_offsets"]
    if not all(type(value) is int and value >= 0 for value in (*entry["shape"], begin, end)):
        raise ValueError("sizes and offsets are whole numbers from 0")
    return TensorInfo(name, str(entry["dtype"]), tuple(entry["shape"]), start + begin, start + end)


def _is_deep(value: Any) -> bool:
    """Whether a value of JSON is nested deeper than settings are."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if not level:
            return False
        lists = [[*node.values()] if isinstance(node, dict) else node for node in level]
        level = [entry for entries in lists if isinstance(entries, list) for entry in entries]
    return bool(level)


def _sha256(path: Path, report: Callable[[int], None] = lambda read: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            report(len(block))
    return digest.hexdigest()


def _read_json(path: Path, consequence: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: missing; {consequence}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read; {consequence}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: not an object; {consequence}")
    return data
