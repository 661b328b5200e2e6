"""Token by token: text coloured and marked by how certain each token was, with a cursor that picks one.

The marks are styles of the letters too (italic, underlined, bold), so that they are seen without colours. Rejected: a
`Static` with a span for each token, which says neither where a token stands nor what lies below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from daisy_tui.chatting.lens import LEVELS, By, Token, TokenTexts, level
from daisy_tui.chatting.token_lines import TokenLines, place_of, token_at
from daisy_tui.chatting.turns import Turn


class Said(NamedTuple):
    """A token with its turn, and its place there."""

    turn: Turn
    place: int
    token: Token


class TokenText(Widget, can_focus=True):
    """The turns of a text as tokens. Turns without tokens are plain."""

    DEFAULT_CSS = """
    TokenText {
        height: auto;
        pointer: pointer;
        .tokens--plain { color: $text-muted; }
        .tokens--level-1 { text-style: italic; background: $warning 15%; }
        .tokens--level-2 { text-style: underline; background: $warning 35%; }
        .tokens--level-3 { text-style: bold underline; background: $error 45%; }
        .tokens--cursor { text-style: bold reverse; }
        &:ansi .tokens--plain { color: ansi_default; text-style: dim; }
        &:ansi .tokens--level-1, &:ansi .tokens--level-2 { color: ansi_yellow; background: ansi_default; }
        &:ansi .tokens--level-3 { color: ansi_red; background: ansi_default; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tokens--plain",
        "tokens--cursor",
        *(f"tokens--level-{number}" for number in range(LEVELS)),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Token", show=False),
        Binding("right", "move(1)", "Token", show=False),
        Binding("up", "line(-1)", "Line", show=False),
        Binding("down", "line(1)", "Line", show=False),
        Binding("home", "end(0)", "First", show=False),
        Binding("end", "end(-1)", "Last", show=False),
        Binding("space", "surprise(1)", "Next surprise", show=False),
        Binding("backspace", "surprise(-1)", "Surprise before", show=False),
        Binding("enter", "choose", "Alternatives", show=False),
    ]
    ALLOW_SELECT = False

    by: reactive[By] = reactive[By]("probability")
    cursor: reactive[int | None] = reactive[int | None](None)

    class Picked(Message):
        """The cursor stands on a token; `wants` that the person would choose another in its place."""

        def __init__(self, text: TokenText, said: Said, *, wants: bool = False) -> None:
            super().__init__()
            self.text, self.said, self.wants = text, said, wants

        @property
        def control(self) -> TokenText:
            return self.text

    def __init__(self, turns: Sequence[Turn] = (), by: By = "probability") -> None:
        super().__init__()
        self.set_reactive(TokenText.by, by)
        self._turns = tuple(turns)
        self.said: list[Said] = []
        self._pieces: list[tuple[str, int | None]] = []
        self._lines = TokenLines(1)
        self._growing: tuple[Turn, TokenTexts] | None = None  # the last turn, while it comes
        self._read()

    def show(self, turns: Sequence[Turn]) -> None:
        """Show these turns, or what they have gained."""
        picked = self.picked
        is_same = tuple(turns) == self._turns and self._growing is not None and self._turns[-1].ended is None
        self._turns = tuple(turns)
        if is_same:
            self._lines.add(self._grow())
        else:
            self._read()
            self._lay_out(self._lines.width)
        if self.cursor is not None and self.cursor >= len(self.said):
            self.cursor = None
        if self.has_focus and self.picked is not None and self.picked != picked:
            self.post_message(self.Picked(self, self.picked))  # another token, under the cursor that stayed
        self.refresh(layout=True)

    @property
    def picked(self) -> Said | None:
        """The token under the cursor."""
        return self.said[self.cursor] if self.cursor is not None and self.cursor < len(self.said) else None

    # Painting

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._lines.width:
            self._lay_out(width)
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if width != self._lines.width:
            self._lay_out(width)
        base = self.rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        segments = [Segment(span.text, base + self._look(span.token)) for span in self._lines[y]]
        return Strip(segments).adjust_cell_length(width, base)

    def _look(self, number: int | None) -> Style:
        if number is None:
            return self._looks[-1]
        look = self._looks[level(self.said[number].token, self.by)]
        return look + self._looks[-2] if number == self.cursor and self.has_focus_within else look

    @cached_property
    def _looks(self) -> list[Style]:
        """The styles of all levels, of the cursor, and of plain text."""
        names = [*(f"tokens--level-{number}" for number in range(LEVELS)), "tokens--cursor", "tokens--plain"]
        return [self.get_component_rich_style(name) for name in names]

    def notify_style_update(self) -> None:
        self.__dict__.pop("_looks", None)
        super().notify_style_update()

    def _read(self) -> None:
        """Tokens and texts of the turns; what a stop string took away is no part of the text."""
        self.said, self._pieces, self._growing = [], [], None
        for turn in self._turns:
            if not turn.tokens:
                self._pieces.append((turn.text, None))
            elif turn.ended is None and turn is self._turns[-1]:
                self._growing = turn, TokenTexts()
                self._grow()
            else:
                self._take(turn)

    def _take(self, turn: Turn) -> None:
        left = len(turn.text)
        decode = TokenTexts()
        for place, token in enumerate([*turn.tokens]):
            text = decode.add(token)
            if left <= 0 and text:
                break
            self._pieces.append((text[:left], len(self.said)))
            self.said.append(Said(turn, place, token))
            left -= len(text)

    def _grow(self) -> list[tuple[str, int | None]]:
        """What has come of the last turn since."""
        assert self._growing is not None
        turn, decode = self._growing
        new: list[tuple[str, int | None]] = []
        for place, token in enumerate(turn.tokens[decode.count :], decode.count):  # a copy: more may come meanwhile
            new.append((decode.add(token), len(self.said)))
            self.said.append(Said(turn, place, token))
        self._pieces += new
        return new

    def _lay_out(self, width: int) -> None:
        self._lines = TokenLines(width)
        self._lines.add(self._pieces)

    # Picking

    def watch_cursor(self) -> None:
        self.refresh()
        if self.picked is not None:
            self.post_message(self.Picked(self, self.picked))
            place = place_of(self._lines, self.cursor or 0)
            if place is not None:
                self.call_after_refresh(self.scroll_visible_line, place[0])

    def scroll_visible_line(self, row: int) -> None:
        """Have a line of this text in sight."""
        above = next((w for w in self.ancestors if isinstance(w, Widget) and w.allow_vertical_scroll), None)
        if above is not None:
            begin = self.content_region.offset - above.content_region.offset + above.scroll_offset
            above.scroll_to_region(Region(begin.x, begin.y + row, 1, 1), animate=False, force=True)

    def watch_by(self) -> None:
        self.refresh()

    def on_focus(self) -> None:
        if self.cursor is None and self.said:
            self.cursor = 0
        elif self.picked is not None:
            self.post_message(self.Picked(self, self.picked))

    def on_click(self, event: events.Click) -> None:
        if 0 <= event.y < len(self._lines):
            number = token_at(self._lines[event.y], event.x)
            if number is not None:
                event.stop()
                self.cursor = number

    def action_move(self, by: int) -> None:
        if self.said:
            self.cursor = min(max((self.cursor or 0) + by, 0), len(self.said) - 1)

    def action_end(self, place: int) -> None:
        if self.said:
            self.cursor = range(len(self.said))[place]

    def action_line(self, by: int) -> None:
        place = place_of(self._lines, self.cursor or 0)
        if place is None:
            return
        row, column = place
        rows = range(row + by, len(self._lines) if by > 0 else -1, by)
        found = next((number for y in rows if (number := token_at(self._lines[y], column)) is not None), None)
        if found is not None:
            self.cursor = found

    def action_surprise(self, by: int) -> None:
        """Go to the next token that was little expected."""
        begin = (self.cursor if self.cursor is not None else -1) + by
        places = range(begin, len(self.said) if by > 0 else -1, by)
        found = next((at for at in places if level(self.said[at].token, self.by) == LEVELS - 1), None)
        if found is not None:
            self.cursor = found

    def action_choose(self) -> None:
        if self.picked is not None:
            self.post_message(self.Picked(self, self.picked, wants=True))
