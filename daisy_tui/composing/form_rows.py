"""The rows of the form: every value of a composition under the name that is typed for it, with its field, its source
and what is wrong with it. No screen, no click.

A value that is wrong is shown as it was typed, so that it can be mended; every other one as it is in force. Optimizers
have a row for each value, and one for the table of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.config.compose import Composed, Value
from core.config.model_spec import ModelSpec
from core.config.scalars import format_value
from core.config.typed import typed_key, typed_values
from core.text import count
from daisy_tui.composing.composition import Composition, root
from daisy_tui.composing.configs import shown_file
from daisy_tui.composing.drafts import OPTIONS, Draft
from daisy_tui.composing.form_fields import Field, config_fields, launch_fields, optimizer_fields, param_group_fields
from daisy_tui.composing.targets import Target

_TABLE = "optimizers"
_COUNTED_FROM = 10_000
_ALSO_CALLED = {"target_tokens": "steps length of the run"}  # words that people look for, and that the help has not


@dataclass(frozen=True)
class Row:
    """One field as it stands: `value` as it is typed, `note` what that comes to, in words.

    `touched` are the keys of the draft that make it what it is; there are none where nobody touched it.
    """

    key: str
    field: Field
    value: str
    source: str
    note: str = ""
    touched: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return self.field.group

    @property
    def said(self) -> list[str]:
        """What is wrong or to be known, without what the row itself says already."""
        typed = [f"override '{key}={self.value}': " for key in self.touched]
        return [_brief(message, typed) for message in (*self.problems, *self.warnings)]

    def fits(self, words: str) -> bool:
        """Whether every word stands in its key, group or help, or is what people call it."""
        text = f"{self.key} {self.group} {self.field.help} {_ALSO_CALLED.get(self.key, '')}".lower()
        return all(word in text for word in words.lower().split())


def form_rows(composition: Composition) -> list[Row]:
    """Every row, group by group: how it is launched, the model, and how it is trained."""
    rows = [*_launch_rows(composition), *_config_rows(composition)]
    places = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in rows))}
    return sorted(rows, key=lambda row: places[row.group])


def best_match(rows: Sequence[Row], words: str) -> Row | None:
    """The row that is most likely meant: of that name, of one that begins so, or has it; else the first."""
    name = "_".join(words.lower().split())

    def distance(row: Row) -> tuple[bool, ...]:
        last = row.key.rpartition(".")[2]
        return row.key != name, last != name, not last.startswith(name), name not in row.key

    return min(rows, key=distance, default=None)


def idle_keys(rows: Sequence[Row], composition: Composition) -> list[str]:
    """The touched keys that change nothing: without them the same values are in force."""
    idle: list[str] = []
    for row in rows:
        if row.touched and not row.problems and row.value == _untouched(composition.draft, row, composition):
            idle += row.touched
    return idle


def changed(draft: Draft, row: Row, text: str, composition: Composition) -> Draft:
    """The draft with what was typed for a row.

    Nothing typed means null where that can be, and else leaves the row untouched, as does what stands there anyway.
    """
    text = text.strip() or ("null" if row.field.nullable else "")
    draft = draft.without(*(key for key in row.touched if key != row.key))
    if not text or text == _untouched(draft, row, composition):
        return draft.without(row.key)
    return draft.having(row.key, text)


def _untouched(draft: Draft, row: Row, composition: Composition) -> str | None:
    """What a row would be without anybody's touch; None where the file alone does not say it."""
    if composition.base is None or row.key == "config" or row.key in OPTIONS:
        return None
    if row.key in ModelSpec.model_fields and ("model_spec" in draft.keys or draft.parent is not None):
        return None
    if row.key.startswith(_TABLE) and _TABLE in draft.keys:
        return None
    there = typed_values(composition.base).get(row.key)
    return format_value(there.value) if there is not None else None


def _launch_rows(composition: Composition) -> Iterator[Row]:
    draft = composition.draft
    for name, field in launch_fields().items():
        if name == "force" and draft.parent is None:
            continue
        typed = draft.value(name)
        value = draft.config if name == "config" else typed if typed is not None else str(field.default)
        source = "" if name == "config" else "typed" if typed is not None else "default"
        touched = (name,) if typed is not None else ()
        problems = tuple(p.message for p in composition.problems if p.key == name)
        yield Row(name, field, value, source, _launch_note(name, composition.target), touched, problems)


