"""What the Run screen asks of a run: the command behind each key, what is said before it, and what a refusal does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoints
from made_runs import write_run
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Button, Checkbox, Input, Select

from core.config.errors import ConfigError
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError, Done
from daisy_tui.runs import run_requests
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.help import CommandsScreen
from daisy_tui.screens.run import RunScreen
from daisy_tui.services import Services
from daisy_tui.widgets.run_forms import ExportForm, ResumeForm, SetForm

MakeRun = Callable[..., Path]
Story = Callable[[Pilot[Any], RunScreen], Any]
ID = "20260301-110000-x"


def tell(services: Services, story: Story, size: tuple[int, int] = (80, 24)) -> DaisyApp:
    app = app_of(services, "run")

    async def told(pilot: Pilot[Any]) -> None:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await finish(pilot)
        await story(pilot, screen)

    drive(app, told, size)
    return app


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


async def choose(pilot: Pilot[Any], selector: str) -> None:
    await pilot.click(selector)
    await finish(pilot)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Where the screen wanted to go."""
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(DaisyApp, "open", lambda app, name, **context: found.append((name, context)))
    return found


@pytest.mark.parametrize(
    ("key", "title", "command"),
    [
        ("x", f"Stop {ID}?", ["runs", "stop", ID, "--no-wait", "--json"]),
        ("T", f"Stop {ID}?", ["runs", "stop", ID, "--no-wait", "--json"]),
        ("I", f"Stop {ID}?", ["runs", "stop", ID, "--no-wait", "--json"]),
        ("w", f"Have {ID} write a checkpoint?", ["runs", "save", ID]),
        ("e", f"Have {ID} evaluate?", ["runs", "eval", ID]),
    ],
)
def test_a_request_is_asked_for_shown_and_then_made(
    services: Services, said: ScriptedCommands, make_run: MakeRun, key: str, title: str, command: list[str]
) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, key)
        assert isinstance(pilot.app.screen, ConfirmScreen)
        assert title in words(pilot.app)
        assert f"$ daisy {' '.join(command)}" in words(pilot.app)
        await press(pilot, "n")
        assert said.said == []
        await press(pilot, key, "y")
        assert said.said == [command]

    tell(services, story)


def test_killing_begins_on_no_and_says_what_is_lost(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "K")
        assert "40 steps would be lost" in " ".join(words(pilot.app).split())
        await press(pilot, "enter")
        assert said.said == []
        await press(pilot, "K", "y")
        assert said.said == [["runs", "stop", ID, "--now", "--no-wait", "--json"]]
        assert f"{ID}: killed: it ends at once" in toasts(screen.daisy)

    tell(services, story)


def test_a_refused_request_is_said_with_the_reason(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "running")
    said.answers["runs", "eval"] = CommandError("x: eval refused: the run has no validation shards [/]", code=2)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "e", "y")
        assert "x: eval refused: the run has no validation shards [/]" in toasts(screen.daisy)

    tell(services, story)


@pytest.mark.parametrize("key", ["x", "T", "K", "w", "e", "s", "d"])
def test_what_makes_no_sense_now_is_not_asked_but_answered(
    services: Services, said: ScriptedCommands, make_run: MakeRun, key: str
) -> None:
    make_run("x", "finished")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, key)
        assert pilot.app.screen is screen
        assert toasts(screen.daisy) == [f"{ID} is finished, so nobody answers; resume it, and it goes on"]
        await press(pilot, "b")
        assert toasts(screen.daisy)[-1] == f"{ID} has no whole checkpoint to begin from"

    tell(services, story)
    assert said.said == []


@pytest.mark.parametrize("key", ["T", "K", "w", "e", "s", "d", "r", "x", "X"])
def test_a_read_only_terminal_asks_for_nothing(
    services: Services, said: ScriptedCommands, make_run: MakeRun, key: str
) -> None:
    make_run("x", "finished" if key == "r" else "running")
    services.readonly = True

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, key)
        assert pilot.app.screen is screen

    tell(services, story)
    assert said.said == []


