"""The Checkpoints screen: all checkpoints with who descends from whom, and what is in the one under the cursor.

Headers are read at once; the weights in a thread, with progress, and by themselves only where that takes no time.
Verifying, exporting, pruning and resuming are the `daisy` commands that the screen shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from core.checkpoint.inspect import Inspection, Use
from core.text import printable
from daisy_tui.checkpoints.catalog import Catalog, Found
from daisy_tui.checkpoints.checkpoint_commands import command, copy_name, newest, place_of, run_of
from daisy_tui.checkpoints.checkpoint_look import Look, look, total
from daisy_tui.checkpoints.checkpoint_rows import ORDERS, Order, arranged, called
from daisy_tui.checkpoints.checkpoint_text import shown_path
from daisy_tui.checkpoints.lineage import Row
from daisy_tui.checkpoints.weights import Weights, job_for
from daisy_tui.commands import CommandError, Done
from daisy_tui.polling import Poll
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.screens.checkpoint_actions import ACTIONS, STOP_KEY
from daisy_tui.screens.weights_reader import WeightsReader
from daisy_tui.widgets.checkpoint_forms import CopyForm, PruneForm
from daisy_tui.widgets.checkpoint_list import CheckpointList
from daisy_tui.widgets.checkpoint_pane import TABS, CheckpointPane, Shown
from daisy_tui.widgets.job_bar import JobBar
from daisy_tui.widgets.run_forms import CommandForm, ResumeForm
from daisy_tui.widgets.run_lines import LineList

_LOOK_EVERY_S, _INSPECT_EVERY_S = 3.0, 5.0
_NONE = "No checkpoints yet: training writes them, `daisy import` brings others."
_FILTER = "words of run, step, best, latest, incomplete …; -word leaves out"


class Listing(NamedTuple):
    """What a look at the folders brought, by the order and the filter that held when it began.

    `place` is the row of what was asked for.
    """

    found: Found
    rows: list[Row]
    order: Order
    words: str
    wanted: Path | None
    place: int | None


class CheckpointsScreen(DaisyScreen):
    """The list on the left, one checkpoint on the right; on a narrow terminal in its place."""

    NAME, TITLE = "checkpoints", "Checkpoints"
    CSS_PATH = "checkpoints.tcss"
    AUTO_FOCUS = "#checkpoint-list"
    ACTIONS = ACTIONS

    def __init__(self) -> None:
        super().__init__()
        self._found, self._rows = Found((), ()), list[Row]()
        self._order, self._words = ORDERS[0], ""
        self._wanted: Path | None = None  # a checkpoint or a run to show, until it is found
        self._outside: Path | None = None  # what was asked for last: it may be in none of the folders
        self._look: Look | None = None
        self._marked: Path | None = None
        self._tensor: str | None = None
        self._follows = False  # whether the keys go along to the part that comes into sight
        self._weights = Weights()
        self._verified: dict[tuple[Path, str], str] = {}
        self._list_poll: Poll[Listing]
        self._look_poll: Poll[Look]
        self._reader: WeightsReader

    def body(self) -> ComposeResult:
        yield Static("", id="checkpoint-facts", markup=False)
        yield Input(placeholder=_FILTER, id="filter", compact=True)
        with Horizontal(id="checkpoint-body"):
            yield CheckpointList()
            yield CheckpointPane(self._weights)
        yield JobBar(STOP_KEY)

    def on_mount(self) -> None:
        self._catalog = Catalog(self.services.folder)
        self._reader = WeightsReader(self, self.pane, STOP_KEY)
        self._list_poll = self.poll("checkpoints", _LOOK_EVERY_S, self._look_around, self._take_listing)
        self._look_poll = self.poll("checkpoint", _INSPECT_EVERY_S, self._look_at_row, self._take_look)

    def on_unmount(self) -> None:
        self._reader.stop()  # or the terminal would close only when all is read

    def context(self, **what: Any) -> None:
        """`checkpoint`: the one to show; or `run`: one whose checkpoints are."""
        path = what.get("checkpoint") or what.get("run")
        if path is not None:
            self._wanted = self._outside = self.services.folder / path
            self._order = ORDERS[0]  # in which every run has a row
            self.query_one("#filter", Input).value = ""
            self._list_poll.now()

    @property
    def side(self) -> CheckpointList:
        return self.query_one(CheckpointList)

    @property
    def pane(self) -> CheckpointPane:
        return self.query_one(CheckpointPane)

    @property
    def row(self) -> Row | None:
        return self.side.row

    @property
    def inspection(self) -> Inspection | None:
        """Of the checkpoint under the cursor, once its headers are read."""
        return self._look.inspection if self._look is not None else None

    @property
    def run_path(self) -> Path | None:
        """The run under the cursor, or that of the checkpoint there."""
        return run_of(self.row)

    def command_for(self, action: str) -> list[str] | None:
        if action == "order":
            return ["runs", "checkpoints", *(["--tree"] if self._order.name == "lineage" else [])]
        return command(action, self.row, self._found, self._marked, self.pane.tensor)

    # The list

    def _look_around(self) -> Listing:
        order, words, wanted, outside = self._order, self._words, self._wanted, self._outside
        found = self._catalog.look()
        rows = arranged(found, self.services.folder, order, words)
        place = place_of(rows, outside)
        if place is None and outside is not None and outside.is_dir() and not words:
            rows, place = [*rows, Row(outside, "elsewhere")], len(rows)
        return Listing(found, rows, order, words, wanted, place)

    def _take_listing(self, listing: Listing) -> None:
        if (listing.order, listing.words, listing.wanted) != (self._order, self._words, self._wanted):
            self._list_poll.now()
            return
        if listing.rows != self._rows or listing.found != self._found or not self._rows:
            self._found, self._rows = listing.found, listing.rows
            self._show_list()
        if listing.wanted is not None:
            self._wanted = None
            if listing.place is not None:
                self.side.go(listing.place)
                self.action_inspect()
            else:
                gone = f"{shown_path(listing.wanted)} is not there any more"
                self.notify(printable(gone), severity="warning", markup=False)

    def _show_list(self) -> None:
        none = f"Nothing here has '{printable(self._words)}'." if self._words else _NONE
        self.side.show(self._rows, self._order, self._marked, none)
        mark = [f"◆ {called(self._marked, self._found)}"] if self._marked is not None else []
        facts = [total(self._found), *mark, self._order.title]
        self.query_one("#checkpoint-facts", Static).update(Content(printable("   ".join(facts))), layout=False)

    @on(CheckpointList.Moved)
    def _moved(self) -> None:
        row = self.row
        if row is None or self._look is None or self._look.path != row.path:
            self._look, self._tensor = None, None
        self._look_poll.now()
        self._paint()

    @on(CheckpointList.Opened)
    def _opened(self) -> None:
        if self.row is not None and self.row.run is not None:
            self.post_message(Open("run", run=self.row.path))
        else:
            self.action_inspect()

    def action_inspect(self) -> None:
        self.add_class("-open")
        self.pane.lines.focus()

    def action_filter(self) -> None:
        self.add_class("-filtering")
        self.set_focus(self.query_one("#filter"))

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._words = event.value.strip()
        self.set_class(bool(self._words), "-filtered")
        self._list_poll.now()

    @on(Input.Submitted, "#filter")
    def _filter_left(self) -> None:
        self.remove_class("-filtering")
        self.side.lines.focus()

    def action_order(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._list_poll.now()

    def step_out(self) -> None:
        field = self.query_one("#filter", Input)
        if field.has_focus:
            self._filter_left()
        elif self.pane.has_focus_within:
            self.remove_class("-open")
            self.side.lines.focus()
        elif field.value:
            field.value = ""
        elif self._marked is not None:
            self._mark(None)

    # The one under the cursor

    def _look_at_row(self) -> Look:
        return look(self.row, self._marked)

    def _take_look(self, found: Look) -> None:
        if self.row is not None and found.path == self.row.path:
            if found != self._look:
                self._look = found
                self._paint()
            self._read()

    def _paint(self) -> None:
        verified, marked = self._verified.get(self._claim(), ""), self._marked
        self.pane.show(Shown(self.row, self._found, self._look, verified, self._tensor, marked))

    def _claim(self) -> tuple[Path, str]:
        """By what a verification is known: the place, and the hashes that its manifest claims."""
        files = self.inspection.files if self.inspection is not None else ()
        return self.row.path if self.row is not None else Path(), " ".join(file.sha256 for file in files)

    def _mark(self, path: Path | None) -> None:
        self._marked = path
        self._look = self._look._replace(other=None, comparison=None) if self._look is not None else None
        self._show_list()
        self._look_poll.now()
        self._paint()

    def action_mark(self) -> None:
        row = self.row
        if row is None or self.inspection is None:
            self._warn("Only a checkpoint that is whole can be marked.")
        else:
            self._mark(None if self._marked == row.path else row.path)

    def action_differ(self) -> None:
        if self._marked is None:
            self._warn("Mark one with m, go to another, and press d.")
            return
        self._show_part("difference", into=True)
        self.action_inspect()

    def action_tab(self, by: int) -> None:
        names = list(TABS)
        self._show_part(names[(names.index(self.pane.tab) + by) % len(names)])

    def _show_part(self, part: str, *, into: bool = False) -> None:
        """Show a part of the pane. The keys go `into` it, or along, where they were in another one."""
        inside = isinstance(self.focused, LineList) and self.pane in self.focused.ancestors
        self._follows = part != self.pane.tab and (into or inside)
        self.pane.tabs.active = part

    # Reading weights

    def _read(self, *, asked: bool = False) -> None:
        """Read what is in sight and not known yet."""
        if self._look is not None:
            self._reader.want(job_for(self._weights, self._look, self.pane.tab, self._tensor), asked=asked)

    def action_read(self) -> None:
        if self.inspection is None:
            self._warn("There are no weights to read here.")
            return
        if self.pane.tab in ("about", "settings"):
            self._show_part("tensors")
        self._read(asked=True)

    def action_histogram(self) -> None:
        if (tensor := self.pane.tensor) is not None:
            self._show_histogram(tensor)
            return
        self._show_part("tensors", into=True)
        self.action_inspect()
        self._warn("Choose a tensor, and press h or Enter.")

    @on(CheckpointPane.TensorChosen)
    def _tensor_chosen(self, event: CheckpointPane.TensorChosen) -> None:
        self._show_histogram(event.tensor)

    def _show_histogram(self, tensor: str) -> None:
        self._tensor = tensor
        self._paint()
        self._read(asked=True)

    @on(CheckpointPane.TabShown)
    def _tab_shown(self) -> None:
        if self._follows:
            self._follows = False
            self.pane.lines.focus()
        self._read()

    def action_stop(self) -> None:
        self._reader.stop()
        self.workers.cancel_group(self, "job")

    # What takes a while, and is a command

    @work(group="job", exit_on_error=False)
    async def action_verify(self) -> None:
        arguments, claim = self.command_for("verify"), self._claim()
        if arguments is None or self.inspection is None:
            self._warn("There is nothing to verify here.")
            return
        try:
            said = await self._follow(arguments)
        except CommandError as error:
            self._verified[claim] = str(error)
            raise
        finally:
            self._paint()
        if said is not None:
            self._verified[claim] = printable(said[-1])
            self._paint()
            self.notify(f"{arguments[1]}: {self._verified[claim]}", markup=False)

    def action_export(self) -> None:
        row, inspection = self.row, self.inspection
        if row is None or inspection is None or inspection.problems:
            self._warn("Only a checkpoint that is whole, and what its spec says, can be exported.")
            return
        folder, commands = self.services.folder, self.services.commands
        form = CopyForm(inspection, shown_path(inspection.folder), copy_name(row, self._found), folder, commands)
        self._open_form(form, lambda _: self._export(form.chosen))

    @work(group="job", exit_on_error=False)
    async def _export(self, arguments: list[str]) -> None:
        said = await self._follow(arguments)
        if said is not None:
            self.notify(printable("\n".join(said) or "exported"), markup=False)
            self.refresh_polls()

    async def _follow(self, arguments: list[str]) -> list[str] | None:
        """Run a command with its progress; None where another one is under way."""
        bar = self.query_one(JobBar)
        if bar.is_busy:
            self._warn(f"One thing at a time: {STOP_KEY} ends what is under way.")
            return None
        return await bar.follow(self.services.commands, arguments)

    def action_prune(self) -> None:
        if (run := self.run_path) is None:
            self._warn("It is of no run: only a run's checkpoints are pruned.")
            return

        def pruned(done: Done) -> None:
            self.notify(printable(done.out.strip().splitlines()[-1] if done.out.strip() else "removed"), markup=False)
            self.refresh_polls()

        self._open_form(PruneForm(run.name, self.services.commands), pruned)

    def action_resume(self) -> None:
        run, row, inspection = self.run_path, self.row, self.inspection
        if run is None or row is None:
            self._warn("It is of no run that could go on: b begins a new one from its weights.")
        elif row.run is None and (inspection is None or not inspection.resume.possible):
            why = inspection.resume.note if inspection is not None else "it is not whole"
            self._warn(f"No run goes on from it: {why}; b begins a new one from its weights.")
        else:
            form = ResumeForm(run.name, self.services.commands, newest(run, self._found))
            self._open_form(form, lambda _: self.post_message(Open("run", run=run)))

    def _open_form(self, form: CommandForm, then: Callable[[Done], object]) -> None:
        def closed(done: Done | None) -> None:
            if done is not None:
                then(done)

        self.app.push_screen(form, closed)

    # Other screens

    def action_chat(self) -> None:
        row = self.row
        if row is not None and row.run is not None:
            self.post_message(Open("chat", source=row.run.id))
        elif (path := self._usable(lambda inspection: inspection.serve, "It cannot be served")) is not None:
            self.post_message(Open("chat", source=shown_path(path)))

    def action_warm_start(self) -> None:
        if (path := self._usable(lambda inspection: inspection.warm_start, "No run begins from it")) is not None:
            self.post_message(Open("compose", parent=path))

    def _usable(self, use_of: Callable[[Inspection], Use], cannot: str) -> Path | None:
        """The checkpoint under the cursor, where it can be used so; otherwise it is said why not."""
        if self.inspection is None:
            self._warn(f"{cannot}: it is no whole checkpoint.")
        elif not (use := use_of(self.inspection)).possible:
            self._warn(f"{cannot}: {use.note}.")
        else:
            return self.inspection.folder
        return None

    def _warn(self, words: str) -> None:
        self.notify(printable(words), severity="warning", markup=False)
