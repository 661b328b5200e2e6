"""The panels of the dashboard: words that scroll, and the queue, in which a run is chosen to be moved or cancelled."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from daisy_tui.runs.overview import Waiting
from daisy_tui.widgets.dashboard_text import queue_entry


class Line(Static):
    """Words in one line, which are painted when they change."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__("", id=id, markup=False)
        self._words = Content("")

    def show(self, words: Content) -> None:
        """Show these words."""
        if not _are_same(words, self._words):
            self._words = words
            self.update(words, layout=False)


class Panel(VerticalScroll, can_focus=True):
    """Words under a title, which are painted when they change."""

    def __init__(self, title: str, *, id: str, wraps: bool = True) -> None:  # noqa: A002
        super().__init__(id=id, classes="panel")
        self.border_title = title
        self._wraps = wraps
        self._words = Content("")
        self._static = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self._static

    def show(self, words: Content) -> None:
        """Show these words."""
        if not _are_same(words, self._words):
            lines_before, self._words = self._words.plain.count("\n"), words
            self._static.update(words, layout=self._wraps or words.plain.count("\n") != lines_before)


def _are_same(one: Content, other: Content) -> bool:
    return one.plain == other.plain and one.spans == other.spans


class QueuePanel(OptionList):
    """The runs that wait for devices, the next one first. The choice stays with its run."""

    def __init__(self) -> None:
        super().__init__(id="queue", classes="panel", markup=False)
        self.border_title = "Queue"
        self._shown: list[tuple[str, Content]] = []
        self._waiting: dict[str, Waiting] = {}

    @property
    def chosen(self) -> Waiting | None:
        """The run that is highlighted."""
        option = self.highlighted_option
        return self._waiting.get(option.id) if option is not None and option.id is not None else None

    def show(self, queue: tuple[Waiting, ...], labels: Mapping[str, str], problem: str | None) -> None:
        """Show a queue, or why it cannot be seen."""
        self._waiting = {str(waiting.run): waiting for waiting in queue}
        entries = [(str(one.run), queue_entry(place, one, labels)) for place, one in enumerate(queue, 1)]
        if not entries:
            entries = [("", Content.assemble((problem or "empty: no run waits for a device", "dim")))]
        if entries == self._shown:
            return
        before = self.highlighted_option.id if self.highlighted_option is not None else None
        self._shown = entries
        self.set_options(Option(words, id=run or None, disabled=not run) for run, words in entries)
        places = [run for run, _ in entries]
        self.highlighted = places.index(before) if before in places else 0 if queue else None
