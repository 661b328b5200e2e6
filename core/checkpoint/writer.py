"""Checkpoints of a running training, written by a thread behind its back.

Training waits for one copy of the state in memory and no longer; the file, its hash and the disk are the thread's.
One save at a time: the next one waits for the one before. Rejected: writing in place, which stops every device for
as long as the disk takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.checkpoint.format import checkpoint_name
from core.checkpoint.retention import Retention, best, saved_checkpoints, superfluous
from core.checkpoint.save import Saving, point_link, remove_unfinished


@dataclass(frozen=True)
class Outcome:
    """How one save ended: a `path` where it is saved, and what went to make room; a `failure` where something failed.

    Without a `path` nothing was saved and everything is as it was. With both it is saved, and what failed was
    the link or the removal of what retention lets go.
    """

    step: int
    tokens: int
    path: Path | None = None
    removed: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class _Snapshot:
    """What one checkpoint holds; the tensors are copies in memory."""

    weights: dict[str, Tensor]
    state: dict[str, Tensor]
    meta: dict[str, Any]
    files: dict[str, bytes]


class CheckpointWriter:
    """Writes the checkpoints of one folder, keeps its links and its retention."""

    def __init__(self, folder: Path, retention: Retention) -> None:
        self._folder = folder
        self._retention = retention
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Outcome] | None = None
        self._outcomes: list[Outcome] = []
        remove_unfinished(folder)

    def write(
        self,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        meta: dict[str, Any],
        files: Mapping[str, bytes],
    ) -> None:
        """Wait for the save before, copy the state of this step to memory, and go on while it is written.

        `meta` holds `step` and `tokens`.
        """
        self._collect(wait=True)
        snapshot = _Snapshot(_copied(weights), _copied(state), meta, dict(files))
        self._pending = self._thread.submit(self._write, snapshot)

    def outcomes(self, *, wait: bool = False) -> list[Outcome]:
        """How the saves have ended that were not told before; with `wait` also the one under way."""
        self._collect(wait)
        told, self._outcomes = self._outcomes, []
        return told

    def _collect(self, wait: bool) -> None:
        if self._pending is not None and (wait or self._pending.done()):
            self._outcomes.append(self._pending.result())
            self._pending = None

    def _write(self, snapshot: _Snapshot) -> Outcome:
        step, tokens = snapshot.meta["step"], snapshot.meta["tokens"]
        if broken := [name for name, weight in snapshot.weights.items() if not torch.isfinite(weight).all()]:
            return Outcome(step, tokens, failure=f"weights are not finite ({', '.join(broken[:3])})")
        saving = Saving(self._folder / checkpoint_name(step))
        try:
            saving.begin()
            saving.write_model(snapshot.weights)
            saving.write_state(0, snapshot.state)
            for name, content in snapshot.files.items():
                saving.write_file(name, content)
            path = saving.commit(snapshot.meta)
        except OSError as error:
            saving.abandon()
            return Outcome(step, tokens, failure=error.strerror or str(error))
        try:
            point_link(self._folder / "latest", path)
            return Outcome(step, tokens, path, self._tidy(step))
        except OSError as error:
            return Outcome(step, tokens, path, failure=error.strerror or str(error))

    def _tidy(self, step: int) -> tuple[str, ...]:
        """Point `best` at the best checkpoint and remove those that retention lets go. Returns their names.

        Those of later steps than the one just written are not this run's doing: they neither count nor go.
        """
        checkpoints = [saved for saved in saved_checkpoints(self._folder) if saved.step <= step]
        if (lowest := best(checkpoints)) is not None:
            point_link(self._folder / "best", lowest.path)
        removed = []
        for saved in superfluous(checkpoints, self._retention):
            hidden = Saving(saved.path).staging
            saved.path.rename(hidden)  # at once no checkpoint any more, however long its removal takes
            shutil.rmtree(hidden, ignore_errors=True)
            removed.append(saved.path.name)
        return tuple(removed)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
