"""What a run is at this moment, from its directory and the processes that it names: proved, never guessed.

exit.json says how an attempt ended. Without one, the attempt lives exactly as long as its supervisor, which is known by
pid and start time; a supervisor that is gone without exit.json was killed, or its machine was, and the run is lost.
One that lives without a rank, on a full disk or stopped itself, has a run that is stalled.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

from core.runs.directory import RunDirectory, RunError, read_object
from core.runs.heartbeat import SILENT_S, Stall, heartbeats, stalls
from core.runs.lock import is_held
from core.runs.processes import identity, is_alive

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

    @property
    def ranks_ended(self) -> bool:
        """Whether nobody trains any more, though nobody has written how that ended."""
        return any(stall.ended for stall in self.stalls)


def run_status(run: RunDirectory, now: float | None = None) -> Status:
    """The state of a run at `now`, in seconds of the time of day."""
    now = time.time() if now is None else now
    launch, supervisor, ended = (_object(path) for path in (run.launch, run.supervisor, run.exit))
    held = is_held(run)
    if launch is None and not (held and supervisor is not None):
        why = _damage(run.run, run.launch, run.supervisor, run.exit)
        return Status("lost", False, why or "it was never started by a supervisor")
    if supervisor is None or (launch is not None and supervisor.get("attempt") != launch.get("attempt")):
        if held or (held is None and now - run.launch.stat().st_mtime < _BEGINS_WITHIN_S):
            return Status("starting", True)
        why = _damage(run.supervisor)
        return Status("lost", False, why or "its supervisor did not begin; logs/supervisor.log may say why")
    if (done := _ended(ended, supervisor)) is not None:
        return done
    beats = heartbeats(run, living=False)
    living = [beat for beat in beats if is_alive(beat["pid"], beat["identity"])]
    phase = str(supervisor.get("phase"))
    if not _is_alive(run, supervisor, now, held):
        if (done := _ended(_object(run.exit), supervisor)) is not None:  # it ended while this was being found out
            return done
        if phase == "queued":
            return Status("queued", False, "not waiting: its supervisor is gone", supervisor)
        why = _damage(run.exit) or "its supervisor was killed, or its machine went down"
        return Status("lost", False, why, supervisor)
    state = phase if phase in ALIVE else "stopping"
    if phase == "running" and not any(beat["phase"] != "start" for beat in beats):
        state = "starting"
    found = stalls(living, now)
    if not living and phase not in ("queued", "starting") and (stall := _unheard(run, supervisor, beats, now)):
        if (done := _ended(_object(run.exit), supervisor)) is not None:  # as above
            return done
        found = [stall]
    return Status(state, True, None, supervisor, tuple(found))


def reason_for(status: Status, *, asked_to_kill: bool) -> str | None:
    """Why a run ended, for one of those who asked it to, of whom another may have killed it."""
    somebodys = status.reason == KILLED_AT_ONCE and not asked_to_kill
    return "killed at once, as somebody else asked" if somebodys else status.reason


def _ended(ended: dict[str, Any] | None, supervisor: dict[str, Any]) -> Status | None:
    """How the attempt of a supervisor ended; None where exit.json says nothing of it."""
    if ended is None or ended.get("attempt") != supervisor.get("attempt"):
        return None
    return Status(ended.get("outcome", "failed"), False, ended.get("reason", "exit.json does not say why"), supervisor)


def _unheard(run: RunDirectory, supervisor: dict[str, Any], beats: list[dict[str, Any]], now: float) -> Stall | None:
    """That the ranks ended a while ago, of a supervisor that lives; None where they did not, or that is not known.

    `beats` are of ranks that ended, in this try, for those before are removed. Where there are none, torchrun tells,
    without which no rank lives. Whoever ends as it should has exit.json written long before, so this is no outcome.
    """
    torchrun = supervisor.get("torchrun")
    has_ended = bool(beats) or (isinstance(torchrun, int) and identity(torchrun) is None)
    if not has_ended or supervisor.get("host") != platform.node():
        return None
    try:
        last = max([run.supervisor.stat().st_mtime, *(beat["time"] for beat in beats)])
    except OSError:  # it is being removed
        return None
    if now - last <= SILENT_S:
        return None
    newest = max(beats, key=lambda beat: float(beat["time"]), default=dict[str, Any](rank=0, phase="start"))
    return Stall(newest["rank"], newest["phase"], now - last, silent=True, ended=True)


def _damage(*paths: Path) -> str | None:
    """Which of these small files are there and cannot be read, in words; None where all can."""
    names = [path.name for path in paths if os.path.lexists(path) and _object(path) is None]
    return f"how it ended is not known: {' and '.join(names)} cannot be read" if names else None


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
