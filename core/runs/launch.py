"""Start a run's ranks with torchrun, in the foreground, and say how it ended.

torchrun always exits with 1, whatever its ranks did, so the outcome is read from the run's own events.
It gets a session of its own: a Ctrl-C in the terminal reaches this process, which asks the ranks to
stop at the next step and kills every one of them at the second. The ranks are asked themselves: a signal
to torchrun ends in a traceback and a kill after a fixed time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from core.runs.directory import RunDirectory, read_records


def torchrun_command(run: RunDirectory, nproc: int, resume: bool) -> list[str]:
    """The command that trains a run on `nproc` devices of this machine."""
    return [
        sys.executable,
        *("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={nproc}", "--max-restarts=0"),
        *("-m", "core.training.main", "--run-dir", str(run.path)),
        *(["--resume"] if resume else []),
    ]


def launch(run: RunDirectory, nproc: int, resume: bool, say: Callable[[str], None]) -> str:
    """Train until the ranks have ended. Returns the outcome: "finished", "stopped" or "failed"."""
    threads = max(1, (os.cpu_count() or 1) // nproc)
    # torchrun would set one thread a rank; PYTHONOPTIMIZE breaks torch.compile.
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONOPTIMIZE", None)
    before = sum(1 for _ in read_records(run.events))
    process = subprocess.Popen(torchrun_command(run, nproc, resume), start_new_session=True, env=environment)
    with _signals_to(process, say) as asked:
        process.wait()
    for child in _descendants(process.pid):
        child.kill()
    events = [record["event"] for record in read_records(run.events)][before:]
    ended = next((event for event in reversed(events) if event in ("finished", "stopped")), "failed")
    return "stopped" if asked and not events else ended  # asked before there was anything to save


@contextmanager
def _signals_to(process: subprocess.Popen[bytes], say: Callable[[str], None]) -> Iterator[list[int]]:
    asked: list[int] = []

    def forward(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            say("stopping: a checkpoint at the next step, then the end (once more to kill)")
            for rank in psutil.Process(process.pid).children():
                rank.terminate()
        else:
            for child in [*_descendants(process.pid), psutil.Process(process.pid)]:
                child.kill()

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
