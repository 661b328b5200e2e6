"""Every figure that the specification gives the control center, each beside its limit.

    python -m benchmarks.bench_tui [--only memory]

First frame: from the start of Python to the first frame of the dashboard, beside that of an empty Textual app (limit
1.5 times; medians of eleven, taken in turns). The rest is measured where it can also be had alone: 200 runs of 100,000
points on the dashboard by `bench_dashboard`, charts by `bench_chart`, the Run screen by `bench_run_screen`, keys under
load by `bench_keys`, an hour's memory by `bench_memory`. Exit code 1: a limit was missed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import bench_chart, bench_dashboard, bench_keys, bench_memory, bench_run_screen
from benchmarks.made_folder import folder_of_runs
from core.runs.launch import child_environment

STARTS, TIMES_LIMIT = 11, 1.5
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
    parts: dict[str, Callable[[], list[str]]] = {
        "dashboard": bench_dashboard.measure,
        "chart": bench_chart.measure,
        "frames": measure_first_frames,
        "run": bench_run_screen.measure_and_say,
        "keys": bench_keys.measure_and_say,
        "memory": bench_memory.measure_and_say,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=parts, action="append", help="this part, and no other that is not named")
    only = parser.parse_args().only or parts
    missed = [what for name, measure in parts.items() if name in only for what in measure()]
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def measure_first_frames() -> list[str]:
    """Print what the first frame takes; what was missed."""
    with folder_of_runs() as (folder, _):
        empty, dashboard = _first_frames(folder)
    print(f"first frame: dashboard {dashboard:.2f} s, empty app {empty:.2f} s, ", end="")
    print(f"{dashboard / empty:.2f} times that, limit {TIMES_LIMIT}", flush=True)
    return ["first frame of the dashboard"] if dashboard > TIMES_LIMIT * empty else []


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


if __name__ == "__main__":
    sys.exit(main())
