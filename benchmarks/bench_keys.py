"""How long a key takes, while a run logs 50 points a second and a chat streams 200 tokens a second.

    python -m benchmarks.bench_keys

A process of its own writes the points and serves the chat. Taken is from the key's arrival to the end of the paint that
shows its effect, escape sequences included, at moments spread over what goes on meanwhile. Limit: 50 ms at the 99th
percentile, on Dashboard, Run and Chat. Exit code 1: it was missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, ClassVar, NamedTuple

from textual import events

from core.inference.request import Piece, Request
from core.runs.launch import child_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # made-up runs and the scripted server
from made_runs import NOW, log_point, write_run
from serving import ScriptedBackend, ScriptedEngine, Tell, running

import daisy_tui
from daisy_tui.app import DaisyApp
from daisy_tui.screens.chat import ChatScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chart import BrailleChart
from daisy_tui.widgets.dashboard_table import RunsTable

KEYS, LIMIT_MS = 400, 50
SIZE = 120, 40
POINTS_S, TOKENS_S, ANSWER_TOKENS = 50, 200, 1000
SENTENCE = "It is a *truth* universally acknowledged, that a single `man` in possession of a good fortune"


class Answers(NamedTuple):
    """Seconds from a key to its paint."""

    middle_s: float
    p99_s: float


class TimedApp(DaisyApp):
    """Knows when what a key did has been painted. Headless, it turns every paint into escape sequences all the same."""

    CSS_PATH: ClassVar = [Path(daisy_tui.__file__).parent / path for path in DaisyApp.CSS_PATH]
    state: Callable[[], Any] = staticmethod(lambda: None)
    before: Any = None
    painted: asyncio.Future[float] | None = None

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        if hasattr(renderable, "render_segments"):
            renderable.render_segments(self.console)
        if self.painted is not None and not self.painted.done() and self.state() != self.before:
            self.painted.set_result(time.perf_counter())

    async def answer(self, key: str) -> float:
        """Press a key; the seconds until its effect was painted."""
        self.before, self.painted = self.state(), asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.post_message(events.Key(key, key if len(key) == 1 else None))
        return await asyncio.wait_for(self.painted, 30) - began


def main() -> int:
    missed = False
    for where, answers in measure():
        print(f"a key on {where}: {1e3 * answers.middle_s:.1f} ms, 99th percentile ", end="")
        print(f"{1e3 * answers.p99_s:.1f} ms, limit {LIMIT_MS}", flush=True)
        missed |= 1e3 * answers.p99_s > LIMIT_MS
    return int(missed)


def measure() -> Iterator[tuple[str, Answers]]:
    """The screens, and how they answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        os.environ["DAISY_LEASES"] = f"{folder}/leases"
        locks = [write_run(folder / "runs", f"old{n}", day=1 + n)[1] for n in range(19)]
        run, lock = write_run(folder / "runs", "trains", "running", day=28, target_steps=100_000)
        with _load(run) as url:
            for where in ("dashboard", "run", "chat"):
                yield where, asyncio.run(_answers(folder, run, url, where))
        del locks, lock


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


# The other process


@contextmanager
def _load(run: Path) -> Iterator[str]:
    """A process that logs points and serves a chat, whose URL this is."""
    program = [sys.executable, "-c", "import sys; from benchmarks.bench_keys import load; load(sys.argv[1])", str(run)]
    environment = {**child_environment(), "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


def load(run: str) -> None:
    """Log points and stream answers until the input ends."""
    ended = threading.Event()
    with running(ScriptedBackend(Streaming(), max_seq_len=1 << 20)) as server:
        print(server.url, flush=True)
        threading.Thread(target=_log, args=(Path(run), ended), daemon=True).start()
        sys.stdin.read()
        ended.set()


def _log(run: Path, ended: threading.Event) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        step = 41
        while not ended.wait(1 / POINTS_S):
            file.write(json.dumps(log_point(step, NOW, 1 << 40)) + "\n")
            file.flush()
            step += 1


class Streaming(ScriptedEngine):  # type: ignore[misc]
    """Answers in words at a steady rate."""

    def submit(self, request: Request, tell: Tell) -> int:
        number: int = super().submit(request, tell)
        threading.Thread(target=self._answer, args=(number,), daemon=True).start()
        return number

    def _answer(self, number: int) -> None:
        began, words = time.perf_counter(), SENTENCE.split()
        for place in range(1, ANSWER_TOKENS + 1):
            time.sleep(max(0.0, began + place / TOKENS_S - time.perf_counter()))
            if number not in self.under_way:
                return
            end = "\n\n" if place % 60 == 0 else " "
            word = words[place % len(words)] + end
            self.tell(number, Piece(word, (), completion_tokens=place))
        self.tell(number, Piece("", (), "stop", completion_tokens=ANSWER_TOKENS))


if __name__ == "__main__":
    sys.exit(main())
