"""CursorList: many lines of which the few in sight are made, and a cursor on one of them: what all such lists share.

It is given how many lines there are and what makes one of them, so that twenty thousand cost as much as twenty.
Rejected: OptionList and DataTable, which make a widget's worth of every row at once; Log, which knows no row apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

# Pieces of a line: text, and the part whose style it has; "" for none.
Row = Sequence[tuple[str, str]]


class CursorList(ScrollView, can_focus=True):
    """Lines with a cursor. What it means to choose one, and with which keys, a subclass says."""

    DEFAULT_CSS = """
    CursorList {
        height: 1fr;
        .lines--error { color: $text-error; }
        .lines--warning { color: $text-warning; }
        .lines--muted { color: $text-muted; }
        .lines--good { color: $text-success; }
        .lines--strong { text-style: bold; }
        .lines--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        &:focus .lines--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
        &:ansi .lines--cursor { text-style: bold underline; background: ansi_default; }
        &:ansi:focus .lines--cursor { text-style: bold reverse; color: ansi_default; background: ansi_default; }
        &:nocolor .lines--cursor { text-style: bold underline; }
        &:nocolor:focus .lines--cursor { text-style: bold reverse; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"lines--{part}" for part in ("error", "warning", "muted", "good", "strong", "cursor")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(False)", "First", show=False),
        Binding("end", "edge(True)", "Last", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    def __init__(self, *, why: str = "", id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._row: Callable[[int], Row] = lambda index: ()
        self._number, self._why = 0, why

    @property
    def number(self) -> int:
        """How many lines there are."""
        return self._number

    def fill(self, number: int, row: Callable[[int], Row], width: int, why: str) -> None:
        """Have `number` lines, which `row` makes, none wider than `width`; `why` says why there are none."""
        self._row, self._number, self._why = row, number, why
        self.virtual_size = Size(width if number else 0, number)
        self.refresh()

    # Painting

    @property
    def width(self) -> int:
        """The columns that a line is drawn in."""
        return self.size.width

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.width
        if index >= self._number:
            said = wrap(self._why, max(1, width))[y : y + 1] if not self._number else []
            return Strip([Segment(line, self._style("muted")) for line in said]).crop_extend(0, width, self.rich_style)
        strip = self.line_at(index).crop_extend(scroll_x, scroll_x + width, self.rich_style)
        return self.over(strip, "cursor") if index == self.cursor else strip

    def line_at(self, index: int) -> Strip:
        """A line without the cursor, as wide as it is."""
        return Strip([Segment(text, self._style(part)) for text, part in self._row(index)])

    def over(self, strip: Strip, part: str) -> Strip:
        """A strip with the style of a part above those that it has."""
        above = self.get_component_rich_style(f"lines--{part}", partial=True)
        blended = self._style(part)  # for colours may have an opacity, which a partial style leaves out
        above += Style(color=above.color and blended.color, bgcolor=above.bgcolor and blended.bgcolor)
        return Strip([Segment(text, (style or Style.null()) + above) for text, style, _ in strip])

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"lines--{part}") if part else self.rich_style

    # Moving

    def watch_cursor(self, before: int, now: int) -> None:
        for index in (before, now):
            self.refresh_line(index)

    def action_move(self, lines: int) -> None:
        self.go_to(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self.go_to(self.cursor + pages * max(1, self.size.height - 1))

    def action_edge(self, end: bool) -> None:
        self.go_to(self._number - 1 if end else 0)

    def go_to(self, index: int) -> None:
        """Put the cursor on a line, and have it in sight."""
        self.place(index)
        self.show_lines(self.cursor)

    def show_lines(self, first: int, number: int = 1) -> None:
        """Have lines in sight."""
        region = Region(self.scroll_offset.x, first, 1, number)
        self.scroll_to_region(region, animate=False, immediate=True)

    def place(self, index: int) -> None:
        """Put the cursor on a line, or the one nearest to it."""
        self.cursor = max(0, min(index, self._number - 1))
