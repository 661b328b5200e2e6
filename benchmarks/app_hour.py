"""The control center for a simulated hour, in a process that is nothing else: what `bench_memory` measures.

It begins on the dashboard and opens a screen. Each line of its input is the seconds that have passed, at which the
screen looks; the answer is what is resident then, in bytes. Only what the app imports itself is imported here.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
from textual.pilot import Pilot

from benchmarks.timed_app import TimedApp
from daisy_tui import garbage
from daisy_tui.screens.base import DaisyScreen
from daisy_tui.services import Services

if TYPE_CHECKING:
    from daisy_tui.screens.chat import ChatScreen
    from daisy_tui.screens.run import RunScreen

EARLY_S, MINUTE_S, QUESTION_S = 600, 60, 20
SIZE = 120, 40
_ROUNDS, _FRAMES, _TRACED = 10, 4, 14


def live(folder: str, run: str, where: str, url: str, began: str, speed: str, trace: str) -> None:
    """Be the app. The hour begins at `began`; a chat is painted `speed` times as often, for it comes so much faster."""
    if where == "chat":
        from daisy_tui.widgets import chat_panes

        chat_panes._PAINT_S /= float(speed)
    asyncio.run(_live(Path(folder), Path(run), where, url, float(began), bool(trace)))


async def _live(folder: Path, run: Path, where: str, url: str, began: float, trace: bool) -> None:
    now, early = began, None
    services = Services(folder, clock=lambda: now, monotonic=lambda: now, polls=False)
    app = TimedApp(services, first="dashboard", is_alone=True)
    async with app.run_test(size=SIZE) as pilot:
        await _look(pilot)
        if where != "dashboard":
            app.open(where, **({"run": run} if where == "run" else {}))
            await _look(pilot)
        if where == "chat":
            await _attach(pilot, url)
        if trace:
            tracemalloc.start(_FRAMES)
        while line := await asyncio.to_thread(sys.stdin.readline):
            second = int(line)
            now = began + second
            await _go_on(pilot, where, second)
            if second % garbage.EVERY_S < 1:
                garbage.collect()  # as the app does
            if trace and second == EARLY_S:
                early = tracemalloc.take_snapshot()
            print(psutil.Process().memory_info().rss, flush=True)
        if early is not None:
            _tell(early, tracemalloc.take_snapshot())


async def _go_on(pilot: Pilot[Any], where: str, second: int) -> None:
    """What happens at this second on the screen that is open."""
    if where == "run" and second % MINUTE_S == 0:
        screen = cast("RunScreen", pilot.app.screen)
        if screen.tabs.active == "charts":
            assert not screen.charts.is_single
        screen.action_show("charts" if screen.tabs.active == "log" else "log")
    if where == "chat":
        await _ask(cast("ChatScreen", pilot.app.screen), second)
    await _look(pilot)


async def _look(pilot: Pilot[Any]) -> None:
    """Have the screen look at everything once, and show it; `settle` of the tests waits for a quiet processor too."""
    await pilot.pause(0)
    if isinstance(pilot.app.screen, DaisyScreen):
        pilot.app.screen.refresh_polls()
    for _ in range(_ROUNDS):
        busy = [worker._task for worker in pilot.app.workers if not worker.is_finished]
        await asyncio.gather(*(task for task in busy if task is not None), return_exceptions=True)
        await pilot.pause(0)


async def _attach(pilot: Pilot[Any], url: str) -> None:
    """Talk to a server that runs already."""
    chat = cast("ChatScreen", pilot.app.screen)
    chat._take_server(chat.panes.left, await asyncio.to_thread(chat.services.serving.attach, url))
    while not chat.panes.left.is_ready:
        await _look(pilot)


async def _ask(chat: ChatScreen, second: int) -> None:
    """Ask, in a new chat every ten minutes, and wait until the answer is complete."""
    if second > QUESTION_S and (second - QUESTION_S) % EARLY_S == 0:
        await chat.panes.new()  # so that what is compared are chats of one length
    asked = await chat.panes.ask("Go on.")
    assert asked
    while not chat.panes.left.is_ready:
        await asyncio.sleep(0.01)


def _tell(early: tracemalloc.Snapshot, late: tracemalloc.Snapshot) -> None:
    """Say which lines allocated most of what is there now and was not before."""
    own = [tracemalloc.Filter(False, tracemalloc.__file__, all_frames=True)]
    gained = late.filter_traces(own).compare_to(early.filter_traces(own), "traceback")
    for one in gained[:_TRACED]:
        print(f"{one.size_diff / 1024:+.0f} KiB in {one.count_diff:+} blocks")
        print("\n".join(f"    {frame}" for frame in one.traceback))
    print(f"{sum(one.size_diff for one in gained) / 1024:+.0f} KiB in all")
