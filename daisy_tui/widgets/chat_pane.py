"""One side of the chat: a server, the conversation with it, and the turns on the screen, no more of them than are read.

The pane paints; what is asked and when is the screen's. While an answer comes it is painted a few times a second,
whatever the rate of its tokens; turns far above are taken off the screen and come back when somebody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from core.text import plural, printable
from daisy_tui.chatting.answering import Answering
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.lens import By
from daisy_tui.chatting.serving import Server
from daisy_tui.chatting.token_lines import shown
from daisy_tui.chatting.transcripts import Transcript
from daisy_tui.chatting.turns import Turn
from daisy_tui.widgets.chat_alike import ChatLog
from daisy_tui.widgets.chat_prompt import ChatEditor
from daisy_tui.widgets.chat_tokens import TokenText
from daisy_tui.widgets.chat_turn import TurnView, about_answer

# Turns that are on the screen at most, and about how many of their characters: every paragraph is a widget, and all of
# them are laid out anew whenever one grows.
_SHOWN, _SHOWN_CHARACTERS, _SHOWN_ALWAYS = 30, 12_000, 2
_HEAVY = 80  # widgets in the log from which on it is painted half as often
_TYPED_AT_ONCE = 4_000  # characters that a text gains in one go
_ROOM = {
    False: "ctrl+n begins a new chat, ctrl+t asks a question otherwise",
    True: "a shorter text leaves more, ctrl+n begins a new one",
}
_SIGNS = {"starting": "◐", "loading": "◐", "ready": "●", "failed": "✗", "ended": "■"}
_COLOURS = {"ready": "$text-success", "failed": "$text-error"}


class Earlier(Static, can_focus=True):
    """The turns above that are not on the screen: Enter or a click brings some back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "bring", "Earlier turns", show=False)]

    class Wanted(Message):
        """Somebody wants them."""

    def action_bring(self) -> None:
        self.post_message(self.Wanted())

    def on_click(self, _event: events.Click) -> None:
        self.action_bring()


