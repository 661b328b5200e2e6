"""One turn of a conversation on the screen: who said it and how fast, and what was said, growing while it comes."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Markdown, Static

from core.text import printable
from daisy_tui.chatting.lens import By
from daisy_tui.chatting.token_lines import shown
from daisy_tui.chatting.turns import Turn
from daisy_tui.widgets.chat_alike import Column, Document
from daisy_tui.widgets.chat_text import LongText
from daisy_tui.widgets.chat_tokens import TokenText

_BEFORE, _AFTER = "‹", "›"
# Characters of an answer that is laid out, every paragraph being a widget, and of what is added to it in one go.
_LAID_OUT, _AT_ONCE = 12_000, 1_500
_LEFT = {"length": ": ctrl+g goes on", "full": ": ctrl+n begins a new chat"}


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
        about += " · too long to be laid out" if self._view.is_long else ""
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


class TurnView(Column, can_focus=True):
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
        Binding("pageup", "screen.scroll('page_up')", "Scroll up", show=False),
        Binding("pagedown", "screen.scroll('page_down')", "Scroll down", show=False),
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
        self._painted = self._characters = 0  # pieces and characters that are on the screen
        self._painting = asyncio.Lock()
        self._head, self._failure = TurnHead(self), Static(markup=False, classes="turn-failure")
        self._text = self._body()

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._text
        yield self._failure

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
        return self._text if isinstance(self._text, TokenText) else None

    @property
    def is_long(self) -> bool:
        """Whether the text is too long for a widget a paragraph."""
        return isinstance(self._text, LongText)

    @property
    def weight(self) -> int:
        """The widgets that the text consists of."""
        return len(self._text.children) + 1

    async def look(self, by: By | None) -> None:
        """Show the turn by its tokens, or as text."""
        async with self._painting:
            await self._look(by)

    async def paint(self, *, is_coming: bool = False) -> None:
        """Show what the turn has gained since it was last painted; of one that is coming no more than goes quickly."""
        async with self._painting:
            if self._by is not None and self.tokens is None and self.turn.tokens:
                by, self._by = self._by, None
                await self._look(by)
            await self._paint_text()
            while not is_coming and self.tokens is None and self._painted < len(self.turn.pieces):
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
            await self._show_anew()
            if had_focus:
                (self.tokens or self).focus()

    async def _show_anew(self) -> None:
        """Put another body in the place of the one there is."""
        await self._text.remove()
        self._text = self._body()
        await self.mount(self._text, after=0)

    async def _paint_text(self) -> None:
        turn, tokens, body = self.turn, self.tokens, self._text
        if tokens is not None:
            if len(tokens.said) != len(turn.tokens) or turn.ended is not None:
                tokens.show([turn])
        elif new := self._news():
            if self._characters > _LAID_OUT and not self.is_long:
                await self._show_anew()
            elif isinstance(body, Markdown):
                # Not by Markdown.get_stream, whose task gathers what is gathered here already, and which loses what it
                # was given just before it is stopped.
                await body.append(new)
            elif isinstance(body, LongText):
                body.append(new)
            elif isinstance(body, Static):
                body.update(Content(shown("".join(turn.pieces[: self._painted]))))

    def _news(self) -> str:
        """The next pieces that are not on the screen yet, as many as go quickly; or all of them."""
        pieces, size = self.turn.pieces, 0
        begin = self._painted
        while self._painted < len(pieces) and (size < _AT_ONCE or self.is_long):
            size += len(pieces[self._painted])
            self._painted += 1
        self._characters += size
        return shown("".join(pieces[begin : self._painted]))

    def _body(self) -> Widget:
        self._painted = len(self.turn.pieces)
        text = shown("".join(self.turn.pieces[: self._painted]))
        self._characters = len(text)
        if self._by is not None and self.turn.tokens:
            body: Widget = TokenText([self.turn], self._by)
        elif self._characters > _LAID_OUT:
            body = LongText(text)
        elif self._is_markdown:
            body = Document(text, open_links=False)
        else:
            body = Static(Content(text), markup=False)
        self.set_class(isinstance(body, Markdown), "-laid-out")
        body.add_class("turn-text")
        return body

    def _paint_edges(self) -> None:
        turn = self.turn
        self._head.paint()
        if self._failure.has_class("-said") or turn.failure:
            self._failure.set_class(bool(turn.failure), "-said")
            helps = {"failed": "; ctrl+r asks again", "full": "; ctrl+t asks otherwise, ctrl+n begins a new chat"}
            self._failure.update(Content(f"✗ {printable(turn.failure)}{helps.get(turn.ended or '', '')}"))


def about_answer(turn: Turn) -> str:
    """How an answer came, in a few words; why it ended early stands first, for there may be no room for the rest."""
    speed = turn.speed if turn.pieces else None
    how = [str(speed._replace(cut=""))] if speed is not None else []
    if turn.ended is None:
        return f"{how[0] if how else 'waiting'} …"
    why = speed.cut if speed is not None else ""
    if why and not turn.children:
        why += _LEFT.get(turn.ended, "") if turn.tokens or turn.ended == "full" else ""
    if turn.ended == "cut":
        why = "cut" if turn.failure else "stopped"
    seed = f"seed {turn.asked['seed']}" if "seed" in turn.asked else ""
    return " · ".join(filter(None, (why, *how, seed)))
