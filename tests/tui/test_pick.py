"""Picking one of many: what fits in which order, what it begins on, and how the keys go through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from terminal import app_of, drive, finish, words
from textual import events
from textual.app import App
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import OptionList

import daisy_tui
from daisy_tui.screens.pick import PickScreen
from daisy_tui.services import Services
from daisy_tui.widgets.pick_entries import Entry

Story = Callable[[Pilot[Any]], Awaitable[None]]
LOOKS = Path(daisy_tui.__file__).with_name("app.tcss")
ENTRIES = [Entry(name, Content(name), name, f"an {name[0]}") for name in ("note", "adam", "lion")]


def tell(picker: PickScreen[str], story: Story) -> list[str | None]:
    """Play a story in a picker; returns what was picked."""
    answers: list[str | None] = []

    async def run() -> None:
        async with App[None](css_path=LOOKS).run_test(size=(100, 40)) as pilot:
            await pilot.app.push_screen(picker, answers.append)
            await pilot.pause()
            await story(pilot)
            await pilot.pause()

    asyncio.run(run())
    return answers


def shown(picker: PickScreen[str]) -> list[str]:
    return [str(option.prompt) for option in picker.query_one(OptionList).options]


def picker_of(entries: list[Entry[str]] = ENTRIES, **how: Any) -> PickScreen[str]:
    return PickScreen("Which?", "a few letters", entries, **how)


def test_names_come_first_then_what_was_typed_then_what_fits_by_its_note() -> None:
    picker = picker_of(free=lambda typed: Entry(typed, Content(f"{typed} as typed"), typed))

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("a", "n")
        await pilot.pause()
        assert shown(picker) == ["an as typed", "note", "adam", "lion"]
        assert "3 of 3" in words(pilot.app)
        await pilot.press("backspace")
        await pilot.pause()
        assert shown(picker) == ["adam", "a as typed", "note", "lion"]
        await pilot.press("d", "a", "m")
        await pilot.pause()
        assert shown(picker) == ["adam"], "a name is not offered as typed besides"
        assert "1 of 3" in words(pilot.app)
        await pilot.press("enter")

    assert tell(picker, story) == ["adam"]


def test_it_begins_on_what_is_there_now_until_something_is_typed() -> None:
    picker = picker_of(current="lion")

    async def story(pilot: Pilot[Any]) -> None:
        options = picker.query_one(OptionList)
        assert options.highlighted == 2
        await pilot.press("n")
        await pilot.pause()
        assert options.highlighted == 0
        await pilot.press("escape")

    assert tell(picker, story) == [None]


def test_the_list_is_gone_through_while_the_field_has_the_focus() -> None:
    picker = picker_of([Entry(f"{i}", Content(f"{i}"), f"{i}") for i in range(300)])

    async def story(pilot: Pilot[Any]) -> None:
        options = picker.query_one(OptionList)
        assert len(options.options) == 200
        assert "300 of 300, the first 200 are shown" in words(pilot.app)
        await pilot.press("down", "pagedown", "pagedown")
        far = options.highlighted
        assert far is not None
        assert far > 3
        await pilot.press("pageup", "pageup", "up")
        assert options.highlighted == 0
        await pilot.press("down", "down", "up")
        assert options.highlighted == 1
        await pilot.press("enter")

    assert tell(picker, story) == ["1"]


def test_nothing_is_picked_where_nothing_fits() -> None:
    picker = picker_of()

    async def story(pilot: Pilot[Any]) -> None:
        await pilot.press("x", "y", "enter")
        await pilot.pause()
        assert "0 of 3" in words(pilot.app)

    assert tell(picker, story) == []


def test_it_says_why_there_is_nothing() -> None:
    async def story(pilot: Pilot[Any]) -> None:
        assert "no [runs] yet" in words(pilot.app)
        await pilot.press("enter", "escape")

    assert tell(picker_of([], none="no [runs] yet"), story) == [None]


def test_enter_takes_what_the_keys_before_it_came_to_however_fast(services: Services) -> None:
    app = app_of(services)  # which keeps the keys in their order
    answers: list[str | None] = []

    async def story(pilot: Pilot[Any]) -> None:
        app.push_screen(picker_of(), answers.append)
        await finish(pilot)
        for key, character in (("n", "n"), ("backspace", None), ("down", None), ("down", None), ("enter", None)):
            app.post_message(events.Key(key, character))
        await finish(pilot)

    drive(app, story)
    assert answers == ["lion"]
