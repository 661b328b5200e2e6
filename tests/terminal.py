"""Driving the terminal without one: an app in a loop of its own, whose screens look only when they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from daisy_tui.app import DaisyApp
from daisy_tui.commands import CommandError, Commands, Done
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.services import Services

Story = Callable[[Pilot[Any]], Awaitable[None]]


class ScriptedCommands(Commands):
    """Commands that are written down (`said`) and answered from `answers`, by how they begin; the rest say nothing.

    An answer may be text, a Done, an error, or a list of lines for `lines`.
    """

    def __init__(self) -> None:
        super().__init__(Path())
        self.said: list[list[str]] = []
        self.answers: dict[tuple[str, ...], str | Done | Exception | list[str]] = {}

    async def run(self, *arguments: str, codes: Container[int] = (0,)) -> Done:
        answer = self._answer(arguments)
        done = answer if isinstance(answer, Done) else Done(0, "\n".join(answer), "")
        if done.code not in codes:
            raise CommandError(done.err, code=done.code)
        return done

    async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
        answer = self._answer(arguments)
        for line in answer.out.splitlines() if isinstance(answer, Done) else answer:
            await asyncio.sleep(0)
            yield line

    def _answer(self, arguments: tuple[str, ...]) -> Done | list[str]:
        self.said.append(list(arguments))
        found = [key for key in self.answers if arguments[: len(key)] == key]
        answer = self.answers[max(found, key=len)] if found else []
        if isinstance(answer, Exception):
            raise answer
        return answer.splitlines() if isinstance(answer, str) else answer


def app_of(services: Services, screen: str | type[DaisyScreen] = "dashboard") -> DaisyApp:
    """An app that begins on a screen, by its name or its class."""
    if isinstance(screen, str):
        return DaisyApp(services, first=screen)
    app = DaisyApp(services, first=screen.NAME)
    if screen.NAME not in app.MODES:
        app.add_mode(screen.NAME, screen)
    return app


def drive(app: DaisyApp, story: Story, size: tuple[int, int] = (80, 24)) -> None:
    """Run an app headless, settled once, and tell it a story."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            await story(pilot)

    asyncio.run(run())


async def settle(pilot: Pilot[Any]) -> None:
    """Have the open screen look at everything once, and wait until whatever it began has ended."""
    await finish(pilot)
    if isinstance(place := pilot.app.screen_stack[0], DaisyScreen):
        place.refresh_polls()
    await finish(pilot)


async def finish(pilot: Pilot[Any]) -> None:
    """Wait until nothing is under way: messages, workers, and what those began. Dialogues stay open."""
    for _ in range(20):
        await pilot.pause()
        busy = [worker for worker in pilot.app.workers if not worker.is_finished and worker.group != "act"]
        if not busy:
            break
        await asyncio.wait([worker._task for worker in busy if worker._task is not None], timeout=60)
    await pilot.pause()


def toasts(app: DaisyApp) -> list[str]:
    """What was said at the edge of the screen."""
    return [notification.message for notification in app._notifications]


def words(app: DaisyApp) -> str:
    """What stands on the screen, line by line, as a person reads it."""
    return "\n".join("".join(segment.text for segment in line) for line in _lines(app))


def _lines(app: DaisyApp) -> list[Any]:
    compositor = app.screen._compositor
    return [list(strip) for strip in compositor.render_strips()]
