"""The optimizers as a table: a row for each parameter group, a column for each setting, and what is typed below.

A setting of an optimizer stands in the row of each of its groups, and is one and the same. Changes hold at once: they
go to whoever opened the table, who brings the table back composed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Input, Label, Static

from core.config.compose import Composed
from core.text import count, printable
from daisy_tui.composing.optimizer_edits import (
    COLUMNS,
    Cell,
    GroupRow,
    added,
    group_rows,
    missing_groups,
    moved,
    removed,
)
from daisy_tui.widgets.dialogue import Dialogue

_FIXED = ("group", "parameters", "optimizer")
_TITLES = {"weight_decay": "decay"}


class OptimizerTable(Dialogue[None]):
    """`change(key, text)` takes a change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("o", "move", "Other optimizer"),
        Binding("a", "add", "Add"),
        Binding("delete,backspace", "remove", "Remove"),
    ]
    DEFAULT_CSS = """
    OptimizerTable .optimizers { width: 130; max-width: 98%; }
    OptimizerTable DataTable { height: auto; max-height: 12; }
    OptimizerTable Horizontal { height: 1; margin-top: 1; }
    OptimizerTable Label { width: auto; }
    OptimizerTable Input { width: 1fr; }
    OptimizerTable .dialogue-error { height: auto; max-height: 4; width: 1fr; }
    """

    def __init__(self, composed: Composed, problems: list[str], change: Callable[[str, str], None]) -> None:
        super().__init__()
        self._composed, self._problems, self._change = composed, problems, change
        self._rows: list[GroupRow] = group_rows(composed)
        self._editing: Cell | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue optimizers"):
            yield Static(Content("Optimizers"), classes="dialogue-title")
            yield DataTable[Text](cursor_type="cell", zebra_stripes=True)
            with Horizontal():
                yield Label("", id="cell-key", markup=False)
                yield Input(id="cell-input", compact=True, disabled=True)
            yield Static(classes="dialogue-error", id="cell-said")
            hint = "⏎ changes, o other optimizer, a adds a missing group, ⌫ removes one, esc goes back"
            yield Static(Content(hint), classes="hint")

    def on_mount(self) -> None:
        table = self._table
        for name in (*_FIXED, *COLUMNS):
            table.add_column(_TITLES.get(name, name), key=name)
        self._fill()
        table.move_cursor(column=len(_FIXED))
        table.focus()

    def show(self, composed: Composed, problems: list[str]) -> None:
        """Show the optimizers as they are composed now."""
        self._composed, self._problems, self._rows = composed, problems, group_rows(composed)
        if self.is_mounted:
            self._fill()

    @property
    def _table(self) -> DataTable[Text]:
        table: DataTable[Text] = self.query_one(DataTable)
        return table

    def _fill(self) -> None:
        table = self._table
        cells = [self._texts(row) for row in self._rows]
        if table.row_count != len(cells):
            at = table.cursor_coordinate
            table.clear()
            for texts in cells:
                table.add_row(*texts)
            table.move_cursor(row=min(at.row, len(cells) - 1), column=at.column)
        else:
            for place, texts in enumerate(cells):
                for column, text in enumerate(texts):
                    if table.get_cell_at(Coordinate(place, column)) != text:
                        table.update_cell_at(Coordinate(place, column), text, update_width=True)
        missing = missing_groups(self._composed.config)
        said = self._problems or ([f"no optimizer names {', '.join(missing)}; a adds it"] if missing else [])
        self.query_one("#cell-said", Static).update(Content("\n".join(f"✗ {printable(line)}" for line in said)))

    def _texts(self, row: GroupRow) -> list[Text]:
        known = [Text(row.group), Text(count(row.parameters), justify="right"), Text(row.type)]
        return [*known, *(Text(row.cells[name].text or "·") for name in COLUMNS)]

    @property
    def _row(self) -> GroupRow | None:
        at = self._table.cursor_row
        return self._rows[at] if 0 <= at < len(self._rows) else None

    # Editing

    def on_data_table_cell_selected(self, event: DataTable.CellSelected) -> None:
        row = self._rows[event.coordinate.row]
        name = (*_FIXED, *COLUMNS)[event.coordinate.column]
        if name == "optimizer":
            self.action_move()
            return
        cell = row.cells.get(name)
        if cell is None or cell.key is None or cell.field is None:
            return
        choices = ("false", "true") if cell.field.kind == "flag" else cell.field.choices
        if choices:
            after = choices[(choices.index(cell.text) + 1) % len(choices)] if cell.text in choices else choices[0]
            self._change(cell.key, after)
            return
        self._edit(cell)

    def _edit(self, cell: Cell) -> None:
        self._editing = cell
        line = self.query_one("#cell-input", Input)
        self.query_one("#cell-key", Label).update(Content(f"{cell.key} = "))
        with line.prevent(Input.Changed):
            line.value = cell.text
        line.disabled = False
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._editing is not None and self._editing.key is not None and event.value.strip():
            self._change(self._editing.key, event.value.strip())

    def on_input_submitted(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self._editing = None
        line = self.query_one("#cell-input", Input)
        with line.prevent(Input.Changed):
            line.value = ""
        line.disabled = True
        self.query_one("#cell-key", Label).update("")
        self._table.focus()

    def action_back(self) -> None:
        if self._editing is not None:
            if self._editing.key is not None:
                self._change(self._editing.key, self._editing.text)
            self._leave()
        else:
            self.dismiss()

    # Groups

    def action_move(self) -> None:
        if (row := self._row) is not None:
            self._change_all(moved(self._composed.config, row.group), f"Muon updates matrices only; {row.group} stays")

    def action_add(self) -> None:
        missing = missing_groups(self._composed.config)
        if missing:
            self._change_all(added(self._composed.config, missing[0]), "")
        else:
            self.notify("every group of the model has its optimizer", markup=False)

    def action_remove(self) -> None:
        if (row := self._row) is not None:
            self._change_all(removed(self._composed.config, row.group), "the last group stays")

    def _change_all(self, text: str | None, why_not: str) -> None:
        if text is None:
            self.notify(why_not, severity="warning", markup=False)
        else:
            self._change("optimizers", text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._editing is None or action not in ("move", "add", "remove")
