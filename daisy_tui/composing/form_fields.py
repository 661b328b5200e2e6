"""What a form needs to know of every field, made from the configuration models alone: no screen, no click.

The JSON Schema says types, bounds and choices, `core.config.fields` says groups, units and help; both come from the
pydantic models, so a key that is added there is in the form without another word. Rejected: reading annotations here,
which would be a second reader of what the schema already spells out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from core.config.fields import FieldSpec, field_specs
from core.config.scalars import format_value
from core.config.schema import json_schema
from core.config.train_config import AdamW, Muon, ParamGroup, TrainConfig

Kind = (
    Literal["flag", "whole", "count", "real", "numbers", "choice", "text", "globs", "sets", "words", "optimizers"]
    | (Literal["config", "spec", "checkpoint", "devices"])
)

_WHAT: dict[str, str] = {
    "flag": "true or false",
    "whole": "a whole number",
    "count": "a whole number, such as 65536, 65k or 3B",
    "real": "a number, such as 0.02 or 1e-3",
    "numbers": "numbers in brackets, such as [0.8, 0.95]",
    "text": "text",
    "globs": "a glob such as data/x_train_*.bin, or several: [a, b]",
    "sets": "a glob, several: [a, b], or by name: {books: a, web: b}",
    "words": "words in brackets: [one, two]",
    "optimizers": "a table of groups",
    "config": "the name of a config, or a path to a .yml file",
    "spec": "the name of a model spec, or a path to a .yml file",
    "checkpoint": "a checkpoint's folder, or a run, whose latest is meant",
    "devices": "0,1 or any:2 or cpu",
}
_PICKED: dict[str, Kind] = {"model_spec": "spec", "init_checkpoint": "checkpoint"}


@dataclass(frozen=True)
class Field:
    """One field: `default` as it is typed, or None where the field is required.

    `name` is the last word of its key; the bounds of a number are inclusive unless `above` or `below` say otherwise.
    """

    name: str
    group: str
    kind: Kind
    help: str
    unit: str | None = None
    default: str | None = None
    nullable: bool = False
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None

    @property
    def what(self) -> str:
        """What can be typed, with its bounds, in words."""
        bounds = {
            "at least": self.at_least,
            "greater than": self.above,
            "at most": self.at_most,
            "less than": self.below,
            "a multiple of": self.multiple_of,
        }
        said = [f"one of {', '.join(self.choices)}" if self.kind == "choice" else _WHAT[self.kind]]
        said += [f"{word} {_number(bound)}" for word, bound in bounds.items() if bound is not None]
        said += [f"matching {self.pattern}"] if self.pattern else []
        said += ["or null"] if self.nullable else []
        return ", ".join(said)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


@cache
def config_fields() -> Mapping[str, Field]:
    """Every key of a configuration, in order of declaration."""
    return _fields(TrainConfig, json_schema(TrainConfig))


@cache
def optimizer_fields(kind: str) -> Mapping[str, Field]:
    """Every key of an optimizer of type Muon or AdamW."""
    model = {"Muon": Muon, "AdamW": AdamW}[kind]
    return _fields(model, json_schema(TrainConfig)["$defs"][kind])


@cache
def param_group_fields() -> Mapping[str, Field]:
    """Every key of an entry of an optimizer's `params`."""
    return _fields(ParamGroup, json_schema(TrainConfig)["$defs"]["ParamGroup"])


@cache
def launch_fields() -> Mapping[str, Field]:
    """What `daisy train` is given beside the configuration, as fields of a form."""

    ranks = "Number of ranks: one on each GPU; on a CPU any number shares it. By default one, or as many as devices."
    force = "With a warm start: take the weights although the shards have another tokenizer."
    optional = Field("", "Launch", "text", "", default="null", nullable=True)
    fields = (
        Field("config", "Launch", "config", "The training config that everything below changes."),
        replace(optional, name="devices", kind="devices", help="Which devices to train on; by default the first one."),
        replace(optional, name="nproc", kind="whole", help=ranks, unit="ranks", at_least=1, at_most=1024),
        replace(optional, name="name", help="Name of the run; by default the config's."),
        replace(optional, name="force", kind="flag", help=force, default="false", nullable=False),
    )
    return {field.name: field for field in fields}


def _fields(model: Any, schema: dict[str, Any]) -> dict[str, Field]:
    return {spec.name: _field(spec, schema["properties"][spec.name]) for spec in field_specs(model)}


def _field(spec: FieldSpec, entry: dict[str, Any]) -> Field:
    branches = [*_branches(entry)]
    bounds = {keyword: value for branch in branches for keyword, value in branch.items()}
    kind = _PICKED.get(spec.name) or _kind(spec, entry, {str(branch.get("type")) for branch in branches})
    is_number = kind in ("whole", "count", "real")
    choices = tuple(entry.get("enum", [entry["const"]] if "const" in entry else ()))
    return Field(
        name=spec.name,
        group=spec.group,
        kind=kind,
        help=spec.help,
        unit=spec.unit,
        default=None if spec.required else "" if kind == "optimizers" else format_value(spec.default),
        nullable=any(branch.get("type") == "null" for branch in branches),
        choices=choices,
        at_least=bounds.get("minimum"),
        above=bounds.get("exclusiveMinimum"),
        at_most=bounds.get("maximum"),
        below=bounds.get("exclusiveMaximum"),
        multiple_of=bounds.get("multipleOf"),
        pattern=None if is_number else bounds.get("pattern"),
    )


def _branches(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An entry and what it may be instead."""
    yield entry
    for branch in entry.get("anyOf", ()):
        yield from _branches(branch)


def _kind(spec: FieldSpec, entry: dict[str, Any], types: set[str]) -> Kind:
    if "enum" in entry or "const" in entry:
        return "choice"
    if "boolean" in types:
        return "flag"
    if "integer" in types:
        return "count" if spec.unit == "tokens" else "whole"
    if "number" in types:
        return "real"
    if "object" in types:
        return "sets"
    if "array" in types:
        return "globs" if "string" in types else _kind_of_list(entry["items"])
    return "text"


def _kind_of_list(items: dict[str, Any]) -> Kind:
    if items.get("type") == "string":
        return "words"
    return "numbers" if any(branch.get("type") == "number" for branch in _branches(items)) else "optimizers"
