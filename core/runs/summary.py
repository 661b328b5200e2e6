"""A run in one line, and all runs of a folder: what listings, filters and screens show."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory, RunError, read_object
from core.runs.follow import records_backwards
from core.runs.status import Status, run_status

_LOOK_BACK = 2000  # records, for the last one that has what is wanted


def all_runs(root: Path) -> list[RunDirectory]:
    """The runs in a folder, the newest first."""
    try:
        names = sorted((entry.name for entry in os.scandir(root) if entry.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    return [run for name in names if (run := RunDirectory(root / name)).config.exists()]


def summary(run: RunDirectory, status: Status | None = None, now: float | None = None) -> dict[str, Any]:
    """What `daisy runs list --json` says of a run; unknown values are None."""
    status = status or run_status(run, now)
    facts = _facts(run)
    step, val = _last(run)
    return {
        "id": run.path.name,
        "name": facts.get("name", run.path.name),
        "state": status.state,
        "alive": status.alive,
        "reason": status.reason,
        "step": step.get("step"),
        "tokens": step.get("tokens"),
        "train_loss": step.get("train_loss"),
        "val_loss": val,
        "tokens_per_s": step.get("tokens_per_s") if status.alive else None,
        "eta_s": step.get("eta_s") if status.state == "running" else None,
        "devices": (status.supervisor or {}).get("devices") or None,
        "config": facts.get("config"),
        "parent": facts.get("parent"),
        "stalls": [str(stall) for stall in status.stalls],
    }


def summaries(root: Path) -> Iterator[dict[str, Any]]:
    """All runs in a folder, the newest first."""
    now = time.time()
    return (summary(run, now=now) for run in all_runs(root))


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
        if not step and "train_loss" in record:
            step = record
        if val is None and (scores := record.get("val")):
            val = sum(score["loss"] for score in scores.values()) / len(scores)
        if (step and val is not None) or number >= _LOOK_BACK:
            break
    return step, val
