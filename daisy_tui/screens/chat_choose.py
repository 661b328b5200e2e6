"""Choosing by a few letters: what to talk to and how it is served, or a conversation that was held before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.fuzzy import FuzzySearch
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from core.text import duration, printable
from daisy_tui.chatting.serving import Options
from daisy_tui.chatting.sources import Source
from daisy_tui.chatting.transcripts import Listed

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")
_MOST = 200
_MOVES = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}
_KINDS = {"checkpoint": " ", "run": "●", "server": "⇄"}
TEMPLATES = ("its own", "instruction", "plain")
WEIGHTS = ("auto", "float32", "bfloat16", "int8")


class Chosen(NamedTuple):
    """What to talk to, and how it is to be served."""

    source: Source
    options: Options


class ChooseScreen(ModalScreen[Answer | None], Generic[Entry, Answer]):
    """Entries, narrowed by what is typed; Enter or a click takes one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, title: str, placeholder: str, entries: Sequence[Entry], none: str) -> None:
        super().__init__()
        self._title, self._placeholder, self._entries, self._none = title, placeholder, entries, none
        self._fuzzy = FuzzySearch()
        self._found: list[Entry] = []

    def words(self, entry: Entry) -> str:
        """What is looked through."""
        raise NotImplementedError

    def line(self, entry: Entry) -> Content:
        """How an entry is shown."""
        raise NotImplementedError

    def answer(self, entry: Entry) -> Answer:
        """What is returned for it."""
        raise NotImplementedError

    def more(self) -> ComposeResult:
        """What stands below the list."""
        return ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialogue choose"):
            yield Static(Content(self._title), classes="dialogue-title")
            yield Input(placeholder=self._placeholder, compact=True)
            yield OptionList(markup=False)
            yield from self.more()
            yield Static("", markup=False, classes="hint choose-count")

    def on_mount(self) -> None:
        self._narrow("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._narrow(event.value.strip())

    def on_input_submitted(self) -> None:
        self._take(self.query_one(OptionList).highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._take(event.option_index)

    async def on_key(self, event: events.Key) -> None:
        """The list is gone through while the field has the focus."""
        action = _MOVES.get(event.key)
        if action is not None and isinstance(self.focused, Input):
            event.stop()
            await self.app.run_action(action, default_namespace=self.query_one(OptionList))

    def _take(self, place: int | None) -> None:
        if place is not None and place < len(self._found):
            self.dismiss(self.answer(self._found[place]))

    def _narrow(self, typed: str) -> None:
        scored = [(self._fuzzy.match(typed, self.words(entry))[0] if typed else 1.0, entry) for entry in self._entries]
        ranked = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])
        self._found = [entry for _, entry in ranked[:_MOST]]
        options = self.query_one("OptionList", OptionList)
        options.clear_options()
        options.add_options([Option(self.line(entry)) for entry in self._found])
        if self._found:
            options.highlighted = 0
        more = f", the first {_MOST} are shown" if len(ranked) > _MOST else ""
        words = f"{len(ranked)} of {len(self._entries)}{more}" if self._entries else self._none
        self.query_one(".choose-count", Static).update(Content(words))


class ChooseSourceScreen(ChooseScreen[Source, Chosen]):
    """Runs that train, checkpoints and servers; and how a server of this terminal's own is started."""

    def __init__(self, entries: Sequence[Source], options: Options, devices: Sequence[str]) -> None:
        none = "no checkpoints yet: 2 composes a run; `daisy import` takes a foreign checkpoint"
        super().__init__("Talk to which model?", "a few letters of its run, step, or state", entries, none)
        self._options, self._devices = options, devices

    def words(self, entry: Source) -> str:
        return entry.words

    def line(self, entry: Source) -> Content:
        return Content.assemble(f"{_KINDS[entry.kind]} ", entry.name, (f"  {entry.about}", "dim"))

    def answer(self, entry: Source) -> Chosen:
        template = self._value("template")
        options = Options(
            device=self._value("device"),
            weights=self._value("weights"),
            template=None if template == TEMPLATES[0] else template,
            follow=entry.follow,
            slots=self._options.slots,
        )
        return Chosen(entry, options)

    def more(self) -> ComposeResult:
        options = self._options
        with Horizontal(classes="choose-options"):
            for name, values, value in (
                ("template", TEMPLATES, options.template or TEMPLATES[0]),
                ("device", self._devices, options.device),
                ("weights", WEIGHTS, options.weights),
            ):
                yield Label(name)
                chosen = value if value in values else values[0]
                yield Select(
                    [(v, v) for v in values], value=chosen, allow_blank=False, compact=True, id=f"serve-{name}"
                )

    def _value(self, name: str) -> str:
        return str(self.query_one(f"#serve-{name}", Select).value)


class ChooseTranscriptScreen(ChooseScreen[Listed, Listed]):
    """The conversations in chats/, the one held last first."""

    def __init__(self, entries: Sequence[Listed], now: float) -> None:
        super().__init__("Go on with which chat?", "a few letters of how it began", entries, "no chats yet")
        self._now = now

    def words(self, entry: Listed) -> str:
        return f"{entry.title} {entry.source} {entry.path.stem}"

    def line(self, entry: Listed) -> Content:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))
        ago = f" ({duration(self._now - entry.changed)} ago)" if 0 <= self._now - entry.changed < 86400 else ""
        title = printable(entry.title) or "(nothing said)"
        return Content.assemble(f"{when}  ", title, (f"  {printable(entry.source)}{ago}", "dim"))

    def answer(self, entry: Listed) -> Listed:
        return entry
