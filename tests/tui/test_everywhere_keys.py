"""Every key that holds on all screens, pressed; and keys of single screens that end what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import composing_story
import pytest
import yaml
from chatting import CHECKPOINT, Children, ask, chat, chat_app, send, talk_to, tell, until
from serving import WAIT_S, ScriptedEngine, says
from terminal import ScriptedCommands, app_of, drive, finish, toasts, words
from textual.app import ComposeResult
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Checkbox, Input, Static

from core.inference.request import Piece, Scored
from daisy_tui.actions import Action
from daisy_tui.app import EVERYWHERE, DaisyApp
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.help import CommandsScreen, HelpScreen, key_sign
from daisy_tui.screens.jump import JumpScreen
from daisy_tui.screens.settings import SettingsScreen
from daisy_tui.services import Services
from daisy_tui.settings import Settings, SettingsFile
from daisy_tui.widgets.topbar import PLACES

PLACE_KEYS = [(key.format(number), name) for number, (name, *_) in enumerate(PLACES, 1) for key in ("{}", "alt+{}")]
OTHERS = {"exclamation_mark", "question_mark", "ctrl+o", "comma", "f5", "q"}


class CountingScreen(DaisyScreen):
    """A screen that counts how often it was looked at, with two fields and an action."""

    NAME, TITLE, AUTO_FOCUS = "counting", "Counting", ""
    ACTIONS = (Action("wave", "g", "Wave back", "Say that this was chosen.", "daisy runs list"),)

    def body(self) -> ComposeResult:
        yield Input(id="first")
        yield Input(id="second")
        yield Static("", id="looks")

    def on_mount(self) -> None:
        self.looks = 0
        self.poll("looks", 1.0, lambda: None, self._looked)

    def _looked(self, _nothing: None) -> None:
        self.looks += 1
        self.query_one("#looks", Static).update(f"looked {self.looks} times")

    def command_for(self, action: str) -> list[str] | None:
        return ["runs", "list"] if action == "wave" else None

    def action_wave(self) -> None:
        self.notify("waved")


@pytest.fixture
def app(services: Services) -> DaisyApp:
    return app_of(services, CountingScreen)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has a CPU, which takes no time to look at."""
    monkeypatch.setattr("daisy_tui.screens.compose.look_at_machine", lambda: composing_story.CPU)


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def _is_bare(app: DaisyApp) -> bool:
    """Whether nothing stands above the screen."""
    return len(app.screen_stack) == 1


async def _reach(pilot: Pilot[Any], name: str) -> None:
    """Wait until a screen is open and has looked."""
    await until(pilot, lambda: getattr(pilot.app.screen, "NAME", "") == name)
    await finish(pilot)


# From screen to screen


def test_every_key_that_holds_everywhere_is_pressed_here() -> None:
    assert {key for action in EVERYWHERE for key in action.keys} == {key for key, _ in PLACE_KEYS} | OTHERS


@pytest.mark.parametrize(("key", "name"), PLACE_KEYS)
def test_a_number_goes_to_its_screen(services: Services, key: str, name: str) -> None:
    app = app_of(services, "data" if name == "dashboard" else "dashboard")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, key)
        await _reach(pilot, name)
        assert len(app.screen_stack) == 1

    drive(app, story)
    assert toasts(app) == []