class ChatPane(Vertical):
    """One side. `conversation` is None until there is somebody to talk to."""

    DEFAULT_CSS = """
    ChatPane {
        width: 1fr;
        height: 1fr;
        .pane-head { height: 1; background: $panel; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        .pane-hint { height: 1fr; padding: 1 2; color: $text-muted; }
        .pane-log, .pane-tokens, ChatEditor { height: 1fr; padding: 0 1; display: none; }
        .pane-note { height: auto; max-height: 3; padding: 0 1; display: none; color: $text-error; }
        .pane-note.-said { display: block; }
        Earlier { height: 1; color: $text-muted; &:focus { background: $block-cursor-background; } }
        &.-talking .pane-hint { display: none; }
        &.-talking .pane-log { display: block; }
        &.-talking.-text .pane-log { display: none; }
        &.-talking.-text ChatEditor { display: block; }
        &.-talking.-text.-lens ChatEditor { display: none; }
        &.-talking.-text.-lens .pane-tokens { display: block; }
    }
    """

    def __init__(self, side: str, hint: str) -> None:
        super().__init__(id=f"pane-{side}")
        self.side = side
        self.server: Server | None = None
        self.talks_to: Server | None = None  # whose client the conversation has
        self.conversation: Conversation | None = None
        self.transcript: Transcript | None = None
        self.answering: Answering | None = None
        self.is_text = False
        self.lens: By | None = None
        self._hint = hint
        self._head = ""  # what stands above, so that what stays the same is not painted again
        self._noted = ""  # what stands below
        self._note_holds: Callable[[], bool] = lambda: True
        self._shares = 1  # how often more of the earlier turns were wanted
        self._written = 0  # pieces of the answer under way that are in the editor
        self._given = ""  # the conversation's text as the editor was last given it: what is more there was typed
        self.log_view, self.editor = ChatLog(classes="pane-log", can_focus=False), ChatEditor()
        self._head_line = Static(markup=False, classes="pane-head")
        self._note_line = Static(markup=False, classes="pane-note")
        self._tokens = TokenText()

    def compose(self) -> ComposeResult:
        yield self._head_line
        yield Static(self._hint, markup=False, classes="pane-hint")
        yield self.log_view
        yield self.editor
        with VerticalScroll(classes="pane-tokens", can_focus=False):
            yield self._tokens
        yield self._note_line

    def on_mount(self) -> None:
        self.log_view.anchor()
        self.paint_head()

    @property
    def views(self) -> list[TurnView]:
        """The turns on the screen, the first one first."""
        return [view for view in self.log_view.children if isinstance(view, TurnView)]

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked something now."""
        ready = self.conversation is not None and self.server is not None and self.server.state == "ready"
        return ready and self.answering is None

    @property
    def turn(self) -> Turn | None:
        """The turn that is meant: the one with the focus, or else the last."""
        if self.conversation is None:
            return None
        focused = self.screen.focused
        here = next((view for view in self.views if focused is not None and view in focused.ancestors_with_self), None)
        path = self.conversation.tree.path
        return here.turn if here is not None else (path[-1] if path else None)

    @property
    def tip(self) -> Turn | None:
        """The last turn; None where nothing was said."""
        return self.conversation.tree.tip if self.conversation is not None and self.conversation.tree.path else None

    @property
    def scrolled(self) -> Widget:
        """What is seen of the conversation, to be scrolled: its turns, its text, or the tokens of its text."""
        if not self.is_text:
            return self.log_view
        return self.editor if self.lens is None else self.query_one(".pane-tokens")

    # What stands above and below

    def paint_head(self) -> None:
        """Say what is served, how far it is, and of a text how the last of it came; a note below may be over, too."""
        if self._noted and not self._note_holds():
            self.note("")
        head, server = self._head_line, self.server
        if server is None:
            head.update(Content("no model yet"))
            self._head = ""
            return
        sign, colour = _SIGNS.get(server.state, "·"), _COLOURS.get(server.state, "$text-warning")
        about = "  " + " · ".join(filter(None, self._about(server)))
        if self._head == (now := sign + server.what + about):
            return
        self._head = now
        words = Content.assemble((f"{sign} ", colour), (server.what, "bold"), (printable(about), "dim"))
        head.update(words, layout=False)
        head.tooltip = Content("\n".join(list(server.lines)[-12:])) if server.lines else None

    def _about(self, server: Server) -> list[str]:
        if server.state != "ready":
            return [server.state, server.status.says if server.state != "failed" else ""]
        last = self.tip
        if self.is_text and last is not None and last.role == "assistant":
            place = f"‹ {last.place}/{len(last.siblings)} ›" if len(last.siblings) > 1 else ""
            # Figures are those of the model that is named: it need not have said the last of it.
            return [
                place,
                about_answer(last) if last.model == server.what else f"the end is by {last.model or 'another'}",
            ]
        follows = "follows the run" if server.options.follow and server.is_own else ""
        template = f"template {server.template}" if server.template else "no chat template"
        room = self.conversation.room() if self.conversation is not None else None
        is_half = room is not None and 2 * room.held >= room.size
        held = f"context {100 * room.held // room.size}% full" if room is not None and is_half else ""
        return [template, held, follows, "" if server.is_own else str(server.url)]

    def note(self, words: str, holds: Callable[[], bool] | None = None) -> None:
        """Say one line below, until another one, or as long as it `holds`: by itself, as long as the conversation."""
        conversation = self.conversation
        self._note_holds = holds or (lambda: self.conversation is conversation)
        if words != self._noted:
            self._noted = words
            self._note_line.set_class(bool(words), "-said")
            self._note_line.update(Content(printable(words)))

    def has_room(self, behind: Turn | None = None) -> bool:
        """Whether there is room for another answer; says what helps where there is little."""
        room = self.conversation.room(behind) if self.conversation is not None else None
        if room is not None and room.is_nearly_full:
            self.note(f"{room}; {_ROOM[self.is_text]}")
        elif self._noted.endswith(tuple(_ROOM.values())):
            self.note("")
        return room is None or not room.is_full

    # Turns

    async def show(self) -> None:
        """Show the path that is chosen, leaving alone what is on the screen already."""
        conversation = self.conversation
        self.set_class(conversation is not None, "-talking")
        self.set_class(self.is_text, "-text")
        self.set_class(self.lens is not None, "-lens")
        if conversation is None:
            return
        if self.is_text:
            self._show_text(conversation.tree.path)
            return
        path = conversation.tree.path
        wanted = path[-self._most_turns(path) :]
        is_markdown = conversation.form == "chat"
        views = self.views
        kept = {view.turn: view for view in views if view.turn in wanted}
        await self.log_view.remove_children([view for view in views if view.turn not in wanted])
        for at, turn in enumerate(wanted):
            if turn not in kept:
                before = next((kept[later] for later in wanted[at:] if later in kept), None)
                kept[turn] = TurnView(turn, is_markdown=is_markdown, by=self.lens)
                await self.log_view.mount(kept[turn], before=before)
        await self._show_earlier(len(path) - len(wanted))
        for view in self.views:
            await view.look(self.lens)
            await view.paint()

    def _most_turns(self, path: Sequence[Turn]) -> int:
        """How many turns are shown: the last ones, as many as there is room for."""
        left = self._shares * _SHOWN_CHARACTERS
        for number, turn in enumerate(reversed(path[-self._shares * _SHOWN :])):
            left -= len(turn.text)
            if left < 0 and number >= _SHOWN_ALWAYS:
                return number
        return self._shares * _SHOWN

    @property
    def is_heavy(self) -> bool:
        """Whether there is so much on the screen that painting takes its time."""
        return sum(view.weight for view in self.views) > _HEAVY

    async def forget(self) -> None:
        """Take all turns off the screen, which are to be laid out anew."""
        self._shares = 1
        await self.log_view.remove_children()
        with self.editor.prevent(ChatEditor.Changed):
            self.editor.load_text("")
        self._given = ""

    async def _show_earlier(self, number: int) -> None:
        earlier = list(self.log_view.query(Earlier))
        if number and not earlier:
            earlier = [Earlier(markup=False)]
            await self.log_view.mount(earlier[0], before=0)
        elif not number and earlier:
            await earlier.pop().remove()
        for line in earlier:
            line.update(Content(f"⋯ {plural(number, 'earlier turn')}: ⏎ shows more of them"))

    async def on_earlier_wanted(self) -> None:
        self._shares += 1
        first = self.views[0] if self.views else None
        self.log_view.release_anchor()
        await self.show()
        if first is not None:
            first.focus()

    # Text that is gone on with

    def written(self) -> str:
        """The text as the conversation has it, as far as the editor shows it."""
        assert self.conversation is not None
        return shown("".join(turn.text for turn in self.conversation.tree.path))

    def keep_typed(self) -> Turn | None:
        """Have what was typed into the text in its tree, before the path leads elsewhere; returns its last turn."""
        conversation = self.conversation
        if not self.is_text or conversation is None or self.answering is not None or self.editor.text == self._given:
            return None
        turn = conversation.write(self.editor.text, shown)
        self._given = self.written()
        return turn

    def _show_text(self, path: Sequence[Turn]) -> None:
        # What is typed is in no tree yet: another model, or the next checkpoint, is no reason to take it away.
        if self.answering is None and (written := self.written()) != self._given:
            self._given = written
            if self.editor.text != written:
                self.editor.load_text(written)
                self.editor.move_cursor(self.editor.document.end)
                self.editor.scroll_end(animate=False)
        if self.lens is not None:
            self._tokens.by = self.lens
            self._tokens.show(path)

    # While an answer comes

    async def begin(self, answering: Answering) -> None:
        """An answer is under way."""
        self.answering = answering
        self._written = len(answering.turn.pieces)
        self.note("")
        if self.is_text:
            self._given = self.written()
            if self.editor.text != self._given:
                self.editor.load_text(self._given)
            self.editor.set_coming(True)
        else:
            self.log_view.anchor()
        await self.show()
        self.paint_head()

    async def paint(self) -> None:
        """Show what has come since."""
        if self.answering is None or self.conversation is None:
            return
        turn = self.answering.turn
        if self.is_text:
            if new := "".join(self._news(turn)):
                self.editor.append(new)
                if self.lens is not None:
                    self._tokens.show(self.conversation.tree.path)
            self.paint_head()
        else:
            for view in self.views:
                if view.turn is turn:
                    await view.paint(is_coming=True)

    def _news(self, turn: Turn) -> Iterator[str]:
        """The next pieces that are not in the editor yet, as many as go quickly."""
        size = 0
        while self._written < len(turn.pieces) and size < _TYPED_AT_ONCE:
            size += len(turn.pieces[self._written])
            yield turn.pieces[self._written]
            self._written += 1

    async def end(self) -> None:
        """The answer is complete, or will never be."""
        await self.paint()
        answering, self.answering = self.answering, None
        self.editor.set_coming(False)
        if answering is not None and self.is_text and answering.turn.failure:
            helps = f"; {_ROOM[True]}" if answering.turn.ended == "full" else ""
            self.note(answering.turn.failure + helps, lambda: self.tip is answering.turn)
        else:
            self.has_room()
        await self.show()
        self.paint_head()
