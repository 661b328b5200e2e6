"""Whatever fails behind the Checkpoints screen in a way that nobody expected is said, and the screen can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoints
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Button, Input

from daisy_tui.app import DaisyApp
from daisy_tui.services import Services
from daisy_tui.widgets.checkpoint_forms import CopyForm, PruneForm
from daisy_tui.widgets.job_bar import JobBar

MakeRun = Callable[..., Path]
PLAN = {"going": ["step_000000010"], "frees": 1 << 30, "kept_for_others": []}
NO_PLANS = ["no JSON [x]", "", "[]", "{}", "null", '{"going": 1, "frees": "much", "kept_for_others": null}']


def _broken(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


@pytest.fixture
def app(services: Services, make_run: MakeRun) -> DaisyApp:
    """The checkpoints of one run, which are of the steps 10 and 20."""
    write_checkpoints(make_run("base", steps=0), 10, 20)
    return app_of(services, "checkpoints")


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_an_export_that_fails_is_said_and_can_be_repeated(
    app: DaisyApp, said: ScriptedCommands, error: type[Exception]
) -> None:
    said.answers["export",] = error("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "X")
        assert isinstance(app.screen, CopyForm)
        await pilot.click("#confirm")
        await finish(pilot)
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert not app.screen.query_one(JobBar).is_busy
        said.answers["export",] = ["exported [x]"]
        await _press(pilot, "X")
        await pilot.click("#confirm")
        await finish(pilot)
        assert toasts(app)[-1] == "exported [x]"

    drive(app, story, (120, 40))


def test_a_verification_that_fails_is_said_and_can_be_repeated(app: DaisyApp, said: ScriptedCommands) -> None:
    said.answers["inspect",] = RuntimeError("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down", "v")
        assert toasts(app) == ["RuntimeError: odd [x]"]
        assert not app.screen.query_one(JobBar).is_busy
        said.answers["inspect",] = ["all 3 files match"]
        await _press(pilot, "v")
        assert toasts(app)[-1].endswith("step_000000010: all 3 files match")

    drive(app, story, (120, 40))


@pytest.mark.parametrize("answer", NO_PLANS)
def test_a_prune_plan_that_is_none_is_said_removes_nothing_and_can_be_asked_for_again(
    app: DaisyApp, said: ScriptedCommands, answer: str
) -> None:
    said.answers["runs", "prune"] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        assert isinstance(app.screen, PruneForm)
        assert len(toasts(app)) == 1
        assert app.screen.query_one("#confirm", Button).disabled
        said.answers["runs", "prune"] = json.dumps(PLAN)
        app.screen.query_one("#keep-last", Input).value = "2"
        await finish(pilot)
        assert "Goes: step_000000010" in words(app)
        assert not app.screen.query_one("#confirm", Button).disabled
        await _press(pilot, "escape")
        assert len(app.screen_stack) == 1

    drive(app, story, (120, 40))
    assert all("--dry-run" in command for command in said.said)


@pytest.mark.parametrize("answer", ["no JSON [x]", RuntimeError("odd [x]")])
def test_a_form_whose_plan_has_failed_does_not_say_that_it_still_looks(
    app: DaisyApp, said: ScriptedCommands, answer: str | Exception
) -> None:
    said.answers["runs", "prune"] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        assert "Looking what would go" not in words(app)

    drive(app, story, (120, 40))


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_removing_that_fails_is_said_and_the_form_can_be_used(
    app: DaisyApp, said: ScriptedCommands, error: type[Exception]
) -> None:
    said.answers["runs", "prune"] = json.dumps(PLAN)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        said.answers["runs", "prune"] = error("odd [x]")
        await pilot.click("#confirm")
        await finish(pilot)
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert isinstance(app.screen, PruneForm)
        said.answers["runs", "prune"] = "removed 1 checkpoint"
        await pilot.click("#confirm")
        await finish(pilot)
        assert toasts(app)[-1] == "removed 1 checkpoint"
        assert len(app.screen_stack) == 1

    drive(app, story, (120, 40))


def test_what_cannot_be_checked_of_an_export_is_said_and_the_form_can_be_used(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "down")
        with monkeypatch.context() as patched:
            patched.setattr(CopyForm, "problems", _broken)
            await _press(pilot, "X")
        assert toasts(app) == ["RuntimeError: odd [x]"]
        assert isinstance(app.screen, CopyForm)
        app.screen.query_one("#out", Input).value = "runs"
        await finish(pilot)
        assert "runs: already there" in words(app)

    drive(app, story, (120, 40))


@pytest.mark.parametrize("name", ["checkpoints", "checkpoint"])
def test_a_look_that_fails_is_said_as_stale_and_the_list_stays(
    app: DaisyApp, services: Services, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    work = "daisy_tui.screens.checkpoints." + ("arranged" if name == "checkpoints" else "look")

    async def story(pilot: Pilot[Any]) -> None:
        services.monotonic = lambda: 112.0
        with monkeypatch.context() as patched:
            patched.setattr(work, _broken)
            await settle(pilot)
            assert f"stale 0:12: {name}: " in words(app)
            assert "odd [x]" in words(app)
            assert "step 10" in words(app)
        await settle(pilot)
        assert "stale" not in words(app)

    drive(app, story, (160, 40))
    assert toasts(app) == []


@pytest.mark.parametrize("field", ["keep-last", "keep-best", "keep-every"])
@pytest.mark.parametrize("typed", ["9" * 5000, "²", "[x]"], ids=["digits", "superscript", "markup"])
def test_whatever_is_typed_into_the_form_it_can_be_left(
    app: DaisyApp, said: ScriptedCommands, field: str, typed: str
) -> None:
    said.answers["runs", "prune"] = json.dumps(PLAN)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        app.screen.query_one(f"#{field}", Input).value = typed
        await finish(pilot)
        assert isinstance(app.screen, PruneForm)
        await _press(pilot, "escape")
        assert len(app.screen_stack) == 1

    drive(app, story)
    assert toasts(app) == []
