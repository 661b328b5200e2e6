"""What was set while a run trained: `changes.jsonl`, one object a change, with the step from which it holds.

config.yaml stays as the run was started. A run that goes on from an earlier checkpoint meets the same changes at the
same steps, and so takes the same steps again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from core.files import write_atomic
from core.runs.directory import RunDirectory, RunError, read_records

# Keys that `set` takes; `cooldown` (its only value is `now`) becomes the cooldown_frac that begins it.
IN_FLIGHT = frozenset(
    {"lr_scale", "target_tokens", "val_loss_every_tokens", "checkpoint_per_n_tokens", "log_every_steps", "cooldown"}
)


class Change(NamedTuple):
    """Values by key, as an override takes them, in force for the steps after `step`."""

    step: int
    values: dict[str, str]

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.values.items()]


def record_change(run: RunDirectory, change: Change) -> None:
    """Note a change."""
    run.append(run.changes, change._asdict())


def read_changes(run: RunDirectory, up_to: int | None = None) -> list[Change]:
    """The changes to a run in the order of their steps; with `up_to` those in force at that step."""
    changes = []
    try:
        for record in read_records(run.changes):
            changes.append(Change(record["step"], record["values"]))
    except KeyError as error:
        what = f"its record {len(changes) + 1} is no change, for it has no {error}, or a wrong one"
        raise RunError(f"{run.changes}: {what}; remove that line") from error
    except OSError as error:
        raise RunError(f"{run.changes}: cannot be read: {error.strerror or error}") from error
    return sorted((c for c in changes if up_to is None or c.step <= up_to), key=lambda change: change.step)


def drop_changes(run: RunDirectory, up_to: int, keys: Iterable[str]) -> None:
    """Keep the changes that are still to come after a step, without these keys: those before are in the config now."""
    taken = set(keys)
    to_come = [change for change in read_changes(run) if change.step > up_to]
    left = [(c.step, {key: value for key, value in c.values.items() if key not in taken}) for c in to_come]
    lines = [json.dumps({"step": step, "values": values}) + "\n" for step, values in left if values]
    write_atomic(run.changes, "".join(lines).encode())


def changes_in_words(run: RunDirectory) -> list[str]:
    """What was set, as overrides; or why that cannot be told."""
    try:
        return overrides_of(read_changes(run))
    except RunError as error:
        return [str(error)]


def overrides_of(changes: Iterable[Change]) -> list[str]:
    """Changes as overrides, the later over the earlier."""
    merged: dict[str, str] = {}
    for change in changes:
        merged |= change.values
    return Change(0, merged).overrides
