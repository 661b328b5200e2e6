"""Which checkpoints of a run stay: the last ones, the best ones, and one in so many tokens.

Without `keep_last` everything stays. What was kept stays kept as a run goes on, except that a better
checkpoint takes the place of a best one and a later one that of a last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.checkpoint.format import CheckpointError, checkpoint_name, complete_checkpoints, read_meta


@dataclass(frozen=True)
class Retention:
    """`keep_last` checkpoints (None: all), `keep_best` by validation loss, one in `keep_every` tokens (0: none)."""

    keep_last: int | None = None
    keep_best: int = 1
    keep_every: int = 0


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint. `val_loss` is the mean over the validation sets, where it was evaluated at its step."""

    path: Path
    step: int
    tokens: int
    val_loss: float | None


def saved_checkpoints(folder: Path) -> list[Saved]:
    """The complete checkpoints in a folder, the oldest first; those whose meta.json is of another step are left out."""
    found = []
    for path in complete_checkpoints(folder):
        try:
            meta = read_meta(path)
            if path.name == checkpoint_name(int(meta["step"])):
                found.append(Saved(path, int(meta["step"]), int(meta["tokens"]), meta.get("val_loss")))
        except (CheckpointError, KeyError, TypeError, ValueError):
            continue
    return found


def best(checkpoints: Iterable[Saved]) -> Saved | None:
    """The one of the lowest validation loss, the earlier one of equals; None where none was evaluated."""
    ranked = _ranked(checkpoints)
    return ranked[0] if ranked else None


def superfluous(checkpoints: list[Saved], retention: Retention) -> list[Saved]:
    """Those that may go. `checkpoints` are in the order of their steps."""
    if retention.keep_last is None:
        return []
    kept = {saved.path for saved in checkpoints[-max(1, retention.keep_last) :]}
    kept |= {saved.path for saved in _ranked(checkpoints)[: retention.keep_best]}
    if retention.keep_every:
        spans: set[int] = set()
        for saved in checkpoints:
            span = saved.tokens // retention.keep_every
            if span and span not in spans:
                spans.add(span)
                kept.add(saved.path)
    return [saved for saved in checkpoints if saved.path not in kept]


def _ranked(checkpoints: Iterable[Saved]) -> list[Saved]:
    evaluated = [(saved.val_loss, saved.step, saved) for saved in checkpoints if saved.val_loss is not None]
    return [saved for _, _, saved in sorted(evaluated, key=lambda item: item[:2])]
