"""Pick one of many by typing some of its letters, in order and in any place: configs, specs, choices, devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import Matcher
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.composing.picks import Pick


class Picker(ModalScreen[str | None]):
    """Picks narrowed by what is typed; None where nothing was picked.

    With `free`, which says what it would be, what was typed can be picked itself.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "move(-8)", "Page up", show=False),
        Binding("pagedown", "move(8)", "Page down", show=False),
    ]
    DEFAULT_CSS = """
    Picker .picker { width: 90; max-width: 96%; }
    Picker OptionList { height: auto; max-height: 16; border: none; padding: 0; background: $surface; }
    Picker Input { margin-bottom: 1; }
    """

    def __init__(self, title: str, choices: Sequence[Pick], current: str = "", free: str = "") -> None:
        super().__init__()
        self._title, self._choices, self._current, self._free = title, list(choices), current, free
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue picker"):
            yield Static(Content(self._title), classes="dialogue-title")
            yield Input(placeholder=self._free or "type to filter", compact=True)
            yield OptionList(markup=False, compact=True)
            yield Static(Content("⏎ takes it, esc goes back"), classes="hint")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._show("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show(event.value.strip())

    def on_input_submitted(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self.dismiss(self._shown[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if self._shown:
            options.highlighted = max(0, min((options.highlighted or 0) + by, len(self._shown) - 1))

    def _show(self, typed: str) -> None:
        matcher = Matcher(typed)
        named = [(matcher.match(pick.value) if typed else 1.0, pick) for pick in self._choices]
        found = [pick for score, pick in sorted(named, key=lambda one: -one[0]) if score > 0]
        if self._free and typed and typed not in [pick.value for pick in found]:
            found.append(Pick(typed, "as typed"))
        found += [pick for pick in self._choices if pick not in found and matcher.match(pick.note) > 0]
        self._shown = [choice.value for choice in found]
        width = max((len(choice.value) for choice in found), default=0)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_prompt(choice, min(width, 32))) for choice in found])
        if found:
            options.highlighted = self._shown.index(self._current) if not typed and self._current in self._shown else 0


def _prompt(choice: Pick, width: int) -> Content:
    mark = "✗ " if choice.wrong else "  "
    style = "$text-error" if choice.wrong else "dim"
    return Content.assemble(mark, f"{printable(choice.value):<{width}}", (f"  {printable(choice.note)}", style))
