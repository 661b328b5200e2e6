"""What it costs to watch all runs of a folder, beside its limits.

    python -m benchmarks.bench_dashboard [--runs 200] [--points 100000] [--living 4] [--seconds 20] [--folder FOLDER]

200 runs of 100,000 log points each, of which four live and log a point a second. The look alone: the first, with the
sparklines of a tall screen (limit 1 s), and a later one, of which a second has one (limit 5% of a core). The dashboard
around it, without a terminal, at 80x24 and 200x60: until all runs stand there, Textual being imported (1 s), and its
share of a core from then on (5%). All in processor time of this process, without that of logging. Queries for every
config and for every best evaluation are shown beside them. Runs that have ended share their records by hard links, for
10 GB would only measure the disk. Exit code 1 says that a limit was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.bench_curves import write_points
from core.config.compose import compose
from core.runs.directory import RunDirectory, write_object
from core.runs.lock import hold
from core.runs.processes import identity
from daisy_tui.app import DaisyApp
from daisy_tui.runs.query import parse_query
from daisy_tui.runs.watching import RunsWatch
from daisy_tui.services import Services
from daisy_tui.widgets.dashboard_table import RunsTable

FIRST_LIMIT_S, STEADY_LIMIT = 1.0, 0.05
_DRAWN = 60  # rows of a tall screen
_EVALUATIONS = 400
_LOOKS, _SETTLES_S = 30, 3.0
_SIZES = ((80, 24), (200, 60))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--living", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    missed = measure(**vars(parser.parse_args()))
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def measure(
    runs: int = 200, points: int = 100_000, living: int = 4, seconds: float = 20.0, folder: Path | None = None
) -> list[str]:
    """Print every figure; what was missed."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.environ["DAISY_LEASES"] = f"{name}/leases"
        root = Path(name) / "runs"
        found = write_runs(root, runs, points, living)
        print(f"{runs} runs of {points:,} points, {living} living")
        missed = bench_look(root, found)
        for size in _SIZES:
            missed += asyncio.run(bench_screen(Path(name), found, size, runs, seconds))
    return missed


def bench_look(root: Path, living: list[RunDirectory]) -> list[str]:
    """The look alone; what was missed."""
    watch = RunsWatch(root)
    drawn = [path.name for path in sorted(root.iterdir(), reverse=True)[:_DRAWN]]
    missed = said("first look", timed(lambda: watch.look(drawn)), FIRST_LIMIT_S, "s")
    shares = []
    for number in range(_LOOKS):
        log(living, number)
        shares.append(timed(lambda: watch.look(drawn)))
    missed += said("a later look", 100 * median(shares), 100 * STEADY_LIMIT, "% of a core")
    for text in ("cfg.model_dim>=64", "best<9"):
        query = parse_query(text)
        seconds = [timed(lambda: sum(query.matches(row.value) for row in watch.rows)) for _ in range(2)]  # noqa: B023
        print(f"{text}: {seconds[0]:.3f} s, and once more {seconds[1]:.3f} s")
    return missed


async def bench_screen(
    folder: Path, living: list[RunDirectory], size: tuple[int, int], runs: int, seconds: float
) -> list[str]:
    """The dashboard as it looks by itself; what was missed."""
    app, name = DaisyApp(Services(folder), first="dashboard"), f"dashboard {size[0]}x{size[1]}"
    began = time.process_time()
    async with app.run_test(size=size):
        while not app.screen.query(RunsTable) or app.screen.query_one(RunsTable).row_count < runs:
            await asyncio.sleep(0.01)
        missed = said(f"{name}, all runs there", time.process_time() - began, FIRST_LIMIT_S, "s")
        ended, logging = threading.Event(), Logging(living)
        thread = threading.Thread(target=logging.run, args=(ended,))
        thread.start()
        await asyncio.sleep(_SETTLES_S)
        began, logged, wall = time.process_time(), logging.seconds, time.monotonic()
        await asyncio.sleep(seconds)
        own = time.process_time() - began - (logging.seconds - logged)
        missed += said(name, 100 * own / (time.monotonic() - wall), 100 * STEADY_LIMIT, "% of a core")
        ended.set()
        thread.join()
    return missed


class Logging:
    """Living runs that log a point a second; `seconds` of processor time that it took."""

    def __init__(self, living: list[RunDirectory]) -> None:
        self._living = living
        self.seconds = 0.0

    def run(self, ended: threading.Event) -> None:
        number = 0
        while not ended.wait(1.0):
            number += 1
            log(self._living, number)
            self.seconds = time.thread_time()


def write_runs(root: Path, number: int, points: int, living: int) -> list[RunDirectory]:
    """Runs that have ended, and as many living ones, which this process pretends to supervise. Returns those."""
    config = json.dumps({**compose("demo").config.model_dump(mode="json"), "model_spec": None})  # JSON is YAML
    shared = None
    found = []
    for index in range(number):
        run = RunDirectory(root / f"20260101-{index:06}-run{index}")
        run.path.mkdir(parents=True)
        is_living = index >= number - living
        if shared is None or is_living:
            write_points(run.metrics, points)
            run.events.write_text("".join(event(place * points // _EVALUATIONS) for place in range(1, _EVALUATIONS)))
        else:
            run.metrics.hardlink_to(shared.metrics)
            run.events.hardlink_to(shared.events)
        shared = shared or run
        run.config.write_text(config)
        write_object(run.run, {"id": run.path.name, "name": f"run{index}", "config": "demo", "parent": None})
        write_object(run.launch, {"attempt": 1})
        me = {"pid": os.getpid(), "identity": identity(os.getpid()), "host": platform.node(), "started": time.time()}
        phase = "running" if is_living else "ended"
        write_object(run.supervisor, {**me, "attempt": 1, "phase": phase, "devices": ["cpu"]})
        if is_living:
            hold(run)
            found.append(run)
        else:
            write_object(run.exit, {"attempt": 1, "outcome": "finished", "reason": "reached its target"})
    return found


def event(step: int) -> str:
    """An evaluation and a checkpoint, in the trainer's words."""
    stamp = {"time": 1.7e9 + step, "step": step, "tokens": step * 524_288}
    told = ({"event": "eval", "val": {"val": 3.0 + 1 / step}}, {"event": "checkpoint", "path": f"step_{step:09d}"})
    return "".join(json.dumps(stamp | one) + "\n" for one in told)


def log(living: list[RunDirectory], number: int) -> None:
    """Have every living run log a point, and its rank a heartbeat."""
    for run in living:
        values = {"time": time.time(), "step": 10**6 + number, "tokens": 10**11, "target_tokens": 10**12}
        run.append(run.metrics, {**values, "train_loss": 2.5, "eta_s": 9.0, "tokens_per_s": 9e3 + number, "mfu": 0.4})
        beat = {"rank": 0, "pid": os.getpid(), "identity": identity(os.getpid()), "phase": "step", "step": 1}
        write_object(run.path / "heartbeat-0.json", {**beat, "time": time.time(), "progress": time.time()})


def said(what: str, value: float, limit: float, unit: str) -> list[str]:
    """Print a figure; what was missed."""
    print(f"{what}: {value:.3g} {unit}, limit {limit:g} {unit}", flush=True)
    return [what] if value > limit else []


def timed(run: Callable[[], object]) -> float:
    """Seconds of processor time of this process."""
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
