"""The `daisy` commands behind what can be done with a row of the list of checkpoints. Knows no screen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from daisy_tui.checkpoints.catalog import BESIDE, Found
from daisy_tui.checkpoints.checkpoint_text import shown_path
from daisy_tui.checkpoints.lineage import Row

_STAMP = len("YYYYMMDD-HHMMSS-")
_FLAGS = {"inspect": [], "read": ["--stats"], "verify": ["--verify"]}


def run_of(row: Row | None) -> Path | None:
    """The run that a row is, or that its checkpoint is of."""
    if row is None:
        return None
    if row.run is not None:
        return row.run.path
    return row.checkpoint.run if row.checkpoint is not None else None


def command(
    action: str, row: Row | None, found: Found, marked: Path | None = None, tensor: str | None = None
) -> list[str] | None:
    """The arguments of `daisy` behind an action on a row; None where there is none now.

    `marked` is the checkpoint that others are compared with, and `tensor` the one under the cursor.
    """
    if action in ("prune", "resume"):
        run = run_of(row)
        return ["runs", action, run.name] if run is not None else None
    if row is None or row.kind == "gone":
        return None
    path = row.run.id if row.run is not None else shown_path(row.path)
    if action in _FLAGS:
        return ["inspect", path, *_FLAGS[action]]
    if action == "differ":
        return ["inspect", shown_path(marked), "--diff", path, "--stats"] if marked is not None else None
    if action == "histogram":
        return ["inspect", path, "--histogram", tensor] if tensor is not None else None
    if action == "warm_start":
        return ["train", "CONFIG", "-p", path]
    if action == "export":
        return ["export", path, "--out", copy_name(row, found)]
    return ["chat", path] if action == "chat" else None


def copy_name(row: Row, found: Found) -> str:
    """Where a copy of a row's checkpoint goes unless something else is said: a folder that is not there yet."""
    run = run_of(row)
    name = f"{run.name[_STAMP:] or run.name}-{row.path.name}" if run is not None else f"{row.path.name}-copy"
    taken = {entry.name for entry in found.checkpoints}
    free = next(number for number in count(1) if _numbered(name, number) not in taken)
    return f"{BESIDE}/{_numbered(name, free)}"


def newest(run: Path, found: Found) -> str | None:
    """The name of the checkpoint that a run goes on from; None where it has none."""
    own = [entry.name for entry in found.checkpoints if entry.run == run and entry.complete]
    return own[-1] if own else None


def place_of(rows: Sequence[Row], wanted: Path | None) -> int | None:
    """The row of a path, whatever links lead to it."""
    if wanted is None:
        return None
    real = os.path.realpath(wanted)
    return next((index for index, row in enumerate(rows) if os.path.realpath(row.path) == real), None)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