def test_settings_are_checked_as_they_are_typed_and_set_together(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "running", target_steps=80, cooldown_frac=0.4)
    said.answers["runs", "set"] = json.dumps({"step": 1234, "answer": "done: lr_scale=0.5"})

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "s")
        form = pilot.app.screen
        assert isinstance(form, SetForm)
        assert form.query_one("#target_tokens", Input).placeholder == "81920"
        await press(pilot, "enter")
        assert "Nothing is set yet" in words(pilot.app)
        await press(pilot, *"half")
        assert "lr_scale: expected a number" in words(pilot.app)
        await press(pilot, "enter")
        assert said.said == []
        form.query_one("#lr_scale", Input).value = "0.5"
        form.query_one("#target_tokens", Input).value = "1k"
        await finish(pilot)
        assert "are trained already" in words(pilot.app)
        form.query_one("#target_tokens", Input).value = ""
        form.query_one("#cooldown", Checkbox).value = True
        await finish(pilot)
        assert f"$ daisy runs set {ID} lr_scale=0.5 cooldown=now --json" in words(pilot.app)
        await choose(pilot, "#confirm")
        assert said.said == [["runs", "set", ID, "lr_scale=0.5", "cooldown=now", "--json"]]
        assert "after step 1,234: lr_scale=0.5" in toasts(screen.daisy)
        assert pilot.app.screen is screen

    tell(services, story)


def test_a_form_stays_open_where_the_run_refuses(services: Services, said: ScriptedCommands, make_run: MakeRun) -> None:
    make_run("x", "running", target_steps=80)
    said.answers["runs", "set"] = CommandError("x: set refused: the cooldown [has] begun", code=2)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "s", *"0.5", "enter")
        assert isinstance(pilot.app.screen, SetForm)
        assert "x: set refused: the cooldown [has] begun" in words(pilot.app)
        await press(pilot, "escape")
        assert pilot.app.screen is screen

    tell(services, story)


def test_a_form_whose_run_cannot_be_read_says_so(
    services: Services, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("x", "running")

    def broken(*arguments: Any) -> None:
        raise ConfigError("config.yaml: damaged")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "s")
        monkeypatch.setattr(run_requests, "set_problems", broken)
        await press(pilot, *"0.5", "enter")
        assert "config.yaml: damaged" in words(pilot.app)
        await press(pilot, "escape")
        monkeypatch.setattr(run_requests, "settings_in_force", broken)
        await press(pilot, "s")
        assert pilot.app.screen is screen
        assert "config.yaml: damaged" in toasts(screen.daisy)

    tell(services, story)


def verdict(kind: str, *differs: str) -> str:
    return json.dumps({"run": ID, "kind": kind, "differs": list(differs)})


DRY = ("runs", "resume", ID, "--dry-run")
GO = ["runs", "resume", ID, "--detach", "--json"]


def test_resuming_says_first_how_it_would_go_on(services: Services, said: ScriptedCommands, make_run: MakeRun) -> None:
    write_checkpoints(make_run("x", "stopped"), 40)
    said.answers[DRY] = verdict("exact")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        assert isinstance(pilot.app.screen, ResumeForm)
        assert "It goes on from step_000000040, exactly" in words(pilot.app)
        assert said.said == [[*DRY, "--json"]]
        await press(pilot, "enter")
        assert said.said[1:] == [GO]
        assert f"{ID} goes on" in toasts(screen.daisy)

    tell(services, story)


