"""Ask for one line of text, and say while it is typed what would come of it, or why nothing can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import DaisyError
from core.text import printable
from daisy_tui.widgets.dialogue import Dialogue
from daisy_tui.widgets.in_order import OrderedInput

Outlook = Callable[[str], Sequence[str]]  # the lines that a text comes to; raises DaisyError where to nothing


class Prompt(Dialogue[str | None]):
    """One line; None where it was not given. What `outlook` refuses cannot be given."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    Prompt .prompt { width: 100; max-width: 96%; }
    Prompt VerticalScroll { height: auto; max-height: 12; margin-top: 1; }
    Prompt VerticalScroll Static { width: 1fr; color: $text-accent; }
    """

    def __init__(self, title: str, outlook: Outlook, *, value: str = "", placeholder: str = "", hint: str = "") -> None:
        super().__init__()
        self._title, self._outlook = title, outlook
        self._value, self._placeholder, self._hint = value, placeholder, hint

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue prompt"):
            yield Static(Content(self._title), classes="dialogue-title")
            yield OrderedInput(self._value, placeholder=self._placeholder, compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(id="prompt-outlook")
            yield Static(classes="dialogue-error", id="prompt-problem")
            yield Static(Content(f"⏎ {self._hint}, esc goes back"), classes="hint")

    def on_mount(self) -> None:
        self._look(self._value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._look(event.value):
            self.dismiss(event.value.strip())

    def _look(self, text: str) -> bool:
        lines: Sequence[str] = ()
        problem = ""
        try:
            lines = self._outlook(text.strip())
        except DaisyError as error:
            problem = str(error)
        self.query_one("#prompt-outlook", Static).update(Content("\n".join(printable(line) for line in lines)))
        self.query_one("#prompt-problem", Static).update(Content(printable(problem)))
        return not problem
