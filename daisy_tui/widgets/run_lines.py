"""LineList: a list with a cursor, lines that may be wider than it, text that can be copied, and an end to follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip

from daisy_tui.widgets.cursor_list import CursorList, Row

_ASIDE = 8  # columns that one key press goes aside
_FOLLOWS = 2  # lines from the end at which a wheel begins to follow again


class LineList(CursorList):
    """Lines with a cursor. `why` says why there are none."""

    DEFAULT_CSS = """
    LineList {
        .lines--found { text-style: bold reverse; }
        .lines--chosen { background: $foreground 20%; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--found", "lines--chosen"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", f"aside(-{_ASIDE})", "Left", show=False),
        Binding("right", f"aside({_ASIDE})", "Right", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

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
        super().__init__(why=why, id=id)
        self.set_reactive(LineList.follow, follow)

    def show(self, number: int, row: Callable[[int], Row], width: int, *, moved: int = 0, why: str = "") -> None:
        """Show `number` lines, which `row` makes and none of which is wider than `width`.

        What was line 0 is now line `moved`; `why` says why there are none.
        """
        self.fill(number, row, width, why)
        if self.follow:
            self.place(number - 1)
            self._scroll_to_line(number)
        else:
            self.place(self.cursor + moved)
            if moved:
                self._scroll_to_line(self.scroll_offset.y + moved)

    def on_resize(self) -> None:
        if self.follow:  # also when it comes into sight: only then it has a size
            self._scroll_to_line(self.number)

    # Painting

    def render_line(self, y: int) -> Strip:
        strip, (x, top) = super().render_line(y), self.scroll_offset
        if top + y >= self.number:
            return strip
        if self.line_at(top + y).cell_length > x + self.width > x:  # it goes on to the right
            last = next(iter(strip.crop(self.width - 1, self.width)), None)
            strip = Strip.join([strip.crop(0, self.width - 1), Strip([Segment("…", last.style if last else None)], 1)])
        return strip.apply_offsets(x, top + y)

    def line_at(self, index: int) -> Strip:
        """A line with the part of it that is selected by the mouse."""
        strip = super().line_at(index)
        span = self.text_selection.get_span(index) if self.text_selection is not None else None
        if span is None:
            return strip
        begin, end = span[0], strip.cell_length if span[1] == -1 else span[1]
        chosen = self.over(strip.crop(begin, end), "chosen")
        return Strip.join([strip.crop(0, begin), chosen, strip.crop(end, strip.cell_length)])

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = ("".join(text for text, _ in self._row(index)) for index in range(self.number))
        return selection.extract("\n".join(lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Moving

    def action_aside(self, columns: int) -> None:
        self.scroll_to(x=self.scroll_x + columns, animate=False)

    def action_choose(self) -> None:
        if self.number:
            self.post_message(self.Chosen(self, self.cursor))

    def set_follow(self, follow: bool) -> None:
        """Follow the end from now on, or no more, and say so."""
        if follow != self.follow:
            self.follow = follow
            self.post_message(self.Followed(self, follow))
        if follow:
            self.place(self.number - 1)
            self._scroll_to_line(self.number)

    def centre_on(self, index: int) -> None:
        """Put the cursor on a line, with others around it in sight."""
        self.place(index)
        self._scroll_to_line(index - self.size.height // 2)

    def go_to(self, index: int) -> None:
        """Put the cursor on a line in sight, and tell where an end was reached."""
        if not self.number:
            return
        super().go_to(index)
        if index <= 0:
            self.post_message(self.Reached(self, end=False))
        if index >= self.number - 1:
            self.post_message(self.Reached(self, end=True))
        elif self.follow:
            self.set_follow(False)

    def _scroll_to_line(self, index: int) -> None:
        """Have a line at the top, as far as that goes; forced, for it may come before the scrollbars."""
        self.scroll_to(y=max(0, min(index, self.max_scroll_y)), animate=False, immediate=True, force=True)

    def on_click(self, event: events.Click) -> None:
        index = self.scroll_offset.y + event.y
        if index >= self.number:
            return
        if index == self.cursor and event.chain > 1:
            self.action_choose()
        else:
            self.place(index)
            if self.follow and index < self.number - 1:
                self.set_follow(False)

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        if self.follow and self.max_scroll_y:
            self.set_follow(False)
        if self.scroll_y <= 0:
            self.post_message(self.Reached(self, end=False))

    def on_mouse_scroll_down(self, _event: events.MouseScrollDown) -> None:
        if self.scroll_y >= self.max_scroll_y - _FOLLOWS:
            self.post_message(self.Reached(self, end=True))
