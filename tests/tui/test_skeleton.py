"""What every screen has in common: actions by key, palette and command, looking, acting, asking, and failing aloud."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import until
from terminal import ScriptedCommands, app_of, drive, finish, settle, toasts, words
from textual.app import ComposeResult
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Select, Static

from daisy_tui import app as app_module
from daisy_tui import garbage
from daisy_tui.actions import Action
from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError, Done
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.screens.confirm import ConfirmScreen
from daisy_tui.screens.help import CommandsScreen, HelpScreen
from daisy_tui.services import Services
from daisy_tui.settings import Settings, SettingsError, SettingsFile


class ProbeScreen(DaisyScreen):
    """A screen with a question, a look that a test may break, and a field."""

    NAME, TITLE, AUTO_FOCUS = "probe", "Probe", ""
    ACTIONS = (
        Action("stop", "x", "Stop it", "Stop the run with a checkpoint.", "daisy runs stop RUN", acts=True),
        Action("view", "v", "Other view", "Another view."),
    )
    work: Callable[[], str] = staticmethod(lambda: "seen")

    def body(self) -> ComposeResult:
        yield Static("nothing yet", id="seen", markup=False)
        yield Input(id="field")

    def on_mount(self) -> None:
        self.poll("probe", 1.0, lambda: type(self).work(), self._seen)

    def _seen(self, what: str) -> None:
        self.query_one("#seen", Static).update(Content(what))

    def command_for(self, action: str) -> list[str] | None:
        return ["runs", "stop", "my run"] if action == "stop" else None

    def action_stop(self) -> None:
        self.act("stop", question=("Stop my run?", ["It saves first."]))

    def action_view(self) -> None:
        self.notify("viewed")


def _press(services: Services, *keys: str) -> Any:
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        for key in keys:
            await pilot.press(key)
            await finish(pilot)

    drive(app, story)
    return app


def test_acting_asks_first_and_runs_the_command_it_showed(services: Services, said: ScriptedCommands) -> None:
    said.answers["runs", "stop"] = "my run: stopped"
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("x")
        await finish(pilot)
        assert isinstance(app.screen, ConfirmScreen)
        assert "daisy runs stop 'my run'" in words(app)
        assert said.said == []
        await pilot.press("y")
        await finish(pilot)

    drive(app, story)
    assert said.said == [["runs", "stop", "my run"]]
    assert "my run: stopped" in toasts(app)


def test_a_no_runs_nothing(services: Services, said: ScriptedCommands) -> None:
    _press(services, "x", "escape")
    assert said.said == []


def test_what_a_failing_command_says_is_shown(services: Services, said: ScriptedCommands) -> None:
    said.answers["runs", "stop"] = CommandError("runs/x: has finished [/]")
    app = _press(services, "x", "y")
    assert "runs/x: has finished [/]" in toasts(app)


def test_a_read_only_terminal_asks_and_runs_nothing(services: Services, said: ScriptedCommands) -> None:
    services.readonly = True
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("x", "y")
        await finish(pilot)
        assert "read-only" in words(app)
        assert toasts(app) == ["this terminal is read-only: it looks, and changes nothing"], "the key says why"
        assert "Stop it" not in [command.title for command in app.get_system_commands(app.screen)]

    drive(app, story)
    assert said.said == []


def test_a_look_that_fails_says_since_when_and_goes_on(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(services, ProbeScreen)

    def broken() -> str:
        raise OSError("disk gone")

    async def story(pilot: Pilot[Any]) -> None:
        assert "seen" in words(app)
        services.monotonic = lambda: 112.0
        monkeypatch.setattr(ProbeScreen, "work", staticmethod(broken))
        await settle(pilot)
        assert "stale 0:12" in words(app)
        monkeypatch.setattr(ProbeScreen, "work", staticmethod(lambda: "seen [again]"))
        await settle(pilot)
        assert "stale" not in words(app)
        assert "seen [again]" in words(app)

    drive(app, story, size=(140, 24))


def test_a_look_that_does_not_end_is_said_and_how_old_what_is_shown_is_grows(services: Services) -> None:
    goes = threading.Event()
    app = app_of(services, ProbeScreen)

    def hanging() -> str:
        assert goes.wait(60)
        return "seen [again]"

    async def story(pilot: Pilot[Any]) -> None:
        place = app.place
        assert place is not None
        ProbeScreen.work = staticmethod(hanging)
        place.refresh_polls()
        for later, words_then in ((104.0, ""), (112.0, "stale 0:12: probe: no answer yet"), (172.0, "stale 1:12")):
            services.monotonic = lambda now=later: now
            place.tell_ages()
            await pilot.pause()
            assert words_then in words(app)
            assert ("stale" in words(app)) == bool(words_then)
        goes.set()
        await finish(pilot)
        assert "stale" not in words(app)
        assert "seen [again]" in words(app)

    try:
        drive(app, story, size=(140, 24))
    finally:
        goes.set()
        ProbeScreen.work = staticmethod(lambda: "seen")


def test_ages_are_told_of_the_screen_that_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(app_module, "_AGES_S", 0.001)
    monkeypatch.setattr(DaisyScreen, "tell_ages", lambda self: told.append(self.NAME))
    app = app_of(Services(tmp_path), ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: len(told) > 2)
        app.open("data")
        await until(pilot, lambda: told[-1] == "data")
        del told[:]
        await until(pilot, lambda: len(told) > 5)
        assert set(told) == {"data"}, "a screen that is not seen costs nothing"

    drive(app, story)


def test_a_defect_in_a_thread_is_said_and_kept(services: Services, tmp_path: Path) -> None:
    app = app_of(services, ProbeScreen)
    app._log_path = tmp_path / "daisy.log"

    async def story(pilot: Pilot[Any]) -> None:
        def broken() -> None:
            raise KeyError("lost")

        assert app.place is not None
        app.place.in_thread("x", broken, lambda _: None)
        await finish(pilot)

    drive(app, story)
    assert any("KeyError: 'lost'" in said for said in toasts(app))
    assert "Traceback" in (tmp_path / "daisy.log").read_text()


def test_help_and_commands_name_every_action(services: Services) -> None:
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("question_mark")
        await finish(pilot)
        assert isinstance(app.screen, HelpScreen)
        for words_of in ("Stop it", "Other view", "daisy runs stop RUN"):
            assert words_of in words(app)
        await pilot.press("escape")
        await pilot.press("exclamation_mark")
        await finish(pilot)
        assert isinstance(app.screen, CommandsScreen)
        assert "daisy runs stop 'my run'" in words(app)
        await pilot.press("enter")
        await finish(pilot)

    drive(app, story, size=(120, 40))
    assert app.clipboard == "daisy runs stop 'my run'"


def test_help_names_the_keys_of_what_has_the_focus(services: Services) -> None:
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        app.push_screen(HelpScreen(app.place, (), DataTable()))
        await finish(pilot)
        assert "Where the focus is" in words(app)
        assert "Page down" in words(app)

    drive(app, story, size=(120, 40))


def test_a_screen_that_cannot_be_opened_is_said_and_ends_nothing(services: Services) -> None:
    app = app_of(services, ProbeScreen)

    def broken() -> DaisyScreen:
        raise ImportError("no numpy here")

    app.add_mode("broken", broken)

    async def story(pilot: Pilot[Any]) -> None:
        app.open("broken")
        await finish(pilot)
        assert any("no numpy here" in said for said in toasts(app))
        assert isinstance(app.screen, ProbeScreen)

    drive(app, story)


def test_the_palette_offers_what_may_be_done(services: Services) -> None:
    titles = []

    async def story(pilot: Pilot[Any]) -> None:
        titles.extend(command.title for command in pilot.app.get_system_commands(pilot.app.screen))

    drive(app_of(services, ProbeScreen), story)
    assert {"Stop it", "Other view", "Go to Chat", "Settings", "Theme"} <= set(titles)


def test_the_palette_finds_runs_by_name(services: Services, make_run: Callable[..., Path]) -> None:
    run = make_run("lr_scale-[b]2", "running")
    app = app_of(services, "dashboard")

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+p")
        await finish(pilot)
        await pilot.press(*"scale")
        await until(pilot, lambda: f"Run {run.name}" in words(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: type(app.screen).__name__ == "RunScreen")
        await settle(pilot)
        assert "lr_scale-[b]2" in words(app)

    drive(app, story)


def test_escape_leaves_a_field_so_that_keys_act_again(services: Services) -> None:
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.click("#field")
        await pilot.press("v", "1")
        assert app.screen.query_one(Input).value == "v1"
        await pilot.press("escape", "v")
        await finish(pilot)
        assert "viewed" in toasts(app)

    drive(app, story)


def test_garbage_is_collected_by_a_timer_in_a_terminal_of_its_own(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collected.extend([phase] if info["generation"] == 2 else [])

    monkeypatch.setattr(garbage, "EVERY_S", 0.01)
    monkeypatch.setattr(app_module, "_TERMINAL_S", 60.0)
    before = gc.get_threshold()
    app = DaisyApp(services, first="dashboard", is_alone=True)

    async def story(pilot: Pilot[Any]) -> None:
        collected.clear()
        await until(pilot, lambda: collected.count("stop") > 1)
        assert gc.isenabled()

    gc.callbacks.append(note)
    try:
        drive(app, story)
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*before)
        gc.unfreeze()
    assert app.return_code in (None, 0)


def test_jump_mode_goes_to_what_it_labels(services: Services) -> None:
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        app.screen.set_focus(None)
        await pilot.press("ctrl+o", "a")
        await finish(pilot)
        assert app.focused is app.screen.query_one(Input)

    drive(app, story)


def test_settings_hold_at_once_and_in_the_next_terminal(services: Services, tmp_path: Path) -> None:
    services.settings = SettingsFile(tmp_path / "home/settings.yaml")
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        app.theme = "nord"
        await finish(pilot)

    drive(app, story)
    assert services.settings.read() == Settings(theme="nord")
    other = app_of(services, ProbeScreen)

    async def later(pilot: Pilot[Any]) -> None:
        assert other.theme == "nord"

    drive(other, later)


@pytest.mark.parametrize(("button", "kept"), [("keep", "nord"), ("back", "textual-dark")])
def test_a_theme_is_looked_at_before_it_is_kept_or_taken_back(
    services: Services, tmp_path: Path, button: str, kept: str
) -> None:
    services.settings = SettingsFile(tmp_path / "home/settings.yaml")
    app = app_of(services, ProbeScreen)
    wrote: list[str] = []
    write = services.settings.write
    services.settings.write = lambda settings: (wrote.append(settings.theme), write(settings))[1]  # type: ignore[method-assign]

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("comma")
        await finish(pilot)
        app.screen.query_one("#theme", Select).value = "nord"
        await finish(pilot)
        assert (app.theme, wrote) == ("nord", [])
        await pilot.click(f"#{button}")
        await finish(pilot)
        assert app.theme == kept

    drive(app, story)
    assert services.settings.read().theme == kept
    assert wrote == ([kept] if button == "keep" else [])


def test_a_theme_that_is_not_known_is_said(services: Services, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("theme: nope")
    services.settings = SettingsFile(tmp_path / "settings.yaml")
    app = _press(services)
    assert toasts(app) == ["theme 'nope' is not known; comma chooses one that is"]
    assert app.theme == "textual-dark"


def test_settings_that_cannot_be_read_are_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("theme: nord\nx: [ ^")
    with pytest.raises(SettingsError, match=r"line 2: .*; the defaults hold") as said:
        SettingsFile(path).read()
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("text", ["theme: [", "- 1", "smoothing: 7\nx: miles\nunknown: 1"])
def test_damaged_settings_do_not_keep_it_from_opening(services: Services, tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    services.settings = SettingsFile(tmp_path / "settings.yaml")
    app = app_of(services, ProbeScreen)

    async def story(pilot: Pilot[Any]) -> None:
        assert app.settings.checked() == app.settings

    drive(app, story)


def test_an_answer_that_is_json_is_not_toasted(services: Services, said: ScriptedCommands) -> None:
    said.answers["runs", "stop"] = Done(0, '{"state": "stopped"}', "")
    assert toasts(_press(services, "x", "y")) == []
