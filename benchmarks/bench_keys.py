"""How long a key takes, while a run logs 50 points a second and a chat streams 200 tokens a second.

    python -m benchmarks.bench_keys

A process of its own writes the points and serves the chat. Taken is from the key's arrival to the end of the paint that
shows its effect, escape sequences included, at moments spread over what goes on meanwhile. Limit: 50 ms at the 99th
percentile, on Dashboard, Run and Chat. Exit code 1: it was missed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.load import load_beside
from benchmarks.made_folder import folder_of_runs
from benchmarks.timed_app import TimedApp
from daisy_tui.screens.chat import ChatScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.dashboard_table import RunsTable

KEYS, LIMIT_MS = 400, 50
SIZE = 120, 40
POINTS_S, TOKENS_S = 50, 200


class Answers(NamedTuple):
    """Seconds from a key to its paint."""

    middle_s: float
    p99_s: float


def main() -> int:
    missed = measure_and_say()
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def measure_and_say() -> list[str]:
    """Print how every screen answers; what was missed."""
    missed = []
    for where, answers in measure():
        print(f"a key on {where}: {1e3 * answers.middle_s:.1f} ms, 99th percentile ", end="")
        print(f"{1e3 * answers.p99_s:.1f} ms, limit {LIMIT_MS}", flush=True)
        missed += [f"a key on {where}"] if 1e3 * answers.p99_s > LIMIT_MS else []
    return missed


def measure() -> Iterator[tuple[str, Answers]]:
    """The screens, and how they answer."""
    with folder_of_runs() as (folder, run), load_beside(run, POINTS_S, TOKENS_S) as url:
        for where in ("dashboard", "run", "chat"):
            yield where, asyncio.run(_answers(folder, run, url, where))


async def _answers(folder: Path, run: Path, url: str, where: str) -> Answers:
    """Press keys on a screen while the chat streams, and the dashboard and the run look as they always do."""
    services = Services(folder)
    server = services.serving.attach(url)
    app = TimedApp(services, first="chat", is_alone=True)
    taken: list[float] = []
    async with app.run_test(size=SIZE) as pilot:
        chat = app.screen
        assert isinstance(chat, ChatScreen)
        chat._take_server(chat.panes.left, server)
        while not chat.panes.left.is_ready:
            await pilot.pause(0.05)
        ended = asyncio.Event()
        streaming = asyncio.create_task(_stream(chat, ended))
        if where != "chat":
            app.open(where, **({"run": run} if where == "run" else {}))
            await pilot.pause(2.0)
        keys, app.state = _keys(app, where)
        for number in range(KEYS):
            taken.append(await app.answer(keys[number % 2]))
            await asyncio.sleep(random.uniform(0.02, 0.06))
        ended.set()
        await streaming
        chat.panes.stop()
    services.close()
    return Answers(median(taken), quantiles(taken, n=100)[98])


def _keys(app: TimedApp, where: str) -> tuple[tuple[str, str], Callable[[], Any]]:
    """Two keys of a screen, and what they change."""
    if where == "chat":
        prompt = app.screen.query_one("ChatPrompt")
        prompt.focus()
        return ("a", "backspace"), lambda: prompt.text  # type: ignore[attr-defined]
    if where == "run":
        chart = app.screen.query_one("#chart-loss", BrailleChart)
        chart.focus()
        return ("left", "right"), lambda: chart.cursor
    table = app.screen.query_one(RunsTable)
    return ("down", "up"), lambda: table.cursor_row


async def _stream(chat: ChatScreen, ended: asyncio.Event) -> None:
    """Ask again whenever the answer is complete."""
    while not ended.is_set():
        if chat.panes.left.is_ready:
            await chat.panes.ask("Go on.")
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
