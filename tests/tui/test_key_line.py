"""The line below a screen: which keys it names, that it cuts none, and that a click presses one."""

from __future__ import annotations

from typing import Any

from terminal import app_of, drive, finish
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.actions import Action
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.services import Services
from daisy_tui.widgets.key_line import KeyLine

NAMES = ("Order", "Mark", "Compare", "Inspect", "Verify", "Export", "Prune", "Chat", "Resume", "Branch")


class KeysScreen(DaisyScreen):
    """A screen with more keys than fit 80 columns, of which one acts, and a field."""

    NAME, TITLE, AUTO_FOCUS = "keys", "Keys", ""
    ACTIONS = (
        Action("stop", "x", "Stop", "Ends it.", acts=True),
        *(Action(name.lower(), key, name, f"It does {name}.") for name, key in zip(NAMES, "abcdefghij", strict=True)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.marked = 0

    def body(self) -> ComposeResult:
        yield Input(id="field")

    def action_mark(self) -> None:
        self.marked += 1


def _line(pilot: Pilot[Any]) -> str:
    return pilot.app.screen.query_one(KeyLine).render().plain


def test_a_narrow_line_names_whole_keys_and_keeps_help_and_palette(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await finish(pilot)
        line = _line(pilot)
        assert len(line) == 80
        assert line.endswith(" ? Help ^p Palette")
        first, _, _ = line.partition("…")
        named = first.split()
        assert named[1::2] == ["Stop", *NAMES][: len(named) // 2]
        assert len(named) >= 14

    drive(app_of(services, KeysScreen), story, size=(80, 24))


def test_a_wide_line_names_every_key(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await finish(pilot)
        line = _line(pilot)
        assert all(name in line for name in ("Stop", *NAMES, "Commands", "Help", "Palette"))
        assert "…" not in line

    drive(app_of(services, KeysScreen), story, size=(200, 60))


def test_every_width_is_filled_and_never_exceeded(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        for width in (20, 40, 79, 100, 123):
            await pilot.resize_terminal(width, 24)
            await finish(pilot)
            assert len(_line(pilot)) == max(width, 19)  # help and palette, whatever happens

    drive(app_of(services, KeysScreen), story, size=(80, 24))


def test_a_click_on_a_key_presses_it(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await finish(pilot)
        await pilot.click(KeyLine, offset=(_line(pilot).index("Mark"), 0))
        await finish(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, KeysScreen)
        assert screen.marked == 1

    drive(app_of(services, KeysScreen), story, size=(120, 40))


def test_what_a_field_takes_is_not_named_while_one_types(services: Services) -> None:
    async def story(pilot: Pilot[Any]) -> None:
        await finish(pilot)
        pilot.app.screen.set_focus(pilot.app.screen.query_one("#field", Input))
        await finish(pilot)
        assert _line(pilot).split() == ["esc", "Back", "^p", "Palette"], "Escape leads out"

    drive(app_of(services, KeysScreen), story, size=(80, 24))


def test_a_read_only_terminal_dims_what_acts(services: Services) -> None:
    services.readonly = True

    async def story(pilot: Pilot[Any]) -> None:
        await finish(pilot)
        words = pilot.app.screen.query_one(KeyLine).render()
        dimmed = {words.plain[span.start : span.end].strip() for span in words.spans if "dim" in str(span.style)}
        assert "Stop" in dimmed
        assert "Mark" not in dimmed

    drive(app_of(services, KeysScreen), story, size=(120, 40))
