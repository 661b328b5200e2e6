"""What is typed while a dialogue or a screen is on its way goes to it, in its order, and to nothing below."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from chatting import until
from composing_story import make_folder, screen_of
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui import key_order
from daisy_tui.app import DaisyApp
from daisy_tui.screens import compose as compose_module
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services

MakeRun = Callable[..., Path]


def burst(pilot: Pilot[Any], keys: Iterable[str]) -> None:
    """Have all keys arrive before anything is done with the first one."""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))


@pytest.fixture
def form(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaisyApp:
    """Compose, in a folder with a config `small`."""
    make_folder(tmp_path, monkeypatch)
    return app_of(services, "compose")


def test_letters_behind_the_key_of_a_picker_are_its_letters(form: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, ["o", *"ctxl"])
        await until(pilot, lambda: isinstance(form.screen, PickScreen))
        await finish(pilot)
        assert form.screen_stack[1:] == [form.screen], "none of them opened anything"
        assert "ctxl" in words(form)

    drive(form, story)


def test_a_whole_choice_in_one_burst_is_made_and_the_next_one_begun(form: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, ["o", *"debug", "enter", "enter", *"dem"])
        await until(pilot, lambda: screen_of(form).draft.config == "debug" and isinstance(form.screen, PickScreen))
        await finish(pilot)
        assert form.screen.query_one(Input).value == "dem"

    drive(form, story)


def test_a_name_behind_the_key_that_saves_is_the_name(form: DaisyApp, services: Services) -> None:
    commands = services.commands
    assert isinstance(commands, ScriptedCommands)

    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, ["s", *"mine", "enter"])
        await until(pilot, lambda: commands.said != [])
        await finish(pilot)
        assert form.screen_stack == [form.place]

    drive(form, story)
    assert commands.said == [["config", "save", "small", "mine"]]


def test_a_dialogue_is_answered_once(services: Services) -> None:
    app = app_of(services)
    answers: list[bool | None] = []

    async def story(pilot: Pilot[Any]) -> None:
        dialogue = ConfirmScreen("Sure?", [], None)
        app.push_screen(dialogue, answers.append)
        await finish(pilot)
        dialogue.dismiss(True)
        dialogue.dismiss(False)
        await finish(pilot)
        assert app.screen_stack == [app.place]

    drive(app, story)
    assert answers == [True]


@pytest.mark.parametrize("keys", [["escape"], ["n"], ["y"], ["enter"], ["tab", "enter"]])
def test_a_key_that_closes_a_dialogue_holds_up_no_other(
    services: Services, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    monkeypatch.setattr(key_order, "_PATIENCE_S", 60.0)
    app = app_of(services)

    async def story(pilot: Pilot[Any]) -> None:
        app.push_screen(ConfirmScreen("Sure?", [], None))
        await finish(pilot)
        burst(pilot, [*keys, "slash", *"ab"])
        await until(pilot, lambda: "ab" in words(app))

    drive(app, story)


def test_a_key_whose_widget_goes_holds_up_no_other(services: Services) -> None:
    app = app_of(services)

    async def story(pilot: Pilot[Any]) -> None:
        app.key_order._under_way = -1  # as of a key of which nobody will tell
        burst(pilot, ["slash", *"ab"])
        await until(pilot, lambda: "ab" in words(app))

    drive(app, story)


def test_keys_that_wait_for_a_slow_look_act_on_nothing(form: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    goes = threading.Event()
    picks = compose_module.config_picks

    def slow() -> Any:
        assert goes.wait(60)
        return picks()

    monkeypatch.setattr(compose_module, "config_picks", slow)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("o")
        burst(pilot, ["down", *"xw", "2"])
        await pilot.pause()
        assert form.screen_stack == [form.place]
        goes.set()
        await until(pilot, lambda: isinstance(form.screen, PickScreen))
        await finish(pilot)
        assert "xw2" in words(form)
        await pilot.press("escape")
        await finish(pilot)
        assert screen_of(form).focused is not None, "the form has the focus again"
        await pilot.press("o")
        await until(pilot, lambda: isinstance(form.screen, PickScreen))

    drive(form, story)


def test_a_look_that_fails_gives_the_keys_back(form: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("odd [x]")

    monkeypatch.setattr(compose_module, "config_picks", broken)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("o")
        await finish(pilot)
        assert "RuntimeError: odd [x]" in toasts(form)
        assert not form.key_order.are_held
        await pilot.press("v")
        assert screen_of(form).has_class("-effect")

    drive(form, story)


def test_a_question_is_asked_once_and_what_is_typed_behind_its_key_answers_it(
    services: Services, make_run: MakeRun
) -> None:
    run = make_run("a", "running", steps=10, target_steps=40)
    app, commands = app_of(services), services.commands
    assert isinstance(commands, ScriptedCommands)

    async def story(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        burst(pilot, ["x", "x", "x"])
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await finish(pilot)
        assert len(app.screen_stack) == 2
        await pilot.press("escape")
        await finish(pilot)
        assert commands.said == []
        burst(pilot, ["x", "y"])
        await until(pilot, lambda: commands.said != [])
        await finish(pilot)

    drive(app, story)
    assert commands.said == [["runs", "stop", run.name]]


def test_letters_behind_the_number_of_a_screen_are_for_that_screen(services: Services, make_run: MakeRun) -> None:
    make_run("a", "running", steps=10, target_steps=40)
    app = app_of(services)

    async def story(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        burst(pilot, ["5", "slash", *"tuned"])
        await until(pilot, lambda: app.current_mode == "checkpoints" and not app.key_order.are_held)
        await finish(pilot)
        assert "tuned" in words(app)
        assert len(app.screen_stack) == 1

    drive(app, story)


def test_letters_behind_the_key_of_the_palette_are_its_letters(services: Services) -> None:
    app = app_of(services)

    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, ["ctrl+p", *"quit"])
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await finish(pilot)
        assert "quit" in words(app)

    drive(app, story)
