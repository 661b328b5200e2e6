"""Keep a draft as a config of its own: the text of the file that it began from, with what was touched.

No config includes another, so the new one holds the old one's keys and comments; a value is changed where it stands,
and a key that was not there comes to the end. What would be written is composed again first, and has to come to the
same configuration. Rejected: dumping the composed values, which would lose every comment and freeze every default.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from core.config.compose import Composed, compose
from core.config.errors import ConfigError
from core.config.files import find_file
from core.config.overrides import parse_path
from core.config.scalars import format_value
from core.config.sources import KeyPath, display_path
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig
from core.files import sync_folder, write_atomic

FOLDER = Path("configs")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SCHEMA_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
_Edit = tuple[int, int, str]  # two places in a text, and what stands between them from now on


def save_config(name: str, composed: Composed) -> Path:
    """Write `configs/NAME.yml` in the working directory; returns its path.

    Raises ConfigError where the name is taken or none, or the file cannot be written. It overwrites nothing.
    """
    path = check_name(name)
    text = next((text for text in _texts(composed) if _comes_to(text, composed)), None)
    if text is None:
        raise ConfigError(f"{path}: what would be written comes to another configuration; nothing was saved")
    try:
        path.parent.mkdir(exist_ok=True)
        _write_new(path, text.encode())
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def check_name(name: str) -> Path:
    """The path that a config of this name would have. Raises ConfigError where it can have none, or is there."""
    name = re.sub(r"\.ya?ml$", "", name)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot name a config; use letters, digits, '.', '_' and '-'")
    try:
        there = find_file(name, "config")
    except ConfigError:
        return FOLDER / f"{name}.yml"
    raise ConfigError(f"'{name}' names a config already, {display_path(there)}; choose another name")


def _texts(composed: Composed) -> Iterator[str]:
    """What can be written, the best first: the file with its values changed, else the values that are no defaults."""
    text = composed.config_path.read_text(encoding="utf-8-sig")
    yield _edited(text, composed)
    yield _plain(composed)


def _comes_to(text: str, composed: Composed) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.yml"
        path.write_text(text, encoding="utf-8")
        try:
            return compose(path).config == composed.config
        except ConfigError:
            return False


def _edited(text: str, composed: Composed) -> str:
    """The text of a config's file with every value that overrides changed."""
    nodes = dict(_nodes((), yaml.compose(text, Loader=yaml.SafeLoader)))
    changed = _changed(composed)
    rewrites = any(path[0] == "optimizers" and (path not in nodes or path[-1] in ("type", "group")) for path in changed)
    edits: list[_Edit] = []
    added: list[str] = []
    for path, value in changed.items():
        if path[0] == "optimizers" and rewrites:
            continue
        if path in nodes:
            edits.append(_edit(text, nodes[path], format_value(value, inside=True)))
        else:
            added.append(f"{path[0]}: {format_value(value, inside=True)}\n")
    if rewrites:
        block = _optimizers_text(composed.config)
        if ("optimizers",) in nodes:
            edits.append(_edit(text, nodes["optimizers",], f"\n{block}"))
        else:
            added.append(f"optimizers:\n{block}\n")
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    if added:
        text = f"{text.rstrip()}\n\n{''.join(added)}"
    schema = _SCHEMA_LINE.match(text)
    return text if schema is None or (FOLDER / schema[1]).exists() else text[schema.end() :]


def _changed(composed: Composed) -> dict[KeyPath, Any]:
    """The values that overrides made other than the file alone has them."""
    try:
        before = compose(composed.config_path).values
    except ConfigError:  # it is only good with the overrides
        before = {}
    return {
        parse_path(key, key): value.value
        for key, value in composed.values.items()
        if value.source.layer == "override" and (key not in before or before[key].value != value.value)
    }


def _nodes(path: KeyPath, node: yaml.Node | None) -> Iterator[tuple[KeyPath, yaml.Node]]:
    """Every value of a document by its path."""
    if path and node is not None:
        yield path, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes((*path, key.value), value)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _nodes((*path, index), value)


def _edit(text: str, node: yaml.Node, new: str) -> _Edit:
    begin = node.start_mark.index
    if new.startswith("\n"):  # a block, which begins on the line behind its key
        begin = len(text[:begin].rstrip())
    elif begin and text[begin - 1] == ":":  # a key without a value
        new = f" {new}"
    return begin, _end(node), new


def _end(node: yaml.Node) -> int:
    """Where the last character of a value stands; a block's own mark is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _optimizers_text(config: TrainConfig) -> str:
    """The optimizers as a block, without what is their default."""
    lines = []
    for optimizer in config.optimizers:
        lines.append(f"  - type: {optimizer.type}")
        lines += [f"    {key}: {value}" for key, value in _given(optimizer) if key not in ("type", "params")]
        lines.append("    params:")
        for entry in optimizer.params:
            lines.append(f"      - {{{', '.join(f'{key}: {value}' for key, value in _given(entry))}}}")
    return "\n".join(lines)


def _given(settings: Muon | AdamW | ParamGroup) -> Iterator[tuple[str, str]]:
    """The values of a model that are not its defaults."""
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if info.is_required() or value != info.get_default(call_default_factory=True):
            yield name, format_value(value, inside=True)


def _plain(composed: Composed) -> str:
    """The values that come neither from defaults nor from the spec."""
    given = {
        str(parse_path(key, key)[0]): None
        for key, value in composed.values.items()
        if value.source.layer in ("config", "override")
    }
    values = composed.config.model_dump()
    lines = [f"{key}: {format_value(values[key], inside=True)}" for key in given if key != "optimizers"]
    if "optimizers" in given:
        lines += ["optimizers:", _optimizers_text(composed.config)]
    return "\n".join(lines) + "\n"


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole or not at all. Raises FileExistsError where it is."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        write_atomic(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: the name is taken first
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o666))
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
