"""What is wrong with a run and what to do, in sight of everything else; and all of it in a dialogue, whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.text import printable
from daisy_tui.runs.advice import ERROR, Advice
from daisy_tui.widgets.dialogue import Dialogue

_SIGNS = {ERROR: "✗"}
_OTHER = "!"


class RunBanner(Static):
    """The worst of what is wrong, in as many rows as it needs up to a few; nothing where all is well.

    `key_of` gives the key of an action and its name, as the footer has them.
    """

    class Pressed(Message):
        """A click: the person wants to read all of it."""

    def __init__(self, key_of: Callable[[str], str]) -> None:
        super().__init__(id="run-banner")
        self._key_of = key_of
        self._shown: tuple[Advice, ...] = ()
        self.display = False

    def show(self, found: Sequence[Advice]) -> None:
        """Show the first of these, and how many more there are."""
        if tuple(found) == self._shown:
            return
        self._shown = tuple(found)
        self.display = bool(found)
        if found:
            worst = found[0]
            self.set_class(worst.severity == ERROR, "-error")
            more = f"  ({len(found) - 1} more: h)" if len(found) > 1 else ""
            self.update(advice_text(worst, self._key_of) + Content.styled(more, "dim"))

    def on_click(self) -> None:
        self.post_message(self.Pressed())


def advice_text(one: Advice, key_of: Callable[[str], str]) -> Content:
    """One thing that is wrong: what, and what to do with the key that does it."""
    sign = _SIGNS.get(one.severity, _OTHER)
    colour = "$text-error" if one.severity == ERROR else "$text-warning"
    said = Content.styled(f"{sign} {printable(one.what)}.", f"bold {colour}")
    if one.do:
        said += Content(f"\n→ {printable(one.do)}.")
    if one.action and (key := key_of(one.action)):
        said += Content.styled(f"  {key}", "bold")
    return said


class AdviceScreen(Dialogue[None]):
    """All that is wrong, each whole."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,h,q,enter", "dismiss", "Close")]

    def __init__(self, found: Sequence[Advice], key_of: Callable[[str], str]) -> None:
        super().__init__()
        self._found, self._key_of = found, key_of

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialogue"):
            yield Static(Content("What is wrong"), classes="dialogue-title")
            for one in self._found:
                yield Static(advice_text(one, self._key_of) + "\n")
            if not self._found:
                yield Static(Content("Nothing that its files tell of."))
