"""The curves of a run: the numbers of metrics.jsonl by dotted name, read as they are appended, narrowed for a chart.

`Curves` knows the two record files of a run, and nothing of who draws. Series are called `train_loss`, `lr.head_params`
or `val.x.loss`; null and words such as "nan" are NaN in them. A point that a resume overtook, because a later line of
its series has the same step or an earlier one, is dropped here and stays in the file.
"""

from __future__ import annotations

import math
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.runs.appended import Appended, Block
from core.runs.directory import RunDirectory
from core.runs.shapes import Numbers, Reader, record, records
from core.runs.trusted import END_OF_TIME, EVENTS, METRICS, MOST_WHOLE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)

# Events that are marked on curves; WENT_BACK is what metrics show of a resume that no event tells of.
MARKED = frozenset({"resumed", "restarted", "checkpoint", "eval", "request", "warning"})
WENT_BACK = "went_back"
# What each x lies below; it is unknown where it is beyond, or below zero.
_BOUNDS = {"step": float(MOST_WHOLE), "tokens": float(MOST_WHOLE), "time": END_OF_TIME}


class Mark(NamedTuple):
    """Something that happened to a run: `kind` is one of MARKED or WENT_BACK, `time` in seconds of the time of day."""

    step: int | None
    tokens: int | None
    time: float | None
    kind: str
    text: str


class Envelope(NamedTuple):
    """A curve in as many columns as the arrays are long, by the finite values in each; NaN where there is none.

    `gap` says where a value that is not finite lies, so that no line is drawn through it.
    """

    least: Floats
    most: Floats
    first: Floats
    last: Floats
    gap: NDArray[np.bool_]


class Curve(NamedTuple):
    """The points of a series in the order of `x`; `y` is NaN for gaps. Good until the next `refresh`."""

    x: Floats
    y: Floats

    def envelope(self, width: int, low: float | None = None, high: float | None = None) -> Envelope:
        """The curve from `low` to `high` (both included; without them the first and the last x) in `width` columns."""
        nothing = np.full(width, np.nan)
        result = Envelope(nothing, nothing.copy(), nothing.copy(), nothing.copy(), np.zeros(width, bool))
        if not len(self.x):
            return result
        low, high = self.x[0] if low is None else low, self.x[-1] if high is None else high
        bounds = np.searchsorted(self.x, np.linspace(low, high, width + 1))
        bounds[-1] = np.searchsorted(self.x, high, side="right")
        filled = np.flatnonzero(np.diff(bounds) > 0)
        if not len(filled):
            return result
        begins, ends, y = bounds[filled], bounds[filled + 1], self.y[: bounds[-1]]
        result.least[filled], result.most[filled] = np.minimum.reduceat(y, begins), np.maximum.reduceat(y, begins)
        result.first[filled], result.last[filled] = y[begins], y[ends - 1]
        for column in filled[np.isnan(result.least[filled])]:
            inside = y[bounds[column] : bounds[column + 1]]
            result.gap[column] = True
            finite = inside[np.isfinite(inside)]
            figures = (finite.min(), finite.max(), finite[0], finite[-1]) if len(finite) else (np.nan,) * 4
            for values, figure in zip(result[:4], figures, strict=True):
                values[column] = figure
        return result


