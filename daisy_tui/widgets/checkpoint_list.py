"""The list of checkpoints: rows by the thousand, the cursor on the same one whatever comes and goes around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static

from daisy_tui.checkpoints.checkpoint_rows import ORDERS, Order, heading, lines
from daisy_tui.checkpoints.lineage import Row
from daisy_tui.widgets.run_lines import LineList


class CheckpointList(Vertical):
    """A heading and the rows. `row` is the one under the cursor."""

    class Moved(Message):
        """Another row is under the cursor, or the same one has changed."""

    class Opened(Message):
        """Enter on the row under the cursor, or a second click."""

    def __init__(self) -> None:
        super().__init__(id="checkpoint-side")
        self._rows: Sequence[Row] = ()
        self._order, self._why = ORDERS[0], "Looking …"
        self._marked: Path | None = None
        self.row: Row | None = None

    def compose(self) -> ComposeResult:
        yield Static("", id="checkpoint-heading", markup=False)
        yield LineList(why=self._why, id="checkpoint-list")

    def on_mount(self) -> None:
        self.watch(self.lines, "cursor", self._cursor_moved, init=False)

    @property
    def lines(self) -> LineList:
        return self.query_one("#checkpoint-list", LineList)

    def show(self, rows: Sequence[Row], order: Order, marked: Path | None, why: str) -> None:
        """Show rows; the cursor stays on what it was on, where that is still there."""
        self._rows, self._order, self._marked, self._why = rows, order, marked, why
        chosen = self.row.path if self.row is not None else None
        place = next((index for index, row in enumerate(rows) if row.path == chosen), self.lines.cursor)
        self._paint(place)
        self._cursor_moved(self.lines.cursor)

    def go(self, index: int) -> None:
        """Put the cursor on a row."""
        self.lines.cursor = index
        self.lines.scroll_to_region(Region(0, index, 1, 1), animate=False, immediate=True)

    def _paint(self, place: int) -> None:
        shown = self.lines
        width = shown.scrollable_content_region.width
        marked = {self._marked} if self._marked is not None else set()
        line = lines(self._rows, width, self._order, marked)
        shown.show(len(self._rows), line, width, moved=place - shown.cursor if self._rows else 0, why=self._why)
        self.query_one("#checkpoint-heading", Static).update(Content(heading(width)), layout=False)

    def _cursor_moved(self, index: int) -> None:
        row = self._rows[index] if index < len(self._rows) else None
        if row != self.row:
            self.row = row
            self.post_message(self.Moved())

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(lambda: self._paint(self.lines.cursor))

    @on(LineList.Chosen)
    def _opened(self, event: LineList.Chosen) -> None:
        event.stop()
        self.post_message(self.Opened())
