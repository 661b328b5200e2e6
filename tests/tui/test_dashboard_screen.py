"""The dashboard as it is used: runs that come and go, filters, orders, marks, actions, and looks that fail."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import NOW, log_point
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from core.runs.leases import Leases, Wanted, lease_folder
from core.runs.telemetry import Gpu, Host, Snapshot, Telemetry
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError
from daisy_tui.screens import dashboard
from daisy_tui.screens.base import Open
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.dashboard import DashboardScreen
from daisy_tui.services import Services
from daisy_tui.widgets.dashboard_panels import QueuePanel
from daisy_tui.widgets.dashboard_table import RunsTable

MakeRun = Callable[..., Path]
Story = Callable[[Pilot[Any], DashboardScreen], Any]
GIB = 1 << 30
GPU = Gpu("GPU-0", "0", "H100", 0.97, 62 * GIB, 80 * GIB, 71.0, 412.0, 700.0, ())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The screens that were to be opened, and with what."""
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(DaisyApp, "on_open", lambda self, message: found.append((message.screen, message.context)))
    return found


@pytest.fixture
def leases() -> Iterator[Leases]:
    held = Leases(lease_folder())
    yield held
    held.release()


def _tell(services: Services, story: Story, size: tuple[int, int] = (80, 24)) -> DaisyApp:
    app = app_of(services)

    async def told(pilot: Pilot[Any]) -> None:
        screen = app.screen_stack[0]
        assert isinstance(screen, DashboardScreen)
        await story(pilot, screen)

    drive(app, told, size)
    return app


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def _names(screen: DashboardScreen) -> list[str]:
    """The runs that are listed, from top to bottom."""
    table = screen.query_one(RunsTable)
    return [str(row.key.value)[16:] for row in table.ordered_rows]


def _here(screen: DashboardScreen) -> str | None:
    row = screen.query_one(RunsTable).selected
    return row.name if row is not None else None


def _append(run: Path, step: int) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(log_point(step, NOW - 80, 102_400)) + "\n")


# Runs


def test_its_number_opens_the_run_under_the_cursor(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("newer", day=2)
    older = make_run("older", day=1)
    went: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(DaisyApp, "open", lambda self, name, **context: went.append((name, context)))

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "down", "3", "5")

    _tell(services, story)
    assert went == [("run", {"run": older}), ("checkpoints", {})]


def test_runs_of_all_states_are_listed_newest_first(services: Services, make_run: MakeRun) -> None:
    states = ("queued", "starting", "running", "stopping", "finished", "stopped", "failed", "lost")
    for day, state in enumerate(states, 1):
        make_run(f"a-{state}", state, day=day)

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert _names(screen) == [f"a-{state}" for state in reversed(states)]
        lines = words(screen.daisy).splitlines()
        for state in states:
            assert any(f" {state} " in line and f"a-{state} " in line for line in lines)
        assert lines[1].startswith(" 8 runs  ● 1 running")

    _tell(services, story)


def test_an_empty_folder_says_what_to_do(services: Services) -> None:
    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "n  composes one" in words(screen.daisy)
        assert "daisy train demo" in words(screen.daisy)
        await _press(pilot, "x", "r", "space", "enter", "v", "p", "y", "K", "J", "d", "S", "s", "escape")
        assert {*toasts(screen.daisy)} == {
            "there is no run here",
            "space marks the runs that are to be compared",
        }, "and nothing falls over"

    _tell(services, story)


def test_a_run_that_is_started_elsewhere_appears_by_itself_and_the_cursor_stays(
    services: Services, make_run: MakeRun
) -> None:
    make_run("first", day=1)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert _here(screen) == "first"
        make_run("second", "running", day=2)
        await settle(pilot)
        assert _names(screen) == ["second", "first"]
        assert _here(screen) == "first"

    _tell(services, story)


