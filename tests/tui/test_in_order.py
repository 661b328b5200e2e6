"""Keys that come in one burst, as over a slow line: each does what it would have done alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from chatting import until
from terminal import app_of, drive, finish
from textual import events, on
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.screens.base import DaisyScreen
from daisy_tui.services import Services


class FieldsScreen(DaisyScreen):
    """Two fields, of which Enter leads from one to the other."""

    NAME, TITLE, AUTO_FOCUS = "fields", "Fields", "#first"

    def body(self) -> ComposeResult:
        yield Input(id="first")
        yield Input(id="second")

    @on(Input.Submitted, "#first")
    def _go_on(self) -> None:
        self.query_one("#second").focus()


def burst(pilot: Pilot[Any], keys: Iterable[str]) -> None:
    """Have all keys arrive before anything is done with the first one."""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ([*"0.1", "ctrl+u", *"0.5"], "0.5"),
        ([*"ab", "backspace", "c"], "ac"),
        ([*"bc", "home", "a", "end", "d"], "abcd"),
    ],
)
def test_letters_and_bound_keys_keep_their_order(services: Services, keys: list[str], value: str) -> None:
    app = app_of(services, FieldsScreen)

    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, keys)
        await finish(pilot)
        assert app.screen.query_one("#first", Input).value == value

    drive(app, story)


def test_what_comes_late_goes_on_to_what_has_the_focus(services: Services) -> None:
    app = app_of(services, FieldsScreen)

    async def story(pilot: Pilot[Any]) -> None:
        first, second = app.screen.query(Input)
        app.post_message(events.Key("a", "a"))
        app.screen.set_focus(second)
        app.post_message(events.Key("b", "b"))
        await until(pilot, lambda: second.value == "ab")
        assert first.value == ""

    drive(app, story)


@pytest.mark.parametrize("key", ["enter", "tab"])
def test_letters_behind_a_key_that_leads_on_are_the_next_fields(services: Services, key: str) -> None:
    app = app_of(services, FieldsScreen)

    async def story(pilot: Pilot[Any]) -> None:
        burst(pilot, [*"ab", key, *"cd"])
        first, second = app.screen.query(Input)
        await until(pilot, lambda: second.value == "cd")
        assert first.value == "ab"

    drive(app, story)
