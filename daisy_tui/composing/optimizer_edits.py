"""Optimizers as a table with a row for each parameter group, and the changes that the table makes, as overrides."""

from __future__ import annotations

from typing import Any, NamedTuple

from core.config.compose import Composed
from core.config.parameters import parameter_counts
from core.config.scalars import format_value
from core.config.train_config import TrainConfig
from core.config.typed import typed_key
from daisy_tui.composing.form_fields import Field, optimizer_fields, param_group_fields

TYPES = ("Muon", "AdamW")
_MUON_ONLY = "hidden_matrix_params"
# What a group begins with that gets an optimizer of its own type here: the rates of core.config's defaults.
_FIRST_LR = {"hidden_matrix_params": 0.025, "embed_params": 0.3, "value_embed_params": 0.3}
_OTHER_LR = 0.005


class Cell(NamedTuple):
    """One value of the table: the `key` that is typed for it, None where the group's optimizer has no such setting."""

    key: str | None
    text: str
    field: Field | None


class GroupRow(NamedTuple):
    """A parameter group: its name, how many parameters it has, its optimizer's type, and its cells by name."""

    group: str
    parameters: int
    type: str
    cells: dict[str, Cell]


COLUMNS = ("lr", "schedule", "weight_decay", "momentum", "betas", "eps", "cautious", "coefficients")


def group_rows(composed: Composed) -> list[GroupRow]:
    """The table of a composed configuration, in the order of its file."""
    counts: dict[Any, int] = dict(parameter_counts(composed.config))
    rows = []
    for index, optimizer in enumerate(composed.config.optimizers):
        for place, entry in enumerate(optimizer.params):
            cells = {"lr": _cell(composed, f"optimizers[{index}].params[{place}].lr", entry.lr, "lr", None)}
            for name in COLUMNS[1:]:
                has = name in type(optimizer).model_fields
                key = f"optimizers[{index}].{name}"
                cells[name] = (
                    _cell(composed, key, getattr(optimizer, name), name, optimizer.type)
                    if has
                    else Cell(None, "", None)
                )
            rows.append(GroupRow(entry.group, counts.get(entry.group, 0), optimizer.type, cells))
    return rows


def missing_groups(config: TrainConfig) -> list[str]:
    """The parameter groups that the model has and no optimizer names."""
    named = {entry.group for optimizer in config.optimizers for entry in optimizer.params}
    return [group for group in parameter_counts(config) if group not in named]


def moved(config: TrainConfig, group: str) -> str | None:
    """All optimizers, as they are typed, with a group given to the other type; None where the other cannot have it."""
    entries = _dumped(config)
    holder = next(o for o in entries if any(p["group"] == group for p in o["params"]))
    other = next(type_ for type_ in TYPES if type_ != holder["type"])
    if other == "Muon" and group != _MUON_ONLY:
        return None
    entry = next(p for p in holder["params"] if p["group"] == group)
    return format_value(_given(_taken(entries, group), other, entry))


def added(config: TrainConfig, group: str) -> str:
    """All optimizers, as they are typed, with a group that none of them named."""
    entry = {"group": group, "lr": _FIRST_LR.get(group, _OTHER_LR)}
    return format_value(_given(_dumped(config), "Muon" if group == _MUON_ONLY else "AdamW", entry))


def removed(config: TrainConfig, group: str) -> str | None:
    """All optimizers, as they are typed, without a group; None where that would leave no optimizer."""
    left = _taken(_dumped(config), group)
    return format_value(left) if left else None


def _cell(composed: Composed, place: str, value: Any, name: str, kind: str | None) -> Cell:
    field = optimizer_fields(kind)[name] if kind is not None else param_group_fields()[name]
    return Cell(typed_key(place, composed), format_value(value), field)


def _dumped(config: TrainConfig) -> list[dict[str, Any]]:
    return [optimizer.model_dump(exclude_defaults=True) for optimizer in config.optimizers]


def _taken(entries: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """The optimizers without a group, and without those that have none left."""
    kept = [entry | {"params": [p for p in entry["params"] if p["group"] != group]} for entry in entries]
    return [entry for entry in kept if entry["params"]]


def _given(entries: list[dict[str, Any]], kind: str, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The optimizers with a group given to the first one of a type, which is made where there is none."""
    holder = next((one for one in entries if one["type"] == kind), None)
    if holder is None:
        return [*entries, {"type": kind, "params": [entry]}]
    return [one | {"params": [*one["params"], entry]} if one is holder else one for one in entries]
