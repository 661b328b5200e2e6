"""The line below every screen: the keys that work now, as many as fit whole; help and palette keep their place.

One widget that is painted when its words change. Rejected: Textual's `Footer`, which mounts a widget for each key again
whenever the focus moves (four times before the first frame, a fifth of it), and which cuts a key in two at 80 columns.
"""

from __future__ import annotations

from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static

_KEPT = 2  # of the keys that work everywhere, where there is not room for all: help and palette
_SIGNS = ("slash", "plus", "minus", "at", "backslash", "underscore")  # letters in a field, which Textual does not know
_KEY = "bold $footer-key-foreground on $footer-key-background"
_WORDS = "$footer-description-foreground on $footer-description-background"


class Key(NamedTuple):
    """A key that works now, or, dimmed, one that would elsewhere."""

    key: str
    shown: str
    title: str
    help: str
    is_enabled: bool

    @property
    def width(self) -> int:
        return len(self.shown) + 1 + len(self.title)


class KeyLine(Static):
    """The keys. A click on one presses it."""

    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; background: $footer-background; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._keys: list[Key] = []
        self._always: list[Key] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if not self.is_attached or screen is not self.screen or not self.app.app_focus:
            return
        keys, always = _keys(screen)
        if (keys, always) != (self._keys, self._always):
            self._keys, self._always = keys, always
            self.refresh()

    def render(self) -> Content:
        is_full = sum(key.width + 1 for key in (*self._keys, *self._always)) > self.size.width
        end = Content(" ").join(_words(key) for key in self._always[-_KEPT if is_full else 0 :])
        room = self.size.width - end.cell_length - 1
        words: list[Content] = []
        for place, key in enumerate(self._keys):
            room -= key.width + 1
            if room < (1 if place + 1 < len(self._keys) else -1):
                words.append(Content.styled("…", "dim"))
                break
            words.append(_words(key))
        line = Content(" ").join(words)
        gap = " " * max(1, self.size.width - line.cell_length - end.cell_length)
        return Content.assemble(line, gap, end)

    def on_click(self, event: events.Click) -> None:
        key = self._key_at(event)
        if key is not None:
            self.app.simulate_key(key.key)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        key = self._key_at(event)
        self.tooltip = Content(key.help) if key is not None and key.help else None

    def _key_at(self, event: events.MouseEvent) -> Key | None:
        under = event.style.meta.get("key")
        return next((key for key in (*self._keys, *self._always) if key.key == under), None)


def _keys(screen: Screen[object]) -> tuple[list[Key], list[Key]]:
    """The keys of what has the focus and of the screen, and those that work everywhere."""
    app = screen.app
    keys: dict[str, Key] = {}
    always: dict[str, Key] = {}
    is_typing = getattr(screen, "is_typing", False)
    for node, binding, is_enabled, tip in screen.active_bindings.values():
        if is_typing and binding.key in _SIGNS:
            continue
        if binding.show or binding.action == "command_palette" or (is_typing and binding.action == "step_out"):
            key = Key(binding.key, app.get_key_display(binding), binding.description, tip, is_enabled)
            (always if node is app else keys).setdefault(binding.action, key)
    return list(keys.values()), list(always.values())


def _words(key: Key) -> Content:
    pressed = Style.from_meta({"key": key.key})
    dim = "" if key.is_enabled else " dim"
    return Content.assemble((key.shown, _KEY + dim), (f" {key.title}", _WORDS + dim)).stylize(pressed)
