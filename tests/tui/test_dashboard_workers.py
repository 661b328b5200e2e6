"""Whatever fails behind the dashboard in a way that nobody expected is said, and the dashboard can be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.runs.watching import RunsWatch
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.services import Services

MakeRun = Callable[..., Path]


@pytest.fixture
def app(services: Services, make_run: MakeRun) -> DaisyApp:
    """A dashboard with one run that has stopped."""
    make_run("demo", "stopped")
    return app_of(services)


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_a_prune_plan_that_fails_is_said_and_can_be_asked_for_again(
    app: DaisyApp, said: ScriptedCommands, error: type[Exception]
) -> None:
    said.answers["runs", "prune"] = error("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "p")
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert len(app.screen_stack) == 1
        said.answers["runs", "prune"] = "1 checkpoint may go, which frees 1.00 GiB: step_1"
        await _press(pilot, "p")
        assert isinstance(app.screen, ConfirmScreen)
        assert "frees 1.00 GiB" in words(app)

    drive(app, story)


@pytest.mark.parametrize("key", ["p", "r"])
def test_an_action_that_fails_once_it_is_confirmed_is_said_and_no_longer_under_way(
    app: DaisyApp, said: ScriptedCommands, key: str
) -> None:
    said.answers["runs", "prune"] = "1 checkpoint may go"

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, key)
        said.answers["runs",] = said.answers["runs", "prune"] = RuntimeError("odd [x]")
        await _press(pilot, "y")
        assert toasts(app) == ["RuntimeError: odd [x]"]
        assert len(app.screen_stack) == 1
        assert "⋯" not in words(app).splitlines()[0]
        await _press(pilot, "y")
        assert app.clipboard == "20260301-110000-demo"

    drive(app, story, (140, 30))


@pytest.mark.parametrize("name", ["runs", "leases", "details"])
def test_a_look_that_fails_is_said_as_stale_and_the_rows_stay(
    app: DaisyApp, services: Services, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(*_arguments: object, **_named: object) -> Any:
        raise RuntimeError("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        services.monotonic = lambda: 112.0
        with monkeypatch.context() as patched:
            if name == "runs":
                patched.setattr(RunsWatch, "look", broken)
            elif name == "leases":
                patched.setattr("daisy_tui.screens.dashboard.look_around", broken)
            else:
                patched.setattr("daisy_tui.runs.run_details.DetailReader.look", broken)
            await settle(pilot)
            assert f"stale 0:12: {name}: " in words(app)
            assert "odd [x]" in words(app)
            assert "demo" in words(app)
            await _press(pilot, "y")
            assert app.clipboard == "20260301-110000-demo"
        await settle(pilot)
        assert "stale" not in words(app)

    drive(app, story, (200, 40))
    assert toasts(app) == ["copied: 20260301-110000-demo"]
