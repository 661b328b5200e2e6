"""The metric reader against its limit: a million log points opened for a chart in a second.

    python -m benchmarks.bench_curves [--points 1000000] [--rounds 5] [--folder FOLDER]

Opening is all that stands between a run directory and a chart of its training loss: reading, overtaken points dropped,
400 columns. It is one thread's work on a file in memory, so it is judged by the processor time of this process, the
least of the rounds, each with new objects; the time on the wall stands beside it, and the time of `json.loads` for as
many lines (from a sample of them). A tick is one more record, read after it was appended. Exit code 1 says that a limit
was missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from core.runs.curves import Curves
from core.runs.directory import RunDirectory

OPEN_LIMIT_S = 1.0
TICK_LIMIT_MS = 10.0
WIDTH = 400
_EVALUATE_EVERY, _TICKS, _SAMPLE = 250, 200, 20_000
_LINE = (
    '{{"time": {:.6f}, "step": {}, "tokens": {}, "train_loss": {!r}, "lr": {{"embed_params": {!r}, '
    '"head_params": {!r}, "hidden_matrix_params": {!r}, "scalar_params": {!r}}}, "grad_norm": {!r}, '
    '"tokens_per_s": {!r}, "mfu": {!r}, "data_wait": {!r}, "step_ms": {{"p50": {!r}, "p95": {!r}}}, '
    '"eta_s": {!r}, "memory": 68719476736}}\n'
)
_VAL = '{{"time": {:.6f}, "step": {}, "tokens": {}, "val": {{"val": {{"loss": {!r}, "ppl": {!r}, "bpb": {!r}}}}}}}\n'
# The sizes of a line's values behind its loss.
_SCALES = (0.3, 0.004, 0.02, 0.04, 1.0, 5e5, 0.5, 0.01, 900.0, 950.0, 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run = RunDirectory(Path(folder))
        write_points(run.metrics, arguments.points)
        within = bench_open(run, arguments.points, arguments.rounds)
        within &= bench_tick(run, arguments.points)
    sys.exit(0 if within else 1)


def write_points(path: Path, number: int) -> None:
    """A run of so many log points, in the trainer's words, that evaluates now and then and was resumed half-way."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for begin in range(0, number, 10_000):
            size = min(10_000, number - begin)
            losses = (3 + random.random(size)).tolist()
            others = (random.random((size, len(_SCALES))) * _SCALES).tolist()
            for place, (loss, values) in enumerate(zip(losses, others, strict=True)):
                step = begin + place + (1 if begin + place < number // 2 else -500)
                stamp = 1.7e9 + (begin + place) * 0.75, step, step * 524_288
                file.write(_LINE.format(*stamp, loss, *values))
                if step % _EVALUATE_EVERY == 0:
                    file.write(_VAL.format(*stamp, loss, 21.5, loss / 3))


def bench_open(run: RunDirectory, number: int, rounds: int) -> bool:
    """Seconds to a chart of the loss, and of what is looked at next."""
    print(f"open: {number:,} log points, {run.metrics.stat().st_size / 1e6:.0f} MB")

    def opened() -> Curves:
        curves = Curves(run, "train_loss")
        curves.refresh()
        curves.curve("train_loss").envelope(WIDTH)
        return curves

    times = [timed(opened) for _ in range(rounds)]
    seconds, wall = min(times)
    plain = timed(lambda: parse_sample(run.metrics))[0] * number / min(number, _SAMPLE)
    within = seconds <= OPEN_LIMIT_S
    print(f"  train_loss: {seconds:.2f} s (limit {OPEN_LIMIT_S}), {wall:.2f} s on the wall; json.loads {plain:.1f} s")
    curves = opened()
    for name, x in (("train_loss", "tokens"), ("val.val.loss", "step"), ("memory", "step")):
        print(f"  then {name} over {x}: {timed(partial(curves.curve, name, x))[0]:.2f} s")
    curve = curves.curve("train_loss")
    narrowing = median(timed(lambda: curve.envelope(WIDTH))[0] for _ in range(50))
    print(f"  {len(curve.y):,} points to {WIDTH} columns: {1e3 * narrowing:.2f} ms")
    return within


def bench_tick(run: RunDirectory, number: int) -> bool:
    """Milliseconds for one more record, with all the points before it and with none."""
    within = True
    with tempfile.TemporaryDirectory(dir=run.path) as folder:
        for label, where in ((f"behind {number:,} points", run), ("in an empty run", RunDirectory(Path(folder)))):
            curves = Curves(where, "train_loss", "grad_norm", "tokens_per_s", "val.val.loss")
            curves.refresh()
            seconds = [tick(curves, where, 2 * number + count) for count in range(_TICKS)]
            milliseconds = 1e3 * median(seconds)
            within &= milliseconds <= TICK_LIMIT_MS
            print(f"tick {label}, 4 series: {milliseconds:.2f} ms (limit {TICK_LIMIT_MS:.0f})")
    return within


def tick(curves: Curves, run: RunDirectory, step: int) -> float:
    """Append a record; seconds to read it."""
    with run.metrics.open("a") as file:
        file.write(_LINE.format(1.8e9 + step, step, step * 524_288, 2.5, *_SCALES))
    return timed(curves.refresh)[0]


def parse_sample(path: Path) -> None:
    """The first lines as json reads them."""
    with path.open("rb") as file:
        for _, line in zip(range(_SAMPLE), file, strict=False):
            json.loads(line)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, and on the wall."""
    wall, began = time.perf_counter(), time.process_time()
    run()
    return time.process_time() - began, time.perf_counter() - wall


if __name__ == "__main__":
    main()
