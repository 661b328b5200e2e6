"""What can be done: the help, made from the actions, and the `daisy` commands behind them, to be copied."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.text import printable
from daisy_tui.actions import Action
from daisy_tui.commands import command_line
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.widgets.dialogue import Dialogue

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
_DIALOGUE, _FRAME = 0.96, 8  # of the terminal's width, as the style sheet has it, and what frame and scrollbar take
_KEYS, _TITLE = 11, 24
_NARROWEST = 24  # columns that a command has at least
_WIDEST_TITLE = 16


def key_sign(key: str) -> str:
    """A key as people write it."""
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, _SIGNS.get(last, last)])


class HelpScreen(Dialogue[None]):
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
            if signs := _signs(self._place):
                yield Static(Content("\nSigns and words"), classes="dialogue-title")
                yield Static(Content("\n").join(signs))
            yield Static(Content("\nEverywhere"), classes="dialogue-title")
            yield Static(self._table(self._everywhere))
            more = "ctrl+p or : the palette, in which everything can be found   esc one layer out   tab the next part"
            yield Static(Content(f"\n{more}"), classes="hint")

    def _table(self, actions: Iterable[Action]) -> Content:
        """What is longer than its row goes on in rows of its own, below its title or, in a wide terminal, beside it."""
        width = self.app.size.width
        room = int(width * _DIALOGUE) - _FRAME
        below = f"\n{'':<{_KEYS + _TITLE + 3 if width >= _WIDE else _KEYS}}"
        lines = []
        for action in actions:
            keys = " ".join(key_sign(key) for key in action.keys[:2]) or "-"
            line = Content.assemble((f"{keys:<{_KEYS - 1}} ", "bold"), f"{action.title:<{_TITLE}}")
            used = line.cell_length
            for text, style in ((action.help, "dim"), (action.command, "$text-accent")):
                if text:
                    used += 3 + cell_len(text)
                    is_beside = width >= _WIDE and used <= room
                    line += Content.assemble("   " if is_beside else below, (text, style))
            lines.append(line)
        return Content("\n").join(lines)


def _signs(place: DaisyScreen | None) -> list[Content]:
    """What the signs on a screen mean."""
    signs = place.SIGNS if place is not None else ()
    width = max([_KEYS, *(len(sign) + 2 for sign, _ in signs)])
    return [Content.assemble((f"{sign:<{width}}", "bold"), meaning) for sign, meaning in signs]


def _own_actions(widget: Widget) -> list[Action]:
    """What the keys of a widget do, as its class describes them, and those of Daisy's classes that it is made of."""
    of_key: dict[str, Binding] = {}
    for cls in reversed(type(widget).__mro__):
        if cls is type(widget) or cls.__module__.startswith("daisy_tui."):
            for binding in cls.__dict__.get("BINDINGS", ()):
                if isinstance(binding, Binding) and binding.description:
                    of_key |= dict.fromkeys(binding.key.split(","), binding)
    found: dict[str, Action] = {}
    for key, binding in of_key.items():
        keys = f"{found[binding.action].key},{key}" if binding.action in found else key
        found[binding.action] = Action(binding.action, keys, binding.description, binding.tooltip)
    return list(found.values())


class ScreenCommands(OptionList):
    """Commands beside the titles of their actions; what is longer than its row goes on below where it began."""

    DEFAULT_CSS = "ScreenCommands { scrollbar-gutter: stable; }"  # so that rows have one width

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__(markup=False)
        self._titles = titles

    def on_resize(self) -> None:
        gutter = self.get_component_styles("option-list--option").gutter.width
        title_width = 2 + min(_WIDEST_TITLE, max(map(len, self._titles.values()), default=0))
        room = max(_NARROWEST, self.scrollable_content_region.width - gutter - title_width)
        at = self.highlighted
        self.set_options(Option(_entry(title, title_width, line, room)) for line, title in self._titles.items())
        self.highlighted = at or 0


def _entry(title: str, title_width: int, line: str, room: int) -> Content:
    """A command in rows beside its titles in rows."""
    titles, rows = textwrap.wrap(title, title_width - 2), textwrap.wrap(printable(line), room, break_on_hyphens=False)
    both = zip_longest(titles, rows, fillvalue="")
    return Content("\n").join(Content.assemble((f"{left:<{title_width}}", "dim"), right) for left, right in both)


class CommandsScreen(Dialogue[None]):
    """The commands behind the actions of a screen as things stand; Enter or a click copies one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,exclamation_mark,q", "dismiss", "Close")]

    def __init__(self, place: DaisyScreen) -> None:
        super().__init__()
        titles: dict[str, list[str]] = {}
        for action in place.ACTIONS:
            arguments = place.command_for(action.id)
            line = command_line(arguments) if arguments is not None else action.command
            if line:
                titles.setdefault(line, []).append(action.title)
        self._titles = {line: ", ".join(one) for line, one in titles.items()}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue help"):
            yield Static(Content("The commands behind this screen"), classes="dialogue-title")
            yield ScreenCommands(self._titles)
            yield Static(Content("⏎ copies a command; esc closes"), classes="hint")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        line = list(self._titles)[event.option_index]
        self.app.copy_to_clipboard(line)
        self.notify(f"copied: {line}", markup=False)
        self.dismiss()