def test_the_cursor_stays_on_its_run_while_others_vanish_and_goes_to_the_next_when_it_vanishes(
    services: Services, make_run: MakeRun
) -> None:
    runs = {name: make_run(name, day=day) for day, name in enumerate("abcde", 1)}

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "down", "down")
        assert _here(screen) == "c"
        shutil.rmtree(runs["e"])
        await settle(pilot)
        assert (_names(screen), _here(screen)) == ([*"dcba"], "c")
        shutil.rmtree(runs["c"])
        await settle(pilot)
        assert (_names(screen), _here(screen)) == ([*"dba"], "b")
        for name in "dba":
            shutil.rmtree(runs[name])
        await settle(pilot)
        assert (_names(screen), _here(screen)) == ([], None)
        assert "n  composes one" in words(screen.daisy)

    _tell(services, story)


def test_what_changes_is_painted_and_nothing_else_is_touched(services: Services, make_run: MakeRun) -> None:
    run = make_run("training", "running", day=2, steps=40, target_steps=100)
    make_run("other", day=1)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        table = screen.query_one(RunsTable)
        before, put = table._update_count, list[dict[str, Any]]()
        table.put = lambda changes: (put.append(changes), RunsTable.put(table, changes))  # type: ignore[assignment]
        await settle(pilot)
        assert (put, table._update_count) == ([], before), "nothing had changed"
        assert " 40%" in words(screen.daisy)
        _append(run, 60)
        await settle(pilot)
        assert [[*changes] for changes in put] == [[run.name]]
        assert {"progress", "train_loss"} <= {*put[0][run.name]} <= {"progress", "train_loss", "val_loss", "eta_s"}
        assert " 60%" in words(screen.daisy)
        assert table._update_count == before

    _tell(services, story)


def test_changed_rows_look_as_a_whole_new_painting_would(services: Services, make_run: MakeRun) -> None:
    runs = [make_run(f"run{day}", "running", day=day, target_steps=90) for day in range(1, 9)]

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "down", "down", "space")
        for step in (50, 60, 70):
            for run in runs[::2]:
                _append(run, step)
            await settle(pilot)
            quick, table = words(screen.daisy), screen.query_one(RunsTable)
            table._clear_caches()
            table.refresh()
            await finish(pilot)
            assert words(screen.daisy) == quick

    _tell(services, story, (120, 40))


def test_where_textuals_caches_are_others_cells_change_all_the_same(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("training", "running", steps=40, target_steps=100)

    def other(self: RunsTable, changes: object) -> None:
        raise AttributeError("_line_cache")

    monkeypatch.setattr(RunsTable, "_put", other)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        _append(run, 60)
        await settle(pilot)
        assert " 60%" in words(screen.daisy)

    _tell(services, story)


def test_names_are_shown_as_they_are_and_act_on_nothing(services: Services, make_run: MakeRun) -> None:
    run = make_run("plain")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "name": "[red]x[/red]\x1b[2J\n"}))

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "[red]x[/red]\\x1b[2J" in words(screen.daisy)

    _tell(services, story)


def test_two_hundred_runs_are_scrolled_through_and_the_course_of_those_in_sight_is_drawn(
    services: Services, make_run: MakeRun
) -> None:
    for number in range(200):
        make_run(f"run{number:03}", day=number % 28 + 1, steps=20)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        table = screen.query_one(RunsTable)
        assert table.row_count == 200
        assert any("█▇" in line or "█▆" in line for line in words(screen.daisy).splitlines())
        drawn = [row.id for row in services.watch.rows if row.sparkline]
        assert 20 < len(drawn) < 60, "not of all of them"
        await _press(pilot, "ctrl+end")
        assert table.cursor_row == 199
        last = table.ordered_rows[-1].key.value
        assert services.watch.row(str(last)).sparkline  # type: ignore[union-attr]

    _tell(services, story, (120, 40))


# Sizes


@pytest.mark.parametrize("size", [(80, 24), (80, 40), (120, 24), (120, 40), (200, 60), (60, 15)])
def test_panels_fold_into_lines_where_there_is_no_room(
    services: Services, make_run: MakeRun, size: tuple[int, int]
) -> None:
    make_run("demo", "running")

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        is_wide, is_tall = size[0] >= 100, size[1] >= 30
        assert screen.query_one("#panels").display == (is_wide and is_tall)
        assert screen.query_one("#machine-line").display != screen.query_one("#panels").display
        assert screen.query_one("#details").display == (size[0] >= 160)
        text = words(screen.daisy)
        assert "demo" in text
        assert "CPU" in text
        assert ("empty: no run waits" in text) == (is_wide and is_tall)
        assert screen.query_one(RunsTable).virtual_size.width <= size[0]

    _tell(services, story, size)


