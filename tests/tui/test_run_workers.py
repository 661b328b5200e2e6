"""Whatever fails behind the Run screen in a way that nobody expected is said, and the screen can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoints
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.screens.pick import PickScreen
from daisy_tui.screens.run import RunScreen
from daisy_tui.services import Services
from daisy_tui.widgets.run_forms import ResumeForm, SetForm

MakeRun = Callable[..., Path]
Opened = list[tuple[str, dict[str, Any]]]
WROTE = json.dumps([{"rank": 0, "log": "l", "wrote": True}])


@pytest.fixture
def app(services: Services, make_run: MakeRun) -> DaisyApp:
    """A Run screen on a run that trains."""
    run = make_run("x", "running")
    (run / "logs").mkdir(exist_ok=True)
    (run / "logs/rank0.log").write_text("Thread 0x1 (most recent call first):\n  File x.py\n")
    return app_of(services, "run")


def _broken(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


def _tab(app: DaisyApp) -> str:
    screen = app.place
    assert isinstance(screen, RunScreen)
    return screen.tabs.active


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_stacks_that_cannot_be_found_are_said_and_can_be_asked_for_again(
    app: DaisyApp, said: ScriptedCommands, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    said.answers["runs", "show"] = WROTE

    def broken(_path: Path) -> Any:
        raise error("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.run.last_stacks", broken)
            await _press(pilot, "d", "y")
            await finish(pilot)
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        await _press(pilot, "E")
        assert _tab(app) == "events"
        await _press(pilot, "d", "y")
        await finish(pilot)
        assert _tab(app) == "log"
        assert "Thread 0x1 (most recent call first):" in words(app)

    drive(app, story)


@pytest.mark.parametrize("answer", ["no JSON [x]", "", "{}", '[{"rank": "x"}]', "1"])
def test_an_answer_of_other_words_than_the_stacks_is_said_and_the_screen_can_be_used(
    app: DaisyApp, said: ScriptedCommands, answer: str
) -> None:
    said.answers["runs", "show"] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "d", "y")
        await finish(pilot)
        assert len(app.screen_stack) == 1
        assert len(toasts(app)) <= 2
        await _press(pilot, "E")
        assert _tab(app) == "events"

    drive(app, story)


@pytest.mark.parametrize(
    ("key", "work", "opens"),
    [
        ("s", "daisy_tui.runs.run_requests.settings_in_force", SetForm),
        ("p", "daisy_tui.runs.watching.RunsWatch.look", PickScreen),
        ("less_than_sign", "daisy_tui.screens.run.all_runs", None),
    ],
)
def test_what_a_key_looks_for_in_vain_is_said_and_the_key_can_be_pressed_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str, work: str, opens: type | None
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(work, _broken)
            await _press(pilot, key)
        assert toasts(app) == ["RuntimeError: odd [x]"]
        assert len(app.screen_stack) == 1
        await _press(pilot, key)
        if opens is None:
            assert toasts(app)[-1] == "There is no older run."
        else:
            assert isinstance(app.screen, opens)

    drive(app, story)


def test_a_request_whose_command_fails_is_said_and_no_longer_under_way(app: DaisyApp, said: ScriptedCommands) -> None:
    said.answers["runs",] = RuntimeError("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "w", "y")
        assert toasts(app) == ["RuntimeError: odd [x]"]
        assert "⋯" not in words(app).splitlines()[0]
        said.answers["runs",] = "saved [x]"
        await _press(pilot, "w", "y")
        assert toasts(app)[-1] == "saved [x]"

    drive(app, story, (140, 30))


def test_a_run_that_cannot_be_read_is_said_as_stale_and_stays_in_sight(
    app: DaisyApp, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        services.monotonic = lambda: 112.0
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.runs.run_look.RunReader.look", _broken)
            await settle(pilot)
            assert "stale 0:12: " in words(app)
            assert "odd [x]" in words(app)
            assert "20260301-110000-x" in words(app)
            await _press(pilot, "E")
            assert _tab(app) == "events"
        await settle(pilot)
        assert "stale" not in words(app)

    drive(app, story, (160, 40))
    assert toasts(app) == []


# Resuming, which says first how it would go on


@pytest.fixture
def stopped(services: Services, make_run: MakeRun) -> DaisyApp:
    """A Run screen on a run that has stopped."""
    write_checkpoints(make_run("x", "stopped"), 40)
    return app_of(services, "run")


@pytest.mark.parametrize("answer", ["no JSON [x]", "{}", '{"kind": "exact"}', RuntimeError("odd [x]")])
def test_a_verdict_that_is_none_is_said_resumes_nothing_and_can_be_asked_for_again(
    stopped: DaisyApp, said: ScriptedCommands, answer: str | Exception
) -> None:
    said.answers["runs", "resume"] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "r")
        assert isinstance(stopped.screen, ResumeForm)
        assert len(toasts(stopped)) == 1
        said.answers["runs", "resume"] = json.dumps({"kind": "exact", "differs": []})
        await pilot.click("#confirm")
        await finish(pilot)
        assert "exactly: as if it had never stopped" in words(stopped)
        await _press(pilot, "escape")
        assert len(stopped.screen_stack) == 1

    drive(stopped, story, (100, 30))
    assert all("--dry-run" in command for command in said.said)


@pytest.mark.parametrize("answer", ["no JSON [x]", RuntimeError("odd [x]")])
def test_a_form_whose_verdict_has_failed_does_not_say_that_it_still_looks(
    stopped: DaisyApp, said: ScriptedCommands, answer: str | Exception
) -> None:
    said.answers["runs", "resume"] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "r")
        assert "Looking how it would go on" not in words(stopped)

    drive(stopped, story, (100, 30))
