"""Picking a run by a few letters of its name, its state or its config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import FuzzySearch
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.glyphs import state_glyph
from daisy_tui.runs.watching import RunRow

_MOST = 100
_MOVES = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}


class PickRunScreen(ModalScreen[Path | None]):
    """The runs, the newest first, narrowed by what is typed; Enter or a click takes one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, rows: Sequence[RunRow], here: Path | None) -> None:
        super().__init__()
        self._runs, self._here = rows, here
        self._fuzzy = FuzzySearch()
        self._found: list[RunRow] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue run-picker"):
            yield Static(Content("Which run?"), classes="dialogue-title")
            yield Input(placeholder="a few letters of its name or state", compact=True)
            yield OptionList(markup=False)
            yield Static("", classes="hint")

    def on_mount(self) -> None:
        self._narrow("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._narrow(event.value.strip())

    def on_input_submitted(self) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self.dismiss(self._found[highlighted].path)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index].path)

    async def on_key(self, event: events.Key) -> None:
        """The list is gone through while the field has the focus."""
        action = _MOVES.get(event.key)
        if action is not None and isinstance(self.focused, Input):
            event.stop()
            await self.app.run_action(action, default_namespace=self.query_one(OptionList))

    def _narrow(self, typed: str) -> None:
        scored = [(self._fuzzy.match(typed, _words(row))[0] if typed else 1.0, row) for row in self._runs]
        ranked = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])
        self._found = [row for _, row in ranked[:_MOST]]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_entry(row, is_here=row.path == self._here)) for row in self._found])
        if self._found:
            options.highlighted = 0
        more = f", the first {_MOST} are shown" if len(ranked) > _MOST else ""
        self.query_one(".hint", Static).update(Content(f"{len(ranked)} of {len(self._runs)} runs{more}"))


def _words(row: RunRow) -> str:
    return f"{row.id} {row.state} {Path(row.config or '').stem}"


def _entry(row: RunRow, *, is_here: bool) -> Content:
    glyph = state_glyph(row.state)
    step = f"step {row.step:,}" if row.step is not None else ""
    here = "  (shown)" if is_here else ""
    state = Content.styled(f"{glyph.sign} {row.state:<9} ", glyph.colour)
    return state + Content.assemble(printable(row.id), (f"  {step}{here}", "dim"))
