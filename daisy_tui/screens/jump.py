"""Jump mode: a letter on everything that takes the focus; typing it goes there. The idea is Posting's."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Offset
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label

from daisy_tui.widgets.dialogue import Dialogue

_LETTERS = "asdfghjklwertyuiopzxcvbnm"  # not q, which closes


def targets(screen: Screen[Any]) -> list[Widget]:
    """What can be gone to: everything in sight that takes the focus, in reading order."""
    found = [widget for widget in screen.focus_chain if widget.region and screen.region.overlaps(widget.region)]
    return sorted(found, key=lambda widget: (widget.region.y, widget.region.x))[: len(_LETTERS)]


class JumpScreen(Dialogue[Widget | None]):
    """The letters, above the screen that was open."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,ctrl+o", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    JumpScreen { layers: letters; background: $background 40%; }
    JumpScreen Label {
        layer: letters; position: absolute; width: 3;
        background: $warning; color: $background; text-style: bold;
    }
    """

    def __init__(self, found: list[Widget]) -> None:
        super().__init__()
        self._found = dict(zip(_LETTERS, found, strict=False))

    def compose(self) -> ComposeResult:
        for letter, widget in self._found.items():
            label = Label(f" {letter} ", markup=False)
            label.styles.offset = Offset(widget.region.x, widget.region.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        if event.key in self._found:
            event.stop()
            self.dismiss(self._found[event.key])

    def on_click(self) -> None:
        self.dismiss(None)
