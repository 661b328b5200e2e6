"""The live chart against its limit: a redraw of 5,000 points in 120 x 40 cells well below 10 ms.

    python -m benchmarks.bench_chart [--rounds 50]

A redraw is everything from the points to styled strips, as Textual asks for them; it is judged by the processor time of
this process, the least of the rounds. The share of a core is that of an app of four charts, headless, whose lines each
gain a point four times a second: painting, layout and compositor, all but the terminal. Beside them stand a million
points, a cursor that moves, and what is left when nothing has changed. Exit code 1 says that a limit was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median

import numpy as np
from textual.app import App, ComposeResult
from textual.containers import Grid
from textual.geometry import Region
from textual.pilot import Pilot

from core.runs.curves import Curve
from daisy_tui.lines import Line, smoothed
from daisy_tui.widgets.chart import BrailleChart

REDRAW_LIMIT_MS, SHARE_LIMIT = 10.0, 0.10
POINTS, MANY, ROUNDS = 5_000, 1_000_000, 50
_SIZE, _CHARTS, _PER_S = (120, 40), 4, 4


class ChartsApp(App[None]):
    """As many charts as asked for, in a grid."""

    CSS = "Grid { grid-size: 2; } Grid.-one { grid-size: 1; }"

    def __init__(self, number: int) -> None:
        super().__init__()
        self.charts = [BrailleChart(f"loss {place}", "nats") for place in range(number)]

    def compose(self) -> ComposeResult:
        with Grid(classes="-one" if len(self.charts) == 1 else ""):
            yield from self.charts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    sys.exit(1 if measure(parser.parse_args().rounds) else 0)


def measure(rounds: int = ROUNDS) -> list[str]:
    """Print every figure; what was missed."""
    missed = []
    if not asyncio.run(_run(1, partial(bench_redraw, rounds))):
        missed.append("redraw of a chart")
    if not asyncio.run(_run(_CHARTS, partial(bench_share, rounds))):
        missed.append("charts alone, share of a core")
    return missed


async def _run(number: int, bench: Callable[[Pilot[None], list[BrailleChart]], Awaitable[bool]]) -> bool:
    app = ChartsApp(number)
    async with app.run_test(size=_SIZE) as pilot:
        await pilot.pause()
        return await bench(pilot, app.charts)


async def bench_redraw(rounds: int, _: Pilot[None], charts: list[BrailleChart]) -> bool:
    """Milliseconds for a whole redraw, and for what costs less."""
    chart = charts[0]
    print(f"redraw in {chart.size.width} x {chart.size.height} cells, ms of processor time (least, median)")
    noisy, val = loss(POINTS), Curve(np.arange(1.0, 21) * POINTS / 20, 3 + 1 / np.arange(1.0, 21))
    cases = {
        f"1 line of {POINTS:,}": [Line("train", noisy, 0)],
        "that smoothed, on itself, and 20 points": [
            Line("val", val, 1),
            Line("train", smoothed(noisy, 0.9), 0),
            Line("raw", noisy, 0, faint=True),
        ],
        f"4 lines of {POINTS:,}": [Line(f"run {seed}", loss(POINTS, seed), seed) for seed in range(4)],
        f"1 line of {MANY:,}": [Line("train", loss(MANY), 0)],
    }
    least = {}
    for name, lines in cases.items():
        chart.show(lines)
        times = [1e3 * timed(partial(redraw, chart)) for _ in range(rounds)]
        least[name] = min(times)
        print(f"  {name}: {min(times):.2f}, {median(times):.2f}")
    chart.show(next(iter(cases.values())))
    redraw(chart)
    moves = [1e3 * timed(partial(move, chart, float(step))) for step in range(10, 10 + rounds)]
    print(f"  the cursor moves: {min(moves):.2f}, {median(moves):.2f}")
    worst = max(milliseconds for name, milliseconds in least.items() if f"{MANY:,}" not in name)
    print(f"  at most {worst:.2f} (limit {REDRAW_LIMIT_MS:.0f}) with {POINTS:,} points a line")
    return worst <= REDRAW_LIMIT_MS


async def bench_share(rounds: int, pilot: Pilot[None], charts: list[BrailleChart]) -> bool:
    """The share of a core that charts take whose lines grow four times a second, and when nothing happens."""
    whole = [loss(POINTS + rounds, seed) for seed in range(len(charts))]

    async def tick(number: int) -> None:
        for chart, curve in zip(charts, whole, strict=True):
            chart.show([Line("train", Curve(curve.x[: POINTS + number], curve.y[: POINTS + number]), 0)])
        await pilot.pause()

    await tick(0)
    share = await _share(lambda round_: tick(round_ + 1), rounds)
    idle = await _share(lambda _: tick(rounds), rounds)
    within = share <= SHARE_LIMIT
    print(f"{len(charts)} charts of {POINTS:,} points at {_PER_S} Hz: {share:.1%} of a core (limit {SHARE_LIMIT:.0%})")
    print(f"  when nothing has changed: {idle:.1%}")
    return within


async def _share(tick: Callable[[int], Awaitable[None]], rounds: int) -> float:
    times = []
    for number in range(rounds):
        began = time.process_time()
        await tick(number)
        times.append(time.process_time() - began)
    return median(times) * _PER_S


def loss(number: int, seed: int = 0) -> Curve:
    """A noisy loss of so many points."""
    x = np.arange(1.0, number + 1)
    y = 2.6 + 0.1 * seed + 6 * np.exp(-12 * x / number) + 0.15 * np.random.default_rng(seed).standard_normal(number)
    return Curve(x, y)


def redraw(chart: BrailleChart) -> None:
    """Everything from the points to strips."""
    chart.log_y = not chart.log_y
    chart.render_lines(Region(0, 0, *chart.size))


def move(chart: BrailleChart, x: float) -> None:
    """The cursor elsewhere, over the same picture."""
    chart.cursor = x
    chart.render_lines(Region(0, 0, *chart.size))


def timed(run: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    main()
