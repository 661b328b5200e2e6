"""The control center: assembles the services and the screens, and routes between them. It knows what no screen knows,
and nothing of what a screen does.

Screens are modes, imported when they are first opened, and each keeps its state for as long as the terminal is open.
Nothing that matters is kept here: the run directories are the truth, and a second terminal on the same folder shows the
same.
"""

from __future__ import annotations

import asyncio
import select
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.markup import escape
from textual.screen import Screen
from textual.theme import Theme

from core.errors import DaisyError
from core.text import printable
from daisy_tui import garbage
from daisy_tui.actions import Action, bindings
from daisy_tui.key_order import Held, KeyOrder, Passed, Typed
from daisy_tui.screens.base import DaisyScreen, Open
from daisy_tui.services import Services
from daisy_tui.settings import Settings, SettingsError
from daisy_tui.widgets.dialogue import SaysErrors
from daisy_tui.widgets.topbar import PLACES

_AGES_S = 1.0
_TERMINAL_S = 2.0
_DEFECT_S = 15.0


def _opener(name: str) -> Callable[[], Screen[Any]]:
    """What makes a screen by its name: `run` is `RunScreen` of `daisy_tui.screens.run`."""

    def open_screen() -> Screen[Any]:
        made: Screen[Any] = getattr(import_module(f"daisy_tui.screens.{name}"), f"{name.title()}Screen")()
        return made

    return open_screen


EVERYWHERE = (
    *(
        Action(f"go('{name}')", f"{number},alt+{number}", title, "", f"daisy tui --screen {name}", footer=False)
        for number, (name, title, _) in enumerate(PLACES, 1)
    ),
    Action("commands", "exclamation_mark", "Commands", "The daisy command of every action here, to copy.", "daisy -h"),
    Action("help", "question_mark", "Help", "What can be done here, by key.", "daisy -h"),
    Action(
        "jump", "ctrl+o", "Jump", "Label everything that takes the focus, and go to one by its letter.", footer=False
    ),
    Action("settings", "comma", "Settings", "Theme, and how charts begin.", footer=False),
    Action("look", "f5", "Refresh", "Look at everything at once.", "daisy runs list", footer=False),
    Action("quit", "q", "Quit", "Close this terminal; runs go on.", footer=False),
)


