"""The Run screen: what can be done with the run that it shows; how it is shown is in `screens.run_view`.

Everything that is asked of a run is a `daisy …` command, after a question or in a form that shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual import events, on

from core.runs.directory import all_runs
from daisy_tui.actions import Action
from daisy_tui.checkpoints.catalog import Listed
from daisy_tui.commands import Done
from daisy_tui.runs import run_requests
from daisy_tui.runs.log_lines import last_stacks
from daisy_tui.runs.run_look import RunLook
from daisy_tui.runs.watching import UNREADABLE, RunRow
from daisy_tui.screens.base import Open
from daisy_tui.screens.pick import PickScreen
from daisy_tui.screens.run_view import TABS, RunView
from daisy_tui.widgets.pick_entries import run_entries
from daisy_tui.widgets.run_banner import AdviceScreen, RunBanner
from daisy_tui.widgets.run_forms import CommandForm, ExportForm, ResumeForm, SetForm
from daisy_tui.widgets.run_lines import LineList
from daisy_tui.widgets.run_panes import CheckpointsPane

_R = "daisy runs"
# The tabs in which an action makes sense; the others do everywhere.
_ONLY_IN = {
    **dict.fromkeys(("log_y", "smoother", "rougher", "axis", "zoom_one"), ("charts",)),
    **dict.fromkeys(("next", "previous"), ("charts", "log")),
    **dict.fromkeys(("follow", "level"), ("log",)),
    "search": ("log", "events", "config"),
}
_SAID = {
    "stop": "asked to stop: it finishes its step and writes a checkpoint",
    "kill": "killed: it ends at once",
}


class RunScreen(RunView):
    """One run, and what can be done with it."""

    NAME, TITLE = "run", "Run"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("stop", "x,T,I", "Stop", "Stop the run with a checkpoint.", f"{_R} stop RUN", acts=True),
        Action("resume", "r", "Resume", "Go on with the run; says first how exactly.", f"{_R} resume RUN", acts=True),
        Action("set", "s", "Set", "Change learning rate, target or cadences.", f"{_R} set RUN KEY=VALUE", acts=True),
        Action("log_y", "y", "Log y", "A logarithmic y, or a linear one."),
        Action("smoother", "m", "Smooth", "Smooth the lines more."),
        Action("rougher", "M", "Smooth less", "Smooth the lines less.", footer=False),
        Action("axis", "a", "Axis", "Charts over steps, tokens or time."),
        Action("zoom_one", "z", "One/all", "All the room for one chart, or for all of them."),
        Action("follow", "f", "Follow", "Follow the end of the log, or stay.", f"{_R} logs RUN --follow"),
        Action(
            "search",
            "slash",
            "Search",
            "Only the lines that hold some text.",
            f"{_R} logs RUN --grep RE",
        ),
        Action("level", "l", "Level", "All lines, warnings and errors, or errors."),
        Action("inspect", "i", "Inspect", "Inspect the checkpoint.", "daisy inspect CHECKPOINT"),
        Action("chat", "t", "Chat", "Chat with the run, or with the chosen checkpoint.", "daisy chat RUN"),
        Action("next", "n", "Next", "The next chart, or the log of the next rank."),
        Action("previous", "N", "Previous", "The chart before, or the log of the rank before.", footer=False),
        Action("pick", "p", "Pick", "Show another run.", f"{_R} list"),
        Action("health", "h", "Health", "All that is wrong with the run, and what to do.", f"{_R} show RUN"),
        Action("save", "w", "Save", "Write a checkpoint at the next step.", f"{_R} save RUN", acts=True),
        Action("evaluate", "e", "Evaluate", "Evaluate at the next step.", f"{_R} eval RUN", acts=True),
        Action("warm_start", "b", "Branch", "A new run from its weights, in Compose.", "daisy train CONFIG -p RUN"),
        Action("stacks", "d", "Stacks", "Every rank writes its stacks.", f"{_R} show RUN --stacks", acts=True),
        Action("export", "X", "Export", "A table or an archive.", f"{_R} export RUN --out FILE", acts=True),
        Action("kill", "K", "Kill", "End the run at once, without a checkpoint.", f"{_R} stop RUN --now", acts=True),
        *(
            Action(f"show('{tab}')", tab[at].upper(), tab.capitalize(), f"The tab {tab.capitalize()}.", footer=False)
            for tab, at in TABS.items()
        ),
        Action("step(1)", "right_square_bracket", "Next tab", "The tab on the right.", footer=False),
        Action("step(-1)", "left_square_bracket", "Tab before", "The tab on the left.", footer=False),
        Action("other(1)", "less_than_sign", "Older run", "The run before this one.", footer=False),
        Action("other(-1)", "greater_than_sign", "Newer run", "The run after this one.", footer=False),
    )

    # Requests

    def command_for(self, action: str) -> list[str] | None:
        name = self.run_name
        if action == "pick":
            return ["runs", "list"]
        if name is None:
            return None
        if action in ("follow", "search"):
            return self._log_command(action, name)
        if action in ("inspect", "chat", "warm_start"):
            return self._checkpoint_command(action, name)
        known = {
            "resume": ["runs", "resume", name],
            "health": ["runs", "show", name],
            "set": ["runs", "set", name, "KEY=VALUE"],
            "export": ["runs", "export", name, "--out", "FILE"],
        }
        return known.get(action) or run_requests.arguments(action, name)

    def action_stop(self) -> None:
        self._request("stop")

    def action_kill(self) -> None:
        self._request("kill")

    def action_save(self) -> None:
        self._request("save")

    def action_evaluate(self) -> None:
        self._request("evaluate")

    def action_stacks(self) -> None:
        self._request("stacks")

    def action_set(self) -> None:
        if (look := self._asked("set")) is None:
            return
        run, tokens, name = look.run, look.facts["tokens"], str(self.run_name)

        def open_form(now: dict[str, str]) -> None:
            form = SetForm(name, self.services.commands, now, lambda v: run_requests.set_problems(run, v, tokens))
            self._open_form(form, _what_was_set)

        self.in_thread("set", lambda: run_requests.settings_in_force(run), open_form)

    def action_resume(self) -> None:
        if (look := self._asked("resume")) is not None:
            last = look.last_checkpoint.name if look.last_checkpoint is not None else None
            waits = look.status.state == "queued" or "is in use by" in (look.status.reason or "")
            form = ResumeForm(str(self.run_name), self.services.commands, last, queue=waits)
            self._open_form(form, lambda done: f"{look.run.path.name} goes on")

    def action_export(self) -> None:
        if self._asked("export") is not None:
            form = ExportForm(str(self.run_name), self.services.commands)
            self._open_form(form, lambda done: done.out.strip())

    def action_warm_start(self) -> None:
        look = self._asked("warm_start")
        if look is None or (checkpoint := self._checkpoint) is None:
            return

        def typed() -> list[str]:
            return look.run.overrides.read_text().splitlines() if look.run.overrides.exists() else []

        def open_compose(overrides: list[str]) -> None:
            config = look.facts["config"]
            self.post_message(Open("compose", config=config, overrides=overrides, parent=checkpoint.path))

        self.in_thread("warm start", typed, open_compose)

    def _asked(self, what: str) -> RunLook | None:
        """The run, where it makes sense to ask this of it; otherwise it is said why not."""
        look = self._look
        why = "There is no run to ask." if look is None else run_requests.refusal(what, look)
        if why is None:
            return look
        self.notify(why, severity="warning", markup=False)
        return None

    def _request(self, what: str) -> None:
        if (look := self._asked(what)) is None:
            return
        title, lines, danger = run_requests.question(what, look)
        name, said = look.run.path.name, _SAID.get(what)
        self.act(
            what,
            question=(title, lines),
            danger=danger,
            then=self._show_stacks if what == "stacks" else None,
            said=(lambda done: f"{name}: {said}") if said is not None else None,
        )

    def _show_stacks(self, done: Done) -> None:
        """Go to the log of the rank that is in the way, where its stacks are now."""
        wrote = {int(one["rank"]): bool(one["wrote"]) for one in done.json}
        silent = [rank for rank, did in wrote.items() if not did]
        stalled = [stall.rank for stall in self._look.status.stalls] if self._look is not None else []
        if silent:
            ranks = ", ".join(map(str, silent))
            self.notify(f"rank {ranks} wrote nothing: it is stopped, or hangs in the kernel", severity="warning")
        rank = next((rank for rank in [*stalled, *wrote] if wrote.get(rank)), None)
        if rank is None or self._subject is None:
            return
        name, path = f"rank{rank}", self._subject.run.logs / f"rank{rank}.log"

        def show(place: int | None) -> None:
            self.show_tab("log")
            self.log_pane.open_log(name, place)

        self.in_thread("stacks", lambda: last_stacks(path), show)

    def _open_form(self, form: CommandForm, said: Any) -> None:
        def closed(done: Done | None) -> None:
            if done is not None:
                self.notify(said(done), markup=False)
                self.refresh_polls()

        self.app.push_screen(form, closed)

    def _log_command(self, action: str, name: str) -> list[str]:
        rank, text = run_requests.rank_of(self.log_pane.shown_name), self.log_pane.text
        of_rank = ["--rank", str(rank)] if rank is not None else []
        wanted = ["--follow"] if action == "follow" else ["--grep", run_requests.pattern(text) if text else "RE"]
        return ["runs", "logs", name, *of_rank, *wanted]

    # Checkpoints

    @property
    def _checkpoint(self) -> Listed | None:
        """The checkpoint that the cursor is on, where they are listed; otherwise the last whole one."""
        if self._look is None:
            return None
        chosen = self.query_one(CheckpointsPane).chosen if self.tabs.active == "checkpoints" else None
        found = self._look.checkpoints[chosen] if chosen is not None else None
        return found if found is not None and found.complete else self._look.last_checkpoint

    def _checkpoint_command(self, action: str, name: str) -> list[str]:
        """With the run itself, which stands for its latest checkpoint, where there is none yet."""
        is_of_run = action == "chat" and self.tabs.active != "checkpoints"
        source = str(checkpoint.path) if (checkpoint := self._checkpoint) is not None and not is_of_run else name
        if action == "warm_start":
            config = self._look.facts["config"] if self._look is not None else None
            return ["train", config or "CONFIG", "-p", source]
        return [action, source]

    def action_inspect(self) -> None:
        if self._look is not None and (checkpoint := self._checkpoint) is not None:
            self.post_message(Open("checkpoints", checkpoint=checkpoint.path, run=self._look.run.path))

    def action_chat(self) -> None:
        if (checkpoint := self._checkpoint) is None or self.run_name is None:
            self.notify("there is no checkpoint to talk to yet", markup=False)
        else:
            source = str(checkpoint.path) if self.tabs.active == "checkpoints" else self.run_name
            self.post_message(Open("chat", source=source))

    @on(LineList.Chosen, "#run-checkpoints LineList")
    def _inspect_chosen(self) -> None:
        self.action_inspect()

    # Other runs

    def action_pick(self) -> None:
        if self.hold_keys():
            self.run_worker(self._pick(), group="act", exit_on_error=False)

    async def _pick(self) -> None:
        def picker(rows: tuple[RunRow, ...]) -> PickScreen[Path]:
            known = [row for row in rows if row.state != UNREADABLE]
            here = self._subject.run.path if self._subject is not None else None
            entries = run_entries(known, here)
            return PickScreen("Which run?", "a few letters of its name or state", entries, noun="runs")

        if (path := await self.dialogue(self.services.watch.look, picker)) is not None:
            self.show_run(path)

    def action_other(self, by: int) -> None:
        def show(found: list[Path]) -> None:
            here = found.index(self._subject.run.path) if self._subject and self._subject.run.path in found else 0
            if 0 <= here + by < len(found):
                self.show_run(found[here + by])
            else:
                self.notify("There is no older run." if by > 0 else "There is no newer run.")

        self.in_thread("pick", lambda: [run.path for run in all_runs(self.services.runs)], show)

    # What is seen

    @on(RunBanner.Pressed)
    def action_health(self) -> None:
        self.app.push_screen(AdviceScreen(self.advice, self.key_of))

    def action_show(self, tab: str) -> None:
        self.show_tab(tab)

    def action_step(self, by: int) -> None:
        names = list(TABS)
        self.show_tab(names[(names.index(self.tabs.active) + by) % len(names)])

    def action_log_y(self) -> None:
        self.charts.toggle_log_y()

    def action_smoother(self) -> None:
        self.charts.smooth(1)

    def action_rougher(self) -> None:
        self.charts.smooth(-1)

    def action_axis(self) -> None:
        self.charts.next_x()

    def action_zoom_one(self) -> None:
        self.charts.zoom_one()

    def action_next(self) -> None:
        self._step(1)

    def action_previous(self) -> None:
        self._step(-1)

    def _step(self, by: int) -> None:
        if self.tabs.active == "log":
            self.log_pane.next_log(by)
        else:
            self.charts.action_step(by)

    def action_follow(self) -> None:
        self.log_pane.toggle_follow()

    def action_level(self) -> None:
        self.log_pane.set_level()

    def action_search(self) -> None:
        if self.pane is not None:
            self.pane.search()

    # Which of it makes sense now

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _ONLY_IN and self.is_mounted and self.tabs.active not in _ONLY_IN[action]:
            return False
        if self._look is not None and action in ("resume", *run_requests.LIVING):
            return False if run_requests.refusal(action, self._look) else super().check_action(action, parameters)
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """A key of a request that makes no sense now is answered too; the others go on to their bindings."""
        known = next((one for one in self.ACTIONS if event.key in one.keys), None)
        if known is not None and known.acts and self._look is not None and not self.services.readonly:
            self._asked(known.id)


def _what_was_set(done: Done) -> str:
    answer = done.json
    return f"after step {answer['step']:,}: {str(answer['answer']).removeprefix('done: ')}"
