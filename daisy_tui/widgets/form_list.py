"""The list of all fields: one line each, under the name of its group, with its value and where that comes from.

A line is drawn when it is in sight, so that a form of any length opens and scrolls at once, and a new composition costs
nothing but the lines that are seen. Rejected: a widget a field, as forms have them: a hundred inputs take half a second
to mount, and what is edited is one at a time (see form_editor.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from core.text import printable
from daisy_tui.composing.form_rows import Row
from daisy_tui.cutting import cut_front
from daisy_tui.widgets.cursor_list import CursorList

_NARROWEST_SOURCE, _KEY, _SOURCE = 64, 33, 20
_WIDE, _WIDE_SOURCE = 96, 34
_MARKS = {"problem": "✗", "warning": "!", "touched": "●", "": " "}


class FieldList(CursorList):
    """The rows of a form, and a cursor on one of them, which passes over the names of groups.

    `edits` is called for the row under the cursor by Enter or a click, at once: what is typed next belongs there.
    """

    DEFAULT_CSS = """
    FieldList {
        scrollbar-gutter: stable;
        .lines--group { color: $text-primary; text-style: bold; }
        .lines--rule { color: $foreground 30%; }
        .lines--problem { color: $text-error; text-style: bold; }
        .lines--touched { color: $text-success; text-style: bold; }
        .lines--cursor { color: $foreground; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"lines--{part}" for part in ("group", "rule", "problem", "touched")}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Value before", show=False),
        Binding("right", "step(1)", "Next value", show=False),
        Binding("enter,space", "choose", "Edit", show=False),
    ]

    class Highlighted(Message):
        """The cursor stands on another row, or on none."""

        def __init__(self, row: Row | None) -> None:
            super().__init__()
            self.row = row

    class Stepped(Message):
        """The next value of a row was asked for, or the one before."""

        def __init__(self, row: Row, by: int) -> None:
            super().__init__()
            self.row, self.by = row, by

    def __init__(self, edits: Callable[[Row], None], *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._edits = edits
        self._lines: list[Row | str] = []

    @property
    def row(self) -> Row | None:
        """The row with the cursor."""
        return self.row_at(self.cursor)

    def row_at(self, index: int) -> Row | None:
        """The row on a line; None where the name of a group stands there."""
        line = self._lines[index] if 0 <= index < len(self._lines) else None
        return line if isinstance(line, Row) else None

    @property
    def rows(self) -> list[Row]:
        return [line for line in self._lines if isinstance(line, Row)]

    def line_of(self, key: str) -> int | None:
        """The line of a field by its key."""
        return next((at for at, line in enumerate(self._lines) if isinstance(line, Row) and line.key == key), None)

    def show(self, rows: Sequence[Row], why: str = "") -> None:
        """Show these rows instead; the cursor stays on its field. `why` says why there are none."""
        before, offset = self.row, self.cursor - self.scroll_offset.y
        group = None
        self._lines = []
        for row in rows:
            self._lines += [row.group, row] if row.group != group else [row]
            group = row.group
        self.fill(len(self._lines), self._pieces, 0, why)
        at = self.line_of(before.key) if before is not None else None
        self.place(self.cursor if at is None else at)
        if at is not None:
            self.scroll_to(y=max(0, at - offset), animate=False, immediate=True)
            self.call_after_refresh(self.show_lines, self.cursor)  # where there are many more lines than there were
        self.post_message(self.Highlighted(self.row))

    @property
    def width(self) -> int:
        """Without what is kept free for a scrollbar, so that nothing moves when there is one."""
        return self.scrollable_content_region.width

    def _pieces(self, index: int) -> list[tuple[str, str]]:
        line, width = self._lines[index], self.width
        if isinstance(line, str):
            return [("─ ", "rule"), (f"{line} ", "group"), ("─" * max(0, width - len(line) - 3), "rule")]
        source_width = 0 if width < _NARROWEST_SOURCE else _SOURCE if width < _WIDE else _WIDE_SOURCE
        key_width = min(_KEY, width // 2)
        room = max(8, width - key_width - source_width - 4) - 1
        part = "problem" if line.problems else "warning" if line.warnings else "touched" if line.touched else ""
        value = cut(printable(line.value), room)
        more = f" {line.field.unit}" if line.field.unit and line.value != "null" else ""
        more = cut(more + (f" ({printable(line.note)})" if line.note else ""), room - cell_len(value))
        return [
            (f"{_MARKS[part]} ", part),
            (set_cell_size(cut(_label(line.key), key_width), key_width + 1), part),
            (value, part or "strong"),
            (set_cell_size(more, room - cell_len(value)), "muted"),
            (f" {cut_front(printable(line.source), source_width):>{source_width}}", "muted"),
        ]

    # Moving

    def watch_cursor(self, before: int, now: int) -> None:
        super().watch_cursor(before, now)
        self.post_message(self.Highlighted(self.row))

    def action_choose(self) -> None:
        if (row := self.row) is not None:
            self._edits(row)

    def action_step(self, by: int) -> None:
        if (row := self.row) is not None:
            self.post_message(self.Stepped(row, by))

    def go_to(self, index: int) -> None:
        """Put the cursor on a line, and have it in sight, with the name of its group where that is just above."""
        self.place(index)
        above = 1 if self.cursor and self.row_at(self.cursor - 1) is None else 0
        self.show_lines(self.cursor - above, 1 + above)

    def place(self, index: int) -> None:
        """Put the cursor on a row at or near a line, in the direction in which it moves."""
        index = max(0, min(index, len(self._lines) - 1))
        step = -1 if index < self.cursor else 1
        for way in (step, -step):
            at = index
            while 0 <= at < len(self._lines) and isinstance(self._lines[at], str):
                at += way
            if 0 <= at < len(self._lines):
                self.cursor = at
                return
        self.cursor = 0

    def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y
        if self.row_at(index) is None:
            return
        if index == self.cursor:
            self.action_choose()
        else:
            self.go_to(index)


def cut(text: str, width: int) -> str:
    """A text in at most so many cells, its end cut off."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…" * (width > 0)


def _label(key: str) -> str:
    """A key as the list has room for it: what stands under Optimizers need not say so."""
    return printable(key.removeprefix("optimizers."))
