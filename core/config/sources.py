"""YAML with the place of every value kept, and nothing guessed.

PyYAML's loaders drop line numbers, resolve scalars before the schema has a say, and let a second
key of the same name win in silence. So the node tree is walked here instead: scalars stay text
(`core.config.scalars`), every path keeps its `Source`, duplicates and aliases are errors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from core.config.errors import ConfigError
from core.config.plain_yaml import check_events, not_valid, position
from core.config.scalars import is_null

LayerName = Literal["default", "spec", "config", "override"]
# A path into the configuration: ("optimizers", 1, "params", 0, "lr").
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Where a value comes from: its layer, and file and line or the override as typed."""

    layer: LayerName
    file: str | None = None
    line: int | None = None
    typed: str | None = None

    def __str__(self) -> str:
        if self.typed is not None:
            return f"override '{self.typed}'"
        return self.layer if self.file is None else f"{self.file}:{self.line}"


@dataclass
class Layer:
    """One YAML file: its values (scalars as text, null as None) and the source of every path."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, Source] = field(default_factory=dict)


def load_layer(path: Path, layer: LayerName) -> Layer:
    """Read one YAML file whose top level is a mapping.

    Raises ConfigError naming file, line and column for anything that is not plain YAML data.
    """
    shown = display_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not a text file (byte {error.start} is not UTF-8)") from error
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror or error}") from error
    node = _compose_node(text, shown)
    result = Layer()
    if node is None:
        return result
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{shown}: expected `key: value` lines, found a {_kind(node)}")
    lines: dict[KeyPath, int] = {}
    result.values = _convert((), node, shown, lines)
    result.sources = {path: Source(layer, shown, line) for path, line in lines.items()}
    return result


def parse_flow(text: str, where: str) -> Any:
    """The value of one flow-style YAML text such as `[a, b]` or `{x: 1}`. Raises ConfigError."""
    node = _compose_node(text, where)
    return None if node is None else _convert((), node, where, {})


def display_path(path: Path) -> str:
    """The shortest way to name a file to the person who sits in the working directory."""
    try:
        absolute, home = path.absolute(), Path.cwd()
    except OSError:  # the working directory is gone
        return os.fspath(path)
    return os.fspath(absolute.relative_to(home)) if absolute.is_relative_to(home) else os.fspath(absolute)


def _compose_node(text: str, shown: str) -> yaml.Node | None:
    try:
        check_events(yaml.parse(text, Loader=yaml.SafeLoader), shown)
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise not_valid(error, shown) from error


def _convert(path: KeyPath, node: yaml.Node, shown: str, lines: dict[KeyPath, int]) -> Any:
    """The plain value of a node; notes in `lines` the line of every entry below it."""
    if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise ConfigError(f"{shown}:{position(node.start_mark)}: tags ({node.tag}) are not supported")
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and is_null(node.value) else node.value
    if isinstance(node, yaml.SequenceNode):
        values: list[Any] = []
        for index, child in enumerate(node.value):
            lines[*path, index] = child.start_mark.line + 1
            values.append(_convert((*path, index), child, shown, lines))
        return values
    mapping: dict[str, Any] = {}
    for key_node, child in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(
                f"{shown}:{position(key_node.start_mark)}: a key must be a word, found a {_kind(key_node)}"
            )
        key = key_node.value
        if key in mapping:
            raise ConfigError(
                f"{shown}:{position(key_node.start_mark)}: duplicate key '{key}', "
                f"first given on line {lines[*path, key]}; keep one of them"
            )
        lines[*path, key] = key_node.start_mark.line + 1
        mapping[key] = _convert((*path, key), child, shown, lines)
    return mapping


def _kind(node: yaml.Node) -> str:
    return {yaml.ScalarNode: "single value", yaml.SequenceNode: "list"}.get(type(node), "mapping")
