"""The Compose screen: a config, every field of it, what a change comes to, and from there a run, a queue, or a grid.

It keeps a draft, which is what the person touched, and its history. Each change composes the draft in a thread; while
one is composed no other is begun, and what has been overtaken meanwhile is dropped, so that typing never waits and what
is shown is never older than what was typed. What acts is `daisy train`, `daisy preflight` and `daisy config save`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from core.config.errors import ConfigError
from core.text import printable
from daisy_tui.actions import Action
from daisy_tui.commands import command_line
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition, compose_draft
from daisy_tui.composing.drafts import OPTIONS, Draft, History
from daisy_tui.composing.file_stamps import Stamp, file_stamps
from daisy_tui.composing.form_rows import Row, changed, form_rows, idle_keys
from daisy_tui.composing.picks import Pick, config_picks, device_picks, draft_for, first_config, spec_picks
from daisy_tui.composing.targets import Machine, look_at_machine
from daisy_tui.screens.launching import LAUNCH_ACTIONS, LaunchScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.widgets.form_editor import TYPED, FieldEditor
from daisy_tui.widgets.form_effect import Effect
from daisy_tui.widgets.form_list import FieldList
from daisy_tui.widgets.form_optimizers import OptimizerTable
from daisy_tui.widgets.form_pane import FormPane
from daisy_tui.widgets.pick_entries import choice_entries, typed_entry

_LOOK_EVERY_S = 2.0
_PICKED = "picked"  # what is undone together: a config, and what was touched and is no other than in its file


class Composed(NamedTuple):
    """What a thread brings: a composition and its rows, and the machine they are for."""

    machine: Machine
    composition: Composition
    rows: list[Row]


class Seen(NamedTuple):
    """What a look finds that may have changed by itself: devices and files."""

    machine: Machine
    files: tuple[Stamp, ...]


class ComposeScreen(LaunchScreen):
    """The fields on the left, what they come to on the right; on a narrow terminal one in the place of the other."""

    NAME, TITLE = "compose", "Compose"
    CSS_PATH = "compose.tcss"
    AUTO_FOCUS = "#fields"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("config", "o", "Config", "Pick the config to begin with.", "daisy config list"),
        Action("spec", "m", "Spec", "Pick the model spec.", "daisy config list", footer=False),
        Action("optimizers", "p", "Optimizers", "The optimizers as a table of parameter groups.", footer=False),
        Action(
            "search",
            "slash",
            "Search",
            "Show the fields in whose name, group or help the words stand.",
        ),
        Action("touched", "t", "Touched", "Show only what was touched, or everything again.", footer=False),
        Action("effect", "v", "Effect", "What the fields come to, in their place or beside them."),
        Action("problem", "e", "Problem", "Go to the next field with a problem.", footer=False),
        Action("reset", "backspace,delete", "Reset", "Take back what was typed for this field.", footer=False),
        Action("undo", "u,ctrl+z", "Undo", "Take back the last change.", footer=False),
        Action("redo", "r,ctrl+y", "Redo", "Make the change again that was taken back.", footer=False),
        Action(
            "copy", "y", "Copy", "Copy the command that trains this.", "daisy train CONFIG KEY=VALUE…", footer=False
        ),
        *LAUNCH_ACTIONS,
    )

    def __init__(self) -> None:
        super().__init__()
        self._history = History(Draft(first_config()))
        self._composition: Composition | None = None
        self._machine: Machine | None = None
        self._rows: list[Row] = []
        self._files: tuple[Stamp, ...] = ()
        self._is_composing = self._is_overtaken = False
        self._drops_idle = False  # whether another config was picked, which may say itself what was touched
        self._before_typing: Draft | None = None
        self._edits = 0
        self._table: OptimizerTable | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="compose-body"):
            yield FormPane(self._edit, id="form")
            yield Effect(id="effect")
        yield Static("composing", id="form-line")

    def on_mount(self) -> None:
        self._begin_composing()
        self.poll("files", _LOOK_EVERY_S, self._look, self._take_look)

    def context(self, **what: Any) -> None:
        """`config`, `overrides` and `parent`, a checkpoint to take weights from: a draft that undo takes back."""
        try:
            draft = draft_for(what.get("config"), what.get("overrides") or (), what.get("parent"), self.services.folder)
        except ConfigError as error:
            self.daisy.report(error)
            return
        self._change(draft)

    # Composing

    @property
    def draft(self) -> Draft:
        return self._history.now

    @property
    def composition(self) -> Composition | None:
        known = self._composition
        return known if known is not None and known.draft == self.draft else None

    @property
    def machine(self) -> Machine:
        return self._machine or Machine()

    def measured(self) -> None:
        self.show_line()
        self._begin_composing()

    def saved(self, draft: Draft, name: str) -> None:
        """Go on with what was saved: touched is what a config does not keep, or what was typed meanwhile."""
        now = self.draft
        if now.config == draft.config:
            kept = [one for one in now.touched if one[0] in OPTIONS or one not in draft.touched]
            self._change(Draft(name, tuple(kept)))

    def _change(self, draft: Draft, about: str = "") -> None:
        """Go on with another draft. Changes under one `about` are undone together."""
        if self._history.change(draft, about):
            self._begin_composing()

    def _begin_composing(self) -> None:
        self._form.show_head(self.draft, self._history.can_undo)
        if self._is_composing:
            self._is_overtaken = True
            return
        self._is_composing, self._is_overtaken = True, False
        compose = partial(_composed, self.draft, self._machine, self.services.folder, self._drops_idle)
        self.in_thread("compose", compose, self._take, self._fail)

    def _take(self, made: Composed) -> None:
        self._is_composing = False
        self._machine = made.machine
        if self._is_overtaken:
            self._begin_composing()
            return
        self._composition, self._rows = made.composition, made.rows
        self._history.change(made.composition.draft, _PICKED)
        self._drops_idle = False
        self._files = file_stamps(made.composition)
        self._show()

    def _fail(self, error: Exception) -> None:
        self._is_composing = False
        self._say(f"✗ {type(error).__name__}: {error}", is_bad=True)
        self.daisy.report(error)
        if self._is_overtaken:
            self._begin_composing()

    def _look(self) -> Seen:
        return Seen(look_at_machine(), file_stamps(self._composition))

    def _take_look(self, seen: Seen) -> None:
        """Compose anew where devices or files have changed meanwhile."""
        is_news = seen.machine != self._machine or seen.files != self._files
        self._machine, self._files = seen
        if is_news:
            self._begin_composing()
        elif (known := self.composition) is not None:
            self.query_one(Effect).show(known, self.took, self.services.clock())  # how long ago grows

    # Showing

    @property
    def _form(self) -> FormPane:
        return self.query_one(FormPane)

    def _show(self) -> None:
        known = self._composition
        if known is None:
            return
        self._form.show(self._rows)
        self.show_line()
        self.query_one(Effect).show(known, self.took, self.services.clock())
        self._form.show_head(self.draft, self._history.can_undo)
        self._show_table()

    def show_line(self) -> None:
        if self.is_measuring:
            self._say(self.progress_line)
        elif (known := self._composition) is not None:
            self._say(effects.summary(known, self.took), is_bad=bool(known.problems))

    def _say(self, line: str, *, is_bad: bool = False) -> None:
        self.set_class(is_bad, "-bad")
        self.query_one("#form-line", Static).update(Content(printable(line)))

    def _show_table(self) -> None:
        known = self._composition
        if self._table is not None and known is not None and known.shown is not None:
            self._table.show(known.shown, _optimizer_problems(known))

    # Editing

    def _edit(self, row: Row) -> None:
        if row.field.kind in TYPED:
            self._history.settle()
            self._before_typing = self.draft
            self._edits += 1
            self.query_one(FieldEditor).edit(row)
        elif row.field.kind == "flag":
            self._set(row, "false" if row.value == "true" else "true")
        elif row.field.kind == "choice":
            self._pick(row, lambda: [Pick(choice) for choice in row.field.choices])
        elif row.field.kind == "config":
            self._pick(row, config_picks, free="a name, or a path to a .yml file")
        elif row.field.kind == "spec":
            self._pick(row, spec_picks, free="a name, or a path to a .yml file")
        elif row.field.kind == "devices":
            self._pick(row, partial(device_picks, self.machine), free="0,1 or any:2 or cpu")
        elif row.field.kind == "optimizers":
            self._open_table()

    def _pick(self, row: Row, picks: Callable[[], list[Pick]], free: str = "") -> None:
        def picker(found: list[Pick]) -> PickScreen[str]:
            title, placeholder = row.key.replace("_", " ").capitalize(), free or "type to filter"
            typed = typed_entry if free else None
            return PickScreen(title, placeholder, choice_entries(found), current=row.value, free=typed)

        async def pick() -> None:
            if (value := await self.dialogue(picks, picker)) is not None:
                self._drops_idle = row.key == "config"
                self._history.settle()
                self._set(row, value, _PICKED)

        if self.hold_keys():
            self.run_worker(pick(), group="act", exit_on_error=False)

    def _set(self, row: Row, text: str, about: str = "") -> None:
        """Set a field to what was typed or picked."""
        if self._composition is not None:
            self._change(changed(self.draft, row, text, self._composition), about)

    def on_field_list_stepped(self, event: FieldList.Stepped) -> None:
        row = event.row
        choices = ("false", "true") if row.field.kind == "flag" else row.field.choices
        if choices:
            at = choices.index(row.value) if row.value in choices else 0
            self._set(row, choices[(at + event.by) % len(choices)])

    def on_field_editor_typed(self, event: FieldEditor.Typed) -> None:
        self._set(event.row, event.text, f"typing {self._edits}")

    def on_field_editor_ended(self, event: FieldEditor.Ended) -> None:
        if not event.keeps and self._before_typing is not None and self.draft != self._before_typing:
            self._history.undo()
            self._begin_composing()
        self._history.settle()
        fields = self.query_one(FieldList)
        if isinstance(self.focused, Input) or self.focused is None:
            fields.focus()
        self.query_one(FieldEditor).show(fields.row)

    def _open_table(self) -> None:
        known = self._composition
        if known is None or known.shown is None:
            self.notify("there are no optimizers before the config is mended", severity="warning", markup=False)
            return
        self._table = OptimizerTable(known.shown, _optimizer_problems(known), self._change_optimizers)
        self.app.push_screen(self._table, self._close_table)

    def _close_table(self, _result: None) -> None:
        self._table = None

    def _change_optimizers(self, key: str, text: str) -> None:
        row = next((row for row in self._rows if row.key == key), None)
        if row is not None and key != "optimizers":
            self._set(row, text, f"table {key}")
        else:
            self._change(self.draft.having(key, text))

    # Actions

    def action_config(self) -> None:
        self._edit_field("config")

    def action_spec(self) -> None:
        self._edit_field("model_spec")

    def action_optimizers(self) -> None:
        self._open_table()

    def _edit_field(self, key: str) -> None:
        row = next((row for row in self._rows if row.key == key), None)
        if row is not None:
            self._edit(row)

    def action_search(self) -> None:
        self.remove_class("-effect")
        self._form.search()

    def step_out(self) -> None:
        if not self._form.step_out() and self.is_measuring and not self.has_class("-effect"):
            self.cancel_preflight()
        self.remove_class("-effect")
        self.query_one(FieldList).focus()

    def action_touched(self) -> None:
        self.remove_class("-effect")
        self._form.toggle_touched()

    def action_effect(self) -> None:
        self.toggle_class("-effect")
        is_there = self.query_one(Effect).display and not self.query_one(Effect).has_focus
        self.query_one(Effect if is_there else FieldList).focus()

    def action_problem(self) -> None:
        known = self._composition
        if self._form.go_to_problem():
            self.remove_class("-effect")
        elif known is not None and known.problems:
            self.notify(printable(known.problems[0].message), severity="error", markup=False)
        else:
            self.notify("no field has a problem", markup=False)

    def action_reset(self) -> None:
        row = self.query_one(FieldList).row
        if row is not None and row.touched:
            self._change(self.draft.without(*row.touched))

    def action_undo(self) -> None:
        if self._history.undo():
            self._drops_idle = False
            self._begin_composing()

    def action_redo(self) -> None:
        if self._history.redo():
            self._begin_composing()

    def action_copy(self) -> None:
        line = command_line(self.draft.train_arguments())
        self.app.copy_to_clipboard(line)
        self.notify(printable(f"copied: {line}"), markup=False)

    def command_for(self, action: str) -> list[str] | None:
        if action in ("config", "spec"):
            return ["config", "list"]
        return super().command_for(action)


def _composed(draft: Draft, machine: Machine | None, folder: Path, drops_idle: bool) -> Composed:
    """A draft composed; with `drops_idle` without what was touched and is no other than in the file."""
    machine = machine or look_at_machine()
    composition = compose_draft(draft, machine, folder)
    rows = form_rows(composition)
    while drops_idle and (idle := idle_keys(rows, composition)):
        composition = compose_draft(composition.draft.without(*idle), machine, folder)
        rows = form_rows(composition)
    return Composed(machine, composition, rows)


def _optimizer_problems(composition: Composition) -> list[str]:
    return [problem.message for problem in composition.problems if problem.key.startswith("optimizers")]
