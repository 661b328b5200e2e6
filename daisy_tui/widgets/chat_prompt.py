"""Where a question is typed, and where a text is written that a model goes on with."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from daisy_tui.chatting.token_lines import shown

ASKS = "Ask something: ⏎ sends, ctrl+j is a new line"


class ChatField(TextArea):
    """A field in which the screen's keys are the screen's; Textual would select text by two of them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f6", "screen.transcripts", "Transcripts", show=False),
        Binding("f7", "screen.attach", "Attach", show=False),
    ]


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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", show=False),
        Binding("pageup", "page(-1)", "What was said before", show=False),
        Binding("pagedown", "page(1)", "What was said after", show=False),
    ]

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

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_page(self, by: int) -> None:
        self.post_message(self.Paged(by))

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default()  # no new line of TextArea's; it is bound


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
