"""Save and load a checkpoint's tensors. A save is a folder of its own until one rename makes it a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.checkpoint.format import (
    MANIFEST_FILE,
    META_FILE,
    MODEL_FILE,
    CheckpointError,
    check,
    check_hash,
    read_manifest,
    state_file,
)
from core.checkpoint.tensor_file import write_tensors
from core.files import sync_folder, write_atomic

_PARTIAL = ".partial"


class Saving:
    """One checkpoint being written: each rank writes its state, one rank the rest, and one rank commits.

    What a killed save leaves behind has a name of its own and no manifest; the next save of the same step
    begins anew, and nothing else ever reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = path.with_name(f".{path.name}{_PARTIAL}")
        self._manifest: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Make the staging folder, empty. One rank does this before the others write."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def write_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the weights as they are given: fp32 masters."""
        self._manifest[MODEL_FILE] = write_tensors(self.staging / MODEL_FILE, tensors)

    def write_state(self, rank: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one rank's optimizer and random state."""
        name = state_file(rank)
        self._manifest[name] = write_tensors(self.staging / name, tensors)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file that travels along, such as the tokenizer's."""
        write_atomic(self.staging / name, content)
        self._manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def commit(self, meta: dict[str, Any]) -> Path:
        """Write meta data and manifest, and make it a checkpoint by one rename. Returns its path."""
        self.write_file(META_FILE, (json.dumps(meta, indent=2) + "\n").encode())
        manifest = dict(sorted(self._manifest.items()))
        write_atomic(self.staging / MANIFEST_FILE, (json.dumps(manifest, indent=2) + "\n").encode())
        if self.path.exists():
            put_aside(self.path, "replaced")
        self.staging.rename(self.path)
        sync_folder(self.path.parent)
        return self.path

    def abandon(self) -> None:
        """Remove what a failed save has written."""
        shutil.rmtree(self.staging, ignore_errors=True)


def put_aside(path: Path, why: str) -> Path:
    """Rename a checkpoint to `step_<n>.<why>`, which nothing reads: nobody deletes it but its owner."""
    target = path.with_name(f"{path.name}.{why}")
    names = (target if number == 1 else target.with_name(f"{target.name}-{number}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


def remove_unfinished(folder: Path) -> None:
    """Remove what killed saves have left in a folder: never a checkpoint, whose name they do not have."""
    for path in folder.glob(f".step_*{_PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)


def point_link(link: Path, target: Path) -> None:
    """Make `link` (`latest`, `best`) a relative link to a checkpoint beside it, in one step."""
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    temporary.replace(link)


def load_tensors(
    folder: Path, name: str = MODEL_FILE, *, device: str | torch.device = "cpu", verified: bool = False
) -> dict[str, Tensor]:
    """The tensors of one file of a complete checkpoint. Raises CheckpointError where it is damaged.

    The file is hashed first, unless the caller has `verified` it: what is loaded is what was saved.
    """
    check(folder)
    path = folder / name
    entry = read_manifest(folder).get(name)
    if entry is None:
        raise CheckpointError(f"{path}: this checkpoint has no such file")
    if not verified:
        check_hash(path, entry["sha256"])
    try:
        tensors: dict[str, Tensor] = load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    return tensors


def versions() -> dict[str, str]:
    """The versions of what writes a checkpoint, for its meta data."""
    return {"daisy-tui": version("daisy-tui"), "torch": torch.__version__}


Named = Iterable[tuple[str, Tensor]]


def optimizer_tensors(optimizers: list[torch.optim.Optimizer], named: Named) -> dict[str, Tensor]:
    """The state of optimizers as named tensors, `<type>.<parameter>.<key>`, so that it finds its parameters again.

    `named` are the model's parameters. Rates come from the schedule.
    """
    names = {id(parameter): name for name, parameter in named}
    return {
        f"{type(optimizer).__name__}.{names[id(parameter)]}.{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizers(optimizers: list[torch.optim.Optimizer], named: Named, tensors: Mapping[str, Tensor]) -> None:
    """Put saved state back. Raises CheckpointError where it is that of other optimizers or parameters."""
    names = {id(parameter): name for name, parameter in named}
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, _, key = name.rpartition(".")
        states.setdefault(owner, {})[key] = tensor
    for optimizer in optimizers:
        current = optimizer.state_dict()
        restored = {}
        numbers = [number for group in current["param_groups"] for number in group["params"]]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            owner = f"{type(optimizer).__name__}.{names[id(parameter)]}"
            state = states.pop(owner, None)
            if state is None:
                continue  # it had no gradient yet
            if any(value.ndim and value.shape != parameter.shape for value in state.values()):
                raise CheckpointError(f"the saved state of {owner} is not of its shape {tuple(parameter.shape)}")
            restored[number] = state
        optimizer.load_state_dict({"state": restored, "param_groups": current["param_groups"]})
    if states:
        raise CheckpointError(f"the saved optimizer state has {', '.join(sorted(states)[:3])}, which nothing here has")
