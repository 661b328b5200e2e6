"""Which run or checkpoint a name means, wherever it is typed: on the command line or in a form; and what several runs
are called among each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from core.checkpoint.format import MANIFEST_FILE, META_FILE, MODEL_FILE, CheckpointError, complete_checkpoints
from core.runs.directory import RunDirectory, RunError, find_run

RUNS = Path("runs")
_ID = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-.*", re.DOTALL)
_OF_ONE_DAY = ("{3}:{4}", "{3}:{4}:{5}")
_OF_DAYS = ("{1}-{2}", "{1}-{2} {3}:{4}", "{1}-{2} {3}:{4}:{5}", "{0}-{1}-{2} {3}:{4}:{5}")


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


def told_apart(runs: Sequence[tuple[str, str]]) -> list[str]:
    """What runs, each by its id and its name, are called among each other: those of one name by when they began too.

    `demo 11:04` where that tells them apart, or `demo 03-01`, `demo 03-01 11:04` and so on; else their ids.
    """
    alike: dict[str, list[str]] = {}
    for run_id, name in runs:
        alike.setdefault(name, []).append(run_id)
    called = {name: dict(zip(ids, _apart(name, ids), strict=True)) for name, ids in alike.items()}
    return [called[name][run_id] for run_id, name in runs]


def _apart(name: str, ids: list[str]) -> list[str]:
    began = [found.groups() for run_id in ids if (found := _ID.fullmatch(run_id))]
    if len(ids) == 1 or len(began) < len(ids):
        return [name] if len(ids) == 1 else ids
    for form in _OF_ONE_DAY if len({time[:3] for time in began}) == 1 else _OF_DAYS:
        titles = [f"{name} {form.format(*time)}" for time in began]
        if len(set(titles)) == len(ids):
            return titles
    return ids


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
