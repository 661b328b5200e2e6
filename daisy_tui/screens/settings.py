"""The settings: how everything looks, which is seen at once and taken back by Escape, and how new charts begin."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, Select, Static

from daisy_tui.settings import X_KINDS, Settings
from daisy_tui.widgets.dialogue import Dialogue
from daisy_tui.widgets.tick import Tick

_MOST = 0.99


class SettingsScreen(Dialogue[Settings]):
    """A form over Settings; returns what was chosen, or what was before."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back")]

    def __init__(self, settings: Settings, themes: list[str]) -> None:
        super().__init__()
        self._settings, self._themes = settings, themes

    def compose(self) -> ComposeResult:
        now = self._settings
        theme = now.theme if now.theme in self._themes else self.app.theme  # a file may name one of another Textual's
        with Vertical(classes="dialogue settings"):
            yield Static(Content("Settings"), classes="dialogue-title")
            with Horizontal(classes="setting"):
                yield Label("theme")
                yield Select([(name, name) for name in self._themes], value=theme, allow_blank=False, id="theme")
            with Horizontal(classes="setting"):
                yield Label("charts over")
                yield Select([(kind, kind) for kind in X_KINDS], value=now.x, allow_blank=False, id="x")
            with Horizontal(classes="setting"):
                yield Label("smoothing")
                yield Input(f"{now.smoothing:g}", id="smoothing", compact=True)
            yield Tick("charts begin with a logarithmic y", now.log_y, id="log_y", compact=True)
            yield Static("", classes="dialogue-error", id="problem")
            with Horizontal(classes="dialogue-buttons"):
                yield Button("Keep", variant="primary", id="keep")
                yield Button("Back (esc)", id="back")

    def on_select_changed(self, event: Select.Changed) -> None:
        if event.select.id == "theme":
            self.app.theme = str(event.value)

    def on_input_submitted(self) -> None:
        self._keep()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "keep":
            self._keep()
        else:
            self.action_back()

    def action_back(self) -> None:
        self.dismiss(self._settings)

    def _keep(self) -> None:
        typed = self.query_one("#smoothing", Input).value.strip()
        try:
            smoothing = float(typed)
        except ValueError:
            smoothing = -1.0
        if not 0 <= smoothing <= _MOST:
            problem = f"smoothing '{typed}': a number from 0 (none) to {_MOST}"
            self.query_one("#problem", Static).update(Content(problem))
            return
        self.dismiss(
            replace(
                self._settings,
                theme=str(self.query_one("#theme", Select).value),
                x=str(self.query_one("#x", Select).value),
                smoothing=smoothing,
                log_y=self.query_one("#log_y", Checkbox).value,
            )
        )