def _launch_note(name: str, target: Target | None) -> str:
    if target is None:
        return ""
    if name == "devices":
        return target.name if target.wanted.number == 1 else f"{target.wanted.number} x {target.name}"
    return str(target.world_size) if name == "nproc" else ""


def _config_rows(composition: Composition) -> Iterator[Row]:
    shown = composition.shown
    if shown is None:
        yield from _bare_rows(composition)
        return
    keys = {place: key for place in shown.values if (key := _row_key(place, shown)) is not None}
    owners = _Owners(keys)
    order = sorted(keys, key=lambda place: place != "model_spec")
    for place in order:
        if root(place) == _TABLE and _TABLE in owners.without_row:
            yield _row(composition, owners, _TABLE, _TABLE, None)
            owners.without_row.remove(_TABLE)
        yield _row(composition, owners, place, keys[place], shown.values[place])


def _row_key(place: str, shown: Composed) -> str | None:
    """The name that is typed for a place; None for what the table alone changes."""
    return None if place.startswith(_TABLE) and place.endswith((".type", ".group")) else typed_key(place, shown)


class _Owners:
    """Which row a key belongs to, however it is spelt: by position, by name, or reaching inside."""

    def __init__(self, keys: dict[str, str]) -> None:
        self._places = {key: place for place, key in keys.items()} | {place: place for place in keys}
        self.without_row = {_TABLE}

    def place(self, key: str) -> str:
        """The place of the row that a key belongs to."""
        if key in self._places:
            return self._places[key]
        holders = [name for name in self._places if key.startswith((f"{name}.", f"{name}["))]
        return self._places[max(holders, key=len)] if holders else root(key)


def _row(composition: Composition, owners: _Owners, place: str, key: str, value: Value | None) -> Row:
    draft = composition.draft
    touched = tuple(name for name in draft.keys if owners.place(name) == place)
    problems, warnings = (
        tuple(p.message for p in found if owners.place(p.key) == place)
        for found in (composition.problems, composition.warnings)
    )
    assert composition.shown is not None
    if value is None:
        text, source, note = _table_text(composition.shown), "typed" if touched else "", ""
    else:
        text, source = format_value(value.value), _source(composition, value, bool(touched))
        note = count(value.value) if _is_large(value.value) else ""
        if len(touched) == 1 and (problems or value.source.typed != f"{touched[0]}={draft.value(touched[0])}"):
            text, source, note = draft.value(touched[0]) or text, "typed", ""
    return Row(key, _field(place, composition.shown), text, source, note, touched, problems, warnings)


def _bare_rows(composition: Composition) -> Iterator[Row]:
    """The rows where nothing can be composed: what was typed, and defaults."""
    for name, field in config_fields().items():
        typed = composition.draft.value(name)
        problems = tuple(p.message for p in composition.problems if root(p.key) == name)
        value = typed if typed is not None else field.default
        source = "typed" if typed is not None else "default" if value is not None else "required"
        yield Row(name, field, value or "", source, "", (name,) if typed is not None else (), problems)


def _field(place: str, shown: Composed) -> Field:
    if root(place) != _TABLE or place == _TABLE:
        return config_fields()[root(place)]
    attribute = place.rpartition(".")[2]
    if ".params[" in place:
        return param_group_fields()[attribute]
    return optimizer_fields(shown.config.optimizers[int(place.split("[")[1].split("]")[0])].type)[attribute]


def _brief(message: str, typed: Sequence[str]) -> str:
    for beginning in typed:
        if message.startswith(beginning):
            return re.sub(r"^[A-Za-z_][\w.\[\]]*: ", "", message.removeprefix(beginning))
    return shown_file(message)


def _table_text(shown: Composed) -> str:
    return ", ".join(f"{o.type} ({', '.join(p.group for p in o.params)})" for o in shown.config.optimizers)


def _source(composition: Composition, value: Value, is_touched: bool) -> str:
    """Where a value comes from, as a row has room for it."""
    source = value.source
    if source.typed is None:
        return shown_file(str(source))
    if is_touched:
        return "typed"
    return "checkpoint" if source.typed in composition.followed else "typed, with all optimizers"


def _is_large(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _COUNTED_FROM