def test_a_key_unfolds_the_panels_and_escape_folds_them(services: Services, make_run: MakeRun) -> None:
    make_run("demo", "running")

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "b")
        assert "not available: no NVIDIA driver answers" in words(screen.daisy)
        assert "demo" in words(screen.daisy), "runs stay in sight"
        await _press(pilot, "escape")
        assert not screen.query_one("#panels").display

    _tell(services, story)


def test_a_terminal_that_changes_its_size_keeps_cursor_marks_and_order(services: Services, make_run: MakeRun) -> None:
    for day in range(1, 40):
        make_run(f"run{day:02}", "running" if day == 30 else "finished", day=day % 28 + 1)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, *["down"] * 5, "space")
        before, names = _here(screen), _names(screen)
        for size in ((200, 60), (120, 40), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            await settle(pilot)
            assert (_here(screen), _names(screen)) == (before, names)
            assert len(screen.query_one(RunsTable).marked) == 1
        await pilot.resize_terminal(200, 60)
        await settle(pilot)
        assert "devices" in words(screen.daisy)
        assert "█" in words(screen.daisy)

    _tell(services, story)


# Filters, orders, marks


def test_a_filter_picks_while_it_is_typed_and_escape_shows_all(services: Services, make_run: MakeRun) -> None:
    make_run("small", model_dim=128, day=1)
    make_run("large", model_dim=768, day=2)
    make_run("large-debug", "failed", model_dim=768, day=3)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "slash", *"lar")
        assert _names(screen) == ["large-debug", "large"]
        await _press(pilot, *"ge -debug")
        assert _names(screen) == ["large"]
        assert "1 picked" in words(screen.daisy)
        await _press(pilot, "enter")
        assert isinstance(screen.focused, RunsTable)
        assert _names(screen) == ["large"], "the filter stays"
        assert screen.command_for("filter") == ["runs", "list", "large -debug"]
        await _press(pilot, "escape")
        assert _names(screen) == ["large-debug", "large", "small"]
        assert screen.query_one("#filter-row").display is False

    _tell(services, story)


def test_a_query_that_means_nothing_says_what_would_and_the_last_good_one_stays(
    services: Services, make_run: MakeRun
) -> None:
    make_run("done", day=1)
    make_run("broken", "failed", day=2)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        screen.query_one("#filter", Input).value = "state:failed"
        await finish(pilot)
        assert _names(screen) == ["broken"]
        for bad, hint in (("stat:failed", "did you mean state?"), ("val<x", "is no number")):
            screen.query_one("#filter", Input).value = bad
            await finish(pilot)
            assert _names(screen) == ["broken"], "the last good filter"
            assert hint in words(screen.daisy)
        screen.query_one("#filter", Input).value = "state:finished"
        await finish(pilot)
        assert _names(screen) == ["done"]
        assert screen.query_one("#filter-problem").display is False
        screen.query_one("#filter", Input).value = "cfg.modeldim>1"
        await finish(pilot)
        assert "did you mean cfg.model_dim?" in " ".join(words(screen.daisy).split())
        assert "No run is picked" in words(screen.daisy)

    _tell(services, story)


def test_a_filter_on_a_state_follows_the_runs(services: Services, make_run: MakeRun) -> None:
    run = make_run("demo", "running")

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        screen.query_one("#filter", Input).value = "state:running"
        await finish(pilot)
        assert _names(screen) == ["demo"]
        (run / "exit.json").write_text(json.dumps({"attempt": 1, "outcome": "failed", "reason": "x"}))
        await settle(pilot)
        assert _names(screen) == []

    _tell(services, story)


