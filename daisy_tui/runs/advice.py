"""What is wrong with a run, in words, and what can be done about it: from what is on disk, for whoever shows it.

Stalls come from heartbeats, failures from the reason in exit.json (which `core.runs.diagnosis` words), warnings from
the events of this start, a disk that fills from what a checkpoint takes, and a spike of the loss from its last log
points: the trainer stops at a loss that is no number, but one that jumps and comes back is for people to judge.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from core.runs.status import Status
from core.text import plural, size

ERROR, WARNING = "error", "warning"

_LEAST_FREE = 1 << 30  # bytes of a disk, where no checkpoint tells how much one takes
_WAITS_TOO_LONG = 0.3  # share of the time that goes into waiting for data
_MOST_WARNINGS = 3

# What a reason says before it goes on to what helps, which is said here for the run that it is.
_REMEDIED = ("out of memory:", "the disk is full:")

# A loss is a spike where it lies above the median of the points before by so many of their typical deviations, and by a
# share of the median at least: a smooth curve has next to no deviation.
_BEFORE, _FEWEST = 32, 12
_DEVIATIONS, _SHARE = 8.0, 0.1
_SIGMA = 1.4826  # of a normal distribution, in its median absolute deviations


class Advice(NamedTuple):
    """`what` is wrong, what to `do`, and the id of the Run screen's action that does it, where one does."""

    severity: str
    what: str
    do: str
    action: str = ""


class Spike(NamedTuple):
    """A jump of the loss at a step, from what it had been about; `is_over` once it came back."""

    step: int
    loss: float
    before: float
    is_over: bool


def advice(
    status: Status,
    events: Sequence[Mapping[str, Any]] = (),
    *,
    point: Mapping[str, Any] | None = None,
    spikes: Sequence[Spike] = (),
    last_checkpoint: str | None = None,
    checkpoint_bytes: int | None = None,
    spare_checkpoints: int = 0,
    disk_free: int | None = None,
) -> list[Advice]:
    """What is wrong with a run now, the worst first.

    `events` are those of the run, the oldest first, `point` its last log point. `last_checkpoint` is the newest whole
    one, what it goes on from; `checkpoint_bytes` what it takes, `disk_free` what the run's disk has left. So many
    `spare_checkpoints` are neither the last nor the best: only they can go.
    """
    goes_on = f"goes on from {last_checkpoint}" if last_checkpoint else "begins anew, for it has no checkpoint"
    began = (status.supervisor or {}).get("started", 0.0)
    recent = [event for event in events if event.get("time", 0.0) >= began]
    room = _room(spare_checkpoints)
    found = [*_stalled(status, recent, goes_on), *_ended(status, recent, goes_on, room)]
    if status.alive:
        found += _disk(disk_free, checkpoint_bytes, room)
        found += _spiked(spikes)
        found += _waits(point or {})
    found += _warned(recent, room)
    return sorted(found, key=lambda one: one.severity != ERROR)


def find_spikes(points: Iterable[tuple[float, float]]) -> list[Spike]:
    """The spikes among points (step, loss), which are in the order of steps; losses that are no number are left out."""
    found: list[Spike] = []
    calm: deque[float] = deque(maxlen=_BEFORE)
    usual = limit = math.inf
    is_high = False
    for step, loss in points:
        if not math.isfinite(loss):
            continue
        if is_high and loss < (usual + limit) / 2:
            found[-1], is_high = found[-1]._replace(is_over=True), False
        if not is_high and len(calm) >= _FEWEST:
            usual = median(calm)
            deviation = _SIGMA * median(abs(value - usual) for value in calm)
            limit = usual + max(_DEVIATIONS * deviation, _SHARE * abs(usual))
            if loss > limit:
                found.append(Spike(int(step), loss, usual, False))
                is_high = True
        if is_high:
            found[-1] = found[-1]._replace(loss=max(found[-1].loss, loss))
        else:
            calm.append(loss)
    return found


class _Room(NamedTuple):
    """How room is made on the disk of a run, and the action that does it, where one does."""

    how: str
    action: str


def _room(spare: int) -> _Room:
    if spare:
        return _Room("`daisy runs prune` frees checkpoints", "checkpoints")
    return _Room("this run has no checkpoint to spare", "")


def _stalled(status: Status, events: Sequence[Mapping[str, Any]], goes_on: str) -> list[Advice]:
    if not status.stalls:
        return []
    if status.ranks_ended:
        return [_unwritten(status, events, goes_on)]
    first, others = status.stalls[0], len(status.stalls) - 1
    too = f"; {plural(others, 'other rank')} {'waits' if others == 1 else 'wait'} too" if others else ""
    if first.silent:
        do = "its process is stopped or its machine hangs"
    elif first.phase == "save":
        do = "its disk may be slow, full or gone"
    elif first.phase == "start":
        do = "it has not met the other ranks; their logs say how far each has come"
    else:
        do = "it may hang in a collective, on the data's disk or on its device"
    then = f"; its stacks tell where. If it does not come back, kill the run and resume it: it {goes_on}"
    return [Advice(ERROR, f"{first}{too}", do[0].upper() + do[1:] + then, "stacks")]


def _unwritten(status: Status, events: Sequence[Mapping[str, Any]], goes_on: str) -> Advice:
    """What to do about a run whose ranks have ended, and which nobody calls ended."""
    pid = (status.supervisor or {}).get("pid")
    failures = [event["message"] for event in events if event.get("event") == "failed" and "message" in event]
    said = f"It failed: {failures[-1]}. " if failures else ""
    do = (
        f"{said}If its disk is full, make room; if its supervisor is stopped, `kill -CONT {pid}` wakes it. Then resume "
        f"it: it {goes_on}"
    )
    what = str(status.stalls[0])
    return Advice(ERROR, what[0].upper() + what[1:], do, "log")


