"""Attaching to a server that runs already, by URL and key. What is wrong is said here, and nothing typed is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from core.errors import DaisyError
from core.text import printable
from daisy_tui.chatting.serving import Server
from daisy_tui.chatting.sources import Source
from daisy_tui.widgets.dialogue import Dialogue

Attach = Callable[[str, str | None], Server]


class AttachScreen(Dialogue[Server | None]):
    """URL and key. `attach` is called in a thread, and returns the server or raises DaisyError."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, attach: Attach, known: Sequence[Source], url: str = "http://127.0.0.1:8000") -> None:
        super().__init__()
        self._ask, self._url = attach, url
        self._known = [source for source in known if source.kind == "server"]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue attach"):
            yield Static(Content("Attach to a server that runs already"), classes="dialogue-title")
            yield Input(self._url, id="attach-url", placeholder="URL", compact=True)
            yield Input(id="attach-key", placeholder="API key, if it has one", password=True, compact=True)
            if self._known:
                yield Static(Content("on this machine:"), classes="hint")
                yield OptionList(*(Option(_line(source)) for source in self._known), markup=False)
            yield Static("", markup=False, classes="dialogue-error")
            with Horizontal(classes="dialogue-buttons"):
                yield Button("Attach (⏎)", variant="primary", id="attach")
                yield Button("Back (esc)", id="back")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.query_one("#attach-url", Input).value = self._known[event.option_index].where
        self.query_one("#attach-key", Input).focus()

    def on_input_submitted(self) -> None:
        self._try()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "attach":
            self._try()
        else:
            self.dismiss(None)

    def _try(self) -> None:
        url, key = self.query_one("#attach-url", Input).value.strip(), self.query_one("#attach-key", Input).value
        self._say("asking …")

        async def attach() -> None:
            try:
                server = await asyncio.to_thread(self._ask, url, key or None)
            except DaisyError as error:
                self._say(str(error))
            except Exception:
                self._say("")
                raise
            else:
                self.dismiss(server)

        self.run_worker(attach(), group="attach", exclusive=True, exit_on_error=False)

    def _say(self, words: str) -> None:
        self.query_one(".dialogue-error", Static).update(Content(printable(words)))


def _line(source: Source) -> Content:
    return Content.assemble(source.where, (f"  {source.name} {source.about}", "dim"))
