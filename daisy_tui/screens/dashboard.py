"""All runs of the folder, the devices of the machine, the queue and the servers: where the terminal opens.

Four looks, each in a thread of its own: the runs, the devices, the leases, and the run under the cursor. What is shown
is changed where it changed. A narrow or low terminal folds the panels into two lines, which a key unfolds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import DataTable, Input, OptionList, Static

from core.text import printable
from daisy_tui.commands import Done
from daisy_tui.runs.overview import Overview, device_labels, look_around
from daisy_tui.runs.runs_order import FIELDS, Order, counts
from daisy_tui.runs.runs_picking import Picked, Picker, Window
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.screens.dashboard_actions import ACTIONS, NEED_RUN, Chosen, command_for, refusal
from daisy_tui.widgets.dashboard_panels import Line, Panel, QueuePanel
from daisy_tui.widgets.dashboard_table import RunsTable
from daisy_tui.widgets.dashboard_text import (
    counts_line,
    details_lines,
    devices_lines,
    machine_line,
    queue_line,
    servers_lines,
)

if TYPE_CHECKING:
    from core.runs.telemetry import Snapshot
    from daisy_tui.runs.run_details import DetailReader, Details
    from daisy_tui.runs.watching import RunRow

_RUNS_S, _DEVICES_S, _LEASES_S, _DETAILS_S = 1.0, 1.0, 1.0, 2.0
_EMPTY = (
    "No runs here yet.\n\n"
    "n  composes one: pick a config, change it, see what it costs, launch it\n"
    "7  shows the data that there is, and prepares some\n\n"
    "`daisy train demo` trains the demo. Whatever starts a run in this folder, it appears here by itself."
)
_UNPICKED = "No run is picked. Esc shows all."


class Machine(NamedTuple):
    """The devices at a moment: samples, the oldest first, and why there is no newer one."""

    history: list[Snapshot]
    failure: str | None


class DashboardScreen(DaisyScreen):
    """The dashboard."""

    NAME, TITLE, AUTO_FOCUS = "dashboard", "Dashboard", "RunsTable"
    CSS_PATH = "dashboard.tcss"
    ACTIONS = ACTIONS

    def __init__(self) -> None:
        super().__init__()
        self._typed = ""
        self._order = Order()
        self._looked = Picked()
        self._machine = Machine([], None)
        self._overview = Overview()
        self._window: Window = (0, 0)
        self._selected: RunRow | None = None
        self._said: dict[str, str] = {}
        self._offered: frozenset[str] = frozenset()
        self._devices = Panel("Devices", id="devices", wraps=False)
        self._queue, self._servers = QueuePanel(), Panel("Servers", id="servers")
        # Of the threads that look: only they touch these.
        self._picker = Picker()
        self._reader: DetailReader | None = None

    def body(self) -> ComposeResult:
        yield Line(id="counts")
        with Horizontal(id="filter-row"):
            yield Static("/", id="filter-sign")
            yield Input(
                placeholder="state:running val<3.5 cfg.model_dim>=768 tag:baseline -debug", compact=True, id="filter"
            )
        yield Static("", id="filter-problem", markup=False)
        with Horizontal(id="main"):
            with Vertical(id="runs-side"):
                yield RunsTable()
                yield Static("", id="instead", markup=False)
            yield Panel("Run", id="details")
        yield Horizontal(id="panels")
        yield Line(id="machine-line")
        yield Line(id="queue-line")

    def on_mount(self) -> None:
        self.once_painted(self._mount_panels)
        self._runs_poll = self.poll("runs", _RUNS_S, self._look_at_runs, self._show_runs)
        self.poll("devices", _DEVICES_S, self._look_at_devices, self._show_devices)
        self.poll("leases", _LEASES_S, lambda: look_around(self.services.serving.status()), self._show_leases)
        self._details_poll = self.poll("details", _DETAILS_S, self._look_at_details, self._show_details)

    async def _mount_panels(self) -> None:
        right = Vertical(self._queue, self._servers, id="panels-right")
        await self.query_one("#panels").mount(self._devices, right)

    # Looking, in threads

    def _look_at_runs(self) -> Picked:
        return self._picker.pick(self.services.watch, self._typed, self._order, self._window)

    def _look_at_devices(self) -> Machine:
        telemetry = self.services.telemetry
        if self.services.polls:
            telemetry.start()  # in one thread for all samples: psutil counts by thread, and a driver may hang
        else:
            telemetry.tick()
        return Machine(telemetry.history(), telemetry.failure)

    def _look_at_details(self) -> Details | None:
        row = self._selected
        if row is None or not self._has_details:
            return None
        if self._reader is None:
            from daisy_tui.runs.run_details import DetailReader

            self._reader = DetailReader()
        return self._reader.look(row, self.services.clock())

    # Showing

    def _show_runs(self, looked: Picked) -> None:
        self._looked = looked
        table = self.query_one(RunsTable)
        queue = {waiting.id: place for place, waiting in enumerate(self._overview.queue, 1)}
        table.show(looked.rows, device_labels(self._snapshot), self._order, queue)
        self._scrolled()
        room = self.size.width - 2  # within its padding
        line = counts_line(counts(looked.every), len(looked.rows), self._order, room)
        self.query_one("#counts", Line).show(line)
        self._say("problem", "#filter-problem", f"✗ {printable(looked.problem)}" if looked.problem else "")
        self._say("no-runs", "#instead", "" if looked.rows else _UNPICKED if looked.every else _EMPTY)
        self._follow_cursor()

    def _say(self, name: str, selector: str, words: str) -> None:
        """Show words that are mostly absent, where they are others."""
        if words != self._said.get(name, ""):
            self._said[name] = words
            self.query_one(selector, Static).update(Content(words))
            self.set_class(bool(words), f"-{name}")

    def _show_devices(self, machine: Machine) -> None:
        self._machine = machine
        self._show_machine()

    def _show_leases(self, overview: Overview) -> None:
        has_moved = overview.queue != self._overview.queue
        self._overview = overview
        if has_moved and self._looked.every:
            self._show_runs(self._looked)
        labels = device_labels(self._snapshot)
        self._queue.show(overview.queue, labels, overview.problem)
        self._servers.show(servers_lines(overview))
        self.query_one("#queue-line", Line).show(queue_line(overview))
        self._show_machine()
        self._offer()

    def _show_machine(self) -> None:
        history, failure = self._machine
        self._devices.show(devices_lines(history, self._overview, failure, self._devices.size.width))
        self.query_one("#machine-line", Line).show(machine_line(self._snapshot, self._overview, failure))

    def _show_details(self, details: Details | None) -> None:
        panel = self.query_one("#details", Panel)
        if details is None:
            panel.show(Content(""))
        elif self._selected is not None and details.row.id == self._selected.id:
            panel.show(details_lines(details, device_labels(self._snapshot)))

    @property
    def _snapshot(self) -> Snapshot | None:
        return self._machine.history[-1] if self._machine.history else None

    @property
    def _has_details(self) -> bool:
        return self.has_class("-wide")

    def _follow_cursor(self) -> None:
        before, now = self._selected, self.query_one(RunsTable).selected
        self._selected = now
        if (before and before.id) != (now and now.id):
            self._details_poll.now()
        self._offer()

    def _offer(self) -> None:
        """Have the footer tell what can be done now, where that is something else: it takes 30 ms to make."""
        chosen = self._chosen
        now = frozenset(action for action in NEED_RUN if command_for(action, chosen) is not None)
        if now != self._offered:
            self._offered = now
            self.refresh_bindings()

    # What is chosen

    @property
    def _chosen(self) -> Chosen:
        """What is meant: of the queue the run chosen there, or else the one under the cursor if it waits.

        To be compared are the marked ones as they are listed, and beside a single one that under the cursor.
        """
        row, marked, panel = self._selected, self.query_one(RunsTable).marked, self._queue
        here = row.id if row is not None else None
        compared = [one for one in self._looked.rows if one.id in marked or (len(marked) == 1 and one.id == here)]
        waiting = next((one for one in self._overview.queue if one.id == here), None)
        return Chosen(row, tuple(compared), panel.chosen if panel.has_focus else waiting, self._overview, self._typed)

    def command_for(self, action: str) -> list[str] | None:
        return command_for(action, self._chosen)

    def leading_to(self, screen: str) -> dict[str, Any]:
        return {"run": self._selected.path} if screen == "run" and self._selected is not None else {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done with the run under the cursor is not offered."""
        if action in NEED_RUN and action not in self._offered:
            return False
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """A key that means nothing now says so; the others go on to their bindings."""
        known = next((action for action in self.ACTIONS if event.key in action.keys), None)
        if known is None or self.services.readonly or known.id not in NEED_RUN or known.id in self._offered:
            return
        event.stop()
        self.notify(printable(refusal(known.id, self._chosen)), markup=False)

    # Acting

    def action_stop(self) -> None:
        if (row := self._selected) is not None:
            what = (
                "It leaves the queue."
                if row.state == "queued"
                else "It saves a checkpoint and ends; r goes on with it."
            )
            self.act("stop", question=(f"Stop {printable(row.name)}?", [what]))

    def action_resume(self) -> None:
        if (row := self._selected) is not None:
            busy = "--queue" in (self.command_for("resume") or [])
            what = (
                "Its devices are in use: it waits for them in the queue."
                if busy
                else "It goes on from its last checkpoint."
            )
            done = f"{row.name} {'waits for its devices' if busy else 'goes on'}"
            self.act("resume", question=(f"Resume {printable(row.name)}?", [what]), said=lambda _: printable(done))

    def action_prune(self) -> None:
        if (row := self._selected) is not None:
            self.run_worker(self._prune(row.id), group="act", exit_on_error=False)

    async def _prune(self, run_id: str) -> None:
        """Say what would go, and have it removed if that is wanted."""
        plan = await self.services.commands.run("runs", "prune", run_id, "--dry-run")
        lines = [printable(line) for line in plan.out.strip().splitlines()]
        if not lines or lines[0].startswith("0 "):
            self.notify("\n".join(lines) or "nothing to remove", markup=False)
            return
        arguments = ["runs", "prune", run_id, "--yes"]
        self.run_command(arguments, question=(f"Prune {printable(run_id)}?", lines), danger=True, said=_last_line)

    def action_earlier(self) -> None:
        self.act("earlier", said=lambda _: "")

    def action_later(self) -> None:
        self.act("later", said=lambda _: "")

    def action_cancel(self) -> None:
        if (waiting := self._chosen.waiting) is not None:
            lines = ["It leaves the queue; its directory stays, and r starts it again."]
            self.act(
                "cancel",
                question=(f"Cancel {printable(waiting.id)}?", lines),
                said=lambda _: f"{waiting.id} left the queue",
            )

    def action_copy(self) -> None:
        if (row := self._selected) is not None:
            self.app.copy_to_clipboard(row.id)
            self.notify(f"copied: {printable(row.id)}", markup=False)

    # Going elsewhere

    def action_show(self) -> None:
        if self._selected is not None and self.command_for("show") is not None:
            self.post_message(Open("run", run=self._selected.path))

    @on(DataTable.RowSelected)
    def _open_run(self) -> None:
        self.action_show()

    @on(OptionList.OptionSelected, "#queue")
    def _open_waiting(self) -> None:
        if (waiting := self._queue.chosen) is not None:
            self.post_message(Open("run", run=waiting.run))

    def action_compare(self) -> None:
        self.post_message(Open("compare", runs=[row.path for row in self._chosen.compared]))

    def action_chat(self) -> None:
        if self._selected is not None:
            self.post_message(Open("chat", source=self._selected.id))

    def action_new(self) -> None:
        self.post_message(Open("compose"))

    # Looking otherwise

    def action_mark(self) -> None:
        self.query_one(RunsTable).toggle_mark()
        self._offer()

    def action_panels(self) -> None:
        self.toggle_class("-unfolded")
        self.call_after_refresh(self._show_machine)

    def action_sort(self) -> None:
        self._sort(self._order.next)

    def action_turn(self) -> None:
        self._sort(self._order._replace(is_reversed=not self._order.is_reversed))

    @on(DataTable.HeaderSelected)
    def _sort_by_head(self, event: DataTable.HeaderSelected) -> None:
        key = event.column_key.value
        if key in FIELDS:
            self._sort(Order(key, key == self._order.by and not self._order.is_reversed))

    def _sort(self, order: Order) -> None:
        self._order = order
        self._runs_poll.now()

    def action_filter(self) -> None:
        self.add_class("-filtering")
        self.set_focus(self.query_one("#filter", Input))

    @on(Input.Changed, "#filter")
    def _filter(self, event: Input.Changed) -> None:
        self._typed = event.value
        self._runs_poll.now()

    @on(Input.Submitted, "#filter")
    def _keep_filter(self) -> None:
        self.query_one(RunsTable).focus()
        self.set_class(bool(self._typed.strip()), "-filtering")

    def step_out(self) -> None:
        """One layer less: the filter, then the marks, then the panels that were unfolded."""
        table = self.query_one(RunsTable)
        if self.has_class("-filtering"):
            self.query_one("#filter", Input).value = ""
            self.remove_class("-filtering")
            table.focus()
        elif table.marked:
            table.unmark()
            self._offer()
        elif self.has_class("-unfolded"):
            self.remove_class("-unfolded")
            table.focus()

    @on(RunsTable.Moved)
    def _cursor_moved(self) -> None:
        self._follow_cursor()

    @on(RunsTable.Scrolled)
    def _scrolled(self) -> None:
        """Have the course of the runs drawn that came into sight."""
        window = self.query_one(RunsTable).window
        if window != self._window:
            self._window = window
            self._runs_poll.now()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_machine)
        self.once_painted(self._details_poll.now)

    @on(OptionList.OptionHighlighted, "#queue")
    def on_descendant_focus(self) -> None:
        self._offer()


def _last_line(done: Done) -> str:
    return (done.out.strip().splitlines() or [""])[-1]