class DaisyApp(SaysErrors, App[None]):
    """One terminal. `is_alone`: the process is there for it, and it decides when garbage is collected."""

    TITLE = "Daisy"
    CSS_PATH: ClassVar = ["app.tcss", "screens/dashboard.tcss"]  # with the first screen's, for all are parsed at once
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        **{name: _opener(name) for name, _, _ in PLACES},
        "start": _opener("start"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(EVERYWHERE),
        Binding("ctrl+p", "command_palette", "Palette", show=False, priority=True),
        Binding("colon", "command_palette", "Palette", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012 - as Textual has it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self, services: Services, *, first: str | None = None, log: Path | None = None, is_alone: bool = False
    ) -> None:
        # Textual begins with it; switching there later would mount an empty screen first.
        self.DEFAULT_MODE = first or ("start" if _is_fresh(services) else "dashboard")  # type: ignore[misc]
        super().__init__()
        self.services = services
        self.is_readonly = services.readonly
        self.key_order = KeyOrder(self, super().on_event)
        self._log_path, self._is_alone = log, is_alone
        self._told: dict[str, float] = {}  # defects, and when they were said
        self._problem: SettingsError | None = None
        try:
            self.settings = services.settings.read()
        except SettingsError as error:
            self.settings, self._problem = Settings(), error

    def on_mount(self) -> None:
        if self._problem is not None:
            self.report(self._problem)
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        else:
            self.report(SettingsError(f"theme {self.settings.theme!r} is not known; comma chooses one that is"))
        self.theme_changed_signal.subscribe(self, self._keep_theme, immediate=True)
        self.screen_change_signal.subscribe(self, self._screen_changed, immediate=True)
        if self.services.polls:
            self.set_interval(_AGES_S, self._tell_ages)
        if self._is_alone:
            self.call_later(self.call_after_refresh, self._collect_garbage)
            self.set_interval(_TERMINAL_S, self._leave_with_terminal)
            leave = partial(self.exit, return_code=128 + signal.SIGTERM)  # with the terminal as it was
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)

    def _collect_garbage(self) -> None:
        """From the first frame on."""
        garbage.begin()
        self.set_interval(garbage.EVERY_S, garbage.collect)

    def _leave_with_terminal(self) -> None:
        """End where the terminal is gone without a signal; Textual's input would go round at its end for ever."""
        looking = select.poll()
        looking.register(sys.__stdin__ or 0, 0)
        if any(seen & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, seen in looking.poll(0)):
            self.exit(return_code=1)

    def on_unmount(self) -> None:
        self.services.close()

    def keep(self, settings: Settings) -> None:
        """Take settings over, and keep them."""
        if settings == self.settings:
            return
        self.settings = settings
        try:
            self.services.settings.write(settings)
        except SettingsError as error:
            self.report(error)

    def _keep_theme(self, theme: Theme) -> None:
        from daisy_tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):  # where themes are only looked at
            self.keep(replace(self.settings, theme=theme.name))

    # Going from screen to screen

    def open(self, name: str, **context: Any) -> None:
        """Go to a screen, and show something there."""
        self._open(name, context, self.key_order.hold())

    @work(group="open", exit_on_error=False)
    async def _open(self, name: str, context: dict[str, Any], held: Held | None) -> None:
        try:
            with suppress(IndexError):
                while len(self.screen_stack) > 1:
                    await self.pop_screen()
            await self.switch_mode(name)
            screen = self.screen_stack[0]
            if isinstance(screen, DaisyScreen) and context:
                screen.call_after_refresh(partial(screen.context, **context))
            self.key_order.expect(screen)
        finally:
            if held is not None:
                self.key_order.release(held)

    def _screen_changed(self, screen: Screen[Any]) -> None:
        self.key_order.screen_changed()
        if screen.is_modal and not screen.is_mounted:
            self.key_order.expect(screen)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, Typed) and not event.is_forwarded:
            await self.key_order.take(event)
        else:
            await super().on_event(event)

    async def on_passed(self, message: Passed) -> None:
        await self.key_order.arrived(message)

    def on_open(self, message: Open) -> None:
        self.open(message.screen, **message.context)

    def action_go(self, name: str) -> None:
        self.open(name, **(self.place.leading_to(name) if self.place is not None else {}))

    # What there is everywhere

    @property
    def place(self) -> DaisyScreen | None:
        """The screen of the bar that is open, whatever dialogue is above it."""
        bottom = next(iter(self.screen_stack), None)  # there is none while one screen makes way for another
        return bottom if isinstance(bottom, DaisyScreen) else None

    def action_help(self) -> None:
        from daisy_tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.place, EVERYWHERE, self.screen.focused))

    def action_commands(self) -> None:
        from daisy_tui.screens.help import CommandsScreen

        if self.place is not None:
            self.push_screen(CommandsScreen(self.place))

    def action_jump(self) -> None:
        from daisy_tui.screens.jump import JumpScreen, targets

        found = targets(self.screen)
        if found:
            self.push_screen(JumpScreen(found), lambda widget: widget.focus() if widget is not None else None)

    def action_settings(self) -> None:
        from daisy_tui.screens.settings import SettingsScreen

        self.push_screen(SettingsScreen(self.settings, sorted(self.available_themes)), self._take_settings)

    def _tell_ages(self) -> None:
        if self.place is not None and self.place.is_mounted:
            self.place.tell_ages()

    def action_look(self) -> None:
        if self.place is not None:
            self.place.refresh_polls()

    def _take_settings(self, settings: Settings | None) -> None:
        if settings is not None:
            if settings.theme in self.available_themes:
                self.theme = settings.theme
            self.keep(settings)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every action of this screen, every screen, and what is everywhere."""
        place = self.place
        for action in place.ACTIONS if place is not None else ():
            if place is not None and place.check_action(action.id, ()):
                yield SystemCommand(action.title, action.help, partial(self._run, action.id, place))
        for action in EVERYWHERE:
            title = f"Go to {action.title}" if action.id.startswith("go(") else action.title
            yield SystemCommand(title, action.help, partial(self._run, action.id, self))
        for row in self.services.watch.rows:
            title = f"Run {escape(printable(row.id))}"
            yield SystemCommand(title, f"{row.state}: its screen.", self._opener_of(row.path))
        yield SystemCommand("First steps", "From nothing to a chat with the demo model.", partial(self.open, "start"))
        yield SystemCommand("Theme", "Choose how everything looks.", self.action_change_theme)
        yield SystemCommand("Screenshot", "Keep a picture of this screen as SVG.", self.deliver_screenshot)

    def _opener_of(self, run: Path) -> Callable[[], object]:
        return lambda: self.open("run", run=run)

    async def _run(self, action: str, where: Any) -> None:
        await self.run_action(action, default_namespace=where)

    # What goes wrong

    def report(self, error: BaseException) -> None:
        """Say an error in one line; what is a defect keeps its traceback in a file."""
        if isinstance(error, DaisyError):
            self.notify(printable(str(error)), severity="error", timeout=12, markup=False)
            return
        what = f"{type(error).__name__}: {error}"
        now = self.services.monotonic()
        if now - self._told.get(what, -_DEFECT_S) < _DEFECT_S:
            return  # it is still there to be read
        self._told[what] = now
        where = self._write_defect(error)
        said = what + (f"; more in {where}" if where is not None else "")
        self.notify(printable(said), title="This should not happen", severity="error", timeout=_DEFECT_S, markup=False)

    def _write_defect(self, error: BaseException) -> Path | None:
        if self._log_path is None:
            return None
        import traceback

        try:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            with self._log_path.open("a", encoding="utf-8") as file:
                file.write("".join(traceback.format_exception(error)) + "\n")
        except OSError:
            return None
        return self._log_path


def _is_fresh(services: Services) -> bool:
    """Whether there is nothing yet to look at: neither runs nor data."""
    return not any(path.is_dir() and any(path.iterdir()) for path in (services.runs, services.folder / "data"))
