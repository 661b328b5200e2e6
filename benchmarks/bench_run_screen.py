"""What the Run screen costs while its run trains: all of it, with reading, header, charts and log.

    python -m benchmarks.bench_run_screen [--seconds 20]

The screen as a person has it, at 120x40, without a terminal but with its escape sequences: all charts at once (the key
z), of a run of 5,000 log points that another process goes on with, 4 of them a second and then 50; and at 50 the end of
its log, followed. Its own timers have it look twice a second. In processor time of this process, as a share of a core.
Limit: the 10% that the specification gives four live charts at 4 Hz, which bench_chart measures alone; here stand six
at 2 Hz. Exit code 1: it was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import load_beside
from benchmarks.made_folder import folder_of_runs
from benchmarks.timed_app import TimedApp
from daisy_tui.screens.run import RunScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chart import BrailleChart

SHARE_LIMIT = 0.10
POINTS, SIZE = 5_000, (120, 40)
_CASES = ((4, "charts"), (50, "charts"), (50, "log"))  # points a second, and the tab
_SETTLES_S = 3.0


class Share(NamedTuple):
    """What was open, the share of a core that it took, and the charts that were in sight."""

    what: str
    share: float
    charts: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    missed = measure_and_say(parser.parse_args().seconds)
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def measure_and_say(seconds: float = 20.0) -> list[str]:
    """Print every share; what was missed."""
    missed = []
    print(f"the Run screen at {SIZE[0]}x{SIZE[1]}; limit {SHARE_LIMIT:.0%} of a core, that of four live charts at 4 Hz")
    for what, share, charts in measure(seconds):
        beside = f" ({charts} charts at 2 Hz)" if charts else ""
        print(f"  {what}{beside}: {share:.1%} of a core, limit {SHARE_LIMIT:.0%}", flush=True)
        missed += [f"share of a core, {what}"] if share > SHARE_LIMIT else []
    return missed


def measure(seconds: float = 20.0) -> Iterator[Share]:
    """The share of a core that the screen takes, case by case, each on a run of its own."""
    for points_s, tab in _CASES:
        with folder_of_runs(steps=POINTS) as (folder, run), load_beside(run, points_s, 0.0):
            share, charts = asyncio.run(_share(folder, run, tab, seconds))
        what = "all charts" if tab == "charts" else "the log, followed"
        yield Share(f"{what}, {points_s} log points a second", share, charts)


async def _share(folder: Path, run: Path, tab: str, seconds: float) -> tuple[float, int]:
    app = TimedApp(Services(folder), first="dashboard")
    async with app.run_test(size=SIZE) as pilot:
        app.open("run", run=run, tab=tab)
        await pilot.pause(_SETTLES_S)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        if tab == "charts" and screen.charts.is_single:
            await pilot.press("z")
        await pilot.pause(_SETTLES_S)
        seen = [chart for chart in screen.query(BrailleChart) if chart.is_on_screen]
        assert screen.log_pane.lines.follow if tab == "log" else len(seen) > 1
        began, wall = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        share = (time.process_time() - began) / (time.monotonic() - wall)
    return share, len(seen)


if __name__ == "__main__":
    sys.exit(main())
