"""Which run or checkpoint a name means, wherever it is typed: on the command line or in a form."""

from __future__ import annotations

from pathlib import Path

from core.checkpoint.format import MANIFEST_FILE, META_FILE, MODEL_FILE, CheckpointError, complete_checkpoints
from core.runs.directory import RunDirectory, RunError, find_run

RUNS = Path("runs")


def checkpoint_folder(name: str) -> Path:
    """A checkpoint by its path, or the latest one of a run by its path, id, name, unique prefix, or `latest`.

    A checkpoint need not be complete; whoever reads it says what is missing. Raises CheckpointError or
    RunError where the name means neither.
    """
    given = Path(name)
    if given.is_dir() and (given / "config.yaml").is_file():
        return _latest(RunDirectory(given))
    if given.is_dir() and any((given / file).exists() for file in (MANIFEST_FILE, META_FILE, MODEL_FILE)):
        return given
    try:
        run = find_run(RUNS, name, usable=lambda run: any(complete_checkpoints(run.checkpoints)))
    except RunError:
        if problem := _neither(given):
            raise CheckpointError(problem) from None
        raise
    return _latest(run)


def _latest(run: RunDirectory) -> Path:
    link = run.checkpoints / "latest"
    if (link / MANIFEST_FILE).is_file():
        return link
    found = list(complete_checkpoints(run.checkpoints))
    if not found:
        raise RunError(f"{run.checkpoints}: this run has no complete checkpoint yet")
    return found[-1]


def _neither(given: Path) -> str | None:
    """What lies at a path that is neither a checkpoint nor a run, and what would work."""
    if given.is_dir():
        inside = [path.name for path in complete_checkpoints(given)]
        if inside:
            return f"{given}: a folder of checkpoints; name one of them, such as {given / inside[-1]}"
        return f"{given}: neither a checkpoint (no {MANIFEST_FILE}) nor a run (no config.yaml)"
    if given.exists():
        beside = given.parent if (given.parent / MANIFEST_FILE).exists() else None
        return f"{given}: a file; a checkpoint is a folder{f', here {beside}' if beside else ''}"
    if given.is_symlink():
        return f"{given}: its link points at {given.readlink()}, which is not there"
    return f"{given}: no such checkpoint or run" if len(given.parts) > 1 else None
