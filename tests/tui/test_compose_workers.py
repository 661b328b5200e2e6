"""Whatever fails behind the Compose screen in a way that nobody expected is said, and the form can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from composing_story import draft_of, drive, line_of, make_folder, press, to
from terminal import ScriptedCommands, app_of, finish, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.app import DaisyApp
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services
from daisy_tui.widgets.form_prompt import Prompt

ODD = "RuntimeError: odd [x]"


def _broken(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


@pytest.fixture
def app(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaisyApp:
    """A form on one config and one spec, on a machine that has a CPU."""
    make_folder(tmp_path, monkeypatch)
    return app_of(services, "compose")


@pytest.mark.parametrize(
    ("key", "field", "picks"),
    [("o", "config", "config_picks"), ("m", "model_spec", "spec_picks"), ("enter", "devices", "device_picks")],
)
def test_picks_that_cannot_be_looked_for_are_said_and_can_be_asked_for_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str, field: str, picks: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        to(app, field)
        with monkeypatch.context() as patched:
            patched.setattr(f"daisy_tui.screens.compose.{picks}", _broken)
            await press(pilot, key)
        assert toasts(app) == [ODD]
        assert len(app.screen_stack) == 1
        await press(pilot, key)
        assert isinstance(app.screen, PickScreen)

    drive(app, story)


def test_a_grid_that_cannot_be_checked_is_said_and_queues_nothing(
    app: DaisyApp, said: ScriptedCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.launching._first_problem", _broken)
            await press(pilot, "x", *"seed=1,2", "enter")
        assert toasts(app) == [ODD]
        assert said.said == []
        assert len(app.screen_stack) == 1
        await press(pilot, "x", *"seed=1,2", "enter")

    drive(app, story)
    assert len(said.said) == 2
    assert "2 of 2 runs queued" in toasts(app)


def test_a_grid_whose_commands_fail_says_how_far_it_came_and_why(app: DaisyApp, said: ScriptedCommands) -> None:
    said.answers["train", "small", "-r", "small-seed-2"] = RuntimeError("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "x", *"seed=1,2,3", "enter")
        assert sorted(toasts(app)) == ["1 of 3 runs queued", ODD]
        assert "⋯" not in words(app), "nothing is under way any more"
        to(app, "full_windows")
        await press(pilot, "space")
        assert draft_of(app)[-1] == "full_windows=true"

    drive(app, story, (160, 40))


@pytest.mark.parametrize("key", ["s", "x"])
def test_a_question_that_cannot_be_put_is_said_and_can_be_asked_for_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.launching.Prompt", _broken)
            await press(pilot, key)
        assert toasts(app) == [ODD]
        await press(pilot, key)
        assert isinstance(app.screen, Prompt)

    drive(app, story)


def test_saving_that_fails_behind_its_question_is_said_and_can_be_repeated(
    app: DaisyApp, said: ScriptedCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "s", *"mine")
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.launching.LaunchScreen.run_command", _broken)
            await press(pilot, "enter")
        assert toasts(app) == [ODD]
        assert len(app.screen_stack) == 1
        await press(pilot, "s", *"mine", "enter")

    drive(app, story)
    assert said.said == [["config", "save", "small", "mine"]]


@pytest.mark.parametrize("name", ["x" * 300, "~nobody/x", "[x]", "a\0b"], ids=["long", "home", "markup", "null"])
@pytest.mark.parametrize("key", ["s", "x"])
def test_whatever_is_typed_for_a_question_it_can_be_left(
    app: DaisyApp, said: ScriptedCommands, key: str, name: str
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, key)
        field = app.screen.query_one(Input)
        for typed in (name, f"seed={name},2", f"model_spec={name},small"):
            field.value = typed
            await finish(pilot)
        assert isinstance(app.screen, Prompt)
        await press(pilot, "escape")
        assert len(app.screen_stack) == 1

    drive(app, story)
    assert said.said == []
    assert toasts(app) == []


@pytest.mark.parametrize("answer", ["step 1 of 3\nno JSON [x]", '{\n"peak_memory": 1\n}', "{\n1"])
def test_a_preflight_that_says_something_else_is_said_and_leaves_no_progress(
    app: DaisyApp, said: ScriptedCommands, answer: str
) -> None:
    said.answers["preflight",] = answer

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "f")
        assert len(toasts(app)) == 1
        assert "391 steps" in line_of(app)
        assert "⋯" not in words(app)
        await press(pilot, "f")
        assert len(said.said) == 2, "and it can be measured again"

    drive(app, story, (160, 40))


def test_a_launch_whose_answer_is_no_json_is_said_and_the_form_stays(app: DaisyApp, said: ScriptedCommands) -> None:
    said.answers["train",] = "launched [x]"

    async def story(pilot: Pilot[Any]) -> None:
        await press(pilot, "l", "y")
        assert any("JSONDecodeError" in toast for toast in toasts(app))
        assert len(app.screen_stack) == 1
        to(app, "full_windows")
        await press(pilot, "space")
        assert draft_of(app)[-1] == "full_windows=true"

    drive(app, story)
