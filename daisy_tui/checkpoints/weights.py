"""Figures of checkpoints' weights, read once in a thread that can be asked how far it is, and be stopped.

They are kept by the weights' hash, as the manifest has it: a copy of a checkpoint has its figures too, and one that was
written anew under an old name has none. numpy is imported by the reading alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from core.checkpoint.format import MODEL_FILE
from core.checkpoint.inspect import Inspection
from core.errors import DaisyError
from daisy_tui.checkpoints.checkpoint_look import Look
from daisy_tui.checkpoints.checkpoint_text import shown_path

if TYPE_CHECKING:
    from core.checkpoint.statistics import Histogram, Movement, TensorStatistics

_KEPT = 64
_BINS = 48


class ReadingStoppedError(DaisyError):
    """A reading that was ended because nobody wants it any more."""


class Reading:
    """How far one reading is: bytes `done` of `total`. `what` says in words what is read."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.done, self.total = 0, 0
        self._is_stopped = False

    def stop(self) -> None:
        """Have it end at the next piece."""
        self._is_stopped = True

    def report(self, done: int, total: int) -> None:
        """Take down how far it is; called by the thread that reads. Raises ReadingStoppedError."""
        if self._is_stopped:
            raise ReadingStoppedError(f"{self.what}: stopped")
        self.done, self.total = done, total


class Weights:
    """The figures that were read. What asks gives None at once where they were not; what reads takes its time."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def statistics(self, of: Inspection) -> dict[str, TensorStatistics] | None:
        """Of every tensor, by its name."""
        found: dict[str, TensorStatistics] | None = self._known.get(("statistics", _hash(of)))
        return found

    def movements(self, left: Inspection, right: Inspection) -> list[Movement] | None:
        """How far the tensors of two are apart, what moved most first."""
        found: list[Movement] | None = self._known.get(("movements", _hash(left), _hash(right)))
        return found

    def histogram(self, of: Inspection, tensor: str) -> Histogram | None:
        """Of one tensor."""
        found: Histogram | None = self._known.get(("histogram", _hash(of), tensor))
        return found

    def read_statistics(self, of: Inspection, reading: Reading) -> None:
        """Read a checkpoint's weights. Raises CheckpointError, ReadingStoppedError."""
        from core.checkpoint.statistics import statistics

        found = {entry.name: entry for entry in statistics(of.folder, reading.report)}
        self._keep(found, "statistics", _hash(of))

    def read_movements(self, left: Inspection, right: Inspection, reading: Reading) -> None:
        """Read the weights of two. Raises CheckpointError, ReadingStoppedError."""
        from core.checkpoint.statistics import movements

        self._keep(movements(left.folder, right.folder, reading.report), "movements", _hash(left), _hash(right))

    def read_histogram(self, of: Inspection, tensor: str, reading: Reading) -> None:
        """Read one tensor. Raises CheckpointError, ReadingStoppedError."""
        from core.checkpoint.statistics import histogram

        self._keep(histogram(of.folder, tensor, _BINS, reading.report), "histogram", _hash(of), tensor)

    def _keep(self, found: Any, *key: str) -> None:
        self._known[key] = found
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


class Job(NamedTuple):
    """Something to be read: `key` tells it from others, `what` says it in words, `bytes` are about what it reads."""

    key: tuple[str, ...]
    what: str
    bytes: int
    read: Callable[[Reading], None]


def job_for(weights: Weights, look: Look, part: str, tensor: str | None) -> Job | None:
    """What would have to be read for a part of the pane; None where all is known or nothing is to be read.

    `tensor` is the one whose histogram is wanted.
    """
    here, other = look.inspection, look.other
    if here is None:
        return None
    name = shown_path(look.path)
    key: tuple[str, ...]
    if part == "difference" and other is not None and look.comparison is not None:
        if look.comparison.same_weights or weights.movements(other, here) is not None:
            return None
        key, read = ("movements", _hash(other), _hash(here)), partial(weights.read_movements, other, here)
        return Job(key, f"comparing {shown_path(other.folder)} and {name}", weight_bytes(other, here), read)
    if part == "tensors" and tensor is not None and weights.histogram(here, tensor) is None:
        size = next((info.end - info.begin for info in here.tensors if info.name == tensor), 0)
        key, read = ("histogram", _hash(here), tensor), partial(weights.read_histogram, here, tensor)
        return Job(key, f"reading {tensor} of {name}", size, read)
    if part in ("tensors", "layers") and weights.statistics(here) is None:
        key, read = ("statistics", _hash(here)), partial(weights.read_statistics, here)
        return Job(key, f"reading {name}", weight_bytes(here), read)
    return None


def weight_bytes(*inspections: Inspection) -> int:
    """How much there is to read."""
    return sum(file.bytes for i in inspections for file in i.files if file.name == MODEL_FILE)


def _hash(of: Inspection) -> str:
    return next(file.sha256 for file in of.files if file.name == MODEL_FILE)
