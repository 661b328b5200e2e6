"""What the Run screen shows: one run, live, in tabs. What can be done there is in `screens.run`.

Everything shown is read from the run directory, in threads, by what knows no widget: `run_look` reads the run,
`log_look` its logs, `provenance` its config. Without a run to show it takes the one that was started last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import TabbedContent, TabPane, Tabs

from core.errors import DaisyError
from core.runs.directory import RunDirectory, all_runs
from core.text import printable
from daisy_tui.actions import Action
from daisy_tui.polling import Poll
from daisy_tui.runs.advice import ERROR, Advice
from daisy_tui.runs.log_look import LogLook, LogReader
from daisy_tui.runs.provenance import Provenance, provenance
from daisy_tui.runs.run_files import Stamp, stamp
from daisy_tui.runs.run_look import RunLook, RunReader
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.screens.help import key_sign
from daisy_tui.widgets.plot import SIGNS
from daisy_tui.widgets.run_banner import RunBanner
from daisy_tui.widgets.run_charts import RunCharts
from daisy_tui.widgets.run_header import RunHeader
from daisy_tui.widgets.run_log import LogPane
from daisy_tui.widgets.run_panes import CheckpointsPane, ConfigPane, EventsPane, ListPane

# The tabs, and which letter of their name is their key.
TABS = {"charts": 0, "log": 0, "events": 0, "config": 1, "checkpoints": 5}
_LOOK_EVERY_S, _LOG_EVERY_S, _CONFIG_EVERY_S = 0.5, 0.5, 2.0
_NONE = "No runs here yet: Compose (2) starts one, and so does `daisy train demo`."
# What figures above the charts are; all memory is the most there was so far.
_FIGURES = (
    ("process RAM", "memory of the process of one rank, of the one that has most"),
    ("GPU tensors", "memory of PyTorch's tensors on one GPU, on the one that has most"),
    ("GPU peak", "all memory of the run on one GPU, PyTorch's reserve and CUDA's own with it"),
    ("host RAM peak", "memory of all processes of the run together"),
    ("last tokens/s", "that of the last log point; Compare has the median of all"),
)


class Subject(NamedTuple):
    """The run that is shown, and who reads it. Another run is another subject: what is brought of this one is dropped.

    `config` holds the stamps of the files that were last read for its config.
    """

    run: RunDirectory
    reader: RunReader
    logs: LogReader
    config: list[tuple[Stamp, Stamp]]


Seen = tuple[Subject, RunLook | None] | Path | None


class RunView(DaisyScreen):
    """One run, as it is."""

    CSS_PATH = "run.tcss"
    AUTO_FOCUS = "#chart-loss"
    SIGNS = (*SIGNS, *_FIGURES)

    def __init__(self) -> None:
        super().__init__()
        self._subject: Subject | None = None
        self._look: RunLook | None = None
        self._failure: Advice | None = None  # what kept the last look from being one
        self._run_poll: Poll[Seen]
        self._log_poll: Poll[tuple[Subject, LogLook] | None]

    def body(self) -> ComposeResult:
        yield RunHeader()
        yield RunBanner(self.key_of)
        with TabbedContent(initial="charts", id="run-tabs"):
            with TabPane(_tab_title("charts"), id="charts"):
                yield RunCharts()
            with TabPane(_tab_title("log"), id="log"):
                yield LogPane()
            with TabPane(_tab_title("events"), id="events"):
                yield EventsPane()
            with TabPane(_tab_title("config"), id="config"):
                yield ConfigPane()
            with TabPane(_tab_title("checkpoints"), id="checkpoints"):
                yield CheckpointsPane()

    def on_mount(self) -> None:
        settings = self.daisy.settings
        self.charts.begin(settings.x, settings.smoothing, settings.log_y)
        self._run_poll = self.poll("run", _LOOK_EVERY_S, self._look_at_run, self._take_look)
        self._log_poll = self.poll("log", _LOG_EVERY_S, self._look_at_log, self._take_log)
        self._config_poll = self.poll("config", _CONFIG_EVERY_S, self._look_at_config, self._take_config)

    def context(self, **what: Any) -> None:
        """`run`: the directory of the run to show; `tab` one of TABS."""
        if (run := what.get("run")) is not None:
            self.show_run(self.services.folder / run)
        if (tab := what.get("tab")) in TABS:
            self.show_tab(str(tab))

    # What is on the screen

    @property
    def charts(self) -> RunCharts:
        return self.query_one(RunCharts)

    @property
    def log_pane(self) -> LogPane:
        return self.query_one(LogPane)

    @property
    def tabs(self) -> TabbedContent:
        return self.query_one("#run-tabs", TabbedContent)

    @property
    def pane(self) -> ListPane | None:
        """The list that is in sight; None while the charts are."""
        panes = self.query_one(f"#{self.tabs.active}", TabPane).query(ListPane)
        return panes.first() if panes else None

    @property
    def run_name(self) -> str | None:
        """How commands name the run: by its id, or by its path where it lies elsewhere."""
        if self._subject is None:
            return None
        path = self._subject.run.path
        return path.name if path.parent == self.services.runs else str(path)

    def show_run(self, path: Path) -> None:
        """Show another run."""
        if self._subject is not None and self._subject.run.path == path:
            self._run_poll.now()
            return
        self._begin(RunDirectory(path))
        self._run_poll.now()

    def _begin(self, run: RunDirectory) -> Subject:
        subject = Subject(run, RunReader(run, self.services.folder), LogReader(run), [])
        self._subject, self._look, self._failure = subject, None, None
        self.charts.clear()
        self.query_one(RunBanner).show(())
        self.query_one(RunHeader).show(None, f"Looking at {printable(run.path.name)} …")
        self.query_one(ConfigPane).fail("Reading its config …")
        self.log_pane.begin()
        return subject

    # Looking

    def _look_at_run(self) -> Seen:
        subject = self._subject
        if subject is None:
            newest = max(all_runs(self.services.runs), key=lambda run: (run.started, run.path.name), default=None)
            return newest.path if newest is not None else None
        return subject, subject.reader.look(self.services.clock(), self.charts.wanted)

    def _take_look(self, found: Seen) -> None:
        if found is None:
            self.query_one(RunHeader).show(None, _NONE)
        elif isinstance(found, Path):
            self.show_run(found)
        elif found[0] is self._subject:
            self._show(found[0], found[1])

    def _show(self, subject: Subject, look: RunLook | None) -> None:
        before, self._look, self._failure = self._look, look, None
        if look is None:
            name = printable(subject.run.path.name)
            self.query_one(RunHeader).show(None, f"✗ The folder of {name} is gone; p picks another run.")
            self.query_one(RunBanner).show(())
        else:
            self.query_one(RunHeader).show(look)
            self.query_one(RunBanner).show(self.advice)
            if look.drawn is not None:
                self.charts.show(look.drawn, _why_empty(look))
                if look.drawn.goes_on:
                    self._run_poll.now()
            self.query_one(EventsPane).show(look)
            self.query_one(CheckpointsPane).show(look)
        if _standing(before) != _standing(look):
            self.refresh_bindings()

    def poll_failed(self, name: str, error: Exception, since: float) -> None:
        """Say in sight of everything what cannot be read: the bar has no room for a path."""
        super().poll_failed(name, error, since)
        if name != "run" or self._subject is None:
            return
        self._failure = Advice(
            ERROR, _why_failed(error, self._subject.run), "What is shown is as old as the bar says; it is tried again"
        )
        if self._look is None:
            run = printable(self._subject.run.path.name)
            self._failure = self._failure._replace(do="It is tried again; p picks another run")
            self.query_one(RunHeader).show(None, f"✗ {run} cannot be read.")
        self.query_one(RunBanner).show(self.advice)

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What is wrong with the run, the worst first."""
        failed = (self._failure,) if self._failure is not None else ()
        return (*failed, *(self._look.advice if self._look is not None else ()))

    def _look_at_log(self) -> tuple[Subject, LogLook] | None:
        subject, pane = self._subject, self.log_pane
        if subject is None or self.tabs.active != "log":
            return None
        ended = self._look is not None and not self._look.status.alive
        look = subject.logs.look(pane.wish, pane.more, ended=ended)
        return (subject, look) if look is not None else None

    def _take_log(self, found: tuple[Subject, LogLook] | None) -> None:
        if found is not None and found[0] is self._subject:
            self.log_pane.show(found[1])

    def _look_at_config(self) -> tuple[Subject, Provenance | DaisyError] | None:
        subject = self._subject
        if subject is None or self.tabs.active != "config":
            return None
        now = stamp(subject.run.config), stamp(subject.run.changes)
        if subject.config == [now]:
            return None
        subject.config[:] = [now]
        try:
            return subject, provenance(subject.run, self.services.folder)
        except DaisyError as error:
            return subject, error

    def _take_config(self, found: tuple[Subject, Provenance | DaisyError] | None) -> None:
        if found is None or found[0] is not self._subject:
            return
        pane = self.query_one(ConfigPane)
        if isinstance(found[1], Provenance):
            pane.show(found[1])
        else:
            pane.fail(str(found[1]))

    # What the widgets ask for

    @on(RunCharts.Wanted)
    def _look_now(self) -> None:
        self._run_poll.now()

    @on(LogPane.Wished)
    def _look_at_log_now(self) -> None:
        self._log_poll.now()

    def show_tab(self, tab: str) -> None:
        """Go to one of TABS."""
        if tab != self.tabs.active and not isinstance(self.focused, Tabs):
            self.set_focus(None)  # or what hides hands it to its neighbour, and the tabs come back to that one
        self.tabs.active = tab

    @on(TabbedContent.TabActivated)
    def _enter_tab(self) -> None:
        if not isinstance(self.focused, Tabs):  # who goes through them by arrow keys stays there
            (self.pane.lines if self.pane is not None else self.charts.current).focus()
        self._log_poll.now()
        self._config_poll.now()
        self.refresh_bindings()

    def key_of(self, action: str) -> str:
        """The key of an action and its name, as the footer has them; nothing where there is no such action."""
        known: Action | None = next((one for one in self.ACTIONS if one.id == action), None)
        return f"{key_sign(known.keys[0])} {known.title}" if known is not None and known.keys else ""

    def step_out(self) -> None:
        if self.pane is None or not self.pane.step_out():
            super().step_out()


def _tab_title(name: str) -> Content:
    """A tab's name, with the letter that is its key underlined."""
    at, title = TABS[name], name.capitalize()
    return Content.assemble(title[:at], (title[at], "underline"), title[at + 1 :])


def _standing(look: RunLook | None) -> tuple[str, bool, bool] | None:
    """What of a look decides what can be asked."""
    return (look.status.state, look.status.alive, look.last_checkpoint is None) if look is not None else None


def _why_failed(error: Exception, run: RunDirectory) -> str:
    """What went wrong with a look at a run, in words that name its file."""
    if isinstance(error, OSError) and error.filename is not None:
        path = Path(str(error.filename))
        return f"{path.relative_to(run.path) if path.is_relative_to(run.path) else path}: {error.strerror}"
    return str(error) if isinstance(error, DaisyError) else f"{type(error).__name__}: {error}"


def _why_empty(look: RunLook) -> str:
    """Why a chart of the run has no lines."""
    state = look.status.state
    if state == "queued":
        return "the run waits for its devices"
    if look.status.alive:
        return f"the run is {state}: its first step is to come"
    return "the run has recorded nothing of this"
