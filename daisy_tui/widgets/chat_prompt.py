"""Where a question is typed, and where a text is written that a model goes on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from daisy_tui.chatting.token_lines import shown
from daisy_tui.widgets.in_order import InOrder

_NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter")
ASKS = "Ask something: ⏎ sends, ctrl+j is a new line"


class ChatField(InOrder, TextArea):
    """A field in which the keys of dialogues act at once, so that letters which come in the same moment are theirs.

    Textual would select text by two of them.
    """

    DIALOGUES: ClassVar = {"f2": "source", "f6": "transcripts", "f7": "attach", "f9": "beside"}

    async def _on_key(self, event: events.Key) -> None:
        if self.screen.focused is not self:
            event.prevent_default()  # it came while a dialogue was asked for: the screen gets it
        elif event.key in self.DIALOGUES:
            event.stop()
            event.prevent_default()
            await self.run_action(f"screen.{self.DIALOGUES[event.key]}")
        else:
            await super()._on_key(event)


class ChatPrompt(ChatField):
    """A question: Enter sends it, Ctrl-J is a new line. What is sent is taken away by who takes it."""

    DEFAULT_CSS = """
    ChatPrompt {
        height: auto;
        min-height: 3;
        max-height: 8;
        border: round $panel-lighten-2;
        border-subtitle-color: $text-muted;
        padding: 0 1;
        &:focus { border: round $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "send", "Send")]

    class Sent(Message):
        """The person wants this asked."""

        def __init__(self, prompt: ChatPrompt, text: str) -> None:
            super().__init__()
            self.prompt, self.text = prompt, text

        @property
        def control(self) -> ChatPrompt:
            return self.prompt

    class Paged(Message):
        """The person wants to see what was said before, or after."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, show_line_numbers=False, placeholder=ASKS)

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self, self.text))

    async def _on_key(self, event: events.Key) -> None:
        # Here, in the order in which they were typed: a priority binding would send before the last letters are there.
        acts: dict[str, Callable[[], object]] = {
            "enter": self.action_send,
            **dict.fromkeys(_NEW_LINE, lambda: self.insert("\n")),
            "pageup": lambda: self.post_message(self.Paged(-1)),
            "pagedown": lambda: self.post_message(self.Paged(1)),
        }
        if event.key in acts and self.screen.focused is self:
            event.stop()
            event.prevent_default()
            acts[event.key]()
        else:
            await super()._on_key(event)


class ChatEditor(ChatField):
    """A text that a model goes on with, in place. What the model says is shown at its end while it comes."""

    DEFAULT_CSS = """
    ChatEditor {
        height: 1fr;
        border: none;
        padding: 0 1;
        &:focus { border: none; }
        &.-coming { background-tint: $accent 4%; }
    }
    """

    def __init__(self) -> None:
        words = "Write something: ctrl+g has the model go on with it, esc leaves"
        super().__init__(show_line_numbers=False, placeholder=words)

    def append(self, text: str) -> None:
        """Add what a model said. The view stays at the end if it was there."""
        is_at_end = self.scroll_y >= self.max_scroll_y - 1
        self.insert(shown(text), self.document.end)
        if is_at_end:
            self.scroll_end(animate=False, force=True)

    def set_coming(self, is_coming: bool) -> None:
        """While an answer comes nothing else is typed."""
        self.read_only = is_coming
        self.set_class(is_coming, "-coming")
        if not is_coming and self.has_focus:
            self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if self.read_only and event.is_printable:
            event.stop()  # it would be a letter of the screen's, which nobody meant
            event.prevent_default()
            return
        await super()._on_key(event)
