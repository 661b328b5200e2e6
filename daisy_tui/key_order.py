"""What is typed is done in the order in which it was typed, each key when the one before it has had its effect.

Textual gives a key to what has the focus when the key is read, inserts a letter there, and does what is bound to a key
after it has gone up to the app. Over a slow line or under load keys come in one packet: `0.5 ctrl+u 2` so became
nothing in a field, and letters behind the key that opens a dialogue went to what had the focus before, of whose keys
one stops a run. So a key waits here for the one before, and all wait for a dialogue or a screen that is on its way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from textual import events
from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen

Typed = events.Key | events.Paste

_AT_ONCE = ("ctrl+q", "ctrl+c")  # whatever is on its way, one can leave
_FIRST_STEPS = 4  # of a worker that the key began, in which it asks for its dialogue
_PATIENCE_S = 0.25  # for a key whose widget has gone, and which nobody will tell of


class Passed(Message):
    """Goes up behind the key of that number, and then behind what that key has caused; where it arrives, that is done.

    A letter tells of itself by a message of its field's, which whoever listens gets behind the first trip.
    """

    def __init__(self, number: int, target: MessagePump, *, is_second: bool = False) -> None:
        super().__init__()
        self.number, self.target, self.is_second = number, target, is_second


class Held:
    """Keys wait for what is on its way: for `screen`, once that is there."""

    screen: Screen[Any] | None = None


class KeyOrder:
    """The keys of an app. `give` gives one to what has the focus."""

    def __init__(self, app: App[Any], give: Callable[[Typed], Awaitable[None]]) -> None:
        self._app, self._give = app, give
        self._waiting: deque[Typed] = deque()
        self._held: Held | None = None
        self._under_way = 0  # the number of the key that is, or 0
        self._number = 0
        self._screen: Screen[Any] | None = None  # that it was given to

    async def take(self, event: Typed) -> None:
        """Do what was typed, once it is its turn."""
        if isinstance(event, events.Key) and event.key in _AT_ONCE:
            await self._give(event)
            return
        self._waiting.append(event)
        await self.go_on()
        if self._waiting and self._under_way and self._held is None:
            number = self._under_way
            self._app.set_timer(_PATIENCE_S, lambda: self.passed(number))

    async def arrived(self, trip: Passed) -> None:
        """A trip has reached the app."""
        if trip.number != self._under_way:
            return
        if trip.is_second or not trip.target.post_message(Passed(trip.number, trip.target, is_second=True)):
            await self.passed(trip.number)

    def screen_changed(self) -> None:
        """A key may have closed the screen that it was given to, of which nothing comes up any more."""
        if self._under_way and self._screen is not None and not self._is_there(self._screen):
            self._app.call_later(self.passed, self._under_way)

    async def passed(self, number: int) -> None:
        """The key of that number has had its effect; the next one may."""
        if number == self._under_way:
            for _ in range(_FIRST_STEPS):
                await asyncio.sleep(0)
            self._under_way = 0
            await self.go_on()

    async def go_on(self) -> None:
        """Give the next key, unless one is under way or something is on its way."""
        if self._held is not None and self._held.screen is not None and not self._is_there(self._held.screen):
            self._held = None  # it has gone before it stood
        if self._waiting and not self._under_way and self._held is None:
            self._number += 1
            number = self._under_way = self._number
            self._screen = self._app.screen
            await self._give(self._waiting.popleft())
            target = self._app.focused or self._app.screen
            target.post_message(Passed(number, target))

    # What is on its way

    @property
    def are_held(self) -> bool:
        return self._held is not None

    def hold(self) -> Held | None:
        """Have keys wait from now on; None where something is on its way already, or a dialogue is there.

        Whoever does so calls `release` in the end, whatever came of it.
        """
        if self._held is not None or self._app.screen.is_modal:
            return None
        self._held = Held()
        return self._held

    def release(self, held: Held) -> None:
        """Nothing comes, and what was typed for it is dropped; or it is there already."""
        if self._held is held and held.screen is None:
            self._held = None
            self._waiting.clear()

    def expect(self, screen: Screen[Any]) -> None:
        """Have keys wait until a screen stands that is there, and give them to it."""
        held = self._held = self._held or Held()
        held.screen = screen

        def stands() -> None:
            if self._held is held:
                self._held = None
                self._app.call_later(self.go_on)

        screen.call_after_refresh(stands)

    def _is_there(self, screen: Screen[Any]) -> bool:
        return screen in self._app.screen_stack
