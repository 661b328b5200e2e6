"""The logs on the Run screen: followed, searched, filtered by level, gone through line by line and rank by rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import app_of, drive, finish, settle, words
from textual.pilot import Pilot

from daisy_tui.runs import log_lines
from daisy_tui.screens.run import RunScreen
from daisy_tui.services import Services

MakeRun = Callable[..., Path]
Story = Callable[[Pilot[Any], RunScreen], Any]


@pytest.fixture
def path(make_run: MakeRun) -> Path:
    return make_run("x", "running")


def tell(services: Services, story: Story, size: tuple[int, int] = (80, 24)) -> None:
    """Open the log of the run, and tell a story."""
    app = app_of(services, "run")

    async def told(pilot: Pilot[Any]) -> None:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await press(pilot, "L")
        await story(pilot, screen)

    drive(app, told, size)


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await finish(pilot)


def append(path: Path, text: str, name: str = "rank0") -> None:
    with (path / f"logs/{name}.log").open("a") as file:
        file.write(text)


def under_cursor(screen: RunScreen) -> str:
    lines = screen.log_pane.lines
    return "".join(text for text, _ in lines._row(lines.cursor)).strip()


def test_the_end_is_followed_until_somebody_goes_up(services: Services, path: Path) -> None:
    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "step 40  loss" in words(pilot.app)
        append(path, "step 41 is new\n")
        await settle(pilot)
        assert "step 41 is new" in words(pilot.app)
        await press(pilot, "up", "up")
        assert "stays" in words(pilot.app)
        before = under_cursor(screen)
        append(path, "another\n" * 100)
        await settle(pilot)
        assert under_cursor(screen) == before
        assert "another" not in words(pilot.app)
        await press(pilot, "f")
        assert "another" in words(pilot.app)
        assert "follows" in words(pilot.app)
        await press(pilot, "f", "end")
        assert "follows" in words(pilot.app), "who goes to the end follows it"

    tell(services, story)


def test_the_wheel_stops_following_too(services: Services, path: Path) -> None:
    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await pilot._post_mouse_events([__import__("textual.events").events.MouseScrollUp], "#run-log LineList")
        await finish(pilot)
        assert not screen.log_pane.lines.follow

    tell(services, story)


def test_a_search_shows_the_lines_that_hold_it_and_enter_the_lines_around_one(services: Services, path: Path) -> None:
    append(path, "".join(f"noise {n}\n" for n in range(50)) + "a Needle [x]\n" + "after it\n" * 50)

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "slash", *"needle")
        assert "a Needle [x]" in words(pilot.app)
        assert "noise" not in words(pilot.app)
        assert "1 line" in words(pilot.app)
        await press(pilot, "enter", "enter")
        assert under_cursor(screen) == "a Needle [x]"
        shown = words(pilot.app)
        assert "noise 49" in shown
        assert "after it" in shown
        await press(pilot, "escape")
        assert "a Needle" not in words(pilot.app), "and back at the end"
        assert "after it" in words(pilot.app)

    tell(services, story)


def test_what_is_nowhere_is_said_and_escape_ends_the_search(services: Services, path: Path) -> None:
    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "slash", *"[nowhere]", "enter")
        assert "No lines that hold '[nowhere]' in rank0.log." in words(pilot.app)
        await press(pilot, "escape")
        assert "step 40" in words(pilot.app)

    tell(services, story)


def test_levels_narrow_to_warnings_and_then_to_errors(services: Services, path: Path) -> None:
    append(path, "warning: late\nerror: gone\n")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "l")
        assert "! warning: late" in words(pilot.app)
        assert "✗ error: gone" in words(pilot.app)
        assert "step 40" not in words(pilot.app).split("Charts")[1]
        await press(pilot, "l")
        assert "warning: late" not in words(pilot.app)
        await press(pilot, "l")
        assert "step 40  loss" in words(pilot.app)

    tell(services, story)


def test_every_log_is_reached_by_key_and_by_click(services: Services, path: Path) -> None:
    append(path, "from rank 1\n", "rank1")
    append(path, "from torchrun\n", "torchrun")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await press(pilot, "n")
        assert "from rank 1" in words(pilot.app)
        await press(pilot, "n")
        assert "from torchrun" in words(pilot.app)
        await press(pilot, "n")
        assert "step 40" in words(pilot.app)
        await press(pilot, "N", "N")
        await pilot.click(screen.query(".log-name")[1])
        await finish(pilot)
        assert "from rank 1" in words(pilot.app)
        append(path, "from rank 2\n", "rank2")
        await settle(pilot)
        assert "rank2" in words(pilot.app)
        assert "from rank 1" in words(pilot.app)

    tell(services, story)


def test_a_long_log_is_read_back_when_somebody_comes_to_its_first_line(
    services: Services, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", 1 << 11)
    monkeypatch.setattr(log_lines, "_PAGE", 50)
    append(path, "".join(f"line {n:04}\n" for n in range(1_000)))

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "the last" in words(pilot.app)
        first = screen.log_pane.lines._row(0)[1][0]
        await press(pilot, "home")
        assert under_cursor(screen) == first, "the line stays under the cursor"
        assert screen.log_pane.lines.cursor > 0, "and others are above it now"
        assert first in words(pilot.app)
        for _ in range(30):
            await press(pilot, "home")
        assert under_cursor(screen).startswith("step 1 ")

    tell(services, story)


def test_a_log_that_is_not_there_yet_appears(services: Services, make_run: MakeRun) -> None:
    path = make_run("y", "starting", steps=0)
    (path / "logs/rank0.log").unlink()

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "No log yet." in words(pilot.app)
        append(path, "begins\n")
        await settle(pilot)
        assert "begins" in words(pilot.app)

    tell(services, story)


def test_lines_can_neither_act_nor_be_markup(services: Services, path: Path) -> None:
    append(path, "\x1b[31mred\x1b[0m [bold]b[/] \x07\n")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        assert "red [bold]b[/] \\x07" in words(pilot.app)
        await press(pilot, "slash", *"[bold]")
        assert "red [bold]b[/] \\x07" in words(pilot.app)

    tell(services, story)


def test_a_search_that_was_replaced_while_it_ran_is_dropped(services: Services, path: Path) -> None:
    append(path, "apple\npear\n")

    async def story(pilot: Pilot[Any], screen: RunScreen) -> None:
        await pilot.press("slash", *"apple")
        for _ in "apple":
            await pilot.press("backspace")
        await pilot.press(*"pear")
        await finish(pilot)
        assert "1 line" in words(pilot.app)
        assert under_cursor(screen) == "pear"

    tell(services, story)
