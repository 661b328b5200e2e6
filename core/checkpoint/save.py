"""Save and load a checkpoint's tensors, with torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.checkpoint.format import (
    MODEL_FILE,
    CheckpointError,
    check,
    check_hash,
    read_manifest,
    state_file,
)
from core.checkpoint.staging import PARTIAL, Staging
from core.checkpoint.tensor_file import write_tensors


class Saving(Staging):
    """One checkpoint being written from torch's tensors: each rank its state, one rank the rest, and one commits."""

    def write_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the weights as they are given: fp32 masters."""
        self._manifest[MODEL_FILE] = write_tensors(self.staging / MODEL_FILE, tensors)

    def write_state(self, rank: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one rank's optimizer and random state."""
        name = state_file(rank)
        self._manifest[name] = write_tensors(self.staging / name, tensors)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed saves have left in a folder: never a checkpoint, whose name they do not have."""
    for path in folder.glob(f".step_*{PARTIAL}"):
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