def test_other_settings_are_judged_before_they_are_taken(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "finished")
    said.answers[DRY] = verdict("finished", "40,960 tokens are trained, and target_tokens is 40,960")
    wanted = "target_tokens=1M"
    said.answers["runs", "resume", ID, wanted, "--dry-run"] = verdict("approximate", "target_tokens changed [/]")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        confirm = pilot.app.screen.query_one("#confirm", Button)
        assert "It has reached its target" in words(pilot.app)
        assert confirm.disabled
        await press(pilot, *wanted)
        assert str(confirm.label) == "Check"
        await press(pilot, "enter")
        assert "target_tokens changed [/]" in words(pilot.app)
        assert said.said[-1] == ["runs", "resume", ID, wanted, "--dry-run", "--json"]
        assert str(confirm.label) == "Resume"
        await choose(pilot, "#confirm")
        assert said.said[-1] == ["runs", "resume", ID, wanted, "--detach", "--json"]

    tell(services, story)


def test_what_would_be_another_run_goes_on_only_when_insisted_on(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "stopped")
    said.answers[DRY] = verdict("different", "the training shards are not those that this run read")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        form = pilot.app.screen
        assert "the training shards are not those" in words(pilot.app)
        assert form.query_one("#confirm", Button).disabled
        await press(pilot, "enter")
        assert len(said.said) == 1
        form.query_one("#force", Checkbox).value = True
        await finish(pilot)
        await choose(pilot, "#confirm")
        assert said.said[-1] == ["runs", "resume", ID, "--force", "--detach", "--json"]

    tell(services, story)


def test_busy_devices_keep_the_form_open_and_the_queue_is_a_tick_away(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "stopped")
    said.answers[DRY] = verdict("exact")
    said.answers[tuple(GO)] = CommandError("cpu is in use by run runs/y; --queue waits for it")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r", "enter")
        assert "cpu is in use by run runs/y; --queue waits for it" in words(pilot.app)
        pilot.app.screen.query_one("#queue", Checkbox).value = True
        await finish(pilot)
        await choose(pilot, "#confirm")
        assert said.said[-1] == ["runs", "resume", ID, "--queue", "--detach", "--json"]
        assert pilot.app.screen is screen

    tell(services, story)


@pytest.mark.parametrize("typed", ["nonsense=1", "'"])
def test_settings_that_cannot_be_are_said_in_the_form(
    services: Services, said: ScriptedCommands, make_run: MakeRun, typed: str
) -> None:
    make_run("x", "stopped")
    said.answers[DRY] = verdict("exact")
    said.answers["runs", "resume", ID, "nonsense=1"] = CommandError("override 'nonsense=1': unknown key", code=2)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r", *typed, "enter")
        assert isinstance(pilot.app.screen, ResumeForm)
        assert "unknown key" in words(pilot.app) or "cannot be read" in words(pilot.app)
        assert GO not in said.said

    tell(services, story)


def test_a_verdict_is_withdrawn_while_the_settings_are_others_than_it_is_about(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "stopped")
    said.answers[DRY] = verdict("different", "the training shards are not those that this run read")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        form = pilot.app.screen
        assert isinstance(form, ResumeForm)
        form.query_one("#force", Checkbox).value = True
        await finish(pilot)
        assert "as another run" in words(pilot.app)
        form.query_one("#overrides", Input).value = "max_seq_len=99999"
        await finish(pilot)
        assert "as another run" not in words(pilot.app)
        assert "? How it would go on with these settings is not checked yet." in words(pilot.app)
        assert "--force" not in words(pilot.app), "what was agreed to was another"
        form.query_one("#overrides", Input).value = "'"
        await finish(pilot)
        assert "is not checked yet" in words(pilot.app)
        form.query_one("#overrides", Input).value = ""
        await finish(pilot)
        assert "as another run" in words(pilot.app)
        assert "not checked" not in words(pilot.app)

    tell(services, story)


def test_a_resume_that_cannot_be_judged_says_why(services: Services, said: ScriptedCommands, make_run: MakeRun) -> None:
    make_run("x", "lost")
    said.answers[DRY] = CommandError("shards/x_train_*.bin: no such file", code=2)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        assert "shards/x_train_*.bin: no such file" in words(pilot.app)

    tell(services, story)