def test_runs_are_sorted_by_key_and_by_a_click_on_a_head_and_the_cursor_stays(
    services: Services, make_run: MakeRun
) -> None:
    for day, (name, steps) in enumerate((("b", 30), ("a", 10), ("c", 20)), 1):
        make_run(name, day=day, steps=steps)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert (_names(screen), _here(screen)) == (["c", "a", "b"], "c")
        await _press(pilot, "s")
        assert (_names(screen), _here(screen)) == (["a", "b", "c"], "c")
        assert "run▲" in words(screen.daisy)
        await _press(pilot, "S")
        assert (_names(screen), _here(screen)) == (["c", "b", "a"], "c")
        place = words(screen.daisy).splitlines()[2].index("train")
        await pilot.click("#runs", offset=(place, 0))
        await finish(pilot)
        assert (_names(screen), _here(screen)) == (["b", "c", "a"], "c")
        await pilot.click("#runs", offset=(place, 0))
        await finish(pilot)
        assert _names(screen) == ["a", "c", "b"]

    _tell(services, story)


def test_marked_runs_are_compared_in_the_order_in_which_they_are_listed(
    services: Services, make_run: MakeRun, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    runs = {name: make_run(name, day=day) for day, name in enumerate("abc", 1)}

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "v")
        assert opened == [], "one run is compared with none"
        await _press(pilot, "end", "ctrl+end", "space", "ctrl+home", "space")
        assert "◆ c" in words(screen.daisy)
        assert screen.command_for("compare") == ["runs", "compare", runs["c"].name, runs["a"].name]
        await _press(pilot, "v")
        assert opened == [("compare", {"runs": [runs["c"], runs["a"]]})]
        await _press(pilot, "escape")
        assert "◆" not in words(screen.daisy)

    _tell(services, story)


def test_a_single_marked_run_is_compared_with_the_one_under_the_cursor(services: Services, make_run: MakeRun) -> None:
    first, second = make_run("a", day=1), make_run("b", day=2)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "space")
        assert _here(screen) == "a"
        assert screen.command_for("compare") == ["runs", "compare", second.name, first.name]
        shutil.rmtree(second)
        await settle(pilot)
        assert screen.command_for("compare") is None, "its mark went with it"

    _tell(services, story)


# Acting and going elsewhere


def test_a_run_is_stopped_by_the_command_that_was_shown(
    services: Services, make_run: MakeRun, said: ScriptedCommands
) -> None:
    run = make_run("demo", "running")
    said.answers["runs", "stop"] = f"{run.name}: stopped: stopped on request, after a checkpoint"

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "x")
        assert isinstance(screen.app.screen, ConfirmScreen)
        assert f"daisy runs stop {run.name}" in words(screen.daisy)
        await _press(pilot, "y")
        assert said.said == [["runs", "stop", run.name]]
        assert f"{run.name}: stopped: stopped on request, after a checkpoint" in toasts(screen.daisy)

    _tell(services, story)


def test_a_command_that_fails_says_why(services: Services, make_run: MakeRun, said: ScriptedCommands) -> None:
    make_run("demo", "stopped")
    said.answers["runs", "resume"] = CommandError("cpu is in use by run [x]; --queue waits for it")
    app = _tell(services, lambda pilot, screen: _press(pilot, "r", "y"))
    assert "cpu is in use by run [x]; --queue waits for it" in toasts(app)


@pytest.mark.parametrize(
    ("state", "actions"),
    [
        ("running", {"stop", "chat", "show", "copy"}),
        ("starting", {"stop", "chat", "show", "copy"}),
        ("queued", {"stop", "chat", "show", "copy"}),
        ("finished", {"chat", "prune", "show", "copy"}),
        ("stopped", {"resume", "chat", "prune", "show", "copy"}),
        ("failed", {"resume", "chat", "prune", "show", "copy"}),
        ("lost", {"resume", "chat", "prune", "show", "copy"}),
    ],
)
def test_what_can_be_done_depends_on_the_run(
    services: Services, make_run: MakeRun, state: str, actions: set[str]
) -> None:
    make_run("demo", state)

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        every = [action.id for action in screen.ACTIONS]
        needing = {"stop", "resume", "chat", "prune", "show", "copy", "compare", "earlier", "later", "cancel"}
        assert {action for action in every if screen.check_action(action, ())} & needing == actions
        assert ("Stop" in words(screen.daisy)) == ("stop" in actions)

    _tell(services, story)