class Curves:
    """The curves of a run, as far as its files go; those of `names` are read along from the first `refresh` on.

    Raises OSError for a file that is there and cannot be read.
    """

    def __init__(self, run: RunDirectory, *names: str) -> None:
        self._metrics, self._events = Appended(run.metrics), Appended(run.events)
        self._columns = {"step": Growing(np.float64)}
        self._series = {name: _Series() for name in names}
        self._told: list[Mark] = []
        self._forget()

    def refresh(self) -> bool:
        """Take up what the files have gained; whether that is anything. It costs what is new."""
        changed = False
        for block in self._metrics.new():
            changed = True
            if block.number == 0:
                self._forget()
            numbers = self._reader.read(block, {*self._columns, *self._series})
            self._names |= numbers.names
            self._add(block, numbers, self._columns, self._series)
            self._watch_steps(block)
        for block in self._events.new():
            changed = True
            if block.number == 0:
                self._told.clear()
            self._told += (_event_mark(event) for event in records(block, EVENTS) if event.get("event") in MARKED)
        return changed

    def names(self) -> list[str]:
        """The series that there are so far."""
        return sorted(self._names)

    def load(self, *names: str) -> None:
        """Read series from the beginning that are not read yet, all in one go, and along from now on."""
        series = {name: _Series() for name in names if name not in self._series}
        for block in self._metrics.again() if series else ():
            numbers = self._reader.read(block, series)
            self._names |= numbers.names
            self._add(block, numbers, {}, series)
        self._series |= series

    def curve(self, name: str, x: str = "step") -> Curve:
        """A series over `step`, `tokens` or `time`; empty where there is none of this name.

        What was not asked for before is read from the beginning. Points whose tokens or time no line tells have
        those of the point before.
        """
        self.load(name)
        if x not in self._columns:
            column = {x: Growing(np.float64)}
            for block in self._metrics.again():
                self._add(block, self._reader.read(block, {x}), column, {})
            self._columns |= column
        series = self._series[name]
        if x not in series.x:
            series.x[x] = Growing(np.float64)
            series.x[x].extend(_rising(self._columns[x].values[series.lines.values], series.x[x].values))
        return Curve(series.x[x].values, series.y.values)

    def marks(self) -> list[Mark]:
        """What happened, in the order of time. Of a step that went back after an event tells of a resume, only that."""
        marks, since = list(self._told), -math.inf
        for mark in self._went_back:
            until = math.inf if mark.time is None else mark.time
            kinds = {told.kind for told in self._told if told.time is not None and since < told.time <= until}
            if kinds.isdisjoint(("resumed", "restarted")):
                marks.append(mark)
            since = until
        return sorted(marks, key=lambda mark: -math.inf if mark.time is None else mark.time)

    def _forget(self) -> None:
        """What was read of a file that was replaced counts no more."""
        self._reader = Reader()
        self._columns = {name: Growing(np.float64) for name in self._columns}
        self._series = {name: _Series() for name in self._series}
        self._names: set[str] = set()
        self._went_back: list[Mark] = []
        self._last_step = -math.inf

    def _add(
        self, block: Block, numbers: Numbers, columns: dict[str, Growing[np.float64]], series: dict[str, _Series]
    ) -> None:
        for name, column in columns.items():
            lines, values = numbers.of(name)
            whole = np.full(len(block.last), np.nan)
            whole[lines] = np.where((values >= 0.0) & (values < _BOUNDS[name]), values, np.nan)
            column.extend(whole)
        for name, one in series.items():
            lines, values = numbers.of(name)
            one.extend(lines + block.number, values, self._columns)

    def _watch_steps(self, block: Block) -> None:
        """Note the lines whose step lies before that of the line before."""
        steps = self._columns["step"].values[block.number :]
        known = np.flatnonzero(~np.isnan(steps))
        for place in known[np.diff(steps[known], prepend=self._last_step) < 0].tolist():
            line = record(block.line(place), METRICS)
            self._went_back.append(_mark(line, WENT_BACK, "the run went on from an earlier step"))
        if len(known):
            self._last_step = float(steps[known[-1]])


class Growing(Generic[Kind]):
    """An array that grows at its end, where it can also be cut. `values` is good until the next of both."""

    def __init__(self, kind: type[Kind]) -> None:
        self._room = np.empty(64, kind)
        self._length = 0

    @property
    def values(self) -> NDArray[Kind]:
        return self._room[: self._length]

    def extend(self, values: NDArray[Kind]) -> None:
        """Add values at the end."""
        length = self._length + len(values)
        if length > len(self._room):
            room = np.empty(max(length, 2 * len(self._room)), self._room.dtype)
            room[: self._length] = self.values
            self._room = room
        self._room[self._length : length] = values
        self._length = length

    def cut(self, length: int) -> None:
        """Keep the first ones."""
        self._length = length


class _Series:
    """The points of one series that no resume has overtaken: their lines in the file, values, and x by name."""

    def __init__(self) -> None:
        self.lines = Growing(np.int64)
        self.y = Growing(np.float64)
        self.x = {"step": Growing(np.float64)}

    def extend(self, lines: Integers, values: Floats, columns: dict[str, Growing[np.float64]]) -> None:
        """Add the points of these lines; `columns` have an x for every line of the file."""
        steps = columns["step"].values[lines]
        placed = ~np.isnan(steps)
        if not placed.any():
            return
        lines, values, steps = lines[placed], values[placed], steps[placed]
        least_from_here = np.minimum.accumulate(steps[::-1])[::-1]
        overtaken_from = int(np.searchsorted(self.x["step"].values, least_from_here[0]))
        kept = np.append(steps[:-1] < least_from_here[1:], True)
        self.lines.cut(overtaken_from)
        self.lines.extend(lines[kept])
        self.y.cut(overtaken_from)
        self.y.extend(values[kept])
        for name, x in self.x.items():
            x.cut(overtaken_from)
            x.extend(_rising(columns[name].values[lines[kept]], x.values))


def _rising(x: Floats, before: Floats) -> Floats:
    """Behind `before`, an x that never falls, as a clock that is set back does; what is unknown stays where it was."""
    known = x[~np.isnan(x)]
    start = before[-1] if len(before) else known[0] if len(known) else 0.0
    rising: Floats = np.fmax.accumulate(np.append(start, x))[1:]
    return rising


def _event_mark(event: dict[str, Any]) -> Mark:
    kind: str = event["event"]
    if kind == "request":
        return _mark(event, kind, f"{event.get('what')}: {event.get('answer')}")
    if isinstance(scores := event.get("val"), dict):
        return _mark(event, kind, ", ".join(f"{name} {loss}" for name, loss in scores.items()))
    return _mark(event, kind, next((str(event[key]) for key in ("message", "reason", "path") if key in event), ""))


def _mark(record: dict[str, Any], kind: str, text: str) -> Mark:
    return Mark(record.get("step"), record.get("tokens"), record.get("time"), kind, text)
