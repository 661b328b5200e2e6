"""In which order runs are listed: what they can be sorted by, and where unknown values go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from daisy_tui.runs.watching import RunRow

NEWEST: Final = "newest"
# What is sorted by: the field of a row, and whether the largest comes first.
FIELDS: Final = {
    "name": ("name", False),
    "state": ("state", False),
    "progress": ("progress", True),
    "started": ("started", True),
    "step": ("step", True),
    "tokens": ("tokens", True),
    "train_loss": ("train_loss", False),
    "val_loss": ("val_loss", False),
    "tokens_per_s": ("tokens_per_s", True),
    "mfu": ("mfu", True),
    "eta_s": ("eta_s", False),
    "devices": ("devices", False),
}
STALLED: Final = "stalled"
_STATES = (STALLED, "running", "stopping", "starting", "queued", "failed", "lost", "stopped", "finished")


class Order(NamedTuple):
    """`by` is NEWEST or one of FIELDS; `is_reversed` turns what comes first for it round."""

    by: str = NEWEST
    is_reversed: bool = False

    @property
    def next(self) -> Order:
        """The order that comes after this one in the circle of all."""
        every = (NEWEST, *FIELDS)
        return Order(every[(every.index(self.by) + 1) % len(every)])

    @property
    def is_descending(self) -> bool:
        """Whether the largest comes first."""
        return FIELDS[self.by][1] != self.is_reversed if self.by in FIELDS else not self.is_reversed


def ordered(rows: Sequence[RunRow], order: Order) -> list[RunRow]:
    """Rows that come with the newest first in another order; equals stay so, and unknown ones are last."""
    if order.by == NEWEST:
        return [*reversed(rows)] if order.is_reversed else [*rows]
    keyed = [(_key(row, order.by), row) for row in rows]
    known = [(key, row) for key, row in keyed if key is not None]
    known.sort(key=itemgetter(0), reverse=order.is_descending)
    return [row for _, row in known] + [row for key, row in keyed if key is None]


def counts(rows: Iterable[RunRow]) -> dict[str, int]:
    """How many runs there are of each state, in the order in which they concern people."""
    found: dict[str, int] = {}
    for row in rows:
        found[shown_state(row)] = found.get(shown_state(row), 0) + 1
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def shown_state(row: RunRow) -> str:
    """The state of a run as people are told it: one that runs and makes no progress is stalled."""
    return STALLED if row.stalls else row.state


def _key(row: RunRow, by: str) -> float | str | None:
    if by == "name":
        return row.name.casefold()
    if by == "state":
        return _place(shown_state(row))
    if by == "devices":
        return ",".join(row.devices) or None if row.alive else None
    value = getattr(row, FIELDS[by][0])
    return None if value is None else float(value)


def _place(state: str) -> int:
    return _STATES.index(state) if state in _STATES else len(_STATES)
