"""A question before something is done: what will happen, and the command that does it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

from daisy_tui.widgets.dialogue import Dialogue


class ConfirmScreen(Dialogue[bool]):
    """Yes or no. What is dangerous begins on No, everything else on Yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", "Other", show=False),
    ]

    def __init__(
        self, title: str, lines: list[str], command: str | None, confirm: str = "Yes", *, danger: bool = False
    ) -> None:
        super().__init__()
        self._title, self._lines, self._command, self._confirm, self._danger = title, lines, command, confirm, danger

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue" + (" -danger" if self._danger else "")):
            yield Static(Content(self._title), classes="dialogue-title")
            for line in self._lines:
                yield Static(Content(line))
            if self._command is not None:
                yield Static(Content(f"$ {self._command}"), classes="dialogue-command")
            with Horizontal(classes="dialogue-buttons"):
                yield Button(f"{self._confirm} (y)", variant="error" if self._danger else "primary", id="yes")
                yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        self.query_one("#no" if self._danger else "#yes", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