def test_what_is_no_run_offers_nothing(services: Services, opened: list[tuple[str, dict[str, Any]]]) -> None:
    (services.runs / "photos").mkdir(parents=True)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "unreadable" in words(screen.daisy)
        assert not any(screen.command_for(action) for action in ("stop", "resume", "chat", "prune", "show", "copy"))
        await _press(pilot, "x", "r", "p", "t", "enter", "space", "escape")
        assert opened == []

    _tell(services, story)


def test_a_run_whose_devices_are_in_use_is_resumed_into_the_queue(
    services: Services, make_run: MakeRun, said: ScriptedCommands, leases: Leases
) -> None:
    run = make_run("demo", "stopped")
    leases.take(Wanted(("cpu",), 1), {"run": "/elsewhere/20260101-000000-other", "pid": 1})

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "r")
        assert "waits for them in the queue" in words(screen.daisy)
        await _press(pilot, "y")
        assert said.said == [["runs", "resume", run.name, "--detach", "--queue"]]
        leases.release()
        await settle(pilot)
        assert screen.command_for("resume") == ["runs", "resume", run.name, "--detach"]

    _tell(services, story)


def test_pruning_says_first_what_would_go(services: Services, make_run: MakeRun, said: ScriptedCommands) -> None:
    run = make_run("demo", "stopped")
    said.answers["runs", "prune"] = "2 checkpoints may go, which frees 3.80 GiB: step_1, step_2\nremoved 2 checkpoints"

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "p")
        assert said.said == [["runs", "prune", run.name, "--dry-run"]]
        assert "frees 3.80 GiB" in words(screen.daisy)
        await _press(pilot, "y")
        assert said.said[1:] == [["runs", "prune", run.name, "--yes"]]
        assert "removed 2 checkpoints" in toasts(screen.daisy)

    _tell(services, story)


def test_pruning_asks_nothing_where_nothing_would_go(
    services: Services, make_run: MakeRun, said: ScriptedCommands
) -> None:
    make_run("demo", "stopped")
    said.answers["runs", "prune"] = "0 checkpoints may go, which frees 0 B: none"

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "p")
        assert not isinstance(screen.app.screen, ConfirmScreen)
        assert "0 checkpoints may go, which frees 0 B: none" in toasts(screen.daisy)

    _tell(services, story)


def test_a_read_only_terminal_changes_nothing(
    services: Services, make_run: MakeRun, said: ScriptedCommands, leases: Leases
) -> None:
    run = make_run("demo", "queued")
    make_run("ended", "stopped", day=2)
    leases.wait("one", Wanted(("cpu",), 1), {"run": str(run)})
    leases.wait("two", Wanted(("cpu",), 1), {"run": "/elsewhere/20260101-000000-other"})
    services.readonly = True

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "r", "p", "down", "x", "K", "J", "d")
        assert not isinstance(screen.app.screen, ConfirmScreen)
        assert said.said == []
        assert not any(screen.check_action(action.id, ()) for action in screen.ACTIONS if action.acts)
        assert "read-only" in words(screen.daisy)

    _tell(services, story)


