"""What a run is at this moment, from its directory and the processes that it names: proved, never guessed.

exit.json says how an attempt ended. Without one, the attempt lives exactly as long as its supervisor, which is known by
pid and start time; a supervisor that is gone without exit.json was killed, or its machine was, and the run is lost.
"""

from __future__ import annotations

import platform
import time
from typing import Any, NamedTuple

from core.runs.directory import RunDirectory, RunError, read_object
from core.runs.heartbeat import Stall, heartbeats, stalls
from core.runs.lock import is_held
from core.runs.processes import is_alive

AFTER_CHECKPOINT = "stopped on request, after a checkpoint"
KILLED_AT_ONCE = "killed at once, as asked"
ALIVE = ("queued", "starting", "running", "stopping")
_BEGINS_WITHIN_S = 20.0
# A supervisor on another machine cannot be looked at; heartbeats in a shared folder can.
_FAR_SILENCE_S = 60.0


class Status(NamedTuple):
    """`state` is one of queued, starting, running, stopping, finished, stopped, failed, lost.

    `reason` says why, where it ended; `alive` whether a supervisor watches over it: a queued run without one waits
    no more.
    """

    state: str
    alive: bool
    reason: str | None = None
    supervisor: dict[str, Any] | None = None
    stalls: tuple[Stall, ...] = ()


def run_status(run: RunDirectory, now: float | None = None) -> Status:
    """The state of a run at `now`, in seconds of the time of day."""
    now = time.time() if now is None else now
    launch, supervisor, ended = (_object(path) for path in (run.launch, run.supervisor, run.exit))
    held = is_held(run)
    if launch is None and not (held and supervisor is not None):
        return Status("lost", False, "it was never started by a supervisor")
    if supervisor is None or (launch is not None and supervisor.get("attempt") != launch.get("attempt")):
        if held or (held is None and now - run.launch.stat().st_mtime < _BEGINS_WITHIN_S):
            return Status("starting", True)
        return Status("lost", False, "its supervisor did not begin; logs/supervisor.log may say why")
    if (done := _ended(ended, supervisor)) is not None:
        return done
    beats = heartbeats(run)
    phase = str(supervisor.get("phase"))
    if not _is_alive(run, supervisor, now, held):
        if (done := _ended(_object(run.exit), supervisor)) is not None:  # it ended while this was being found out
            return done
        if phase == "queued":
            return Status("queued", False, "not waiting: its supervisor is gone", supervisor)
        return Status("lost", False, "its supervisor was killed, or its machine went down", supervisor)
    if phase == "running" and not any(beat["phase"] != "start" for beat in heartbeats(run, living=False)):
        phase = "starting"
    return Status(phase if phase in ALIVE else "stopping", True, None, supervisor, tuple(stalls(beats, now)))


def reason_for(status: Status, *, asked_to_kill: bool) -> str | None:
    """Why a run ended, for one of those who asked it to, of whom another may have killed it."""
    somebodys = status.reason == KILLED_AT_ONCE and not asked_to_kill
    return "killed at once, as somebody else asked" if somebodys else status.reason


def _ended(ended: dict[str, Any] | None, supervisor: dict[str, Any]) -> Status | None:
    """How the attempt of a supervisor ended; None where exit.json says nothing of it."""
    if ended is None or ended.get("attempt") != supervisor.get("attempt"):
        return None
    return Status(ended.get("outcome", "failed"), False, ended.get("reason", "exit.json does not say why"), supervisor)


def _is_alive(run: RunDirectory, supervisor: dict[str, Any], now: float, held: bool | None) -> bool:
    if supervisor.get("host") == platform.node():
        if held is False:  # the directory is a copy of one that lives
            return False
        return is_alive(supervisor.get("pid", 0), str(supervisor.get("identity")))
    times = [path.stat().st_mtime for path in [run.supervisor, *run.path.glob("heartbeat-*.json")]]
    return now - max(times) < _FAR_SILENCE_S


def _object(path: Any) -> dict[str, Any] | None:
    try:
        return read_object(path)
    except RunError:
        return None
