"""The runs as a table that is changed cell by cell: the cursor stays on its run whatever comes, goes or moves.

`LiveTable` paints the rows that changed and no other. `DataTable.update_cell` forgets everything that was painted: with
24 changed cells in a table of 200×60 that is 84 ms of a core, each second, against 8. Where Textual's caches are not as
they were in 8.2, `update_cell` is what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.message import Message
from textual.widgets import DataTable

from daisy_tui.runs.runs_cells import Cell, Column, cells, fitting, titles
from daisy_tui.runs.runs_order import Order

if TYPE_CHECKING:
    from daisy_tui.runs.watching import RunRow

_MANY = 20  # rows that come or go at once: then all are put in anew


class LiveTable(DataTable[Text]):
    """A DataTable of which single rows change often."""

    def put(self, changes: Mapping[str, Mapping[str, Text]]) -> None:
        """Change cells, by row and column. Their widths stay as they are."""
        try:
            self._put(changes)
        except AttributeError:
            for row, changed in changes.items():
                for column, cell in changed.items():
                    self.update_cell(row, column, cell)

    def _put(self, changes: Mapping[str, Mapping[str, Text]]) -> None:
        places = {row: self.get_row_index(row) for row in changes}
        head = self.header_height if self.show_header else 0
        lines = {place + head for place in places.values()}
        for row, changed in changes.items():
            self._data[self._row_locations.get_key(places[row])].update(changed)  # type: ignore[index, arg-type]
            self._row_renderable_cache.discard((self._update_count, places[row]))
        for cache in (self._cell_render_cache, self._row_render_cache):
            for key in [key for key in cache.keys() if key[0].value in changes]:  # noqa: SIM118 - it is no dictionary
                cache.discard(key)  # type: ignore[arg-type]
        for line in [line for line in self._line_cache.keys() if line[0] in lines]:  # noqa: SIM118
            self._line_cache.discard(line)
        for place in places.values():
            self.refresh_row(place)


class _RunText(Text):
    """A cell that knows the run of its row, for DataTable sorts by cells alone."""

    run_id: str


class _Shown(NamedTuple):
    """What stands in a row, and what it was made of."""

    row: RunRow
    is_marked: bool
    labels: Mapping[str, str]
    place: int | None
    cells: list[Cell]


class RunsTable(LiveTable):
    """The runs. `marked` are the ids of those that were picked out to be compared."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", tooltip="Show the run: charts, log, events."),
        Binding("j", "cursor_down", "Cursor down", show=False),
        Binding("k", "cursor_up", "Cursor up", show=False),
        Binding("home,g", "scroll_top", "First run", show=False),
        Binding("end,G", "scroll_bottom", "Last run", show=False),
    ]

    class Scrolled(Message):
        """Other rows are in sight."""

    class Moved(Message):
        """The cursor is on another run."""

    def __init__(self) -> None:
        super().__init__(id="runs", cursor_type="row", cell_padding=1)
        self.marked: set[str] = set()
        self._layout: tuple[tuple[Column, ...], Order, int] | None = None
        self._rows: dict[str, RunRow] = {}
        self._shown: dict[str, _Shown] = {}
        self._labels: Mapping[str, str] = {}
        self._queue: Mapping[str, int] = {}
        self._order = Order()
        self._styles: dict[str, Style] = {}
        self._told: str | None = None

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._dye())

    @property
    def selected(self) -> RunRow | None:
        """The run under the cursor."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self._rows.get(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value or "")

    @property
    def window(self) -> tuple[int, int] | None:
        """The first row in sight and the one behind the last; None where sparklines have no column."""
        if self._layout is None or all(column.key != "sparkline" for column in self._layout[0]):
            return None
        first = round(self.scroll_y)
        return first, first + max(1, self.size.height)

    def show(
        self, rows: Sequence[RunRow], labels: Mapping[str, str], order: Order, queue: Mapping[str, int] | None = None
    ) -> None:
        """Show these runs in this order. `labels` are what people call devices, `queue` has the places of waiting runs.

        Both by what identifies them; without a `queue` places stay as they are known.
        """
        self._labels, self._order = labels, order
        self._queue = self._queue if queue is None else queue
        before, place = self.selected, self.cursor_row
        self._rows = {row.id: row for row in rows}
        self.marked &= self._rows.keys()
        gone = [known for known in self._shown if known not in self._rows]
        new = [row for row in rows if row.id not in self._shown]
        if self._lay_out() or len(gone) + len(new) > _MANY:
            self.clear()
            self._shown.clear()
            gone, new = [], list(rows)
        for run_id in gone:
            self.remove_row(run_id)
            del self._shown[run_id]
        fresh = {row.id for row in new}
        self._change([row for row in rows if row.id not in fresh])
        for row in new:
            self._add(row)
        self._arrange([row.id for row in rows])
        self._return_to(before.id if before is not None else None, place)
        self._tell()

    def toggle_mark(self) -> None:
        """Pick the run under the cursor out, or put it back, and go on to the next."""
        if (row := self.selected) is not None:
            self.marked ^= {row.id}
            self._change([row])
            self.action_cursor_down()

    def unmark(self) -> None:
        """Put all back that were picked out."""
        rows = [self._rows[run_id] for run_id in self.marked if run_id in self._rows]
        self.marked.clear()
        self._change(rows)

    def on_resize(self, _event: events.Resize) -> None:
        if self._layout is not None:
            self.show([*self._rows.values()], self._labels, self._order)
            self.post_message(self.Scrolled())

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._tell()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Scrolled())

    def _lay_out(self) -> bool:
        """Make the columns anew where width or order are others; whether they are."""
        room = self.size.width - self.styles.scrollbar_size_vertical
        layout = (fitting(room), self._order, room)
        if layout == self._layout:
            return False
        self.clear(columns=True)
        heads = titles(layout[0], self._order.by, self._order.is_descending)
        for column, title in zip(layout[0], heads, strict=True):
            self.add_column(Text(title, end="", no_wrap=True), key=column.key, width=column.width)
        self._layout = layout
        return True

    def _add(self, row: RunRow) -> None:
        assert self._layout is not None
        place = self._queue.get(row.id)
        found = cells(row, row.id in self.marked, self._layout[0], self._labels, place)
        self.add_row(*(self._text(cell, row) for cell in found), key=row.id)
        self._shown[row.id] = _Shown(row, row.id in self.marked, self._labels, place, found)

    def _change(self, rows: Sequence[RunRow]) -> None:
        """Bring what is shown of these runs up to date."""
        assert self._layout is not None
        columns, changes = self._layout[0], dict[str, dict[str, Text]]()
        for row in rows:
            shown, place = self._shown[row.id], self._queue.get(row.id)
            now = row.id in self.marked, self._labels, place
            if shown.row is row and (shown.is_marked, shown.labels, shown.place) == now:
                continue
            found = cells(row, row.id in self.marked, columns, self._labels, place)
            self._shown[row.id] = _Shown(row, *now, found)
            pairs = zip(columns, found, shown.cells, strict=True)
            if other := {column.key: self._text(cell, row) for column, cell, old in pairs if cell != old}:
                changes[row.id] = other
        if changes:
            self.put(changes)

    def _arrange(self, ids: Sequence[str]) -> None:
        if [row.key.value for row in self.ordered_rows] != ids:
            places = {run_id: place for place, run_id in enumerate(ids)}
            self.sort(self.ordered_columns[0].key, key=lambda cell: places[cell.run_id])

    def _return_to(self, run_id: str | None, place: int) -> None:
        """Put the cursor on the run on which it was, and where that is gone on the one in its place."""
        if not self.row_count:
            return
        here = self.get_row_index(run_id) if run_id in self._rows else min(place, self.row_count - 1)
        if here != self.cursor_row:
            if self.scroll_y:  # what is in sight stays where it is
                self.scroll_to(y=self.scroll_y + here - place, animate=False, force=True)
            self.move_cursor(row=here)

    def _tell(self) -> None:
        now = self.selected.id if self.selected is not None else None
        if now != self._told:
            self._told = now
            self.post_message(self.Moved())

    def _dye(self) -> None:
        """Take the colours of another theme."""
        self._styles.clear()
        if self._layout is not None:
            self._layout = None
            self.show([*self._rows.values()], self._labels, self._order)

    def _text(self, cell: Cell, row: RunRow) -> Text:
        text = _RunText(cell.text, self._style(cell.colour), end="", no_wrap=True)
        text.run_id = row.id
        return text

    def _style(self, colour: str) -> Style:
        if colour and colour not in self._styles:
            known = self.app.theme_variables.get(colour.removeprefix("$"))
            self._styles[colour] = Style(color=Color.parse(known).rich_color) if known else Style.null()
        return self._styles[colour] if colour else Style.null()
