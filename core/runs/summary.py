"""A run in one line, and all runs of a folder: what listings, filters and screens show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from core.runs.directory import RunDirectory, RunError, all_runs, no_runs, read_object
from core.runs.follow import lines_backwards, record_of, records_backwards
from core.runs.status import Status, run_status
from core.runs.trusted import METRICS, is_number

UNREADABLE = "unreadable"
BEING_MADE_S = 5.0  # seconds in which a new folder may get its config and its supervisor before anything is said of it
_LOOK_BACK = 2000  # records, for the last one that has what is wanted


class Recorded(NamedTuple):
    """What the files of a run say last: run.json, the last log point, the last evaluation's mean loss, the place.

    `newest` is the last line of metrics.jsonl, behind which a later look finds what is new.
    """

    facts: dict[str, Any]
    point: dict[str, Any]
    val_loss: float | None
    newest: bytes
    place: dict[str, Any]


def recorded(run: RunDirectory, before: Recorded | None = None) -> Recorded:
    """What a run has recorded so far; with what it had `before` at the cost of what came since.

    It changes with run.json, metrics.jsonl and events.jsonl alone.
    """
    return Recorded(_facts(run), *_last(run, before), last_place(run))


def summary(
    run: RunDirectory, status: Status | None = None, now: float | None = None, known: Recorded | None = None
) -> dict[str, Any]:
    """What `daisy runs list --json` says of a run; unknown values are None. `known` spares reading its records."""
    status = status or run_status(run, now)
    facts, step, val, _, place = known or recorded(run)
    is_of_now = status.alive and not status.stalls and _is_of_now(step, status)
    return {
        "id": run.path.name,
        "name": facts.get("name", run.path.name),
        "state": status.state,
        "alive": status.alive,
        "reason": status.reason,
        "step": place.get("step"),
        "tokens": place.get("tokens"),
        "train_loss": step.get("train_loss"),
        "val_loss": val,
        "tokens_per_s": step.get("tokens_per_s") if is_of_now else None,
        "mfu": step.get("mfu") if is_of_now else None,
        "eta_s": step.get("eta_s") if is_of_now and status.state == "running" else None,
        "devices": (status.supervisor or {}).get("devices") or None,
        "config": facts.get("config"),
        "started": run.started,
        "target_tokens": step.get("target_tokens"),
        "parent": facts.get("parent"),
        "stalls": [str(stall) for stall in status.stalls],
    }


def summaries(root: Path) -> Iterator[dict[str, Any]]:
    """All runs in a folder, the newest first; of one that cannot be looked at, that it is UNREADABLE and why."""
    now = time.time()
    return (_summary_or_why(run, now) for run in all_runs(root))


def strangers(root: Path) -> Iterator[dict[str, Any]]:
    """The folders among the runs that are no runs, as UNREADABLE ones; not those that are just being made."""
    now = time.time()
    for run, why in no_runs(root):
        with suppress(OSError):
            if not 0 <= now - run.path.stat().st_mtime < BEING_MADE_S:
                yield _unreadable(run, why, now)


def _summary_or_why(run: RunDirectory, now: float) -> dict[str, Any]:
    try:
        return summary(run, now=now)
    except OSError as error:
        why = f"{error.filename or run.path}: {error.strerror or error}"
        return _unreadable(run, why, now)


def _unreadable(run: RunDirectory, why: str, now: float) -> dict[str, Any]:
    return summary(run, Status(UNREADABLE, False, why), now, Recorded({}, {}, None, b"", {}))


def _is_of_now(step: dict[str, Any], status: Status) -> bool:
    """Whether a log point is one of this start: what one before foresaw says nothing."""
    began: float = (status.supervisor or {}).get("started", 0.0)
    return bool(step.get("time", 0.0) >= began)


def last_place(run: RunDirectory) -> dict[str, Any]:
    """Where a run is: its newest record that has `step` and `tokens`, of a log point or of an event."""
    newest = [
        next((record for record in _newest(path) if "step" in record and "tokens" in record), {})
        for path in (run.metrics, run.events)
    ]
    return max(newest, key=lambda record: record.get("time", 0.0))


def _newest(path: Path) -> Iterator[dict[str, Any]]:
    return islice(records_backwards(path), _LOOK_BACK)


def _facts(run: RunDirectory) -> dict[str, Any]:
    try:
        return read_object(run.run)
    except RunError:
        return {}


def _last(run: RunDirectory, before: Recorded | None) -> tuple[dict[str, Any], float | None, bytes]:
    """The last log point, the mean loss of the last evaluation, and the last line."""
    point: dict[str, Any] = {}
    val, newest = None, b""
    for number, line in enumerate(lines_backwards(run.metrics)):
        newest = newest or line
        if before is not None and line and line == before.newest:
            return point or before.point, before.val_loss if val is None else val, newest
        if not point and b'"train_loss"' in line:  # looking costs a tenth of parsing
            record = record_of(line, METRICS) or {}
            point = record if is_number(record.get("train_loss")) else {}
        if val is None and b'"val"' in line:
            val = _mean_loss((record_of(line, METRICS) or {}).get("val"))
        if (point and val is not None) or number >= _LOOK_BACK:
            break
    return point, val, newest


def _mean_loss(scores: dict[str, dict[str, Any]] | None) -> float | None:
    losses = [score.get("loss") for score in (scores or {}).values()]
    numbers = [float(loss) for loss in losses if loss is not None and is_number(loss)]
    return sum(numbers) / len(numbers) if numbers else None