def test_who_leaves_a_form_while_its_command_runs_interrupts_it(
    services: Services, said: ScriptedCommands, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("x", "stopped")
    ended: list[str] = []

    async def for_ever(*arguments: str, codes: Any = (0,)) -> Done:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("interrupted")
        raise AssertionError

    monkeypatch.setattr(said, "run", for_ever)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await pilot.press("r")
        await pilot.pause()
        assert pilot.app.screen.query_one("#confirm", Button).disabled
        assert "Looking how it would go on" in words(pilot.app)
        await pilot.press("escape")
        await finish(pilot)
        assert pilot.app.screen is screen
        assert ended == ["interrupted"]
        assert toasts(screen.daisy) == []

    tell(services, story)


def test_an_answer_that_no_version_gives_is_said_and_ends_nothing(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "stopped")
    said.answers[DRY] = "not json"

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "r")
        assert any("JSONDecodeError" in one for one in toasts(screen.daisy))
        await press(pilot, "escape")
        assert pilot.app.screen is screen

    tell(services, story)


@pytest.mark.parametrize(("key", "broken"), [("b", "overrides"), ("d", "log")])
def test_a_file_that_cannot_be_read_on_the_way_is_said(
    services: Services, said: ScriptedCommands, make_run: MakeRun, key: str, broken: str
) -> None:
    path = make_run("x", "running")
    write_checkpoints(path, 20)
    said.answers["runs", "show"] = json.dumps([{"rank": 7, "log": "l", "wrote": True}])
    (path / {"overrides": "overrides.txt", "log": "logs/rank7.log"}[broken]).mkdir()

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, key, "y")
        assert any("IsADirectoryError" in one for one in toasts(screen.daisy))
        assert pilot.app.screen is screen

    tell(services, story)


def test_exporting_writes_a_table_or_an_archive_with_checkpoints(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    make_run("x", "finished")
    said.answers["runs", "export"] = f"{ID}.tar.gz: 3.00 MiB"

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "X")
        form = pilot.app.screen
        assert isinstance(form, ExportForm)
        assert f"$ daisy runs export {ID} --out {ID}.csv" in " ".join(words(pilot.app).replace("│", " ").split())
        assert not form.query_one("#kept-row").display
        form.query_one("#kind", Select).value = ".tar.gz"
        await finish(pilot)
        form.query_one("#kept", Select).value = "best"
        await finish(pilot)
        await choose(pilot, "#confirm")
        assert said.said == [["runs", "export", ID, "--out", f"{ID}.tar.gz", "--checkpoints", "best"]]
        assert f"{ID}.tar.gz: 3.00 MiB" in toasts(screen.daisy)

    tell(services, story)


def test_stacks_end_in_the_log_of_the_rank_that_is_in_the_way(
    services: Services, said: ScriptedCommands, make_run: MakeRun
) -> None:
    path = make_run("x", "running", stalled_s=95.0)
    stacks = "Thread 0x1 (most recent call first):\n  File x.py\n"
    (path / "logs/rank1.log").write_text("before\n" * 90 + stacks + "step\n" * 500)
    wrote = [{"rank": 1, "log": "l", "wrote": True}, {"rank": 2, "log": "m", "wrote": False}]
    said.answers["runs", "show"] = Done(0, json.dumps(wrote), "")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "d", "y")
        await finish(pilot)
        assert said.said == [["runs", "show", ID, "--stacks", "--json"]]
        assert screen.tabs.active == "log"
        assert "Thread 0x1 (most recent call first):" in words(pilot.app)
        assert "rank 2 wrote nothing: it is stopped, or hangs in the kernel" in toasts(screen.daisy)

    tell(services, story)


