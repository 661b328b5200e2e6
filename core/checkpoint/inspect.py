"""What a checkpoint is, from its small files and the headers of its large ones: never torch, never numpy.

Reading headers takes milliseconds at any size of model, so nothing here is cached; loading the tensors
to count them would take the 1.6B model's 6 GiB. What needs the weights is in `statistics`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from core.checkpoint.format import (
    META_FILE,
    MODEL_FILE,
    CheckpointError,
    TensorInfo,
    complete_checkpoints,
    read_manifest,
    read_meta,
    read_tensor_infos,
    state_file,
)
from core.config.model_spec import ModelSpec
from core.config.parameters import Parameter, parameters
from core.config.rules import find_spec_problems
from core.text import plural

LINKS = ("latest", "best")
OTHER_GROUP = "not in the spec"
_STRUCT = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B", "BOOL": "?"}


@dataclass(frozen=True)
class Meta:
    """What meta.json says; None and empty where it says nothing, as older and foreign ones do."""

    step: int | None = None
    tokens: int | None = None
    best_val: float | None = None
    val_loss: float | None = None
    tokens_per_step: int | None = None
    progress: float | None = None
    windows: tuple[int, ...] | None = None
    tokenizer: dict[str, JsonValue] | None = None
    parent: JsonValue = None
    imported: dict[str, JsonValue] | None = None
    exported: dict[str, JsonValue] | None = None
    versions: dict[str, JsonValue] = field(default_factory=dict)
    fingerprint: str | None = None
    hparams: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """The tensors of one parameter group, in the order of the spec."""

    name: str
    tensors: tuple[TensorInfo, ...]

    @property
    def count(self) -> int:
        return sum(tensor.count for tensor in self.tensors)


@dataclass(frozen=True)
class Gate:
    """One vector of learned scalars: `values[i]` acts in layer `layers[i]`."""

    name: str
    layers: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class File:
    """One file as the manifest has it."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Use:
    """Whether something can be done with the checkpoint; `note` says why not, or what to know."""

    possible: bool
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """A complete checkpoint. `problems` are the ways in which it is not what its spec says.

    `links` are the names of the links beside it that point at it, `spec` is None where the hparams describe
    no DaisyCore, and `run` is the run directory it lies in, if it does.
    """

    folder: Path
    links: tuple[str, ...]
    run: Path | None
    meta: Meta
    spec: ModelSpec | None
    groups: tuple[Group, ...]
    gates: tuple[Gate, ...]
    files: tuple[File, ...]
    problems: tuple[str, ...]
    resume: Use
    warm_start: Use
    serve: Use

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return tuple(tensor for group in self.groups for tensor in group.tensors)

    @property
    def parent(self) -> JsonValue:
        """The checkpoint that its weights began from."""
        return self.meta.parent if self.meta.parent is not None else self.meta.hparams.get("init_checkpoint")