def test_keys_lead_to_the_other_screens(
    services: Services, make_run: MakeRun, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    run = make_run("demo")

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        await _press(pilot, "enter", "t", "n")
        await pilot.click("#runs", offset=(20, 1))
        await pilot.click("#runs", offset=(20, 1))
        await finish(pilot)
        assert screen.command_for("show") == ["runs", "show", run.name]

    _tell(services, story)
    assert opened[:3] == [("run", {"run": run}), ("chat", {"source": run.name}), ("compose", {})]
    assert ("run", {"run": run}) in opened[3:], "a click on what is chosen opens it"


def test_an_id_is_copied(services: Services, make_run: MakeRun) -> None:
    run = make_run("demo")
    app = _tell(services, lambda pilot, screen: _press(pilot, "y"))
    assert app.clipboard == run.name


# Queue, devices and servers


@pytest.fixture
def queue(leases: Leases, make_run: MakeRun) -> list[Path]:
    """Two runs of this folder that wait, and behind them one of another."""
    runs = [make_run("one", "queued", day=1), make_run("two", "queued", day=2), Path("/elsewhere/20260101-000000-far")]
    for place, run in enumerate(runs):
        leases.wait(f"ticket{place}", Wanted(("cpu",), 1), {"run": str(run)})
    return runs


def test_the_queue_is_shown_and_runs_are_moved_in_it(
    services: Services, said: ScriptedCommands, queue: list[Path], opened: list[tuple[str, dict[str, Any]]]
) -> None:
    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        for place, name in enumerate(("one", "two", "far"), 1):
            assert f"{place} {name}" in words(screen.daisy)
        assert re.search("queued 1 +one", words(screen.daisy)), "the list says the place too"
        assert re.search("queued 2 +two", words(screen.daisy))
        panel = screen.query_one(QueuePanel)
        panel.focus()
        await _press(pilot, "down", "K", "J")
        assert said.said == [
            ["runs", "queue", "--move", queue[1].name, "1"],
            ["runs", "queue", "--move", queue[1].name, "3"],
        ]
        await _press(pilot, "enter")
        assert opened == [("run", {"run": queue[1]})]
        await _press(pilot, "up", "ctrl+up")
        assert len(said.said) == 2, "the first cannot go further up"

    _tell(services, story, (120, 40))


def test_the_choice_in_the_queue_stays_with_its_run(services: Services, queue: list[Path], leases: Leases) -> None:
    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        panel = screen.query_one(QueuePanel)
        panel.focus()
        await _press(pilot, "down")
        leases.move("ticket2", 1)
        await settle(pilot)
        assert [str(option.id) for option in panel.options] == [str(run) for run in (queue[2], queue[0], queue[1])]
        assert panel.chosen is not None
        assert panel.chosen.run == queue[1]

    _tell(services, story, (120, 40))


def test_a_queued_run_is_moved_and_cancelled_from_the_list_of_runs_too(
    services: Services, said: ScriptedCommands, queue: list[Path]
) -> None:
    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert _here(screen) == "two"
        assert "queue 3 waiting, next one" in words(screen.daisy)
        await _press(pilot, "K", "d")
        assert "Cancel 20260302-110000-two?" in words(screen.daisy)
        await _press(pilot, "y")
        name = queue[1].name
        assert said.said == [["runs", "queue", "--move", name, "1"], ["runs", "queue", "--cancel", name]]

    _tell(services, story)


def test_devices_and_servers_are_shown_with_whose_they_are(
    services: Services, make_run: MakeRun, leases: Leases
) -> None:
    run = make_run("training", "running", devices=("GPU-0",))
    leases.take(Wanted(("GPU-0",), 1), {"run": str(run), "pid": 1})
    leases.serve({"server": "http://127.0.0.1:8000", "model": "baseline", "device": "cuda:0", "user": "ada"})
    host = Host(0.25, 6 * GIB, 24 * GIB, GIB, 9 * GIB)
    services.__dict__["telemetry"] = Telemetry(lambda: Snapshot(NOW, (GPU,), host, {}))

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        text = words(screen.daisy)
        assert "97%    62.0/80 GiB  71 °C  412/700 W  training" in text
        assert "baseline  serving  http://127.0.0.1:8000" in text
        row = next(line for line in text.splitlines() if "running" in line and "512" in line)
        assert row.split("│")[0].split()[-2:] == ["1:20", "0"] or " 0 " in row, "the device by its index"

    _tell(services, story, (200, 60))


def test_the_run_under_the_cursor_is_told_in_detail_where_there_is_room(services: Services, make_run: MakeRun) -> None:
    make_run("old", "failed", day=1, reason="the disk is full: make room")
    make_run("new", "running", day=2, stalled_s=300.0)

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "rank 0 makes no progress" in words(screen.daisy)
        await _press(pilot, "down")
        assert "Failed: the disk is full" in words(screen.daisy)
        assert "rank 0 makes no progress" not in words(screen.daisy)

    _tell(services, story, (200, 60))


# What goes wrong


@pytest.mark.parametrize("name", ["runs", "devices", "leases", "details"])
def test_a_look_that_fails_is_said_the_others_go_on_and_it_recovers(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from daisy_tui.runs.run_details import DetailReader

    make_run("demo", "running")

    def broken(*_: object) -> Any:
        raise OSError("the disk [went] away")

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        with monkeypatch.context() as patched:
            where: dict[str, tuple[Any, str]] = {
                "runs": (services.watch, "look"),
                "devices": (services.telemetry, "tick"),
                "leases": (dashboard, "look_around"),
                "details": (DetailReader, "look"),
            }
            patched.setattr(*where[name], broken)
            await settle(pilot)
            assert f"stale 0:00: {name}: the disk [went] away" in words(screen.daisy)
            assert "demo" in words(screen.daisy), "what was seen stays"
            assert "CPU" in words(screen.daisy)
        await settle(pilot)
        assert "stale" not in words(screen.daisy)

    _tell(services, story, (200, 60))


def test_a_sample_that_fails_is_said_among_the_devices(services: Services, make_run: MakeRun) -> None:
    make_run("demo")

    def broken() -> Snapshot:
        raise RuntimeError("driver gone")

    services.__dict__["telemetry"] = Telemetry(broken)

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "not available: RuntimeError: driver gone" in words(screen.daisy)

    _tell(services, story, (120, 40))


def test_leases_that_cannot_be_asked_are_said(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAISY_LEASES", "file")  # of the current folder: a long path would be wrapped

    async def story(_pilot: Pilot[Any], screen: DashboardScreen) -> None:
        assert "is no folder" in words(screen.daisy)

    _tell(services, story, (120, 40))


def test_another_theme_colours_the_table_anew(services: Services, make_run: MakeRun) -> None:
    make_run("demo", "running")

    async def story(pilot: Pilot[Any], screen: DashboardScreen) -> None:
        table = screen.query_one(RunsTable)
        colours = set()
        for theme in ("textual-light", "gruvbox", "ansi-dark"):
            screen.app.theme = theme
            await finish(pilot)
            colours.add(table.get_row_at(0)[0].style)
            assert "demo" in words(screen.daisy)
        assert len(colours) == 3

    _tell(services, story)


def test_every_action_has_its_help_and_what_acts_its_command() -> None:
    for action in DashboardScreen.ACTIONS:
        assert action.help.endswith((".", "…"))
        assert action.command or not action.acts
        assert hasattr(DashboardScreen, f"action_{action.id}")
    assert Open("run").context == {}


def test_the_screen_is_imported_without_what_no_first_frame_needs() -> None:
    probe = "import sys, daisy_tui.screens.dashboard; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    heavy = {"numpy", "aiohttp", "torch", "pydantic", "yaml", "psutil", "pynvml", "core.runs.curves"}
    assert not heavy & {*done.stdout.split()}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["x"], "done is finished"),
        (["r"], "done has finished; b on one of its checkpoints (5) begins a new run from it"),
        (["K"], "done does not wait in the queue"),
        (["d"], "done does not wait in the queue"),
        (["v"], "space marks the runs that are to be compared"),
        (["end", "r"], "old is running"),
        (["end", "home", "x"], "done is finished"),
        (["end", "p"], "old is running"),
    ],
)
def test_a_key_that_means_nothing_for_a_run_says_why(
    services: Services, make_run: MakeRun, keys: list[str], said: str
) -> None:
    make_run("old", "running", steps=10, target_steps=40)
    make_run("done", day=2)
    app = app_of(services)

    async def story(pilot: Pilot[Any]) -> None:
        for key in keys:
            await pilot.press(key)
            await finish(pilot)

    drive(app, story)
    assert said in toasts(app)
    assert isinstance(services.commands, ScriptedCommands)
    assert services.commands.said == []
