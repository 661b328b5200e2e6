"""What the Chat screen has picked: a model and how it is served, or a conversation that was held before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Label, Select

from core.text import duration, printable
from daisy_tui.chatting.serving import Options
from daisy_tui.chatting.sources import Source
from daisy_tui.chatting.transcripts import Listed
from daisy_tui.screens.pick import PickScreen
from daisy_tui.widgets.pick_entries import Entry

_KINDS = {"checkpoint": " ", "run": "●", "server": "⇄"}
TEMPLATES = ("its own", "instruction", "plain")
WEIGHTS = ("auto", "float32", "bfloat16", "int8")


class Chosen(NamedTuple):
    """What to talk to, and how it is to be served."""

    source: Source
    options: Options


class ServeOptions(Horizontal):
    """How a server of this terminal's own is started, in one line; it begins on `options`."""

    def __init__(self, options: Options, devices: Sequence[str]) -> None:
        super().__init__(classes="serve-options")
        self._begin = options
        self._template = _select(TEMPLATES, options.template or TEMPLATES[0])
        self._device = _select(devices, options.device)
        self._weights = _select(WEIGHTS, options.weights)

    def compose(self) -> ComposeResult:
        for name, select in (("template", self._template), ("device", self._device), ("weights", self._weights)):
            yield Label(name)
            yield select

    @property
    def options(self) -> Options:
        """As they are chosen now, also once the dialogue is closed."""
        template = self._template.value
        return self._begin._replace(
            device=str(self._device.value),
            weights=str(self._weights.value),
            template=None if template == TEMPLATES[0] else str(template),
        )


def _select(values: Sequence[str], value: str) -> Select[str]:
    chosen = value if value in values else values[0]
    return Select([(v, v) for v in values], value=chosen, allow_blank=False, compact=True)


def source_picker(title: str, sources: Sequence[Source], options: ServeOptions) -> PickScreen[Source]:
    """Runs that train, checkpoints and servers; and how a server of this terminal's own is started."""
    none = "no checkpoints yet: 2 composes a run; `daisy import` takes a foreign checkpoint"
    entries = [Entry(source, _source_line(source), source.words) for source in sources]
    return PickScreen(title, "a few letters of its run, step, or state", entries, none=none, footer=options)


def _source_line(source: Source) -> Content:
    return Content.assemble(f"{_KINDS[source.kind]} ", source.name, (f"  {source.about}", "dim"))


def transcript_picker(chats: Sequence[Listed], now: float) -> PickScreen[Listed]:
    """The conversations in chats/, the one held last first."""
    entries = [Entry(chat, _chat_line(chat, now), f"{chat.title} {chat.source} {chat.path.stem}") for chat in chats]
    return PickScreen("Go on with which chat?", "a few letters of how it began", entries, none="no chats yet")


def _chat_line(chat: Listed, now: float) -> Content:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(chat.changed))
    ago = f" ({duration(now - chat.changed)} ago)" if 0 <= now - chat.changed < 86400 else ""
    title = printable(chat.title) or "(nothing said)"
    return Content.assemble(f"{when}  ", title, (f"  {printable(chat.source)}{ago}", "dim"))
