"""What each rank is doing, and since when: `heartbeat-<rank>.json`, written by a thread, judged by whoever reads.

The thread writes also while the main thread hangs, so a heartbeat holds when that last made progress. A rank is stalled
when its main thread has made none for longer than its phase may take, or when the thread itself has gone silent, as in
a stopped process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple

from core.runs.directory import RunDirectory, RunError, read_object, write_object
from core.runs.processes import identity, is_alive

EVERY_S = 2.0
SILENT_S = 15.0
STEP_S, STEP_MEDIANS = 30.0, 10
_NEEDED = frozenset({"rank", "pid", "identity", "time", "progress", "phase"})
# Seconds that a phase other than a step may take.
_LIMITS = {"start": 600.0, "compile": 1800.0, "evaluate": 1800.0, "save": 1800.0, "end": 600.0}


class Heartbeat:
    """The heartbeat of this rank. `clock` gives the time of day in seconds."""

    def __init__(self, run: RunDirectory, rank: int, clock: Callable[[], float] = time.time) -> None:
        self._path = run.path / f"heartbeat-{rank}.json"
        self._facts = {"rank": rank, "pid": os.getpid(), "identity": identity(os.getpid())}
        self._clock = clock
        self._state: tuple[str, int, float, float | None] = ("start", 0, clock(), None)
        self._ended = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def progress(self, phase: str, step: int, median_step_s: float | None = None) -> None:
        """The main thread begins a phase, or another step: no more than an assignment, but for the first time."""
        has_begun = self._state[0] == "start" != phase
        self._state = (phase, step, self._clock(), median_step_s)
        if has_begun:  # which people wait to see
            self._wake.set()

    def end(self) -> None:
        """Write the last state, and no more."""
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            ended = self._ended
            phase, step, progress, median = self._state
            values = {
                "time": self._clock(),
                "phase": phase,
                "step": step,
                "progress": progress,
                "median_step_s": median,
            }
            with suppress(OSError):  # a full disk is told by what cannot be saved; the next beat may succeed
                write_object(self._path, self._facts | values)
            if ended:
                return
            self._wake.wait(EVERY_S)
            self._wake.clear()


class Stall(NamedTuple):
    """A rank that makes no progress: for how many `seconds`, in which phase. `silent`: not even its thread writes.

    `ended`: no rank lives any more, and the supervisor, which does, has not written how they ended.
    """

    rank: int
    phase: str
    seconds: float
    silent: bool
    ended: bool = False

    def __str__(self) -> str:
        if self.ended:
            why = f"nothing was heard for {self.seconds:.0f} s"
            return f"its ranks have ended and its supervisor has not written how ({why})"
        what = "is silent (stopped, or its machine hangs)" if self.silent else "makes no progress"
        return f"rank {self.rank} {what} in phase {self.phase} for {self.seconds:.0f} s"


def heartbeats(run: RunDirectory, *, living: bool = True) -> list[dict[str, Any]]:
    """The heartbeats of ranks of this machine that live, by rank; without `living` of all of this start."""
    found = []
    for path in run.path.glob("heartbeat-*.json"):
        try:
            beat = read_object(path)
        except RunError:
            continue
        if beat.keys() >= _NEEDED and (not living or is_alive(beat["pid"], beat["identity"])):
            found.append(beat)
    return sorted(found, key=itemgetter("rank"))


def stalls(beats: list[dict[str, Any]], now: float) -> list[Stall]:
    """The ranks that are stalled at `now`, the silent ones first: others only wait for them."""
    found = []
    for beat in beats:
        phase, quiet = beat["phase"], now - beat["progress"]
        silent = now - beat["time"] > SILENT_S
        limit = _LIMITS.get(phase, max(STEP_S, STEP_MEDIANS * (beat.get("median_step_s") or 0.0)))
        if silent or quiet > limit:
            found.append(Stall(beat["rank"], phase, quiet, silent))
    return sorted(found, key=lambda stall: not stall.silent)
