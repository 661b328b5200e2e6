"""Read a foreign checkpoint: one file of `torch.save`, a dict in the layout of Daisy-Wee's README.

    model            parameters by name       step             optimizer steps taken
    hparams          settings by name         best_val         best validation loss, or None
    progress_state   what had been consumed   tokens_per_step  tokens of one optimizer step

Read by torch's `weights_only` reader, which builds tensors and plain values and calls nothing else; what needs more
is refused and named. Rejected: a list of classes to allow, which would have to be right for every version of torch.
"""

from __future__ import annotations

import math
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from core.checkpoint.format import DEEPEST, CheckpointError

# What fp32 masters hold exactly.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_LAYOUT = "the layout is a dict with model, hparams, step, best_val, tokens_per_step and progress_state"
_KEYS = {"model", "hparams", "step", "best_val", "tokens_per_step", "progress_state", "progress"}
_OPTIMIZERS = {"optimizer", "optimizers"}
# What torch raises for an archive that is damaged inside, beside pickle's own errors.
_DAMAGED = (
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    AssertionError,
    struct.error,
)


@dataclass(frozen=True)
class Foreign:
    """A foreign checkpoint as it was read: nothing of its model is interpreted yet.

    `tensors` are fp32, bf16 or fp16, mapped from the file, without the prefixes of compiled and wrapped
    models. `other` are further top-level values. `notes` say what stays behind.
    """

    path: Path
    tensors: dict[str, Tensor]
    hparams: dict[str, Any]
    step: int
    tokens: int
    best_val: float | None
    tokens_per_step: int | None
    progress: dict[str, Any]
    other: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_foreign(path: Path) -> Foreign:
    """Read a file of the layout. Raises CheckpointError, one line for each thing that is wrong."""
    _check_kind(path)
    notes = [] if _check_records(path) else ["the file has no checksums, so damage in its weights would not show"]
    content = _load(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {_what(content)}; {_LAYOUT}")
    if missing := [key for key in ("model", "hparams", "step") if key not in content]:
        keys = ", ".join(map(str, list(content)[:6])) or "none"
        raise CheckpointError(f"{path}: has no {' and no '.join(missing)} (its keys: {keys}); {_LAYOUT}")
    problems: list[str] = []
    tensors = _tensors(content["model"], problems)
    hparams = _settings(content["hparams"], "hparams", problems)
    progress_key = "progress" if content.get("progress_state") is None else "progress_state"
    progress = _settings({} if content.get(progress_key) is None else content[progress_key], progress_key, problems)
    other = {key: value for key, value in content.items() if key not in _KEYS | _OPTIMIZERS}
    other = _settings(other, "", problems)
    step = _count(content["step"], "step", problems)
    per_step = _count(content.get("tokens_per_step"), "tokens_per_step", problems, optional=True)
    tokens = _count(progress.get("tokens_processed"), "tokens_processed", problems, optional=True)
    best_val = _loss(content.get("best_val"), problems)
    if tokens is None and per_step is None:
        problems.append(
            "neither tokens_per_step nor a progress state with tokens_processed: the tokens it has seen are unknown"
        )
    if problems:
        raise CheckpointError(*(f"{path}: {problem}" for problem in problems))
    assert step is not None
    return Foreign(
        path=path,
        tensors=tensors,
        hparams=hparams,
        step=step,
        tokens=tokens if tokens is not None else step * (per_step or 0),
        best_val=best_val,
        tokens_per_step=per_step,
        progress=progress,
        other=other,
        notes=(
            *notes,
            *(f"{key}: stays behind, a warm start begins afresh" for key in content if key in _OPTIMIZERS),
        ),
    )


def _load(path: Path) -> Any:
    """The content of the file, its tensors mapped and on the CPU."""
    try:
        # What torch warns of in a damaged file is an error below, or nothing that concerns anybody.
        with warnings.catch_warnings(action="ignore"):
            if refused := get_unsafe_globals_in_checkpoint(str(path)):
                raise CheckpointError(
                    f"{path}: asks to call {', '.join(sorted(refused))}; files with more than tensors and plain "
                    "values can run code and are not opened; where you trust it, save it again with plain numbers "
                    "and a state_dict"
                )
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused by torch's weights_only reader: damaged, or more than tensors and plain values; such "
            "files can run code and are not opened"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: damaged: its values are nested without end") from error
    except _DAMAGED as error:
        # A RuntimeError is torch's own and says something; the others are what the damage looked like.
        detail = f": {_first_line(error)}" if isinstance(error, RuntimeError) else ""
        raise CheckpointError(f"{path}: damaged, or not what torch.save writes{detail}") from error


def _check_kind(path: Path) -> None:
    """Raise CheckpointError unless the file is a zip archive, as torch.save writes since 1.6."""
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder; name a .pt file (a checkpoint of Daisy's own needs no import)")
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
        if zipfile.is_zipfile(path):
            return
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path}: damaged: {error}; copy it again") from error
    if beginning == b"PK\x03\x04":
        raise CheckpointError(f"{path}: cut off: an archive without its end; copy it again")
    if beginning[:1] == b"\x80":
        raise CheckpointError(
            f"{path}: a bare pickle, as torch.save wrote before 1.6; such files can run code and are not opened; "
            "where you trust it, load it and torch.save it again"
        )
    raise CheckpointError(f"{path}: not a file that torch.save wrote")


def _check_records(path: Path) -> bool:
    """Check every record of the archive by its CRC, which torch.load does not. Raises CheckpointError.

    False where it has none: torch.save writes zeros after `torch.serialization.set_crc32_options(False)`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(record.CRC for record in archive.infolist()):
                return False
            damaged = archive.testzip()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, *_DAMAGED) as error:
        raise CheckpointError(f"{path}: damaged, or not what torch.save writes: {_first_line(error)}") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged: {damaged!r} in it does not have its checksum; copy the file again")
    return True


def _tensors(model: Any, problems: list[str]) -> dict[str, Tensor]:
    """The parameters by their plain names."""
    if not isinstance(model, Mapping) or not model:
        problems.append(f"model is {_what(model)}; it must be a state_dict, tensors by name")
        return {}
    tensors: dict[str, Tensor] = {}
    for key, value in model.items():
        name = _plain_name(str(key))
        if name in tensors:
            problems.append(f"model has {name} twice, once as {key}")
        elif problem := _tensor_problem(value):
            problems.append(f"model.{key} {problem}")
        else:
            tensors[name] = value.detach()
    return tensors


def _plain_name(name: str) -> str:
    """A parameter's name without what torch.compile (`_orig_mod.`) and DDP (`module.`) put before it."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def _tensor_problem(value: Any) -> str | None:
    if not isinstance(value, Tensor):
        return f"is {_what(value)} and not a tensor"
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return f"is stored as {str(value.layout).removeprefix('torch.')} on {value.device.type}; dense tensors are read"
    if value.dtype not in DTYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        return f"{tuple(value.shape)} is {str(value.dtype).removeprefix('torch.')}; weights are {known}"
    # A view that repeats its numbers (stride 0) would fill memory with what no file holds.
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return f"{tuple(value.shape)} says more numbers than the file holds"
    return None


def _settings(values: Any, name: str, problems: list[str]) -> dict[str, Any]:
    """Settings as JSON has them; `name` is what they are called, with nothing for the file's own keys."""
    if not isinstance(values, Mapping):
        problems.append(f"{name} is {_what(values)}; it must be a dict of settings")
        return {}
    plain: dict[str, Any] = {}
    for key, value in values.items():
        try:
            plain[str(key)] = _plain(value)
        except TypeError as error:
            problems.append(f"{name + '.' if name else ''}{key} holds {error}, which is no setting")
    return plain


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it. Raises TypeError naming what JSON has not, or what a meta.json may not have."""
    if depth > DEEPEST:
        raise TypeError("values nested without end")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if _too_large(value):
            raise TypeError(_what(value))
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Tensor) and _holds_one(value):
        return _plain(value.item())
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value).removeprefix("torch.")
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry, depth + 1) for entry in value]
    raise TypeError(_what(value))


def _count(value: Any, name: str, problems: list[str], *, optional: bool = False) -> int | None:
    """A whole number from 0, also one in a tensor."""
    if value is None and optional:
        return None
    try:
        number = _plain(value)
    except TypeError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        problems.append(f"{name} is {_what(value)}; it must be a whole number from 0")
        return 0
    return number


def _loss(value: Any, problems: list[str]) -> float | None:
    """A loss, or None where none was measured (None, infinity)."""
    number = value.item() if isinstance(value, Tensor) and _holds_one(value) else value
    if number is None:
        return None
    if isinstance(number, float) or (type(number) is int and not _too_large(number)):
        return float(number) if math.isfinite(number) else None
    problems.append(f"best_val is {_what(value)}; it must be a loss or None")
    return None


def _holds_one(tensor: Tensor) -> bool:
    """Whether a tensor is a number that can be had."""
    return tensor.numel() == 1 and tensor.layout == torch.strided and tensor.device.type == "cpu"


def _too_large(number: int) -> bool:
    """Whether a whole number is beyond what counts and settings are."""
    return number.bit_length() > 63


def _what(value: Any) -> str:
    """A value in a message, by what it is."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, int) and _too_large(value):
        return "a whole number of more than 64 bits"
    if isinstance(value, (bool, int, float)):
        return repr(value)
    if value is None:
        return "nothing"
    return f"a {type(value).__name__}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
