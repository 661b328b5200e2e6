"""The line above every screen: all screens by name and key, and what is going on on the right."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from core.text import duration, printable

PLACES = (
    ("dashboard", "Dashboard", "Dash"),
    ("compose", "Compose", "Compose"),
    ("run", "Run", "Run"),
    ("compare", "Compare", "Compare"),
    ("checkpoints", "Checkpoints", "Ckpts"),
    ("chat", "Chat", "Chat"),
    ("data", "Data", "Data"),
)
_FULL_NAMES = 100


class Places(Static):
    """The screens by number and name; a click on one goes there. One widget, for the first frame waits for it."""

    def __init__(self, here: str) -> None:
        super().__init__(id="places")
        self._here = here

    def render(self) -> Content:
        is_wide = self.app.size.width >= _FULL_NAMES
        places = []
        for number, (name, title, short) in enumerate(PLACES, 1):
            words = f" [bold]{number}[/] {title if is_wide else short} "
            style = "$block-cursor-foreground on $primary bold" if name == self._here else f"@click=app.go('{name}')"
            places.append(Content.from_markup(f"[{style}]{words}[/]"))
        return Content("").join(places)


class TopBar(Horizontal):
    """The bar of one screen."""

    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here
        self._under_way: list[str] = []
        self._stale: dict[str, tuple[float, str]] = {}  # since when, and why
        self._now = 0.0

    def compose(self) -> ComposeResult:
        yield Places(self._here)
        yield Static(id="bar-status")

    def on_mount(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self.query_one(Places).refresh(layout=True)

    def begin(self, command: str) -> None:
        """Say that a command runs."""
        self._under_way.append(command)
        self._show()

    def end(self, command: str) -> None:
        """It has ended."""
        self._under_way.remove(command)
        self._show()

    def set_stale(self, name: str, since: float, why: str, now: float) -> None:
        """Say that what is shown is of `since`, and why there is nothing newer; both in seconds of one clock."""
        self._stale[name], self._now = (since, f"{name}: {why}"), now
        self._show()

    def grow_old(self, now: float) -> None:
        """Say how old that is by now."""
        if self._stale:
            self._now = now
            self._show()

    def set_fresh(self, name: str) -> None:
        """What is shown is of now."""
        if self._stale.pop(name, None) is not None:
            self._show()

    def _show(self) -> None:
        status = self.query_one("#bar-status", Static)
        stale = next((f"stale {duration(self._now - since)}: {why}" for since, why in self._stale.values()), None)
        readonly = "read-only" if getattr(self.app, "is_readonly", False) else ""
        words = stale or (f"⋯ {self._under_way[-1]}" if self._under_way else readonly)
        status.set_class(stale is not None, "-stale")
        status.update(Content(printable(words)))
        status.tooltip = Content(printable(words)) if words else None
