"""Whatever fails behind the Data screen in a way that nobody expected is said, and the screen can be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import until
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.pilot import Pilot
from textual.widgets import Input

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from daisy_tui.app import DaisyApp
from daisy_tui.data.datasets import datasets
from daisy_tui.screens.prepare import PrepareScreen
from daisy_tui.services import Services
from daisy_tui.widgets.job_bar import JobBar

Story = Callable[[Pilot[Any]], Any]
ODD = "RuntimeError: odd [x]"


def _broken(*_arguments: object, **_named: object) -> Any:
    raise RuntimeError("odd [x]")


@pytest.fixture
def app(services: Services, tmp_path: Path) -> DaisyApp:
    """A Data screen with one dataset of three documents."""
    options = PrepareOptions("mine", val_fraction=0)
    prepare(TextSource("t", ["one two", "three four", "five"]), ByteTokenizer(), tmp_path / "data/mine", options)
    return app_of(services, "data")


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
@pytest.mark.parametrize(("key", "command"), [("d", ("data", "demo")), ("v", ("data", "verify"))])
def test_a_command_that_fails_is_said_and_can_be_repeated(
    app: DaisyApp, said: ScriptedCommands, key: str, command: tuple[str, ...], error: type[Exception]
) -> None:
    said.answers[command] = error("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, key)
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert not app.screen.query_one(JobBar).is_busy
        await _press(pilot, "n", key)
        assert "train document 1 of 0–2" in words(app)

    drive(app, story)
    assert len(said.said) == 2


def test_lengths_that_cannot_be_counted_say_why_in_their_place(app: DaisyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("daisy_tui.screens.data.length_histogram", _broken)

        async def story(pilot: Pilot[Any]) -> None:
            await _press(pilot, "l")
            assert "odd [x]" in words(app)
            assert "counting documents" not in words(app)
            patched.undo()
            await _press(pilot, "l", "l")
            assert "3 documents in train" in words(app), "and they are counted when they are asked for again"
            assert "odd [x]" not in words(app)

        drive(app, story)
    assert toasts(app) == []


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_a_document_that_cannot_be_read_is_said_and_the_one_before_stays(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def broken(*_arguments: object) -> Any:
        raise error("odd [x]")

    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.data.documents.DocumentReader.read", broken)
            await _press(pilot, "n")
        assert toasts(app) == [f"{error.__name__}: odd [x]"]
        assert "train document 0 of 0–2" in words(app)
        await _press(pilot, "n")
        assert "train document 1 of 0–2" in words(app), "the next one, and none is passed over"

    drive(app, story)


def test_datasets_that_cannot_be_looked_for_are_said_as_stale_and_stay(
    services: Services, app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = False

    def failing(folder: Path) -> Any:
        return _broken() if fails else datasets(folder)

    monkeypatch.setattr("daisy_tui.screens.data.datasets", failing)

    async def story(pilot: Pilot[Any]) -> None:
        nonlocal fails
        fails, services.monotonic = True, lambda: 112.0
        await settle(pilot)
        assert "stale 0:12: datasets: " in words(app)
        assert "odd [x]" in words(app)
        await _press(pilot, "n")
        assert "train document 1 of 0–2" in words(app)
        fails = False
        await settle(pilot)
        assert "stale" not in words(app)

    drive(app, story, (160, 30))
    assert toasts(app) == []


# The form


@pytest.mark.parametrize("picker", ["FileOpen", "SelectDirectory"])
def test_a_file_picker_that_fails_is_said_and_the_form_stays_as_it_was(
    app: DaisyApp, said: ScriptedCommands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, picker: str
) -> None:
    (tmp_path / "a.txt").write_text("a")
    button = "#pick-file" if picker == "FileOpen" else "#pick-folder"

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "a", *"a.txt")
        with monkeypatch.context() as patched:
            patched.setattr(f"textual_fspicker.{picker}", _broken)
            await pilot.click(button)
            await finish(pilot)
        assert toasts(app) == [ODD]
        assert isinstance(app.screen, PrepareScreen)
        assert app.screen.query_one("#source", Input).value == "a.txt"
        pressed = app.screen.query_one(button)
        await until(pilot, lambda: not pressed.has_class("-active"))  # for a moment Textual takes no other click
        await pilot.click(button)
        await until(pilot, lambda: type(app.screen).__name__ == picker)
        await finish(pilot)
        await _press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, PrepareScreen))
        await _press(pilot, "ctrl+s")
        assert len(app.screen_stack) == 1

    drive(app, story, (100, 40))
    assert said.said == [["data", "prepare", "--progress-json", "--out", "data/a", "a.txt"]]


def test_a_form_that_cannot_be_opened_is_said_and_can_be_asked_for_again(
    app: DaisyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr("daisy_tui.screens.data.PrepareScreen", _broken)
            await _press(pilot, "a")
        assert toasts(app) == [ODD]
        await _press(pilot, "a")
        assert isinstance(app.screen, PrepareScreen)

    drive(app, story)


@pytest.mark.parametrize("typed", ["x" * 300, "a\0b", "~nobody/x", "[x]*"], ids=["long", "null", "home", "glob"])
@pytest.mark.parametrize("field", ["source", "out"])
def test_whatever_path_is_typed_into_the_form_it_can_be_left(app: DaisyApp, field: str, typed: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "a")
        app.screen.query_one(f"#{field}", Input).value = typed
        await finish(pilot)
        assert isinstance(app.screen, PrepareScreen)
        await _press(pilot, "escape")
        assert len(app.screen_stack) == 1

    drive(app, story)
    assert toasts(app) == []


@pytest.mark.parametrize("digits", [30, 5000])
def test_a_number_of_many_digits_is_the_number_of_no_document(app: DaisyApp, digits: int) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "j")
        app.screen.query_one("#document-number", Input).value = "9" * digits
        await _press(pilot, "enter")
        assert "train document 0 of 0–2" in words(app)
        await _press(pilot, "n")
        assert "train document 1 of 0–2" in words(app)

    drive(app, story)