def inspect_checkpoint(folder: Path) -> Inspection:
    """Everything about a checkpoint that its headers tell. Raises CheckpointError where it is incomplete or damaged."""
    meta = _meta(folder)
    files = tuple(File(name, entry["bytes"], entry["sha256"]) for name, entry in read_manifest(folder).items())
    infos = {info.name: info for info in read_tensor_infos(folder / MODEL_FILE)}
    spec, problems = _described(meta)
    expected = list(parameters(spec)) if spec else []
    problems += mismatches(expected, infos) if spec else []
    run = _run(folder)
    return Inspection(
        folder=folder,
        links=_links(folder),
        run=run,
        meta=meta,
        spec=spec,
        groups=_groups(expected, infos),
        gates=tuple(_gates(folder / MODEL_FILE, spec, expected, infos)) if spec else (),
        files=files,
        problems=tuple(problems),
        resume=_resume(folder, run, meta, files, problems),
        warm_start=Use(False, _unfit(problems)) if problems else Use(True),
        serve=_serve(meta, files, problems),
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """`4x16x16`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def _meta(folder: Path) -> Meta:
    """What the meta.json of a complete checkpoint says. Raises CheckpointError where that is not what it should be."""
    raw = read_meta(folder)
    try:
        return TypeAdapter(Meta).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:2]))
        raise CheckpointError(f"{folder / META_FILE}: {where}: {first['msg']}; the checkpoint is damaged") from error


def read_described(folder: Path) -> tuple[Meta, ModelSpec]:
    """What meta.json says, and the spec in it. Raises CheckpointError where they do not describe one model."""
    meta = _meta(folder)
    spec, problems = _described(meta)
    if spec is None or problems:
        raise CheckpointError(f"{folder}: {'; '.join(problems)}")
    return meta, spec


def _described(meta: Meta) -> tuple[ModelSpec | None, list[str]]:
    """The spec that the hparams hold, or None; and why it is none, or what contradicts itself in it and its windows."""
    try:
        spec = ModelSpec.of(meta.hparams)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return None, [f"its hparams describe no DaisyCore: {where}: {first['msg'].removeprefix('Value error, ')}"]
    problems = [f"its hparams describe no DaisyCore: {finding.message}" for finding in find_spec_problems(spec)]
    return spec, [*problems, *_window_problems(spec, meta.windows)]


def mismatches(expected: Sequence[Parameter], infos: Mapping[str, TensorInfo]) -> list[str]:
    """The ways in which tensors, by name, are not the parameters that are expected."""
    problems = []
    for parameter in expected:
        info = infos.get(parameter.name)
        if info is None:
            problems.append(f"{parameter.name} is missing")
        elif info.shape != parameter.shape:
            problems.append(f"{info.name} is {shape_text(info.shape)} and should be {shape_text(parameter.shape)}")
    known = {parameter.name for parameter in expected}
    return problems + [f"{name} is not in the spec" for name in infos if name not in known]


def _window_problems(spec: ModelSpec, windows: tuple[int, ...] | None) -> Iterator[str]:
    if windows is None:
        return
    if len(windows) != spec.num_layers:
        yield f"{plural(len(windows), 'window')} for {plural(spec.num_layers, 'layer')}"
    elif wrong := [(layer, window) for layer, window in enumerate(windows) if not 1 <= window <= spec.max_seq_len]:
        layer, window = wrong[0]
        yield f"the window of layer {layer} is {window} tokens; windows are 1 to {spec.max_seq_len} (max_seq_len)"


def _groups(expected: list[Parameter], infos: Mapping[str, TensorInfo]) -> tuple[Group, ...]:
    """The tensors that are there, by group: what the spec does not know comes last."""
    found: dict[str, list[TensorInfo]] = {}
    for parameter in expected:
        if parameter.name in infos:
            found.setdefault(parameter.group, []).append(infos[parameter.name])
    known = {parameter.name for parameter in expected}
    rest = [info for name, info in infos.items() if name not in known]
    if rest:
        found[OTHER_GROUP] = rest
    return tuple(Group(name, tuple(tensors)) for name, tensors in found.items())


def _gates(path: Path, spec: ModelSpec, expected: list[Parameter], infos: Mapping[str, TensorInfo]) -> Iterator[Gate]:
    """The gates whose tensors are what the spec says, with the layers they act in (see `DaisyCore.hidden`)."""
    layers, tables = range(spec.num_layers), spec.value_embeddings
    acts_in = {
        "gates.residual": [*layers],
        "gates.x0": [*layers],
        # The second half of the depth takes the outputs of the first half in reverse.
        "gates.skip": [spec.num_layers - 1 - i for i in range(spec.num_layers // 2)],
        "gates.value": [*range(tables), *(spec.num_layers - tables + i for i in range(tables))],
    }
    for parameter in expected:
        info = infos.get(parameter.name)
        if parameter.name in acts_in and info is not None and info.shape == parameter.shape:
            name = parameter.name.removeprefix("gates.")
            yield Gate(name, tuple(acts_in[parameter.name]), _values(path, info))


def _values(path: Path, info: TensorInfo) -> tuple[float, ...]:
    """The values of a small tensor."""
    with path.open("rb") as file:
        file.seek(info.begin)
        raw = file.read(info.end - info.begin)
    if len(raw) != info.end - info.begin:
        raise CheckpointError(f"{path}: ends within tensor {info.name}; it is damaged")
    if info.dtype == "BF16":  # the upper half of an fp32
        halves = struct.unpack(f"<{info.count}H", raw)
        raw = struct.pack(f"<{info.count}I", *(half << 16 for half in halves))
    return tuple(map(float, struct.unpack(f"<{info.count}{_STRUCT.get(info.dtype, 'f')}", raw)))


def _links(folder: Path) -> tuple[str, ...]:
    beside = ((name, folder.resolve().parent / name) for name in LINKS)
    return tuple(name for name, link in beside if link.is_symlink() and link.is_dir() and link.samefile(folder))


def _run(folder: Path) -> Path | None:
    """The run directory whose `checkpoints/` it lies in."""
    above = folder.resolve().parent
    return above.parent if above.name == "checkpoints" and (above.parent / "config.yaml").is_file() else None


def _resume(folder: Path, run: Path | None, meta: Meta, files: tuple[File, ...], problems: list[str]) -> Use:
    if problems:
        return Use(False, _unfit(problems))
    if state_file(0) not in {file.name for file in files}:
        return Use(False, f"it holds no optimizer state ({state_file(0)})")
    if run is None:
        return Use(False, "it lies in no run directory (no config.yaml beside its checkpoints folder)")
    newest = [path.resolve() for path in complete_checkpoints(run / "checkpoints")][-1:]
    if newest != [folder.resolve()]:
        return Use(False, f"its run goes on from {newest[0].name}" if newest else "its name is not step_<number>")
    return Use(True, "its run has reached its target_tokens" if (meta.progress or 0) >= 1 else "")


def _serve(meta: Meta, files: tuple[File, ...], problems: list[str]) -> Use:
    if problems:
        return Use(False, _unfit(problems))
    if not meta.tokenizer:
        return Use(False, "its meta.json names no tokenizer")
    file = meta.tokenizer.get("file")
    if file is not None and not isinstance(file, str):
        return Use(False, "its tokenizer's file has no name, but something else in its place")
    if file is not None and file not in {known.name for known in files}:
        return Use(False, f"its tokenizer's file {file} is missing")
    return Use(True) if meta.windows else Use(False, "its meta.json has no windows")


def _unfit(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else "it is not what its spec says"
