"""One turn of a conversation on the screen: who said it and how fast, and what was said, growing while it comes."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Markdown, Static

from core.text import printable
from daisy_tui.chatting.lens import By
from daisy_tui.chatting.token_lines import shown
from daisy_tui.chatting.turns import Turn
from daisy_tui.widgets.chat_tokens import TokenText

_BEFORE, _AFTER = "‹", "›"


class TurnHead(Static):
    """Who said it, which of how many it is, and what is known of it. A click on ‹ or › goes to the next."""

    def __init__(self, view: TurnView) -> None:
        super().__init__(markup=False, classes="turn-head")
        self._view = view
        self._signs = (0, 0)
        self._said = ""

    def paint(self) -> None:
        """Say what is known now."""
        turn = self._view.turn
        who = "you" if turn.role == "user" else printable(turn.model) or "answer"
        siblings = turn.siblings
        place = f" {_BEFORE} {turn.place}/{len(siblings)} {_AFTER} " if len(siblings) > 1 else " "
        about = about_answer(turn) if turn.role == "assistant" else ""
        if who + place + about != self._said:
            self._said = who + place + about
            self._signs = (cell_len(who) + 1, cell_len(who + place) - 2) if len(siblings) > 1 else (0, 0)
            style = "bold $text-accent" if turn.role == "user" else "bold $text-success"
            self.update(Content.assemble((who, style), (place, "bold"), (about, "dim")), layout=False)

    def on_click(self, event: events.Click) -> None:
        for sign, by in zip(self._signs, (-1, 1), strict=True):
            if sign and abs(event.x - sign) <= 1:
                event.stop()
                self.post_message(TurnView.Stepped(self._view, by))


class TurnView(Vertical, can_focus=True):
    """A turn. With `is_markdown` an answer is laid out; with `by` it is shown token by token."""

    DEFAULT_CSS = """
    TurnView {
        height: auto;
        border-left: blank;
        padding: 0 0 1 0;
        &.-laid-out { padding: 0; }  /* its paragraphs have a line behind each */
        &:focus, &:focus-within { border-left: outer $primary; }
        .turn-head { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        .turn-text { height: auto; }
        .turn-failure { height: auto; display: none; color: $text-error; &.-said { display: block; } }
        Markdown { padding: 0; margin: 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "go(-1)", "Turn above", show=False),
        Binding("down", "go(1)", "Turn below", show=False),
        Binding("pageup", "screen.page(-1)", "Scroll up", show=False),
        Binding("pagedown", "screen.page(1)", "Scroll down", show=False),
    ]

    class Stepped(Message):
        """The person wants what stands beside this turn."""

        def __init__(self, view: TurnView, by: int) -> None:
            super().__init__()
            self.view, self.by = view, by

    def __init__(self, turn: Turn, *, is_markdown: bool, by: By | None = None) -> None:
        super().__init__()
        self.turn = turn
        self._is_markdown = is_markdown and turn.role == "assistant"
        self._by = by
        self._painted = 0  # pieces that are on the screen
        self._painting = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield TurnHead(self)
        yield self._body()
        yield Static(markup=False, classes="turn-failure")

    def on_mount(self) -> None:
        self._paint_edges()

    def action_go(self, by: int) -> None:
        """Go to the turn above or below, or from the last one on to what comes behind."""
        turns = [view for view in self.parent.children if isinstance(view, TurnView)] if self.parent else [self]
        place = turns.index(self) + by
        if 0 <= place < len(turns):
            turns[place].focus()
        elif by > 0:
            self.screen.focus_next()

    @property
    def tokens(self) -> TokenText | None:
        """The turn's tokens, where they are what is shown."""
        return next(iter(self.query(TokenText)), None)

    async def look(self, by: By | None) -> None:
        """Show the turn by its tokens, or as text."""
        async with self._painting:
            await self._look(by)

    async def paint(self) -> None:
        """Show what the turn has gained since it was last painted."""
        async with self._painting:
            if self._by is not None and self.tokens is None and self.turn.tokens:
                by, self._by = self._by, None
                await self._look(by)
            await self._paint_text()
            self._paint_edges()

    async def _look(self, by: By | None) -> None:
        if by == self._by:
            return
        self._by = by
        tokens = self.tokens
        if tokens is not None and by is not None:
            tokens.by = by
        elif tokens is not None or (by is not None and self.turn.tokens):
            had_focus = self.has_focus_within
            await self.query(".turn-text").remove()
            body = self._body()
            await self.mount(body, after=0)
            if had_focus:
                (body if isinstance(body, TokenText) else self).focus()

    async def _paint_text(self) -> None:
        turn, tokens = self.turn, self.tokens
        new = turn.pieces[self._painted :]
        if tokens is not None:
            if len(tokens.said) != len(turn.tokens) or turn.ended is not None:
                tokens.show([turn])
        elif new:
            self._painted += len(new)
            body = self.query_one(".turn-text")
            if isinstance(body, Markdown):
                # Not by Markdown.get_stream, whose task gathers what is gathered here already, and which loses what it
                # was given just before it is stopped.
                await body.append(shown("".join(new)))
            elif isinstance(body, Static):
                body.update(Content(shown(turn.text)))

    def _body(self) -> Widget:
        self._painted = len(self.turn.pieces)
        text = shown("".join(self.turn.pieces[: self._painted]))
        if self._by is not None and self.turn.tokens:
            body: Widget = TokenText([self.turn], self._by)
        elif self._is_markdown:
            body = Markdown(text, open_links=False)
        else:
            body = Static(Content(text), markup=False)
        self.set_class(isinstance(body, Markdown), "-laid-out")
        body.add_class("turn-text")
        return body

    def _paint_edges(self) -> None:
        self.query_one(TurnHead).paint()
        failure = self.query_one(".turn-failure", Static)
        failure.set_class(bool(self.turn.failure), "-said")
        if self.turn.failure:
            failure.update(Content(f"✗ {printable(self.turn.failure)}; r asks again"))


def about_answer(turn: Turn) -> str:
    """How an answer came, in a few words."""
    said = [str(turn.speed)] if turn.speed is not None and turn.pieces else []
    if turn.ended is None:
        return f"{said[0] if said else 'waiting'} …"
    if turn.ended == "cut":
        said.append("stopped")
    if "seed" in turn.asked:
        said.append(f"seed {turn.asked['seed']}")
    return " · ".join(said)
