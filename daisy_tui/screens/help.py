"""What can be done: the help, made from the actions, and the `daisy` commands behind them, to be copied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from daisy_tui.actions import Action
from daisy_tui.commands import command_line
from daisy_tui.screens.base import DaisyScreen

_SIGNS = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "comma": ",",
    "full_stop": ".",
    "slash": "/",
    "space": "space",
    "plus": "+",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "colon": ":",
    "enter": "⏎",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
}
_WIDE = 100


def key_sign(key: str) -> str:
    """A key as people write it."""
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, _SIGNS.get(last, last)])


class HelpScreen(ModalScreen[None]):
    """Every action of a screen, of what has the focus there, and of all screens: key, name, what it does, command."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, place: DaisyScreen | None, everywhere: Iterable[Action], focused: Widget | None) -> None:
        super().__init__()
        self._place, self._everywhere, self._focused_there = place, tuple(everywhere), focused

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialogue help"):
            if self._place is not None:
                yield Static(Content(self._place.TITLE), classes="dialogue-title")
                yield Static(self._table(self._place.ACTIONS))
            if self._focused_there is not None and (own := _own_actions(self._focused_there)):
                yield Static(Content("\nWhere the focus is"), classes="dialogue-title")
                yield Static(self._table(own))
            yield Static(Content("\nEverywhere"), classes="dialogue-title")
            yield Static(self._table(self._everywhere))
            more = "ctrl+p or : the palette, in which everything can be found   esc one layer out   tab the next part"
            yield Static(Content(f"\n{more}"), classes="hint")

    def _table(self, actions: Iterable[Action]) -> Content:
        between = "   " if self.app.size.width >= _WIDE else f"\n{'':<11}"
        lines = []
        for action in actions:
            keys = " ".join(key_sign(key) for key in action.keys[:2]) or "-"
            parts = [(action.help, "dim"), (action.command, "$text-accent")]
            line = Content.assemble((f"{keys:<10} ", "bold"), f"{action.title:<24}")
            lines.append(
                line + Content.assemble(*(part for text, style in parts if text for part in (between, (text, style))))
            )
        return Content("\n").join(lines)


def _own_actions(widget: Widget) -> list[Action]:
    """What the keys of a widget do, as it describes them."""
    found: dict[str, Action] = {}
    for binding in widget.__class__.BINDINGS:
        if isinstance(binding, Binding) and binding.description:
            keys = f"{found[binding.action].key},{binding.key}" if binding.action in found else binding.key
            found[binding.action] = Action(binding.action, keys, binding.description, binding.tooltip)
    return list(found.values())


class CommandsScreen(ModalScreen[None]):
    """The commands behind the actions of a screen as things stand; Enter or a click copies one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,exclamation_mark,q", "dismiss", "Close")]

    def __init__(self, place: DaisyScreen) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._entries: list[Content] = []
        for action in place.ACTIONS:
            arguments = place.command_for(action.id)
            line = command_line(arguments) if arguments is not None else action.command
            if line and line not in self._lines:
                self._lines.append(line)
                self._entries.append(Content.assemble((f"{action.title:<24} ", "dim"), line))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue help"):
            yield Static(Content("The commands behind this screen"), classes="dialogue-title")
            yield OptionList(*(Option(entry) for entry in self._entries), markup=False)
            yield Static(Content("⏎ copies a command; esc closes"), classes="hint")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        line = self._lines[event.option_index]
        self.app.copy_to_clipboard(line)
        self.notify(f"copied: {line}", markup=False)
        self.dismiss()
