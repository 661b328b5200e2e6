"""What the control center costs: its first frame, its keys under load, its memory over an hour.

    python -m benchmarks.bench_tui

First frame: from the start of Python to the first frame of the dashboard, beside that of an empty Textual app (limit
1.5 times; medians of eleven, taken in turns). Keys: see `bench_keys`. Memory: resident after an hour of the dashboard
on a simulated clock with 20 runs, of which one trains (150 MiB, and flat: 5% more than after its first ten minutes,
when Textual's caches are full). Exit code 1: a limit was missed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from statistics import median

import psutil

from benchmarks.bench_keys import LIMIT_MS, measure
from core.runs.launch import child_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # made-up runs and the scripted server
from made_runs import NOW, write_run
from terminal import app_of, finish, settle

from daisy_tui.services import Services

MIB = 1 << 20
STARTS, TICKS, WARM_TICKS = 11, 3600, 600
SIZE = 120, 40
EMPTY = """
from textual.app import App
from textual.widgets import Label
class Empty(App):
    def compose(self):
        yield Label("first frame")
Empty().run()
"""
DASHBOARD = "from daisy_tui.cli.main import daisy; daisy()"  # as the installed script has it


def main() -> int:
    missed: list[str] = []

    def say(what: str, value: float, limit: float, unit: str) -> None:
        print(f"{what}: {value:.3g} {unit}, limit {limit:g}", flush=True)
        if value > limit:
            missed.append(what)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        os.environ["DAISY_LEASES"] = f"{folder}/leases"
        locks = [write_run(folder / "runs", f"old{n}", day=1 + n)[1] for n in range(19)]
        locks.append(write_run(folder / "runs", "trains", "running", day=28, target_steps=100_000)[1])
        empty, dashboard = _first_frames(folder)
        print(f"first frame: dashboard {dashboard:.2f} s, empty app {empty:.2f} s", flush=True)
        say("first frame of the dashboard", dashboard / empty, 1.5, "times that of an empty Textual app")
        first, last = _memory(folder)
        say("resident after an hour", last / MIB, 150, "MiB")
        say("resident after an hour", last / first, 1.05, "times that after ten minutes")
        del locks
    for where, answers in measure():
        say(f"a key on {where}, 99th percentile", 1e3 * answers.p99_s, LIMIT_MS, "ms")
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def _first_frames(folder: Path) -> tuple[float, float]:
    """The median seconds from the start of Python to the first frame of an empty app, and of the dashboard.

    Each is started once before, so that both find their modules compiled.
    """
    programs = (EMPTY, b"first frame"), (DASHBOARD, b"Dashboard")
    taken = [[_seconds_until(folder, *program) for program in programs] for _ in range(1 + STARTS)][1:]
    return median(pair[0] for pair in taken), median(pair[1] for pair in taken)


def _seconds_until(folder: Path, program: str, words: bytes) -> float:
    """Run a program in a terminal of its own until it shows words."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *reversed(SIZE), 0, 0))
    began = time.perf_counter()
    environment = {**child_environment(), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        shown = b""
        while words not in shown:
            shown += os.read(master, 1 << 16)
        took = time.perf_counter() - began
        process.kill()
    os.close(slave)
    os.close(master)
    return took


def _memory(folder: Path) -> tuple[int, int]:
    """Resident bytes after ten minutes and after an hour of the dashboard at one look a second, simulated."""
    program = "import sys; from benchmarks.bench_tui import hour; hour(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    first, last = done.stdout.split()
    return int(first), int(last)


def hour(folder: str) -> None:
    """Print the resident bytes after ten minutes of looks, and after an hour of them."""

    async def live() -> None:
        now = NOW
        services = Services(Path(folder), clock=lambda: now, polls=False)
        services.telemetry.stop()
        app = app_of(services)
        resident = psutil.Process().memory_info
        async with app.run_test(size=SIZE) as pilot:
            await finish(pilot)
            for tick in range(1, TICKS + 1):
                now += 1.0
                services.telemetry.tick()
                await settle(pilot)
                if tick == WARM_TICKS:
                    print(resident().rss)
        print(resident().rss)

    asyncio.run(live())


if __name__ == "__main__":
    sys.exit(main())
