"""The override grammar: `key=value`, `--key=value`, `--flag`, and paths into nested values.

    target_tokens=3B                             a key
    --full_windows                               the same as full_windows=true
    optimizers[1].params[0].lr=0.02              by position
    optimizers.Muon.hidden_matrix_params.lr=0.02 by name: optimizer type, then parameter group
    val_shards.books=data/books_val_*.bin        an entry of a mapping

Values are YAML flow values. A value that starts with neither [ { " nor ' is taken as typed, so
globs and text with a colon need no quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core.config.errors import ConfigError
from core.config.scalars import is_null
from core.config.sources import KeyPath, Source, parse_flow

_SEGMENT = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_-]*)|\[(\d{1,6})\]")


@dataclass(frozen=True)
class Override:
    """One override: the path as typed (names or positions), the value, and the text for messages."""

    path: KeyPath
    value: Any
    source: Source


def parse_override(text: str) -> Override:
    """Parse one command-line word. Raises ConfigError that shows the accepted forms."""
    dashed = text.startswith("--")
    key, equals, typed_value = text.removeprefix("--").partition("=")
    if not equals and not dashed:
        raise ConfigError(f"'{text}' is not an override; write key=value, --key=value or --flag")
    return Override(
        path=parse_path(key.strip(), text),
        value=_parse_value(typed_value, text) if equals else "true",
        source=Source("override", typed=text),
    )


def parse_path(key: str, typed: str) -> KeyPath:
    """`optimizers[1].params[0].lr` as ("optimizers", 1, "params", 0, "lr")."""
    path: list[str | int] = []
    position = 0
    while match := _SEGMENT.match(key, position):
        name, index = match.groups()
        if (name is not None and key[position] == "." and not path) or (index is not None and not path):
            break
        if name is not None and path and key[position] != ".":
            break
        path.append(int(index) if index is not None else name)
        position = match.end()
    if position != len(key) or not path:
        raise ConfigError(
            f"override '{typed}': '{key}' is not a key; write for example lr_scale or optimizers[0].momentum"
        )
    if path[0] == "val_shards":  # what follows is a name that somebody chose
        return tuple(path)
    return tuple(part.replace("-", "_") if isinstance(part, str) else part for part in path)


def format_path(path: KeyPath) -> str:
    """The inverse of `parse_path`: ("optimizers", 1, "type") as `optimizers[1].type`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def apply_overrides(values: dict[str, Any], sources: dict[KeyPath, Source], overrides: Iterable[Override]) -> None:
    """Set every override in `values` and note it in `sources`, in place. Raises ConfigError.

    `values` holds every top-level key, so that defaults can be reached into as well.
    """
    for override in overrides:
        path = _set(values, override)
        for old in [known for known in sources if known[: len(path)] == path]:
            del sources[old]
        for inner in _paths(path, override.value):
            sources[inner] = override.source


def _paths(path: KeyPath, value: Any) -> Iterator[KeyPath]:
    """A path and every path inside its value."""
    yield path
    entries: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, entry in entries:
        yield from _paths((*path, key), entry)


def _parse_value(typed: str, text: str) -> Any:
    stripped = typed.strip()
    if stripped.startswith(("[", "{", '"', "'")):
        return parse_flow(stripped, f"override '{text}'")
    return None if is_null(stripped) else stripped


def _set(values: dict[str, Any], override: Override) -> KeyPath:
    """Put the value in place; returns the path by position that it took."""
    path: list[str | int] = []
    holder: Any = values
    rest = list(override.path)
    while rest:
        if path == ["optimizers"] and isinstance(rest[0], str):
            steps, used = _named_optimizer(holder, rest, override)
            for step in steps:
                holder = holder[step]
            path += steps
            rest = rest[used:]
            continue
        step = rest.pop(0)
        _check_step(holder, step, path, override)
        path.append(step)
        if not rest:
            holder[step] = override.value
        else:
            if isinstance(holder, dict) and holder.get(step) is None:
                holder[step] = {}
            holder = holder[step]
    return tuple(path)


def _check_step(holder: Any, step: str | int, path: list[str | int], override: Override) -> None:
    where = format_path(tuple(path))
    if isinstance(step, int):
        if not isinstance(holder, list):
            raise ConfigError(f"{override.source}: {where} is not a list, so [{step}] does not apply")
        if step >= len(holder):
            count = f"{len(holder)} {'entry' if len(holder) == 1 else 'entries'}"
            known = {0: f"set it whole: {where}=[...]", 1: "the only position is 0"}.get(
                len(holder), f"positions are 0 to {len(holder) - 1}"
            )
            raise ConfigError(f"{override.source}: {where} has {count}, so [{step}] is out of range; {known}")
    elif isinstance(holder, list):
        raise ConfigError(f"{override.source}: {where} is a list; write {where}[0].{step}")
    elif not isinstance(holder, dict):
        raise ConfigError(f"{override.source}: {where} is a single value, so .{step} does not apply")


def _named_optimizer(optimizers: Any, rest: list[str | int], override: Override) -> tuple[list[str | int], int]:
    """Resolve `Muon.momentum` or `AdamW.head_params.lr`: steps to the holder of what remains, words used."""
    if not isinstance(optimizers, list) or not all(isinstance(o, dict) for o in optimizers):
        raise ConfigError(f"{override.source}: optimizers is not a list of optimizers")
    name = rest[0]
    positions = [i for i, o in enumerate(optimizers) if str(o.get("type")) == name]
    types = ", ".join(dict.fromkeys(str(o.get("type")) for o in optimizers))
    if not positions:
        raise ConfigError(f"{override.source}: no optimizer of type '{name}'; there are {types}")
    if len(rest) < 2:
        raise ConfigError(f"{override.source}: name what to set, for example optimizers.{name}.weight_decay=0")
    attribute = rest[1]
    groups: list[list[str | int]] = [
        [i, "params", j] for i in positions for j, group in enumerate(_groups(optimizers[i])) if group == attribute
    ]
    if len(groups) == 1 and len(rest) > 2:
        return groups[0], 2
    if not groups and str(attribute).endswith("_params"):
        known = ", ".join(group for i in positions for group in _groups(optimizers[i]))
        raise ConfigError(f"{override.source}: {name} has no group '{attribute}'; it has {known or 'none'}")
    if groups:
        raise ConfigError(
            f"{override.source}: {name}.{attribute} names a group; set its lr, for example {name}.{attribute}.lr"
        )
    if len(positions) > 1:
        choices = " or ".join(f"optimizers[{i}]" for i in positions)
        raise ConfigError(f"{override.source}: several optimizers are of type '{name}'; write {choices}")
    return [positions[0]], 1


def _groups(optimizer: dict[str, Any]) -> list[str]:
    params = optimizer.get("params")
    entries = params if isinstance(params, list) else []
    return [str(entry.get("group")) if isinstance(entry, dict) else "" for entry in entries]
