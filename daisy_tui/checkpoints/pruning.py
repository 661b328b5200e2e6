"""Which checkpoints of a run may go: never the last, the best, or one that another run began from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.checkpoint.format import complete_checkpoints
from core.checkpoint.retention import Retention, Saved, saved_checkpoints, superfluous
from core.runs.directory import RunDirectory, RunError, read_object


@dataclass(frozen=True)
class Pruning:
    """What would go and what it frees, in bytes; what stays because another run descends from it; what is no
    complete checkpoint and is left alone."""

    going: tuple[Saved, ...]
    frees: int
    descended: tuple[Path, ...]
    incomplete: tuple[Path, ...]


def pruning(run: RunDirectory, retention: Retention, others: Iterable[RunDirectory]) -> Pruning:
    """What retention would remove from a run."""
    saved = saved_checkpoints(run.checkpoints)
    parents = {parent for other in others for parent in _parents(other)}
    candidates = superfluous(saved, retention)
    descended = tuple(item.path for item in candidates if item.path.resolve() in parents)
    going = tuple(item for item in candidates if item.path not in descended)
    whole = set(complete_checkpoints(run.checkpoints))
    rest = [path for path in run.checkpoints.glob("step_*") if path not in whole] if run.checkpoints.is_dir() else []
    return Pruning(going, sum(folder_bytes(item.path) for item in going), descended, tuple(sorted(rest)))


def folder_bytes(folder: Path) -> int:
    """The sizes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _parents(run: RunDirectory) -> list[Path]:
    try:
        parent = read_object(run.run).get("parent")
    except RunError:
        return []
    return [Path(parent).resolve()] if isinstance(parent, str) else []
