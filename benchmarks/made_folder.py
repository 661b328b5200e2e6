"""What benchmarks of the control center look at: a folder of made-up runs, and a trainer that goes on with one of them.

A trainer here is no more than what it writes: log points, lines of its log, events and a heartbeat, at the times that
it is told. Rejected: training the demo, whose processes and pace would be measured along.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from core.runs.directory import RunDirectory, write_object
from core.runs.processes import identity

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # made-up runs and the scripted server
from made_runs import NOW as NOW
from made_runs import STEP_TOKENS, log_point, loss, write_run

_TARGET_STEPS = 1_000_000
_EVALUATES, _SAVES = 120, 600  # steps from one to the next


@contextmanager
def folder_of_runs(*, steps: int = 40) -> Iterator[tuple[Path, Path]]:
    """A folder that is worked in, with 19 runs that have ended and one that trains, so many log points far.

    Both paths. This process supervises that run.
    """
    leases = os.environ.get("DAISY_LEASES")
    with tempfile.TemporaryDirectory() as name, chdir(name):
        folder = Path(name)
        os.environ["DAISY_LEASES"] = f"{folder}/leases"
        locks = [write_run(folder / "runs", f"old{n}", day=1 + n)[1] for n in range(19)]
        run, lock = write_run(folder / "runs", "trains", "running", day=28, steps=steps, target_steps=_TARGET_STEPS)
        try:
            yield folder, run
        finally:
            for held in (*locks, lock):
                if held is not None:
                    os.close(held)
            if leases is None:
                del os.environ["DAISY_LEASES"]
            else:
                os.environ["DAISY_LEASES"] = leases


class Trainer:
    """Rank 0 of the run that trains, behind the last of its log points. Times are of the day, in seconds."""

    def __init__(self, path: Path) -> None:
        self._run = RunDirectory(path)
        self._step = len(self._run.metrics.read_bytes().splitlines())

    def log(self, now: float) -> None:
        """A step: its log point, its line in the log, and now and then an event."""
        self._step += 1
        step = self._step
        self._run.append(self._run.metrics, log_point(step, now, _TARGET_STEPS * STEP_TOKENS) | {"time": now})
        with (self._run.logs / "rank0.log").open("a") as file:
            file.write(f"step {step}  loss {loss(step):.4f}  {STEP_TOKENS} tokens, gradient norm {1 / step:.3g}\n")
        stamp = {"time": now, "step": step, "tokens": step * STEP_TOKENS}
        if step % _EVALUATES == 0:
            self._run.append(self._run.events, stamp | {"event": "eval", "val": {"val": loss(step) + 0.1}})
        if step % _SAVES == 0:
            self._run.append(self._run.events, stamp | {"event": "checkpoint", "path": f"step_{step:09d}"})

    def beat(self, now: float) -> None:
        """Its heartbeat, written by this process."""
        me = {"rank": 0, "pid": os.getpid(), "identity": identity(os.getpid())}
        beat = {"phase": "step", "step": self._step, "median_step_s": 0.5, "time": now, "progress": now}
        write_object(self._run.path / "heartbeat-0.json", me | beat)
