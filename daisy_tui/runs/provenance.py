"""A run's config, and where each of its values comes from: what is recorded, and no more.

config.yaml stands for itself and names no source. They are found by composing once more what the run was started with,
the file that run.json names and the overrides as typed: a value that this gives again has that source, and one that it
does not was changed since, in the file or by another way, which is said. What was set while the run trained is in
changes.jsonl, with its step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from core.config.compose import Composed, Value, compose
from core.config.errors import ConfigError
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.sources import Source, display_path
from core.config.typed import typed_values
from core.runs.changes import overrides_of, read_changes
from core.runs.directory import RunDirectory, RunError
from core.runs.opening import open_regular

SET, OTHER = "set", "other"
# What options of `daisy train` say, which are no overrides.
_OPTIONS = {"init_checkpoint": ("-p", "--init_checkpoint", "--init-checkpoint"), "begin_shard": ("-s", "--begin_shard")}


class Setting(NamedTuple):
    """One value as an override accepts it. `layer` is default, spec, config, override, SET or OTHER; `source` words it,
    with what is to be known beside it."""

    key: str
    value: str
    layer: str
    source: str


class Provenance(NamedTuple):
    """The settings of a run in the order of the schema. `note` says why sources are missing, where they are."""

    settings: tuple[Setting, ...]
    note: str = ""


def provenance(run: RunDirectory, folder: Path) -> Provenance:
    """The config of a run that was started in `folder`. Raises ConfigError or RunError where it cannot be read."""
    changes = read_changes(run)
    started = typed_values(compose(run.config))
    now = typed_values(compose(run.config, overrides_of(changes)))
    origin, note = _origin(run, folder)
    facts = _facts(run)
    steps = {key: change.step for change in changes for key in change.values}
    settings = []
    for key, value in now.items():
        before = started.get(key)
        if value.source.layer == "override":
            since = steps.get(key)
            was = "" if before is None else f"; it was {format_value(before.value)}"
            words = "set in flight" if since is None else f"set after step {since:,}"
            settings.append(Setting(key, format_value(value.value), SET, words + was))
        elif key == "model_spec" and value.value is None:  # for config.yaml stands for itself
            settings += _spec(origin, facts)
        else:
            layer, source = _source(key, value, origin, facts)
            settings.append(Setting(key, format_value(value.value), layer, source))
    return Provenance(tuple(settings), note)


def _origin(run: RunDirectory, folder: Path) -> tuple[Composed | None, str]:
    """What the run was started with, composed as things are now; else why that is not possible."""
    named = _facts(run).get("config")
    if not isinstance(named, str):
        return None, f"{run.run} names no config, so that sources are unknown"
    if not (folder / named).is_file():
        return None, f"{named} is not there any more, so that sources are unknown"
    try:
        with open_regular(run.overrides) as file:
            typed = file.read().decode(errors="surrogateescape").splitlines()
    except OSError:
        typed = []
    try:
        return compose(folder / named, typed), ""
    except ConfigError as error:
        return None, f"sources are unknown: {str(error).splitlines()[0]}"


def _spec(origin: Composed | None, facts: dict[str, Any]) -> list[Setting]:
    """The spec that the run was started with; nothing where there was none, or nobody knows it."""
    chosen = facts.get("spec")
    if not isinstance(chosen, str):
        return []
    said = typed_values(origin).get("model_spec") if origin is not None else None
    if said is None or said.value != chosen:
        return [Setting("model_spec", chosen, OTHER, "run.json")]
    return [Setting("model_spec", chosen, said.source.layer, str(said.source))]


def _source(key: str, value: Value, origin: Composed | None, facts: dict[str, Any]) -> tuple[str, str]:
    """The layer of a value, and its source in words."""
    if origin is None:
        own = value.source
        return (own.layer, str(own)) if own.layer == "default" else (OTHER, f"config.yaml:{own.line}")
    there = typed_values(origin).get(key)
    if there is not None and there.value == value.value:
        return there.source.layer, str(there.source)
    for option in _OPTIONS.get(key, ()):
        if option in (facts.get("argv") or ()):
            return OTHER, f"option {option} of its command"
    if facts.get("parent") and key in ModelSpec.model_fields:
        return OTHER, "the checkpoint that it began from"
    if there is None:
        return OTHER, f"{_named(origin)} has no such key now"
    return OTHER, f"{_place(there.source, origin)} says {format_value(there.value)} now"


def _place(source: Source, origin: Composed) -> str:
    return _named(origin) if source.layer == "default" else str(source)


def _named(origin: Composed) -> str:
    return display_path(origin.config_path)


def _facts(run: RunDirectory) -> dict[str, Any]:
    try:
        return run.facts()
    except RunError:
        return {}
