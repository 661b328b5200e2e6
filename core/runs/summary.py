"""A run in one line, and all runs of a folder: what listings, filters and screens show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory, RunError, all_runs, read_object
from core.runs.follow import records_backwards
from core.runs.status import Status, run_status

_LOOK_BACK = 2000  # records, for the last one that has what is wanted


def summary(run: RunDirectory, status: Status | None = None, now: float | None = None) -> dict[str, Any]:
    """What `daisy runs list --json` says of a run; unknown values are None."""
    status = status or run_status(run, now)
    facts = _facts(run)
    step, val = _last(run)
    place = last_place(run)
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
        "tokens_per_s": step.get("tokens_per_s") if status.alive else None,
        "eta_s": step.get("eta_s") if status.state == "running" and _is_of_now(step, status) else None,
        "devices": (status.supervisor or {}).get("devices") or None,
        "config": facts.get("config"),
        "started": run.started,
        "target_tokens": step.get("target_tokens"),
        "parent": facts.get("parent"),
        "stalls": [str(stall) for stall in status.stalls],
    }


def summaries(root: Path) -> Iterator[dict[str, Any]]:
    """All runs in a folder, the newest first."""
    now = time.time()
    return (summary(run, now=now) for run in all_runs(root))


def _is_of_now(step: dict[str, Any], status: Status) -> bool:
    """Whether a log point is one of this start: what one before foresaw says nothing."""
    return float(step.get("time", 0.0)) >= float((status.supervisor or {}).get("started", 0.0))


def last_place(run: RunDirectory) -> dict[str, Any]:
    """Where a run is: its newest record that has `step` and `tokens`, of a log point or of an event."""
    newest = [
        next((record for record in records_backwards(path) if "step" in record and "tokens" in record), {})
        for path in (run.metrics, run.events)
    ]
    return max(newest, key=lambda record: float(record.get("time", 0.0)))


def _facts(run: RunDirectory) -> dict[str, Any]:
    try:
        return read_object(run.run)
    except RunError:
        return {}


def _last(run: RunDirectory) -> tuple[dict[str, Any], float | None]:
    """The last log point, and the mean loss of the last evaluation."""
    step: dict[str, Any] = {}
    val = None
    for number, record in enumerate(records_backwards(run.metrics)):
        if not step and isinstance(record.get("train_loss"), int | float):
            step = record
        if val is None:
            val = _mean_loss(record.get("val"))
        if (step and val is not None) or number >= _LOOK_BACK:
            break
    return step, val


def _mean_loss(scores: Any) -> float | None:
    if not isinstance(scores, dict):
        return None
    losses = [score.get("loss") for score in scores.values() if isinstance(score, dict)]
    numbers = [float(loss) for loss in losses if isinstance(loss, int | float)]
    return sum(numbers) / len(numbers) if numbers else None