def test_a_number_is_a_letter_in_a_field_and_with_alt_it_goes(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click("#first")
        await _press(pilot, "7")
        assert app.screen.query_one("#first", Input).value == "7"
        await _press(pilot, "alt+7")
        await _reach(pilot, "data")

    drive(app, story)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("number", [2, 7])
def test_a_click_on_a_name_in_the_bar_goes_there(app: DaisyApp, number: int, width: int) -> None:
    name, title, short = PLACES[number - 1]

    async def story(pilot: Pilot[Any]) -> None:
        bar = words(app).splitlines()[0]
        await pilot.click(offset=(bar.index(f"{number} {title if width >= 100 else short}") + 2, 0))
        await _reach(pilot, name)

    drive(app, story, (width, 24))
    assert toasts(app) == []


def test_the_name_of_the_screen_that_is_open_leads_nowhere(services: Services) -> None:
    app = app_of(services, "data")

    async def story(pilot: Pilot[Any]) -> None:
        here = app.screen
        await pilot.click(offset=(words(app).splitlines()[0].index("7 Data"), 0))
        await finish(pilot)
        assert app.screen is here

    drive(app, story)
    assert toasts(app) == []


# What opens above a screen


def test_q_closes_the_terminal(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert app.return_code is None
        await pilot.press("q")
        await pilot.pause()

    drive(app, story)
    assert app.return_code == 0


def test_f5_looks_at_everything_again(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert "looked 1 times" in words(app)
        await _press(pilot, "f5")
        assert "looked 2 times" in words(app)
        await pilot.click("#first")
        await _press(pilot, "f5")
        assert "looked 3 times" in words(app), "also while something is typed"

    drive(app, story)


@pytest.mark.parametrize("key", ["ctrl+p", "colon"])
def test_what_is_chosen_in_the_palette_is_done(app: DaisyApp, key: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, key)
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*"wave")
        await until(pilot, lambda: "Wave back" in words(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: toasts(app))
        assert _is_bare(app)

    drive(app, story)
    assert toasts(app) == ["waved"]


def test_the_palette_goes_to_screens(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "ctrl+p")
        await pilot.press(*"go to data")
        await until(pilot, lambda: "Go to Data" in words(app))
        await pilot.press("down", "enter")
        await _reach(pilot, "data")

    drive(app, story)


@pytest.mark.parametrize("key", ["ctrl+p", "colon", "comma", "question_mark", "exclamation_mark", "ctrl+o"])
def test_escape_goes_back_from_whatever_a_key_opened(app: DaisyApp, key: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, key)
        assert len(app.screen_stack) == 2
        await _press(pilot, "escape")
        assert _is_bare(app)
        await _press(pilot, "g")

    drive(app, story)
    assert toasts(app) == ["waved"]


def test_an_exclamation_mark_copies_the_command_behind_an_action(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "exclamation_mark")
        assert isinstance(app.screen, CommandsScreen)
        assert "daisy runs list" in words(app)
        await _press(pilot, "enter")
        assert _is_bare(app)

    drive(app, story)
    assert app.clipboard == "daisy runs list"


def test_the_help_has_every_key_that_holds_everywhere(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        lines = [line.split() for line in words(app).splitlines()]
        for action in EVERYWHERE:
            sign = key_sign(action.keys[0])
            assert any(sign in line and action.title.split()[0] in line for line in lines), action.title
        await _press(pilot, "question_mark")
        assert _is_bare(app)

    drive(app, story, (120, 60))


def test_jump_mode_focuses_what_is_labelled_in_reading_order(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        for letter, place in (("s", "#second"), ("a", "#first")):
            await _press(pilot, "ctrl+o")
            assert isinstance(app.screen, JumpScreen)
            line = words(app).splitlines()[app.place.query_one(place).region.y]  # type: ignore[union-attr]
            assert line.startswith(f" {letter} ")
            await _press(pilot, letter)
            assert app.focused is app.screen.query_one(place)

    drive(app, story)


def test_a_letter_that_labels_nothing_leaves_jump_mode_as_it_is(app: DaisyApp) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "ctrl+o", "m")
        assert isinstance(app.screen, JumpScreen)
        await _press(pilot, "q")
        assert _is_bare(app), "and q leaves it, not the terminal"
        await _press(pilot, "g")

    drive(app, story)
    assert toasts(app) == ["waved"]


# Settings


@pytest.fixture
def file(services: Services, tmp_path: Path) -> Path:
    """Where the settings are kept."""
    path = tmp_path / "home/settings.yaml"
    services.settings = SettingsFile(path)
    return path


async def _choose_last(pilot: Pilot[Any]) -> None:
    """Take the last entry of the list that has the focus."""
    await _press(pilot, "enter", "end", "enter")


def test_every_setting_that_is_changed_holds_and_is_written_once_it_is_kept(app: DaisyApp, file: Path) -> None:
    themes = sorted(app.available_themes)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "comma")
        assert isinstance(app.screen, SettingsScreen)
        await _choose_last(pilot)
        assert app.theme == themes[-1], "the theme is seen at once"
        assert not file.exists(), "and nothing is kept yet"
        await _press(pilot, "tab")
        await _choose_last(pilot)
        await _press(pilot, "tab", "ctrl+u", *"0.6", "tab", "space")
        assert app.screen.query_one(Checkbox).value
        await _press(pilot, "tab", "enter")
        assert _is_bare(app)

    drive(app, story)
    kept = Settings(theme=themes[-1], smoothing=0.6, x="time", log_y=True)
    assert app.settings == kept
    assert app.theme == themes[-1]
    assert SettingsFile(file).read() == kept
    assert set(yaml.safe_load(file.read_text())) == {"theme", "smoothing", "x", "log_y"}
    assert toasts(app) == []


def test_enter_in_the_field_keeps_the_settings(app: DaisyApp, file: Path) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "comma", "tab", "tab", "ctrl+u", *"0.25", "enter")
        assert _is_bare(app)

    drive(app, story)
    assert SettingsFile(file).read() == Settings(smoothing=0.25)


@pytest.mark.parametrize("back", ["escape", "button"])
def test_what_is_left_in_the_settings_is_taken_back(app: DaisyApp, file: Path, back: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        before = app.theme
        await _press(pilot, "comma")
        await _choose_last(pilot)
        assert app.theme != before
        await _press(pilot, "tab")
        await _choose_last(pilot)
        await _press(pilot, "tab", "ctrl+u", *"0.6", "tab", "space")
        if back == "escape":
            await _press(pilot, "escape")
        else:
            await pilot.click("#back")
            await finish(pilot)
        assert _is_bare(app)
        assert app.theme == before

    drive(app, story)
    assert app.settings == Settings()
    assert not file.exists()


@pytest.mark.parametrize("typed", ["2", "-0.1", "nan", "much [x]", ""])
def test_a_smoothing_that_is_none_says_one_line_and_the_form_stays(app: DaisyApp, file: Path, typed: str) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "comma", "tab", "tab", "ctrl+u")
        app.screen.query_one("#smoothing", Input).value = typed
        await _press(pilot, "enter")
        assert isinstance(app.screen, SettingsScreen)
        said = [line for line in words(app).splitlines() if "a number from 0 (none) to 0.99" in line]
        assert len(said) == 1
        assert f"smoothing '{typed}'" in said[0]
        await _press(pilot, "end", "ctrl+u", *"0.5", "enter")
        assert _is_bare(app)

    drive(app, story)
    assert app.settings.smoothing == 0.5
    assert toasts(app) == []


def test_settings_that_cannot_be_written_are_said_and_hold_in_this_terminal(app: DaisyApp, file: Path) -> None:
    file.parent.write_text("in the way")

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "comma", "tab", "tab", "ctrl+u", *"0.25", "enter")
        assert _is_bare(app)

    drive(app, story)
    assert app.settings.smoothing == 0.25
    (said,) = toasts(app)
    assert "settings.yaml: cannot be written" in said


# The chat: a server's end, and an answer's


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(says("It is fine."))


@pytest.mark.parametrize("answer", ["n", "escape", "y"])
def test_a_server_ends_once_that_is_confirmed(services: Services, children: Children, answer: str) -> None:
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        pane = await talk_to(pilot)
        await ask(pilot, "Hi")
        await _press(pilot, "escape", "z")
        assert isinstance(app.screen, ConfirmScreen)
        assert "End this server?" in words(app)
        await _press(pilot, answer)
        await until(pilot, lambda: _is_bare(app))
        await finish(pilot)
        if answer == "y":
            await until(pilot, lambda: children.started[0].returncode is not None)
            assert pane.server is None
            assert "no model yet" in words(app)
            await talk_to(pilot, CHECKPOINT)
        else:
            assert children.started[0].returncode is None
        await ask(pilot, "Still there?")
        assert words(app).count("It is fine.") == (1 if answer == "y" else 2)

    tell(app, story, (80, 40))
    assert len(children.started) == (2 if answer == "y" else 1)


def test_without_a_server_there_is_none_to_end(services: Services, children: Children) -> None:
    app = chat_app(services)

    async def story(pilot: Pilot[Any]) -> None:
        await _press(pilot, "escape", "z")
        assert _is_bare(app)

    tell(app, story)
    assert children.started == []


@pytest.mark.parametrize("key", ["x", "escape"])
def test_a_key_outside_the_field_stops_an_answer(
    services: Services, children: Children, engine: ScriptedEngine, key: str
) -> None:
    app = chat_app(services)
    engine.says = None

    async def story(pilot: Pilot[Any]) -> None:
        await talk_to(pilot)
        await send(pilot, "Hi")
        number = await asyncio.to_thread(engine.asked.get, True, WAIT_S)
        engine.tell(number, Piece("half of an ", (Scored(65),), completion_tokens=1))
        await until(pilot, lambda: "half of an" in words(app))
        chat(app).panes.left.views[-1].focus()
        await pilot.press(key)
        await finish(pilot)
        assert await asyncio.to_thread(engine.cancelled.get, True, WAIT_S) == number
        assert "stopped" in words(app)
        assert "half of an" in words(app), "what came stays"
        engine.says = says("whole")
        await ask(pilot, "So?")
        assert "whole" in words(app)

    tell(app, story, (80, 40))


# Measuring a draft


class Measuring(ScriptedCommands):
    """A preflight that tells of one step and then takes as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
        self.said.append(list(arguments))
        try:
            yield "step 1 of 3: 0.31 s"
            await asyncio.Event().wait()
        except (GeneratorExit, asyncio.CancelledError):
            self.ended += 1
            raise


def test_a_preflight_is_cancelled_in_mid_stream_by_its_own_key(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composing_story.make_folder(tmp_path, monkeypatch)
    commands = services.__dict__["commands"] = Measuring()
    app = app_of(services, "compose")

    async def story(pilot: Pilot[Any]) -> None:
        for times in (1, 2):
            await pilot.press("f")
            await until(pilot, lambda: "preflight: step 1 of 3: 0.31 s" in composing_story.line_of(app))
            assert "f cancels" in composing_story.line_of(app)
            assert "⋯ daisy preflight small --json" in words(app)
            await _press(pilot, "f")
            assert commands.ended == times, "the command is interrupted"
            assert composing_story.line_of(app).count("391 steps") == 1, "the line says what the draft comes to"
            assert "⋯" not in words(app)
        assert toasts(app) == ["preflight cancelled"] * 2

    drive(app, story, (160, 40))
    assert commands.said == [["preflight", "small", "--json"]] * 2
