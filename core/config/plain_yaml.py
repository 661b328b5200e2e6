"""YAML of anybody's that is safe to build: no deeper than Daisy's own, without aliases and tags.

The depth is found in the parser's events, of which each is one step. What builds values from them calls itself, and a
hundred thousand brackets are the end of the process; aliases make a few lines a value without end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from core.config.errors import ConfigError

# Nothing in a configuration is deeper than optimizers[1].params[0].lr; PyYAML is quadratic in depth.
_DEEPEST = 20
_MOST_WHOLE = 1 << 63
_MADE_UP = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"})


def check_events(events: Iterable[yaml.Event], shown: str) -> None:
    """Raise ConfigError at the first event of what is too deep, or stands for something that is elsewhere."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{shown}:{position(event.start_mark)}: lists or mappings nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                f"{shown}:{position(event.start_mark)}: aliases (*name) are not supported; repeat the value"
            )


def load_plain(data: bytes, shown: str) -> Any:
    """What YAML holds, of null, truth values, numbers, texts, lists and mappings alone, with the parser in C.

    Numbers are resolved as PyYAML does it. Raises ConfigError for anything else.
    """
    try:
        check_events(yaml.parse(data, Loader=_Plain), shown)
        return yaml.load(data, _Plain)
    except (yaml.YAMLError, ValueError) as error:
        raise not_valid(error, shown) from error


def not_valid(error: Exception, shown: str) -> ConfigError:
    """What PyYAML has against a file, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return ConfigError(f"{shown}: not valid YAML: {' '.join(str(error).split())}")
    detail = ", ".join(part for part in (error.context, error.problem) if part)
    return ConfigError(f"{shown}:{position(error.problem_mark or error.context_mark)}: not valid YAML: {detail}")


def position(mark: Any) -> str:
    """A place in a file as `line:column`."""
    return f"{mark.line + 1}:{mark.column + 1}" if mark is not None else "1:1"


class _Plain(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Builds what JSON knows; what YAML makes up beyond, such as dates, stays text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _MADE_UP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        value: int = super().construct_yaml_int(node)
        return value if -_MOST_WHOLE <= value < _MOST_WHOLE else node.value


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.construct_yaml_int)