def test_a_new_run_begins_in_compose_from_the_checkpoint_under_the_cursor(
    services: Services, make_run: MakeRun, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    path = make_run("x", "finished")
    first, last = write_checkpoints(path, 20, 40)
    (path / "overrides.txt").write_text("target_tokens=10k\n")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "b")
        compose = {"config": "configs/tiny.yml", "overrides": ["target_tokens=10k"]}
        assert opened == [("compose", compose | {"parent": last})]
        await press(pilot, "P", "home", "b")
        assert opened[1:] == [("compose", compose | {"parent": first})]
        assert screen.command_for("warm_start") == ["train", "configs/tiny.yml", "-p", str(first)]
        await press(pilot, "enter", "t", "i")
        there = {"checkpoint": first, "run": path}
        assert opened[2:] == [("checkpoints", there), ("chat", {"source": str(first)}), ("checkpoints", there)]

    tell(services, story)


def test_t_talks_to_the_run_from_any_tab_once_it_has_a_checkpoint(
    services: Services, make_run: MakeRun, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    path = make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "t")
        assert opened == []
        assert toasts(screen.daisy) == ["there is no checkpoint to talk to yet"]
        write_checkpoints(path, 20)
        await settle(pilot)
        await press(pilot, "t")
        assert opened == [("chat", {"source": ID})]
        assert screen.command_for("chat") == ["chat", ID]

    tell(services, story)


def test_every_command_can_be_seen_as_things_stand(services: Services, make_run: MakeRun) -> None:
    path = make_run("x", "running")
    (last,) = write_checkpoints(path, 20)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "L", "slash", *"a.b", "enter")
        assert screen.command_for("follow") == ["runs", "logs", ID, "--rank", "0", "--follow"]
        assert screen.command_for("search") == ["runs", "logs", ID, "--rank", "0", "--grep", r"(?i)a\.b"]
        assert screen.command_for("inspect") == ["inspect", str(last)]
        assert screen.command_for("resume") == ["runs", "resume", ID]
        assert screen.command_for("log_y") is None
        await press(pilot, "exclamation_mark")
        assert f"daisy runs stop {ID} --no-wait --json" in words(pilot.app)

    tell(services, story, (140, 50))


@pytest.mark.parametrize("tab", ["C", "L", "P"])
def test_commands_to_copy_name_the_run_wherever_one_is_wanted(services: Services, make_run: MakeRun, tab: str) -> None:
    make_run("x", "running")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, tab, "exclamation_mark")
        assert isinstance(pilot.app.screen, CommandsScreen)
        lines = [line.split("daisy ", 1)[1].split() for line in words(pilot.app).splitlines() if " daisy " in line]
        assert ["runs", "set", ID, "KEY=VALUE"] in [line[:4] for line in lines]
        assert ["train", "configs/tiny.yml", "-p", ID] in [line[:4] for line in lines]
        assert ["chat", ID] in [line[:2] for line in lines]
        assert not {"RUN", "CHECKPOINT", "CONFIG"} & {word for line in lines for word in line}

    tell(services, story, (140, 50))


def test_a_command_that_is_wrapped_goes_on_below_its_beginning(services: Services, make_run: MakeRun) -> None:
    run = make_run("with-a-name-that-is-long", "running")
    command = f"daisy runs stop {run.name} --no-wait --json"

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        for width in (80, 72):
            await pilot.resize_terminal(width, 24)
            await press(pilot, "exclamation_mark")
            lines = words(pilot.app).splitlines()
            first = next(at for at, line in enumerate(lines) if "daisy runs stop" in line)
            begin = lines[first].index("daisy")
            assert lines[first + 1][begin - 10 : begin].isspace()
            assert not lines[first + 1][begin].isspace()
            rest = lines[first + 1][begin:].partition("  ")[0]
            assert rest in command
            await press(pilot, "escape")

    tell(services, story)


def test_a_run_that_lies_elsewhere_is_named_by_its_path(
    services: Services, said: ScriptedCommands, tmp_path: Path
) -> None:
    path, _ = write_run(tmp_path / "elsewhere", "x", "finished")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        screen.context(run=path)
        await finish(pilot)
        assert screen.command_for("resume") == ["runs", "resume", str(path)]

    tell(services, story)
