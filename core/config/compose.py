"""Compose a configuration: defaults <- model spec <- training config <- overrides.

Files replace a key as a whole; overrides may reach inside. The result knows where each value came
from, and every message says it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from core.config.errors import ConfigError, Problem
from core.config.files import find_file
from core.config.messages import word_problems
from core.config.model_spec import ModelSpec
from core.config.overrides import Override, apply_overrides, format_path, parse_override
from core.config.rules import find_problems, find_spec_problems, nearest
from core.config.scalars import describe
from core.config.sources import KeyPath, Layer, LayerName, Source, display_path, load_layer
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig

_DEFAULT = Source("default")


@dataclass(frozen=True)
class Value:
    """One composed value and its source."""

    value: Any
    source: Source


@dataclass(frozen=True)
class Composed:
    """A composed configuration: the checked `config`, every value by key, and the files it was read from."""

    config: TrainConfig
    values: dict[str, Value]
    config_path: Path
    spec_path: Path | None

    def source_of(self, key: str) -> Source:
        """The source of a key; of a key with values below it, that of its first given value."""
        below = [value.source for name, value in self.values.items() if name.startswith((f"{key}.", f"{key}["))]
        at = [self.values[key].source] if key in self.values else []
        return next((source for source in at + below if source != _DEFAULT), _DEFAULT)

    def problem(self, keys: Sequence[str], message: str) -> Problem:
        """A broken rule worded with where its values come from; the topmost layer is named first."""
        ranked = sorted(keys, key=lambda key: -get_args(LayerName).index(self.source_of(key).layer))
        others = [f"{key} is from {self.source_of(key)}" for key in ranked[1:] if self.source_of(key) != _DEFAULT]
        return Problem(
            keys[0], f"{self.source_of(ranked[0])}: {message}{' (' + ', '.join(others) + ')' if others else ''}"
        )


def compose(
    config: str | Path, overrides: Sequence[str] = (), *, world_size: int | None = None, rules: bool = True
) -> Composed:
    """Compose a config, named or given as a path, with overrides as typed.

    `world_size`, where known, lets the batch be checked against the number of devices. Without `rules` what breaks
    the rules between fields is composed all the same, to be shown and mended.
    Raises ConfigError with one line for each problem.
    """
    parsed = [parse_override(text) for text in overrides]
    config_path = find_file(str(config), "config")
    config_layer = load_layer(config_path, "config")
    if not config_layer.values:
        raise ConfigError(
            f"{display_path(config_path)}: holds no keys; begin with a line such as model_spec: daisy_150m"
        )
    spec_path = None
    layers = [_defaults()]
    spec_name = _spec_name(config_layer, [o.value for o in parsed if o.path == ("model_spec",)])
    if spec_name is not None:
        spec_path = _find_spec(spec_name, config_layer, parsed)
        layers.append(load_layer(spec_path, "spec"))
    layers.append(config_layer)
    problems = [p for layer in layers[1:] for p in _unknown_keys(layer)]
    problems += [
        Problem(str(o.path[0]), f"{o.source}: unknown key '{o.path[0]}'; {nearest(str(o.path[0]), _keys(TrainConfig))}")
        for o in parsed
        if o.path[0] not in TrainConfig.model_fields
    ]
    if problems:
        raise ConfigError(problems)

    tree, sources = _merge(layers)
    apply_overrides(tree, sources, parsed)
    try:
        validated = TrainConfig.model_validate({k: v for k, v in tree.items() if k in TrainConfig.model_fields})
    except ValidationError as error:
        raise ConfigError(word_problems(error, tree, sources, config_path)) from None
    composed = Composed(validated, _values(validated, sources), config_path, spec_path)
    found = find_problems(validated, world_size) if rules else ()
    broken = [composed.problem(finding.keys, finding.message) for finding in found]
    if broken:
        raise ConfigError(broken)
    return composed


def load_spec(path: Path) -> ModelSpec:
    """One model spec by itself. Raises ConfigError as `compose` does."""
    layer = load_layer(path, "spec")
    problems = list(_unknown_keys(layer))
    if problems:
        raise ConfigError(problems)
    try:
        spec = ModelSpec.model_validate(layer.values)
    except ValidationError as error:
        raise ConfigError(word_problems(error, layer.values, layer.sources, path)) from None
    problems = [Problem(f.keys[0], f"{display_path(path)}: {f.message}") for f in find_spec_problems(spec)]
    if problems:
        raise ConfigError(problems)
    return spec


def _defaults() -> Layer:
    """Defaults as a tree of plain values, so that overrides can reach into them as well."""
    values = {
        name: _plain(info.get_default(call_default_factory=True))
        for name, info in TrainConfig.model_fields.items()
        if not info.is_required()
    }
    return Layer(values, {(name,): _DEFAULT for name in values})


def _plain(value: Any) -> Any:
    if isinstance(value, (Muon, AdamW, ParamGroup)):
        return value.model_dump()
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _spec_name(config_layer: Layer, overridden: list[Any]) -> str | None:
    name = overridden[-1] if overridden else config_layer.values.get("model_spec")
    return None if name is None else name if isinstance(name, str) else describe(name)


def _find_spec(name: str, config_layer: Layer, parsed: Sequence[Override]) -> Path:
    sources = [o.source for o in parsed if o.path == ("model_spec",)]
    source = sources[-1] if sources else config_layer.sources[("model_spec",)]
    try:
        return find_file(name, "spec")
    except ConfigError as error:
        raise ConfigError([Problem("model_spec", f"{source}: {error}")]) from None


def _unknown_keys(layer: Layer) -> Iterator[Problem]:
    source = next(iter(layer.sources.values()), _DEFAULT)
    is_spec = source.layer == "spec"
    model: type[ModelSpec] = ModelSpec if is_spec else TrainConfig
    for key in layer.values:
        if key not in model.model_fields:
            where = layer.sources[(key,)]
            if key in TrainConfig.model_fields:
                yield Problem(key, f"{where}: '{key}' is a training key; it belongs in a config, not in a model spec")
            else:
                yield Problem(key, f"{where}: unknown key '{key}'; {nearest(key, _keys(model))}")


def _keys(model: type[ModelSpec]) -> list[str]:
    return list(model.model_fields)


def _merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[KeyPath, Source]]:
    tree: dict[str, Any] = dict.fromkeys(TrainConfig.model_fields)
    sources: dict[KeyPath, Source] = {}
    for layer in layers:
        for key, value in layer.values.items():
            tree[key] = value
            for old in [path for path in sources if path[0] == key]:
                del sources[old]
        sources |= layer.sources
    return tree, sources


def _values(config: TrainConfig, sources: dict[KeyPath, Source]) -> dict[str, Value]:
    """Every leaf of the configuration by key, in order of declaration. Lists of scalars are leaves."""
    leaves: dict[str, Value] = {}

    def visit(path: KeyPath, value: Any) -> None:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for index, entry in enumerate(value):
                visit((*path, index), entry)
        elif isinstance(value, dict) and path[0] == "optimizers":
            for key, entry in value.items():
                visit((*path, key), entry)
        else:
            leaves[format_path(path)] = Value(value, _leaf_source(path, sources))

    for name, value in config.model_dump().items():
        visit((name,), value)
    return leaves


def _leaf_source(path: KeyPath, sources: dict[KeyPath, Source]) -> Source:
    """Where a leaf was last touched: an override inside it, else its own place, else the default.

    A leaf inside an optimizer that its file or override left out has its default.
    """
    inside = [s for p, s in sources.items() if p[: len(path)] == path and s.layer == "override"]
    return inside[-1] if inside else sources.get(path, _DEFAULT)
