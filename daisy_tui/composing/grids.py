"""A grid: `lr_scale=0.5,1,2 seed=1,2` as the runs that it stands for, every value with every other.

Each is a draft like any other, so each is a `daisy train` line of its own, and is checked by itself before any is
started. Rejected: one process that starts runs one after the other, which would have to stay alive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from core.config.errors import ConfigError
from core.config.overrides import format_path, parse_override
from daisy_tui.composing.drafts import OPTIONS, Draft
from daisy_tui.cutting import cut_end

_MOST = 64
_OPENING, _CLOSING = "[{", "]}"
_LONGEST_NAME = 100
_ECHOED = 40  # cells of what was typed that an error repeats


def grid_drafts(draft: Draft, text: str) -> list[Draft]:
    """The drafts of a grid over a draft, each with a name that tells it from the others.

    Axes are divided by spaces, values by commas outside brackets and quotes. Raises ConfigError.
    """
    axes = [_axis(word) for word in split_outside(text, " ") if word]
    if not axes:
        raise ConfigError("write the values to try, such as lr_scale=0.5,1,2")
    keys = [key for key, _ in axes]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"{cut_end(twice[0], _ECHOED)}: named twice; write all its values behind one =")
    number = 1
    for _, values in axes:
        number *= len(values)
    if number > _MOST:
        raise ConfigError(f"{number:,} runs; a grid has at most {_MOST}: leave values out")
    return [_drafted(draft, keys, values) for values in product(*(values for _, values in axes))]


def split_outside(text: str, divider: str) -> list[str]:
    """The parts of a text between dividers that stand outside brackets and quotes."""
    return ["".join(part) for part in _parts(text, divider)]


def _parts(text: str, divider: str) -> Iterator[list[str]]:
    part: list[str] = []
    depth, quote = 0, ""
    for character in text:
        if character == divider and not depth and not quote:
            yield part
            part = []
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += (character in _OPENING) - (character in _CLOSING) if not quote else 0
        part.append(character)
    yield part


def _axis(word: str) -> tuple[str, list[str]]:
    key, equals, typed = word.removeprefix("--").partition("=")
    values = [value.strip() for value in split_outside(typed, ",")]
    if not equals or not all(values):
        raise ConfigError(f"'{cut_end(word, _ECHOED)}': write key=value,value, such as lr_scale=0.5,1,2")
    if key in OPTIONS:
        raise ConfigError(f"{key}: is the same for all runs of a grid; set it in the form")
    if len(set(values)) < len(values):
        raise ConfigError(f"'{cut_end(word, _ECHOED)}': has a value twice")
    return format_path(parse_override(f"{key}={values[0]}").path), values


def _drafted(draft: Draft, keys: list[str], values: tuple[str, ...]) -> Draft:
    named = draft.value("name") or re.sub(r"\.ya?ml$", "", draft.config.rpartition("/")[2])
    for key, value in zip(keys, values, strict=True):
        draft = draft.having(key, value)
        named += f"-{key.rpartition('.')[2]}-{value}"
    return draft.having("name", re.sub(r"[^A-Za-z0-9._-]+", "_", named)[:_LONGEST_NAME])
