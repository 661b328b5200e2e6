"""The Chat screen: talk to a checkpoint, to a run that trains, or to a server; alone, or two side by side.

The servers are this terminal's children (`serving`), the conversations are kept under `chats/` (`transcripts`), and
what is asked goes through `ChatPanes`. Here is what the keys do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList

from daisy_tui.actions import Action
from daisy_tui.chatting.lens import By
from daisy_tui.chatting.room import answer_limit
from daisy_tui.chatting.turns import Turn
from daisy_tui.screens.chat_actions import ACTIONS, command
from daisy_tui.screens.chat_preview import Preview, PreviewScreen, preview
from daisy_tui.screens.chat_servers import ChatServers
from daisy_tui.widgets.chat_alternatives import ChatAlternatives
from daisy_tui.widgets.chat_pane import ChatPane
from daisy_tui.widgets.chat_panes import ChatPanes
from daisy_tui.widgets.chat_prompt import ASKS, ChatEditor, ChatPrompt
from daisy_tui.widgets.chat_side import ChatSide
from daisy_tui.widgets.chat_tokens import TokenText
from daisy_tui.widgets.chat_turn import TurnView

_LENSES: tuple[By | None, ...] = (None, "probability", "entropy")


class ChatScreen(ChatServers):
    """One or two conversations, the field for questions, and the parameters beside them."""

    NAME, TITLE = "chat", "Chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = ""  # the field has the focus to begin with, and whoever leaves it has left it
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "words", "Type", show=False),
        Binding("up", "scroll('up')", "Line up", show=False),
        Binding("down", "scroll('down')", "Line down", show=False),
        Binding("pageup", "scroll('page_up')", "Page up", show=False),
        Binding("pagedown", "scroll('page_down')", "Page down", show=False),
        Binding("home,g,ctrl+home", "scroll('home')", "Begin", show=False),
        Binding("end,G,ctrl+end", "scroll('end')", "End", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._editing: Turn | None = None

    def body(self) -> ComposeResult:
        services = self.services
        with Horizontal(id="chat-body"):
            with Vertical(id="talk"):
                yield ChatPanes(
                    services.folder,
                    readonly=services.readonly,
                    clock=services.clock,
                    monotonic=services.monotonic,
                )
                yield ChatAlternatives()
                yield ChatPrompt(id="prompt")
            yield ChatSide(id="side")

    def on_mount(self) -> None:
        super().on_mount()
        self._take_values()
        self.show_state()
        self.prompt.focus()

    @property
    def prompt(self) -> ChatPrompt:
        return self.query_one(ChatPrompt)

    @property
    def side(self) -> ChatSide:
        return self.query_one(ChatSide)

    def command_for(self, action: str) -> list[str] | None:
        return command(action, self.pane, self.panes.left.editor.text if self.panes.is_text else None)

    def step_out(self) -> None:
        if self.panes.coming:
            self.panes.stop()
        elif self._editing is not None:
            self._edit(None)
        elif self.focused in (self.prompt, self.panes.left.editor, self.panes.right.editor, None):
            super().step_out()
        else:
            self.focus_words()

    # Asking

    @on(ChatPrompt.Sent)
    @work(group="ask", exit_on_error=False)
    async def _send(self, event: ChatPrompt.Sent) -> None:
        behind = self._editing.parent if self._editing is not None else None
        if await self.panes.ask(event.text, behind):
            self._edit(None)

    @work(group="ask", exit_on_error=False)
    async def action_retry(self) -> None:
        await self.panes.retry()

    @work(group="ask", exit_on_error=False)
    async def action_go_on(self) -> None:
        await self.panes.go_on()

    @work(group="ask", exit_on_error=False)
    async def action_branch(self) -> None:
        pane = self.pane
        turn = pane.turn
        if turn is not None:
            answer = turn if turn.role == "assistant" else turn.parent
            assert answer is not None
            await self.panes.branch(pane, answer)
            self.focus_words()

    def action_edit(self) -> None:
        pane = self.pane
        turn = pane.turn
        question = turn if turn is None or turn.role == "user" else turn.parent
        if self.panes.is_text:
            pane.note("a text is edited where it stands", lambda: self.panes.is_text)
        elif question is None or question.parent is None:
            pane.note("nothing has been asked yet")
        else:
            self._edit(question)
            self.prompt.focus()

    def _edit(self, question: Turn | None) -> None:
        """Have a question in the field, to be asked otherwise; with None the field is for a new one."""
        self._editing = question
        self.prompt.load_text(question.text if question is not None else "")
        self.prompt.move_cursor(self.prompt.document.end)
        self.prompt.border_title = "asked otherwise: ⏎ asks, esc leaves it" if question is not None else None
        self.show_state()

    def action_stop(self) -> None:
        self.panes.stop()

    @work(group="ask", exit_on_error=False)
    async def action_new(self) -> None:
        await self.panes.new()
        self.focus_words()

    @work(group="ask", exit_on_error=False)
    async def action_mode(self) -> None:
        await self.panes.new(is_text=not self.panes.is_text)
        self.show_mode()
        self.focus_words()

    def action_before(self) -> None:
        self._step(self.pane, -1)

    def action_after(self) -> None:
        self._step(self.pane, 1)

    @work(group="ask", exit_on_error=False)
    async def _step(self, pane: ChatPane, by: int) -> None:
        if pane.turn is not None:
            await self.panes.step(pane, pane.turn, by)

    @on(TurnView.Stepped)
    @work(group="ask", exit_on_error=False)
    async def _turn_stepped(self, event: TurnView.Stepped) -> None:
        pane = next(above for above in event.view.ancestors if isinstance(above, ChatPane))
        await self.panes.step(pane, event.view.turn, event.by)

    # The lens

    @work(group="ask", exit_on_error=False)
    async def action_lens(self) -> None:
        by = _LENSES[(_LENSES.index(self.panes.lens) + 1) % len(_LENSES)]
        await self.panes.look(by)
        self.set_class(by is not None, "-lens")
        if by is not None:
            self.query_one(ChatAlternatives).show(None, by)
            self.call_after_refresh(self._focus_tokens)
            if self.pane.tip is not None and not any(text.said for text in self.panes.query(TokenText)):
                words = "nothing is known of these tokens: ctrl+r asks again, with `alternatives` set"
                self.pane.note(words, lambda: self.panes.lens is not None)
        else:
            self.focus_words()

    def on_token_text_picked(self, event: TokenText.Picked) -> None:
        if self.panes.lens is not None:
            alternatives = self.query_one(ChatAlternatives)
            alternatives.show(event.said, self.panes.lens)
            if event.wants:
                alternatives.query_one(OptionList).focus()

    @on(ChatAlternatives.Forked)
    @work(group="ask", exit_on_error=False)
    async def _fork(self, event: ChatAlternatives.Forked) -> None:
        if not self.panes.shows(event.said.turn):
            return  # its conversation has gone
        await self.panes.fork(event.said.turn, event.said.place, event.alternative)
        self.call_after_refresh(self._focus_tokens)

    def on_chat_panes_changed(self) -> None:
        """A token that is not shown any more has no alternatives."""
        alternatives = self.query_one(ChatAlternatives)
        if alternatives.said is not None and not self.panes.shows(alternatives.said.turn):
            if alternatives.has_focus_within:
                self.call_after_refresh(self._focus_tokens)
            alternatives.forget()

    def on_chat_alternatives_left(self) -> None:
        self._focus_tokens()

    def _focus_tokens(self) -> None:
        """Go to the tokens that were looked at last, or else to the last there are."""
        every = [text for text in self.panes.query(TokenText) if text.said and text.is_on_screen]
        looked_at = [text for text in every if text.picked is not None]
        if every:
            (looked_at or every)[-1].focus()
        else:
            self.focus_words()

    # What stands beside

    def action_parameters(self) -> None:
        """Go to the parameters; from there, hide them and go back."""
        is_shown = not self.side.has_focus_within
        self.set_class(is_shown, "-side")
        self.set_class(not is_shown, "-no-side")
        if is_shown:
            self.side.query(Input).first().focus()
        else:
            self.focus_words()

    def on_chat_side_changed(self) -> None:
        self._take_values()

    def _take_values(self) -> None:
        self.panes.values, self.panes.system = self.side.values, self.side.system
        self.panes.take_values()

    def action_preview(self) -> None:
        pane = self.pane
        conversation = pane.conversation
        if not self.panes.can_ask([pane]) or conversation is None:
            return
        typed, tip, client = self.prompt.text, conversation.tree.tip, conversation.client
        work: Callable[[], Preview]
        if conversation.form == "chat":
            asked = conversation.messages(tip)
            asked += [{"role": "user", "content": typed}] if typed.strip() or not asked else []
            work = partial(preview, client, asked, "")
        elif conversation.form == "plain":
            text = conversation.prompt(tip)
            begins = text and typed and not text.endswith("\n")
            work = partial(preview, client, None, text + ("\n" if begins else "") + typed)
        else:
            work = partial(preview, client, None, self.panes.left.editor.text)

        def done(found: Preview) -> None:
            if self.app.screen is self:
                self.app.push_screen(PreviewScreen(found))

        self._attempt("preview", pane, work, done)

    def action_copy(self) -> None:
        turn = self.pane.turn
        if turn is not None:
            text = self.panes.left.editor.text if self.panes.is_text else turn.text
            self.app.copy_to_clipboard(text)
            self.notify("copied", markup=False)

    def action_write(self) -> None:
        pane, folder = self.pane, self.services.folder
        if pane.conversation is None or not pane.conversation.tree:
            pane.note("nothing has been said yet")
            return

        def done(path: Path) -> None:
            self.notify(f"written: {path.relative_to(folder)}", markup=False)

        self._attempt("write", pane, partial(self.panes.write, pane), done)

    def on_chat_prompt_paged(self, event: ChatPrompt.Paged) -> None:
        self.action_scroll("page_up" if event.by < 0 else "page_down")

    def action_scroll(self, how: Literal["up", "down", "page_up", "page_down", "home", "end"]) -> None:
        """Scroll what was said."""
        for pane in self.panes.panes:
            getattr(pane.scrolled, f"scroll_{how}")(animate=False)

    def action_words(self) -> None:
        self.focus_words()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "source":
            return True  # a terminal that may not says so
        if action == "words" and isinstance(self.focused, ChatPrompt | ChatEditor):
            return False  # also while an answer comes into the text
        if self.is_mounted and action in ("edit", "branch", "go_on"):
            tip = self.panes.left.tip
            is_cut = tip is not None and tip.ended in ("cut", "length") and bool(tip.tokens)
            if not (self.panes.is_text or is_cut if action == "go_on" else not self.panes.is_text):
                return False
        return super().check_action(action, parameters)

    def on_chat_panes_began(self) -> None:
        self.show_state()

    def on_chat_panes_ended(self) -> None:
        self.refresh_bindings()
        self.show_state()

    def on_descendant_focus(self) -> None:
        self.show_state()

    def on_descendant_blur(self) -> None:
        self.show_state()

    # How it is laid out

    def show_mode(self, *, begins: bool = False) -> None:
        is_left = begins and self.focused is None and not self.daisy.key_order.are_held
        goes = is_left or self.focused is self.prompt
        self.refresh_bindings()
        self.set_class(self.panes.is_text, "-text")
        if (server := self.panes.left.server) is not None:
            self.side.set_limit(answer_limit(server.size))
        if self.panes.is_text:
            self.call_after_refresh(self._show_text, goes)
        elif goes:
            self.focus_words()

    def _show_text(self, goes: bool) -> None:
        """Have what was typed before there was a model in the text: the field is not seen any more."""
        editor = self.panes.left.editor
        if self.prompt.text and not editor.text:
            editor.load_text(self.prompt.text)
            editor.move_cursor(editor.document.end)
            self.prompt.load_text("")
        if goes:
            self.focus_words()

    def show_state(self) -> None:
        server, prompt = self.panes.left.server, self.prompt
        if server is None:
            key = "f7 attaches to a server" if self.services.readonly else "f2 chooses a model"
            prompt.placeholder = f"{key}; what is typed here is kept"
        elif server.state in ("starting", "loading"):
            prompt.placeholder = "the model is loading; what is typed here is kept"
        else:
            prompt.placeholder = ASKS if prompt.has_focus else "Ask something"
        prompt.border_subtitle = self._keys_of_prompt()

    def _keys_of_prompt(self) -> str | None:
        """How the field is left, or how one comes back into it."""
        if self.prompt.has_focus:
            escape = "esc stops the answer" if self.panes.coming else "esc leaves"
            return escape if self.prompt.border_title is None else None
        if self.is_typing:
            return None
        return "⏎ or i goes back in" if isinstance(self.focused, TurnView | None) else "i goes back in"

    def focus_words(self) -> None:
        editor = self.panes.left.editor
        (editor if self.panes.is_text and self.panes.left.conversation is not None else self.prompt).focus()

    def take_system(self, text: str) -> None:
        self.side.set_system(text)
        self._take_values()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        super().on_screen_resume(event)
        self.run_worker(self.panes.show(), group="show", exit_on_error=False)
