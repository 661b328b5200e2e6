"""Ask for one line of text, and say while it is typed what would come of it, or why nothing can.

Finding that out may take a while, so it is done in a thread: one text at a time, the newest next, and what has been
overtaken is given up between two lines. So typing never waits, and Enter takes no text that is not known to be good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from core.errors import DaisyError
from core.text import printable
from daisy_tui.widgets.dialogue import Dialogue

if TYPE_CHECKING:
    from daisy_tui.app import DaisyApp

# The lines that a text comes to, asked for in a thread one by one; raises DaisyError where to nothing.
Outlook = Callable[[str], Iterable[str]]

_MOST_SAID = 300  # letters of a problem
_PATIENCE_S = 0.3  # after which it is said that it takes a while


class Told(NamedTuple):
    """What is known of a text: the lines that it comes to, or why it comes to nothing."""

    text: str
    found: list[str] | BaseException

    @property
    def lines(self) -> list[str]:
        return self.found if isinstance(self.found, list) else []

    @property
    def problem(self) -> str:
        if isinstance(self.found, list):
            return ""
        return str(self.found) if isinstance(self.found, DaisyError) else f"{type(self.found).__name__}: {self.found}"


class Prompt(Dialogue[str | None]):
    """One line; None where it was not given. What `outlook` refuses cannot be given, and stays to be mended."""

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
        self._wanted: str | None = None  # the text to tell of; None before there is one, and when nobody asks any more
        self._told: Told | None = None
        self._is_looking = self._is_entered = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue prompt"):
            yield Static(Content(self._title), classes="dialogue-title")
            yield Input(self._value, placeholder=self._placeholder, compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(id="prompt-outlook")
            yield Static(classes="dialogue-error", id="prompt-problem")
            yield Static(Content("esc goes back"), classes="hint", id="prompt-hint")

    def on_mount(self) -> None:
        self._want(self._value)

    def on_unmount(self) -> None:
        self._wanted = None

    def on_input_changed(self, event: Input.Changed) -> None:
        self._want(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._want(event.value)
        self._is_entered = True
        event.input.disabled = True  # what is typed until it is known is not for this field
        self._show_hint()
        self._answer()

    # Finding out

    def _want(self, text: str) -> None:
        text = text.strip()
        if text == self._wanted:
            return
        self._wanted = text
        if not self._is_looking:
            self._is_looking = True
            self.set_timer(_PATIENCE_S, self._show_hint)
            self.run_worker(self._look(), group="outlook", exit_on_error=False)

    async def _look(self) -> None:
        while (text := self._wanted) is not None:
            (found,) = await asyncio.gather(asyncio.to_thread(self._find_out, text), return_exceptions=True)
            if self._wanted == text:
                self._told = Told(text, found)
                break
        self._is_looking = False
        if self._wanted is not None:
            self._show()
            self._answer()

    def _find_out(self, text: str) -> list[str]:
        return list(takewhile(lambda _line: self._wanted == text, self._outlook(text)))

    @property
    def _known(self) -> Told | None:
        """What is known of the text that stands there; None while that is being found out."""
        return self._told if self._told is not None and self._told.text == self._wanted else None

    def _answer(self) -> None:
        """Do what Enter asks for, as soon as it is known whether that can be."""
        known = self._known
        if not self._is_entered or known is None:
            return
        if isinstance(known.found, Exception) and not isinstance(known.found, DaisyError):
            cast("DaisyApp", self.app).report(known.found)
            self.dismiss(None)
        elif known.problem:
            self._is_entered = False
            field = self.query_one(Input)
            field.disabled = False
            field.focus()
        else:
            self.dismiss(known.text)

    # Showing

    def _show(self) -> None:
        if (known := self._known) is None:
            return
        self._put("outlook", "\n".join(printable(line) for line in known.lines))
        self._put("problem", _without_middle(printable(known.problem), _MOST_SAID))
        self._show_hint()

    def _show_hint(self) -> None:
        known = self._known
        enter = "⋯ looking, " if known is None else "" if known.problem else f"⏎ {self._hint}, "
        self._put("hint", f"{enter}esc goes back")

    def _put(self, part: str, text: str) -> None:
        """What stands there already is not laid out again, which costs more than to find out."""
        there, content = self.query_one(f"#prompt-{part}", Static), Content(text)
        if there.content != content:
            there.update(content)
            there.display = bool(text)


def _without_middle(text: str, longest: int) -> str:
    """A text that is not too long: of a problem the beginning says where, and the end what would work."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} … {text[-half:]}"
