"""The progress that a command tells with `--progress-json`, read back where a screen runs it as a child."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from core.text import duration, size


class Told(NamedTuple):
    """How far a command is: bytes `done` of `total`, `rate` of them a second, seconds to go; None where unknown."""

    what: str
    done: int
    total: int | None
    detail: str
    rate: float
    eta_s: float | None

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def words(self) -> str:
        """What matters most comes first, because a narrow terminal cuts the end."""
        of = f" of {size(self.total)}" if self.total else ""
        eta = f"ETA {duration(self.eta_s)}" if self.eta_s is not None else ""
        return ", ".join(part for part in (eta, f"{size(self.done)}{of}", f"{size(self.rate)}/s", self.detail) if part)


def told(line: str) -> Told | None:
    """The progress in a line; None for a line that says something else."""
    if not line.startswith('{"progress"'):
        return None
    try:
        values: Any = json.loads(line)["progress"]
        total, eta = values["total"], values["eta_s"]
        return Told(
            what=str(values["what"]),
            done=int(values["done"]),
            total=None if total is None else int(total),
            detail=str(values["detail"]),
            rate=float(values["rate"]),
            eta_s=None if eta is None else float(eta),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
