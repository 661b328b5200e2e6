"""Which checkpoint a name means, and which one a run has come to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from core.checkpoint.format import MANIFEST_FILE, META_FILE, MODEL_FILE, CheckpointError, complete_checkpoints
from core.runs.directory import RunDirectory, RunError, find_run
from server.settings import ServeUsageError

RUNS = Path("runs")
_STAMP = len("YYYYMMDD-HHMMSS-")


class Source(NamedTuple):
    """A checkpoint, or a run whose latest one is meant. `name` is what clients call the model."""

    name: str
    aliases: tuple[str, ...]
    checkpoint: Path | None = None
    run: RunDirectory | None = None

    def folder(self) -> Path | None:
        """The folder of the checkpoint that is meant now, which is no link; None where the run has none yet."""
        if self.run is not None:
            return latest(self.run)
        assert self.checkpoint is not None
        return self.checkpoint.resolve() if self.checkpoint.exists() else self.checkpoint


def source_of(name: str, *, follow: bool = False) -> Source:
    """What a name means: a checkpoint's path, or a run by path, id, name, unique prefix, or `latest`.

    To be followed a run need not have a checkpoint yet. Raises CheckpointError or RunError where the name means
    neither, ServeUsageError where a checkpoint is to be followed.
    """
    given = Path(name)
    try:
        is_run = (given / "config.yaml").is_file()
        is_checkpoint = any((given / file).exists() for file in (MANIFEST_FILE, META_FILE, MODEL_FILE))
    except OSError as error:
        raise CheckpointError(f"{name[:80]}: no such checkpoint or run: {error.strerror}") from error
    if not is_run and is_checkpoint:
        if follow:
            raise ServeUsageError(f"{name}: a checkpoint does not change; --follow takes a run")
        own = given.resolve()
        beside = own.parent.parent
        called = beside.name[_STAMP:] if (beside / "config.yaml").is_file() else own.name
        return Source(called or own.name, tuple({name, own.name, str(own)} - {called}), checkpoint=given)
    if is_run:
        return _source(RunDirectory(given))
    try:
        run = find_run(RUNS, name, usable=None if follow else _has_checkpoint)
    except RunError:
        if given.exists() or len(given.parts) > 1:
            raise CheckpointError(f"{given}: neither a checkpoint (no {MANIFEST_FILE}) nor a run") from None
        raise
    return _source(run)


def latest(run: RunDirectory) -> Path | None:
    """The complete checkpoint that a run has come to; None before the first."""
    with suppress(OSError, RuntimeError):  # a link that leads nowhere, or to itself
        link = (run.checkpoints / "latest").resolve()
        if (link / MANIFEST_FILE).is_file():
            return link
    return next((path.resolve() for path in [*complete_checkpoints(run.checkpoints)][-1:]), None)


def _has_checkpoint(run: RunDirectory) -> bool:
    return any(complete_checkpoints(run.checkpoints))


def _source(run: RunDirectory) -> Source:
    own = run.path.resolve().name
    return Source(own[_STAMP:] or own, (own,), run=run)
