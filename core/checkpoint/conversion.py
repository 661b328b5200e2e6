"""From what a foreign checkpoint holds to what DaisyCore is built from: its spec, and its parameters by name.

Here is what every layout needs, and the layout of DaisyCore's own names. A setting that is neither known nor said to
be about training is refused: it may be part of the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from core.checkpoint.foreign import Foreign
from core.checkpoint.format import CheckpointError
from core.config.messages import word_problems
from core.config.model_spec import ModelSpec
from core.config.parameters import parameters
from core.config.rules import find_spec_problems, nearest
from core.config.train_config import TrainConfig
from core.config.windows import layer_windows

# Settings of Daisy-Wee's trainer that TrainConfig has not, by their beginnings: none of them enters a forward pass.
_TRAINING = (
    "sft_",
    "task_",
    "snapshot_",
    "checkpoint_",
    "wandb_",
    "torch_",
    "train_mode",
    "train_attention_window_len",
    "learning_rate_floor",
    "num_iterations",
    "val_",
    "train_files",
)


@dataclass(frozen=True)
class Converted:
    """A model that DaisyCore takes. `tensors` are fp32 masters under its names; `windows` are in tokens, one a layer.

    `notes` say what differs and what the file did not tell.
    """

    layout: str
    spec: ModelSpec
    tensors: dict[str, Tensor]
    windows: list[int]
    notes: list[str] = field(default_factory=list)


def has_own_names(foreign: Foreign) -> bool:
    """Whether the parameters have DaisyCore's own names."""
    return "gates.residual" in foreign.tensors or any(name.endswith(".attention.qkvo") for name in foreign.tensors)


def convert_own(foreign: Foreign, stated: Mapping[str, Any], training_only: Iterable[str] = ()) -> Converted:
    """The exact route: parameters under DaisyCore's own names. `stated` completes or replaces hparams.

    Raises CheckpointError naming every parameter and setting that does not fit.
    """
    check_stated(foreign.path, stated, ModelSpec.model_fields)
    spec = build_spec(foreign.path, {**foreign.hparams, **stated})
    check_settings(foreign, ModelSpec.model_fields, training_only)
    expected = {parameter.name: parameter.shape for parameter in parameters(spec)}
    found = {name: tuple(tensor.shape) for name, tensor in foreign.tensors.items()}
    problems = [
        f"{name} {found[name]}: DaisyCore of these hparams has no such parameter" for name in found.keys() - expected
    ]
    problems += [f"{name} {shape}: is missing" for name, shape in expected.items() if name not in found]
    problems += [
        f"{name} {found[name]}: is {shape} in DaisyCore of these hparams"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        raise refusal(foreign.path, sorted(problems))
    defaults = [key for key in ("rope_theta", "logit_softcap", "window_pattern") if key not in foreign.hparams]
    taken = ", ".join(f"{key}={getattr(spec, key)}" for key in defaults if key not in stated)
    return Converted(
        layout="DaisyCore",
        spec=spec,
        tensors={name: master(foreign.tensors[name]) for name in expected},
        windows=layer_windows(spec),
        notes=[f"hparams do not say it, so DaisyCore's defaults hold: {taken}"] if taken else [],
    )


def build_spec(path: Path, values: Mapping[str, Any]) -> ModelSpec:
    """The spec that settings describe; what is not of the spec is passed over. Raises CheckpointError."""
    fields = ModelSpec.model_fields
    missing = [name for name, info in fields.items() if info.is_required() and values.get(name) is None]
    if missing:
        states = " ".join(f"--set {name}=..." for name in missing)
        raise CheckpointError(f"{path}: hparams do not say {', '.join(missing)}; state what holds: {states}")
    tree = {name: values[name] for name in fields if values.get(name) is not None}
    try:
        spec = ModelSpec.model_validate(tree)
    except ValidationError as error:
        raise CheckpointError(*(problem.message for problem in word_problems(error, tree, {}, path))) from None
    if problems := [finding.message for finding in find_spec_problems(spec)]:
        raise CheckpointError(*(f"{path}: hparams: {problem}" for problem in problems))
    return spec


def check_stated(path: Path, stated: Iterable[str], known: Iterable[str]) -> None:
    """Raise CheckpointError naming what is stated that nothing can be made of."""
    keys = list(known)
    if unknown := [name for name in stated if name not in keys]:
        why = "follows from the parameters, or is unknown"
        raise refusal(path, [f"--set {name}: {why}; {nearest(name, keys)}" for name in unknown])


def check_settings(foreign: Foreign, known: Iterable[str], training_only: Iterable[str]) -> None:
    """Raise CheckpointError naming the hparams that are not `known` to the layout, nor about training only."""
    passed = {*known, *training_only, *(TrainConfig.model_fields.keys() - ModelSpec.model_fields.keys())}
    unknown = [name for name in foreign.hparams if name not in passed and not name.startswith(_TRAINING)]
    if unknown:
        raise refusal(
            foreign.path,
            [
                f"hparams.{name} = {foreign.hparams[name]!r}: unknown, so it may be part of the function; where it is "
                f"about training only, say --training-only {name}"
                for name in unknown
            ],
        )


def refusal(path: Path, problems: Iterable[str]) -> CheckpointError:
    """What DaisyCore cannot represent, one line each."""
    return CheckpointError(*(f"{path}: {problem}" for problem in problems))


def master(tensor: Tensor) -> Tensor:
    """A copy in fp32, laid out row by row: the file's mapping is let go, and tied tensors come apart."""
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
