"""What the lists of the Run screen have in common: a line that says what is shown, a field to search with, the lines.

The events and the config are such lists, searched where they are; the log, which is searched in its file, is another.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from core.text import plural
from daisy_tui.cutting import cut_front
from daisy_tui.runs.event_text import EventRow
from daisy_tui.runs.provenance import OTHER, SET, Provenance
from daisy_tui.runs.run_look import RunLook
from daisy_tui.runs.run_text import CHECKPOINT_HEADINGS, checkpoint_cells
from daisy_tui.widgets.cursor_list import Row
from daisy_tui.widgets.run_lines import LineList

_SIGNS = {"error": "✗ ", "warning": "! ", "good": "✓ "}
# Columns of the config: name and value, in a narrow and in a wide terminal; what is longer moves the rest of its row.
_COLUMNS = {False: (28, 10), True: (44, 32)}
_WIDE = 120
_FILES = ("config", "spec")  # layers whose sources are paths, of which the end says more than the beginning
_LEAST_PATH = 16


class ListPane(Vertical):
    """A list that can be searched. `text` is what is searched for, in whatever case."""

    class Searched(Message):
        """Something else is searched for in this pane."""

        def __init__(self, pane: ListPane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, *, why: str, follow: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="list-pane")
        self._why, self._follow = why, follow
        self.text = ""

    def compose(self) -> ComposeResult:
        yield from self.head()
        field = Input(placeholder="search", compact=True, classes="search")
        field.display = False
        yield field
        yield LineList(why=self._why, follow=self._follow)

    def head(self) -> ComposeResult:
        """What stands above the lines."""
        yield Static(classes="pane-facts")

    @property
    def lines(self) -> LineList:
        return self.query_one(LineList)

    @property
    def field(self) -> Input:
        return self.query_one(".search", Input)

    def say(self, words: str) -> None:
        """Say what is shown."""
        self.query_one(".pane-facts", Static).update(Content(words))

    def search(self) -> None:
        """Begin to search."""
        self.field.display = True
        self.screen.set_focus(self.field)

    def step_out(self) -> bool:
        """Leave the field, or else end the search; whether there was either."""
        if self.field.has_focus:
            self.lines.focus()
            self.field.display = bool(self.text)
            return True
        if self.text:
            self.field.value = ""
            self.field.display = False
            return True
        return False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value.strip() != self.text:
            self.text = event.value.strip()
            self.searched()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.step_out()

    def searched(self) -> None:
        """Something else is searched for."""
        self.post_message(self.Searched(self))

    def found(self, *texts: str) -> bool:
        """Whether one of some texts holds what is searched for."""
        return not self.text or any(self.text.lower() in text.lower() for text in texts)


class EventsPane(ListPane):
    """The events of a run, the last one at the end."""

    def __init__(self) -> None:
        super().__init__(why="No events yet.", follow=True, id="run-events")
        self._look: RunLook | None = None
        self._rows: list[EventRow] = []
        self._searched = ""

    def show(self, look: RunLook) -> None:
        """Show the events of a look."""
        if self._look is not None and look.events is self._look.events and self.text == self._searched:
            return
        self._look, self._searched = look, self.text
        every = look.events
        self._rows = [row for row in every if self.found(row.kind, row.text, row.step)]
        wide = max((len(row.step) for row in self._rows), default=0)
        kinds = max((len(row.kind) for row in self._rows), default=0)
        width = max((16 + wide + kinds + 6 + len(row.text) for row in self._rows), default=0)
        self.lines.show(len(self._rows), lambda index: _event(self._rows[index], wide, kinds), width, why=self._empty())
        words = f"{len(self._rows):,} of {len(every):,} events" if self.text else plural(len(every), "event")
        self.say(words + (f", {look.earlier_events:,} earlier ones not shown" if look.earlier_events else ""))

    def _empty(self) -> str:
        return f"No event holds '{self.text}'." if self.text else self._why

    def searched(self) -> None:
        if self._look is not None:
            self.show(self._look)


class ConfigPane(ListPane):
    """The config of a run, each value with where it comes from."""

    def __init__(self) -> None:
        super().__init__(why="Reading its config …", id="run-config")
        self._provenance: Provenance | None = None

    def show(self, provenance: Provenance) -> None:
        """Show a config."""
        self._provenance = provenance
        rows = [one for one in provenance.settings if self.found(one.key, one.value, one.source)]
        widest = _COLUMNS[self.app.size.width >= _WIDE]
        keys = min(widest[0], max((len(one.key) for one in rows), default=0))
        values = min(widest[1], max((len(one.value) for one in rows), default=0))
        in_sight = self.lines.scrollable_content_region.width

        def row(index: int) -> Row:
            one = rows[index]
            part = {SET: "warning", OTHER: "warning", "override": "strong", "default": "muted"}.get(one.layer, "")
            room = values - max(0, len(one.key) - keys)
            value = one.value.ljust(max(0, room))
            begin = [(f"{one.key:<{keys}}  ", ""), (f"{value}  ", "strong")]
            source = one.source
            if one.layer in _FILES:
                source = cut_front(source, max(_LEAST_PATH, in_sight - sum(cell_len(text) for text, _ in begin)))
            return [*begin, (source, part)]

        width = max((sum(len(text) for text, _ in row(index)) for index in range(len(rows))), default=0)

        why = f"No setting holds '{self.text}'." if self.text else ""
        self.lines.show(len(rows), row, width, why=why)
        changed = sum(one.layer == SET for one in provenance.settings)
        words = [f"{len(rows)} of {len(provenance.settings)} settings" if self.text else f"{len(rows)} settings"]
        words += [f"{changed} set in flight"] if changed else []
        words += [provenance.note] if provenance.note else []
        self.say(" · ".join(words))

    def on_resize(self) -> None:
        self.searched()

    def fail(self, words: str) -> None:
        """Say why there is none."""
        self._provenance = None
        self.lines.show(0, lambda index: (), 0, why=words)
        self.say("")

    def searched(self) -> None:
        if self._provenance is not None:
            self.show(self._provenance)


class CheckpointsPane(ListPane):
    """The checkpoints of a run, the last one at the end."""

    def __init__(self) -> None:
        super().__init__(why="No checkpoints yet.", follow=True, id="run-checkpoints")
        self._look: RunLook | None = None
        self._shown: tuple[object, ...] = ()

    def show(self, look: RunLook) -> None:
        """Show the checkpoints of a look."""
        shown = (look.run.path, look.checkpoints, self.text)
        if shown == self._shown:
            return
        self._look, self._shown = look, shown
        rows = [checkpoint_cells(one, look.time) for one in look.checkpoints]
        widths = [max(map(len, column)) for column in zip(CHECKPOINT_HEADINGS, *rows, strict=True)]

        def row(index: int) -> Row:
            part = "" if look.checkpoints[index].complete else "warning"
            return [(_aligned(rows[index], widths), part)]

        self.lines.show(len(rows), row, sum(widths) + 2 * len(widths))
        self.say(_aligned(CHECKPOINT_HEADINGS, widths) if rows else "")

    @property
    def chosen(self) -> int | None:
        """Which of the look's checkpoints the cursor is on."""
        return self.lines.cursor if self.lines.number else None


def _event(row: EventRow, steps: int, kinds: int) -> Row:
    sign = _SIGNS.get(row.level, "  ")
    return [
        (f"{row.clock:<11} {row.step:>{steps}}  ", "muted"),
        (f"{sign}{row.kind:<{kinds}}  ", row.level),
        (row.text, row.level if row.level in ("error", "warning") else ""),
    ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells in columns: the name and the last to the left, figures to the right."""
    last = len(cells) - 1
    pairs = enumerate(zip(cells, widths, strict=True))
    return "  ".join(cell.ljust(width) if at in (0, last) else cell.rjust(width) for at, (cell, width) in pairs)