def _ended(status: Status, events: Sequence[Mapping[str, Any]], goes_on: str, room: _Room) -> list[Advice]:
    reason = status.reason or ""
    if status.state == "queued" and not status.alive:
        return [Advice(WARNING, "It waits no more: its supervisor is gone", "Resume it with --queue", "resume")]
    if status.state == "lost":
        if status.supervisor is None:
            return [Advice(ERROR, reason, "Resume it, or look at its supervisor's log", "resume")]
        return [Advice(ERROR, f"Lost: {reason}", f"Resume it: it {goes_on}", "resume")]
    if status.state != "failed":
        return []
    ends = [reason.index(words) + len(words) - 1 for words in _REMEDIED if words in reason]
    return [Advice(ERROR, f"Failed: {reason[: min(ends, default=None)]}", *_remedy(reason, events, goes_on, room))]


def _remedy(reason: str, events: Sequence[Mapping[str, Any]], goes_on: str, room: _Room) -> tuple[str, str]:
    """What to do about a failure, and the action that does it."""
    known = reason.lower()
    if bad := next((event for event in reversed(events) if event.get("event") == "not_finite"), None):
        what = f"Resume it with lr_scale=0.5: it {goes_on} and meets the same batches"
        return f"{what}. {said}" if (said := _not_finite(bad)) else what, "resume"
    if "out of memory" in known:
        return (
            f"Resume it with activation_checkpointing=true or a smaller loss_chunk_tokens: it {goes_on}; a shorter "
            "training_sequence_length needs a new run that takes its weights",
            "resume",
        )
    if "disk is full" in known or "no space left" in known or "could not be saved" in known:
        return f"Make room on its disk ({room.how}), then resume it: it {goes_on}", room.action or "resume"
    if "signal 9" in known:
        return f"If nobody killed it, its machine ran out of memory: free some, then resume it: it {goes_on}", "resume"
    if "is in use by" in known or "is wanted first by" in known:
        return "Resume it with --queue: it waits until its devices are free", "resume"
    return f"Its log says more. Resume it: it {goes_on}", "log"


def _not_finite(event: Mapping[str, Any]) -> str:
    """What the trainer noted about a step that gave no numbers."""
    parameters, text = event.get("parameters"), event.get("text")
    said = [f"the cursor was {event['cursor']}"] if "cursor" in event else []
    if parameters:
        more = f" and {len(parameters) - 1:,} more" if len(parameters) > 1 else ""
        said.append(f"not finite were the gradients of {parameters[0]}{more}")
    if text:
        said.append(f"the text was {text[:40]!r} …")
    return "; ".join(said)[:1].upper() + "; ".join(said)[1:]


def _warned(events: Sequence[Mapping[str, Any]], room: _Room) -> list[Advice]:
    """What this start warned of, the newest first; a checkpoint that was saved later heals one that was not."""
    found: list[Advice] = []
    is_saved = False
    for event in reversed(events):
        is_saved = is_saved or event.get("event") == "checkpoint"
        if event.get("event") == "restarted":
            what = f"Restarted, {event.get('number')} of {event.get('of')}: {event.get('reason')}"
            found.append(Advice(WARNING, what, "It goes on by itself; its log says more", "log"))
        if event.get("event") != "warning":
            continue
        message = str(event.get("message", ""))
        if message.startswith("checkpoint of step"):
            if not is_saved:
                do = f"Make room on its disk ({room.how}): the run goes on, and saves again when it is due"
                found.append(Advice(ERROR, message, do, room.action))
                is_saved = True  # of those that failed before, this one says enough
        elif all(one.what != message for one in found):
            found.append(Advice(WARNING, message, ""))
    return found[:_MOST_WARNINGS]


def _disk(free: int | None, checkpoint: int | None, room: _Room) -> list[Advice]:
    if free is None or free >= (2 * checkpoint if checkpoint else _LEAST_FREE):
        return []
    what = f"The disk of this run has {size(free)} left"
    do = f"Make room before the next checkpoint ({room.how})"
    if checkpoint and free >= checkpoint:
        return [Advice(WARNING, f"{what}, and a checkpoint takes {size(checkpoint)}", do, room.action)]
    what += f", less than the {size(checkpoint)} of a checkpoint" if checkpoint else ""
    return [Advice(ERROR, what, do, room.action)]


def _spiked(spikes: Sequence[Spike]) -> list[Advice]:
    lasting = [spike for spike in spikes if not spike.is_over]
    if not lasting:
        return []
    last = lasting[-1]
    what = f"The loss jumped to {last.loss:.4g} after step {last.step:,}; it had been about {last.before:.4g}"
    do = (
        "Such a spike often passes. If it stays, set lr_scale=0.5, or begin a new run from a checkpoint before it "
        "with a lower learning rate"
    )
    return [Advice(WARNING, what, do, "set")]


def _waits(point: Mapping[str, Any]) -> list[Advice]:
    share = point.get("data_wait", 0.0)
    if not share > _WAITS_TOO_LONG:
        return []
    what = f"It waits for its data in {share:.0%} of the time"
    return [Advice(WARNING, what, "The shards' disk is too slow, or too many processes share this machine's cores")]
