"""What the control center holds in memory over an hour on a screen: Dashboard, Run and Chat.

    python -m benchmarks.bench_memory [--screen run] [--trace]

A process that is only the app (`app_hour`) begins on the dashboard and opens a screen; its clock is simulated, its
memory is the resident one. Every few seconds of the hour the run that trains gains what its trainer would have written,
two log points a second, and the screen looks. Run shows all its charts in one minute and the end of its log in the
next. Chat, ten times as fast as life, has an answer of 1,000 tokens every 20 s from a server of another process, and
begins a new chat every ten minutes, so that what is compared are chats of one length.

Limits: 150 MiB at any time, and at the end of the hour 5% more than after its first ten minutes. Exit code 1: one was
missed. `--trace` says beside it which lines allocated what was gained between the two, with fewer looks, for it makes
everything slow and takes memory of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from benchmarks.app_hour import EARLY_S, QUESTION_S
from benchmarks.load import load_beside
from benchmarks.made_folder import NOW, Trainer, folder_of_runs
from core.runs.launch import child_environment

MIB = 1 << 20
LIMIT_MIB, GROWTH_LIMIT = 150, 1.05
SCREENS = ("dashboard", "run", "chat")
HOUR_S = 3600
LOOK_S = 4  # simulated seconds from one look to the next
POINTS_S = 2
SPEED, TOKENS_S, MODEL_HOLDS = 10, 200, 1 << 18


class Resident(NamedTuple):
    """Resident bytes: after ten minutes, after the hour, and the most there were."""

    early: int
    late: int
    most: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screen", choices=SCREENS, action="append")
    parser.add_argument("--trace", action="store_true")
    arguments = parser.parse_args()
    missed = measure_and_say(arguments.screen or SCREENS, trace=arguments.trace)
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def measure_and_say(screens: Collection[str] = SCREENS, *, trace: bool = False) -> list[str]:
    """Print what is resident on every screen; what was missed."""
    missed = []
    for where, resident in measure(screens, trace=trace):
        early, late, most = (size / MIB for size in resident)
        times = late / early
        print(f"an hour of {where}: at most {most:.1f} MiB resident, limit {LIMIT_MIB}")
        print(
            f"  {early:.1f} MiB after ten minutes, {late:.1f} at its end: {times:.3f} times that, limit {GROWTH_LIMIT}"
        )
        sys.stdout.flush()
        missed += [f"memory on {where}"] if most > LIMIT_MIB or times > GROWTH_LIMIT else []
    return missed


def measure(screens: Collection[str] = SCREENS, *, trace: bool = False) -> Iterator[tuple[str, Resident]]:
    """The screens, and what is resident on each."""
    for where in screens:
        with folder_of_runs() as (folder, run):
            serving = load_beside(run, 0, SPEED * TOKENS_S, max_seq_len=MODEL_HOLDS)
            with serving if where == "chat" else nullcontext("") as url:
                yield where, _hour(folder, run, where, url, trace)


def _hour(folder: Path, run: Path, where: str, url: str, trace: bool) -> Resident:
    """Train through an hour, and have the app of another process look at it."""
    program = "import sys; from benchmarks.app_hour import live; live(*sys.argv[1:])"
    arguments = [str(folder), str(run), where, url, str(NOW), str(SPEED), "trace" if trace else ""]
    trainer, step_s = Trainer(run), QUESTION_S if where == "chat" or trace else LOOK_S
    found = {}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**child_environment(), "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as app:
        assert app.stdin is not None
        assert app.stdout is not None
        for second in range(step_s, HOUR_S + 1, step_s):
            for place in range(1, step_s * POINTS_S + 1):
                trainer.log(NOW + second - step_s + place / POINTS_S)
            trainer.beat(NOW + second)
            print(second, file=app.stdin, flush=True)
            if not (answer := app.stdout.readline()):
                raise RuntimeError(f"the app ended on {where}, {second} s into its hour; its error stands above")
            found[second] = int(answer)
        app.stdin.close()
        for line in app.stdout:
            print(f"  {line}", end="")
    return Resident(found[EARLY_S], found[HOUR_S], max(found.values()))


if __name__ == "__main__":
    sys.exit(main())
