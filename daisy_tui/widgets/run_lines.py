"""LineList: many lines of which the few in sight are made, with a cursor, and an end that can be followed.

It is given how many lines there are and what makes one of them, so that twenty thousand cost as much as twenty.
Rejected: OptionList and DataTable, which make a widget's worth of every row at once; Log, which knows no row apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

# Pieces of a line: text, and the part whose style it has; "" for none.
Row = Sequence[tuple[str, str]]
_ASIDE = 8  # columns that one key press goes aside
_FOLLOWS = 2  # lines from the end at which a wheel begins to follow again


class LineList(ScrollView, can_focus=True):
    """Lines with a cursor. `why` says why there are none."""

    DEFAULT_CSS = """
    LineList {
        height: 1fr;
        .lines--error { color: $text-error; }
        .lines--warning { color: $text-warning; }
        .lines--muted { color: $text-muted; }
        .lines--good { color: $text-success; }
        .lines--strong { text-style: bold; }
        .lines--found { text-style: bold reverse; }
        .lines--chosen { background: $foreground 20%; }
        .lines--cursor { background: $block-cursor-blurred-background; text-style: bold; }
        &:focus .lines--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
        &:ansi .lines--cursor { text-style: bold underline; background: ansi_default; }
        &:ansi:focus .lines--cursor { text-style: bold reverse; color: ansi_default; background: ansi_default; }
        &:nocolor .lines--cursor { text-style: bold underline; }
        &:nocolor:focus .lines--cursor { text-style: bold reverse; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"lines--{part}" for part in ("error", "warning", "muted", "good", "strong", "found", "chosen", "cursor")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(False)", "First", show=False),
        Binding("end", "edge(True)", "Last", show=False),
        Binding("left", f"aside(-{_ASIDE})", "Left", show=False),
        Binding("right", f"aside({_ASIDE})", "Right", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    cursor: reactive[int] = reactive(0)
    follow: reactive[bool] = reactive(False)

    class Chosen(Message):
        """Enter on a line, or a click on the one with the cursor."""

        def __init__(self, lines: LineList, index: int) -> None:
            super().__init__()
            self.lines, self.index = lines, index

        @property
        def control(self) -> LineList:
            return self.lines

    class Reached(Message):
        """The person came to the first line, or to the last (`end`)."""

        def __init__(self, lines: LineList, end: bool) -> None:
            super().__init__()
            self.lines, self.end = lines, end

        @property
        def control(self) -> LineList:
            return self.lines

    class Followed(Message):
        """The end is followed from now on, or no more."""

        def __init__(self, lines: LineList, follow: bool) -> None:
            super().__init__()
            self.lines, self.follow = lines, follow

        @property
        def control(self) -> LineList:
            return self.lines

    def __init__(self, *, why: str = "", follow: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._row: Callable[[int], Row] = lambda index: ()
        self._number, self._why = 0, why
        self.set_reactive(LineList.follow, follow)

    @property
    def number(self) -> int:
        """How many lines there are."""
        return self._number

    def show(self, number: int, row: Callable[[int], Row], width: int, *, moved: int = 0, why: str = "") -> None:
        """Show `number` lines, which `row` makes and none of which is wider than `width`.

        What was line 0 is now line `moved`; `why` says why there are none.
        """
        self._row, self._number, self._why = row, number, why
        self.virtual_size = Size(width if number else 0, number)
        if self.follow:
            self._place(number - 1)
            self._scroll_to_line(self._number)
        else:
            self._place(self.cursor + moved)
            if moved:
                self._scroll_to_line(self.scroll_offset.y + moved)
        self.refresh()

    def on_resize(self) -> None:
        if self.follow:  # also when it comes into sight: only then it has a size
            self._scroll_to_line(self._number)

    # Painting

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.size.width
        if index >= self._number:
            if self._number or y or not self._why:
                return Strip.blank(width, self.rich_style)
            return Strip([Segment(self._why, self._style("muted"))]).crop_extend(0, width, self.rich_style)
        strip = Strip([Segment(text, self._style(part)) for text, part in self._row(index)])
        strip = self._selected(strip, index).crop_extend(scroll_x, scroll_x + width, self.rich_style)
        if index == self.cursor:
            strip = self._over(strip, "cursor")
        return strip.apply_offsets(scroll_x, index)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"lines--{part}") if part else self.rich_style

    def _over(self, strip: Strip, part: str) -> Strip:
        """A strip with the style of a part above those that it has."""
        above = self.get_component_rich_style(f"lines--{part}", partial=True)
        return Strip([Segment(text, (style or Style.null()) + above) for text, style, _ in strip])

    def _selected(self, strip: Strip, index: int) -> Strip:
        """A line with the part of it that is selected by the mouse."""
        span = self.text_selection.get_span(index) if self.text_selection is not None else None
        if span is None:
            return strip
        begin, end = span[0], strip.cell_length if span[1] == -1 else span[1]
        chosen = self._over(strip.crop(begin, end), "chosen")
        return Strip.join([strip.crop(0, begin), chosen, strip.crop(end, strip.cell_length)])

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = ("".join(text for text, _ in self._row(index)) for index in range(self._number))
        return selection.extract("\n".join(lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Moving

    def watch_cursor(self) -> None:
        self.refresh()

    def action_move(self, lines: int) -> None:
        self._go(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self._go(self.cursor + pages * max(1, self.size.height - 1))

    def action_edge(self, end: bool) -> None:
        self._go(self._number - 1 if end else 0)

    def action_aside(self, columns: int) -> None:
        self.scroll_to(x=self.scroll_x + columns, animate=False)

    def action_choose(self) -> None:
        if self._number:
            self.post_message(self.Chosen(self, self.cursor))

    def set_follow(self, follow: bool) -> None:
        """Follow the end from now on, or no more, and say so."""
        if follow != self.follow:
            self.follow = follow
            self.post_message(self.Followed(self, follow))
        if follow:
            self._place(self._number - 1)
            self._scroll_to_line(self._number)

    def go_to(self, index: int) -> None:
        """Put the cursor on a line, with others around it in sight."""
        self._place(index)
        self._scroll_to_line(index - self.size.height // 2)

    def _go(self, index: int) -> None:
        """Put the cursor on a line, and tell where an end was reached."""
        if not self._number:
            return
        self._place(index)
        self.scroll_to_region(Region(self.scroll_offset.x, self.cursor, 1, 1), animate=False, immediate=True)
        if index <= 0:
            self.post_message(self.Reached(self, end=False))
        if index >= self._number - 1:
            self.post_message(self.Reached(self, end=True))
        elif self.follow:
            self.set_follow(False)

    def _scroll_to_line(self, index: int) -> None:
        """Have a line at the top, as far as that goes; forced, for it may come before the scrollbars."""
        self.scroll_to(y=max(0, min(index, self.max_scroll_y)), animate=False, immediate=True, force=True)

    def _place(self, index: int) -> None:
        self.cursor = max(0, min(index, self._number - 1))

    def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y
        if index >= self._number:
            return
        if index == self.cursor and event.chain > 1:
            self.action_choose()
        else:
            self._place(index)
            if self.follow and index < self._number - 1:
                self.set_follow(False)

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        if self.follow and self.max_scroll_y:
            self.set_follow(False)
        if self.scroll_y <= 0:
            self.post_message(self.Reached(self, end=False))

    def on_mouse_scroll_down(self, _event: events.MouseScrollDown) -> None:
        if self.scroll_y >= self.max_scroll_y - _FOLLOWS:
            self.post_message(self.Reached(self, end=True))
