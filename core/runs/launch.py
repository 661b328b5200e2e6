"""Start a run's ranks with torchrun, in the foreground, and say how it ended.

torchrun always exits with 1, whatever its ranks did, so the outcome is read from the run's own events. It gets
a session of its own and writes to `logs/torchrun.log`, and every rank to `logs/rank<k>.log`: no pipe can fill, and
no terminal that goes away takes a rank with it. A Ctrl-C reaches this process, which asks the ranks to stop at the
next step and kills every one of them at the second. The ranks are asked themselves: a signal to torchrun ends in a
traceback and a kill after a fixed time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from core.runs.directory import RunDirectory
from core.runs.follow import RecordTail

_WATCH_EVERY_S = 0.2


@dataclass(frozen=True)
class Machines:
    """The machines of a run: how many, which one this is, and HOST:PORT of the first."""

    count: int = 1
    rank: int = 0
    endpoint: str | None = None


@dataclass(frozen=True)
class Launch:
    """How a run is started on this machine: devices here, and what the ranks are told."""

    nproc: int
    machines: Machines = Machines()
    resume: bool = False
    accept_new_data: bool = False


def torchrun_command(run: RunDirectory, how: Launch) -> list[str]:
    """The command that trains a run on this machine's devices."""
    m = how.machines
    where = ["--standalone"]
    if m.count > 1:
        where = [
            f"--nnodes={m.count}",
            f"--node-rank={m.rank}",
            "--rdzv-backend=static",
            f"--rdzv-endpoint={m.endpoint}",
        ]
    return [
        sys.executable,
        *("-m", "torch.distributed.run", *where, f"--nproc_per_node={how.nproc}", "--max-restarts=0"),
        *("-m", "core.training.main", "--run-dir", str(run.path)),
        *(["--resume"] if how.resume else []),
        *(["--accept-new-data"] if how.accept_new_data else []),
    ]


def launch(run: RunDirectory, how: Launch, say: Callable[[str], None], watch: Callable[[], None]) -> str:
    """Train until the ranks have ended. Returns the outcome: "finished", "stopped" or "failed".

    `say` gets what a signal does; `watch` is called several times a second, and once at the end.
    """
    threads = max(1, (os.cpu_count() or 1) // how.nproc)
    # torchrun would set one thread a rank; PYTHONOPTIMIZE breaks torch.compile.
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONOPTIMIZE", None)
    events = RecordTail(run.events)
    run.logs.mkdir(exist_ok=True)
    with (run.logs / "torchrun.log").open("ab") as log:
        process = subprocess.Popen(
            torchrun_command(run, how), start_new_session=True, env=environment, stdout=log, stderr=log
        )
    with _signals_to(process, say) as asked:
        while True:
            try:
                process.wait(_WATCH_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                watch()
    for child in _descendants(process.pid):
        child.kill()
    watch()
    told = [record["event"] for record in events.new()]
    ended = next((event for event in reversed(told) if event in ("finished", "stopped", "failed")), "failed")
    return "stopped" if asked and not told else ended  # asked before there was anything to save


def last_log_lines(run: RunDirectory, count: int) -> list[str]:
    """The end of the first log that says something: rank 0's, another rank's, torchrun's."""
    for path in [*sorted(run.logs.glob("rank*.log")), run.logs / "torchrun.log"]:
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        if lines:
            return lines[-count:]
    return []


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
