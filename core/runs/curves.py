"""The curves of a run: the numbers of metrics.jsonl by dotted name, read as they are appended, narrowed for a chart.

`Curves` knows the two record files of a run, and nothing of who draws. Series are called `train_loss`, `lr.head_params`
or `val.x.loss`; null and words such as "nan" are NaN in them. A point that a resume overtook, because a later line of
its series has the same step or an earlier one, is dropped here and stays in the file.

json takes ten seconds for a million records. Their lines come in a few shapes, though, and differ only in their values:
so colons and newlines are found in blocks of bytes, the text before each is compared with that of one line, and only
the values wanted are read, all lines at once and to the same doubles. Whatever is different goes through json, which
the tests hold all of it against. Rejected: an index beside the file, which would not help whoever opens a run for the
first time, and which the terminal would have to write where it only reads.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.runs.directory import RunDirectory

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Kind = TypeVar("Kind", bound=np.generic)

# Events that are marked on curves; WENT_BACK is what metrics show of a resume that no event tells of.
MARKED = frozenset({"resumed", "restarted", "checkpoint", "eval", "request", "warning"})
WENT_BACK = "went_back"

_BLOCK, _PIECE = 1 << 22, 1 << 18  # bytes: what is made of them stays in the third cache, and in the second
_MARGIN = 256  # bytes before a block's first line: the text before a mark can be looked at wherever it is
_SMALL = 1 << 15  # bytes that json reads sooner than shapes are found
_ALIKE, _SHAPES = 16, 4  # lines that are worth a shape, and shapes that are tried among lines of as many colons
_TEXT = 24  # bytes of the longest number that Python writes
_TAIL = 64  # bytes by which a file is known again
_COLON, _NEWLINE, _SPACE, _ZERO, _POINT, _OPEN = b":\n 0.{"
_TENS = np.cumprod(np.append(np.longdouble(1), np.full(22, np.longdouble(10))))
_WHOLE = np.uint64(1 << 53 if np.finfo(np.longdouble).nmant < 63 else (1 << 64) - 1)
# A member of an object: the text up to its colon, its key, and its value unless that is an object.
_MEMBER = re.compile(rb'([\s{},]*"([^"\\:]*)"\s*):\s*([^\s{},:]*)')


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
            self._told += (_event_mark(event) for event in _records(block) if str(event.get("event")) in MARKED)
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
            whole[lines] = values
            column.extend(whole)
        for name, one in series.items():
            lines, values = numbers.of(name)
            one.extend(lines + block.number, values, self._columns)

    def _watch_steps(self, block: Block) -> None:
        """Note the lines whose step lies before that of the line before."""
        steps = self._columns["step"].values[block.number :]
        known = np.flatnonzero(~np.isnan(steps))
        for place in known[np.diff(steps[known], prepend=self._last_step) < 0].tolist():
            record = _record(block.line(place))
            self._went_back.append(_mark(record, WENT_BACK, "the run went on from an earlier step"))
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
    kind = str(event["event"])
    if kind == "request":
        return _mark(event, kind, f"{event.get('what')}: {event.get('answer')}")
    if isinstance(scores := event.get("val"), dict):
        return _mark(event, kind, ", ".join(f"{name} {loss}" for name, loss in scores.items()))
    return _mark(event, kind, next((str(event[key]) for key in ("message", "reason", "path") if key in event), ""))


def _mark(record: dict[str, Any], kind: str, text: str) -> Mark:
    step, tokens, time = record.get("step"), record.get("tokens"), record.get("time")
    return Mark(
        int(step) if isinstance(step, int | float) else None,
        int(tokens) if isinstance(tokens, int | float) else None,
        float(time) if isinstance(time, int | float) else None,
        kind,
        text,
    )


class Block(NamedTuple):
    """Whole lines of a file: `room` is their bytes behind a margin, `number` that of the first one in the file.

    `marks` are the places of colons and newlines in the bytes, `last` the places of the newlines among the marks.
    """

    room: Bytes
    number: int
    marks: Integers
    last: Integers

    @classmethod
    def of(cls, room: Bytes, number: int, scratch: NDArray[np.bool_]) -> Block:
        """The block of these bytes, in pieces as long as `scratch` (2, piece), which stay in the nearest cache."""
        data, piece = room[_MARGIN:], scratch.shape[1]
        found = [np.empty(0, np.int64)]
        for begin in range(0, len(data), piece):
            part = data[begin : begin + piece]
            is_mark, is_end = scratch[:, : len(part)]
            np.equal(part, _COLON, out=is_mark)
            is_mark |= np.equal(part, _NEWLINE, out=is_end)
            found.append(np.flatnonzero(is_mark) + begin)
        marks = np.concatenate(found)
        return cls(room, number, marks, np.flatnonzero(data[marks] == _NEWLINE))

    @property
    def data(self) -> Bytes:
        """The bytes of the lines."""
        return self.room[_MARGIN:]

    def line(self, place: int) -> bytes:
        """One line, by its place in this block, without its newline."""
        begin = self.marks[self.last[place - 1]] + 1 if place else 0
        return self.data[begin : self.marks[self.last[place]]].tobytes()

    def before(self, width: int) -> NDArray[np.void]:
        """By place, the `width` bytes before it (as many as the margin has at most), without copying them."""
        room = self.room[_MARGIN - width :]
        return np.ndarray((len(room) - width + 1,), f"V{width}", room, strides=(1,))


class Appended:
    """The lines of a file that grows. A line that is still being written comes when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines = 0
        self._known: tuple[int, int] | None = None
        self._tail = b""

    def new(self) -> Iterator[Block]:
        """The lines since the last call. Where another file lies there now: an empty block 0, and then its lines."""
        try:
            file = FileIO(self._path)
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            if not self._continues(file, status):
                self._offset = self._lines = 0
                yield Block.of(np.empty(_MARGIN, np.uint8), 0, np.empty((2, 1), bool))
            self._known = status.st_dev, status.st_ino
            for block, after in _blocks(file, self._offset, status.st_size, self._lines):
                self._offset, self._lines = after, block.number + len(block.last)
                self._tail = block.data[-_TAIL:].tobytes()
                yield block

    def again(self) -> Iterator[Block]:
        """All lines that `new` gave, from the first; none where another file lies there now."""
        try:
            file = FileIO(self._path)
        except FileNotFoundError:
            return
        with file:
            if self._continues(file, os.fstat(file.fileno())):
                yield from (block for block, _ in _blocks(file, 0, self._offset, 0))

    def _continues(self, file: FileIO, status: os.stat_result) -> bool:
        """Whether a file holds what was read so far."""
        if self._offset == 0:
            return True
        file.seek(max(0, self._offset - len(self._tail)))
        return (status.st_dev, status.st_ino) == self._known and file.read(len(self._tail)) == self._tail


def _blocks(file: FileIO, begin: int, end: int, number: int) -> Iterator[tuple[Block, int]]:
    """The whole lines between two places of a file in blocks, which share their bytes, and the place behind each."""
    size, buffer, scratch = _BLOCK, bytearray(), np.empty((2, max(1, min(_PIECE, end - begin))), bool)
    while begin < end:
        wanted = _MARGIN + min(size, end - begin)
        if len(buffer) < wanted:
            buffer = bytearray(wanted)
        file.seek(begin)
        length = file.readinto(memoryview(buffer)[_MARGIN:wanted]) or 0
        after = buffer.rfind(b"\n", _MARGIN, _MARGIN + length) + 1
        if after:
            block = Block.of(np.frombuffer(buffer, np.uint8, after), number, scratch)
            begin, number = begin + after - _MARGIN, number + len(block.last)
            yield block, begin
        elif length < size or begin + length >= end:
            return
        else:
            size *= 2  # a line longer than a block


class Numbers:
    """The numbers of a block's lines: `names` are all that it has, and `of` gives those that were wanted."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._found: dict[str, list[tuple[Integers, Floats]]] = {}

    def add(self, name: str, lines: Integers, values: Floats) -> None:
        """Add what lines, by their places in the block, have under a name."""
        self._found.setdefault(name, []).append((lines, values))

    def of(self, name: str) -> tuple[Integers, Floats]:
        """The places of the lines that have a number under a name, in order, and the numbers."""
        if name not in self._found:
            return np.empty(0, np.int64), np.empty(0)
        lines, values = (np.concatenate(parts) for parts in zip(*self._found[name], strict=True))
        order = np.argsort(lines, kind="stable")
        return lines[order], values[order]


class Reader:
    """Reads numbers as `read_as_json` does, and sooner: in whole lines, what is not wanted is not looked at.

    It knows the shapes of lines from one block to the next.
    """

    def __init__(self) -> None:
        self._shapes: dict[int, list[_Shape]] = {}

    def read(self, block: Block, wanted: Iterable[str]) -> Numbers:
        """The numbers under the names wanted."""
        if len(block.data) < _SMALL:
            return read_as_json(block, wanted)
        names, sizes = frozenset(wanted), np.diff(block.last, prepend=-1)
        last = np.array([len(sizes) - 1])
        numbers = read_as_json(block, (), last)  # its names: what stands behind the values wanted is not compared
        others = [
            self._read_shapes(block, np.flatnonzero(sizes == size), size, names, numbers)
            for size in np.flatnonzero(np.bincount(sizes)).tolist()
        ]
        return read_as_json(block, names, np.concatenate(others), numbers)

    def _read_shapes(
        self, block: Block, lines: Integers, size: int, wanted: frozenset[str], numbers: Numbers
    ) -> Integers:
        """Read lines of `size` marks that have one of a few shapes; returns the others."""
        before, self._shapes[size] = self._shapes.get(size, []), []
        for _ in range(_SHAPES):
            if len(lines) < _ALIKE:
                break
            shape = before.pop(0) if before else self._shape(block.line(int(lines[0])), numbers)
            if shape is None:
                break
            fits = shape.read(block, lines, wanted, numbers)
            if fits.any():
                self._shapes[size].append(shape)
            lines = lines[~fits]
        return lines

    def _shape(self, line: bytes, numbers: Numbers) -> _Shape | None:
        """The shape of a line, whose names are told once, by those who find it."""
        shape = _Shape.of(line)
        numbers.names |= shape.names if shape is not None else set()
        return shape


def read_as_json(
    block: Block, wanted: Iterable[str], lines: Integers | None = None, numbers: Numbers | None = None
) -> Numbers:
    """The numbers under the names wanted, added to `numbers`, of all lines or of some, each parsed by itself."""
    numbers = numbers or Numbers()
    names = frozenset(wanted)
    found: dict[str, list[tuple[int, float]]] = {}
    for place in range(len(block.last)) if lines is None else lines.tolist():
        leaves = dict(_leaves(_record(block.line(place))))
        points = {name: point for name, value in leaves.items() if (point := _point(value)) is not None}
        numbers.names |= points.keys()
        for name in names & points.keys():
            found.setdefault(name, []).append((place, points[name]))
    for name, pairs in found.items():
        places, values = zip(*pairs, strict=True)
        numbers.add(name, np.array(places, np.int64), np.array(values, np.float64))
    return numbers


def _records(block: Block) -> list[dict[str, Any]]:
    return [_record(block.line(place)) for place in range(len(block.last))]


def _record(line: bytes) -> dict[str, Any]:
    """One record; an empty one for a line that was torn when its writer was killed."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _leaves(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _point(value: Any) -> float | None:
    """A value as a point: NaN for null and for what is not finite, also in words; None for what is no number."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.nan
    if not math.isfinite(number):
        return math.nan
    return None if isinstance(value, str) else number


class _Shape(NamedTuple):
    """What lines have in common that differ in their values only.

    `before` is the text between the value before it and each mark; `places` tells by name behind which mark the
    values are, and `names` those of them that are numbers.
    """

    before: list[bytes]
    places: dict[str, int]
    names: set[str]

    @classmethod
    def of(cls, line: bytes) -> _Shape | None:
        """The shape of a line; None where it holds more than objects of objects and plain values."""
        shape, end = cls([], {}, set()), 0
        path: list[str] = []
        key = ""
        while member := _MEMBER.match(line, end):
            text, name, value = member.groups()
            for brace in text.partition(b'"')[0].translate(None, b" \t\r,").decode():
                if brace == "{":
                    path.append(key)
                elif path:
                    path.pop()
            key, end = name.decode(errors="replace"), member.end()
            if value:
                dotted = ".".join([*path[1:], key])
                shape.places[dotted] = len(shape.before)
                shape.names.update([dotted] if _written(value) is not None else [])
            shape.before.append(text)
        shape.before.append(line[end:])
        whole = bool(path) and line[end:].translate(None, b" \t\r") == b"}" * len(path)
        return shape if whole and max(map(len, shape.before)) <= _MARGIN else None

    def read(self, block: Block, lines: Integers, wanted: frozenset[str], numbers: Numbers) -> NDArray[np.bool_]:
        """Read those of the lines, all with as many marks, that have this shape; returns which do.

        Texts are compared as far as the last value wanted stands, and the end, without which a line was torn; all of
        them where one that is wanted is not there.
        """
        places = {name: self.places[name] for name in self.places.keys() & wanted}
        firsts = block.last[lines] + 1 - len(self.before)
        whole, last = range(len(self.before)), max(places.values(), default=-1)
        fits = self._fits(block, firsts, whole if len(places) < len(wanted) else {*whole[: last + 2], whole[-1]})
        if not fits.all():
            lines, firsts = lines[fits], firsts[fits]
        for name, place in places.items():
            begins = block.marks[firsts + place] + 1
            begins += block.data[begins] == _SPACE
            ends = block.marks[firsts + (place + 1)] - len(self.before[place + 1])
            values, known = _read_values(block, begins, ends)
            numbers.add(name, lines[known], values[known])
        return fits

    def _fits(self, block: Block, firsts: Integers, places: Iterable[int]) -> NDArray[np.bool_]:
        """Which lines, by the places of their first marks among the marks, have the texts at these places."""
        begins = np.where(firsts > 0, block.marks[firsts - 1] + 1, 0)
        fits: NDArray[np.bool_] = block.marks[firsts] - len(self.before[0]) == begins
        for place in places:
            text = self.before[place]
            width = -(-len(text) // 8) * 8
            marks = block.marks[firsts + place]
            words = block.before(width)[marks].view(np.uint64).reshape(-1, width // 8)
            words &= np.frombuffer((b"\xff" * len(text)).rjust(width, b"\0"), np.uint64)
            differs = words != np.frombuffer(text.rjust(width, b"\0"), np.uint64)
            if differs.any():
                fits &= ~differs.any(axis=1)
            if text.lstrip().startswith(b"}"):  # which must not be the end of an empty object
                last = block.data[marks - len(text) - 1]
                fits &= (last > _SPACE) & (last != _OPEN)
        return fits


def _read_values(block: Block, begins: Integers, ends: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """The points that are written at these places, and which of the places hold one."""
    lengths = ends - begins
    width = min(_TEXT, -(-int(lengths.max(initial=1)) // 8) * 8)
    values, exact = _decimals(block.before(width)[ends].view(np.uint8).reshape(-1, width), lengths)
    known = np.ones(len(values), bool)
    for row in np.flatnonzero(~exact).tolist():
        point = _written(block.data[begins[row] : ends[row]].tobytes())
        values[row], known[row] = math.nan if point is None else point, point is not None
    return values, known


def _written(text: bytes) -> float | None:
    """The point that a value in JSON is."""
    try:
        return _point(float(text))
    except ValueError:
        pass
    try:
        return _point(json.loads(text))
    except ValueError:
        return None


def _decimals(text: Bytes, lengths: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """Numbers of digits with a point or without, that end with the rows of `text` (number, 8, 16 or 24).

    Returned with those that are exact. The digits make an integer of at most 19, joined in pairs and pairs of pairs. It
    is divided by a power of ten with more bits than a double has, and rounded: where it was half-way between two
    doubles, perhaps to the wrong one.
    """
    width = text.shape[1]
    columns = np.arange(width, dtype=np.int8)
    digits = text - np.uint8(_ZERO)
    digits *= columns >= np.clip(width - lengths, 0, width).astype(np.int8)[:, None]
    odd = np.flatnonzero(digits > 9)
    rows = odd // width
    point = np.full(len(text), -1, np.int8)
    point[rows] = odd % width
    exact = (np.bincount(rows, minlength=len(text)) < 2) & (lengths > 0) & (lengths <= width)
    exact[rows] &= text.ravel()[odd] == _POINT
    moved = np.empty_like(digits)
    moved.reshape(-1)[1:] = digits.reshape(-1)[:-1]
    moved[:, 0] = 0
    digits = np.where(columns <= point[:, None], moved, digits)  # the digits before the point close up
    pairs = digits.view(np.uint16)
    pairs = (pairs * np.uint16(10) + (pairs >> np.uint16(8))) & np.uint16(0xFF)
    fours = pairs.view(np.uint32)
    fours = (fours * np.uint32(100) + (fours >> np.uint32(16))) & np.uint32(0xFFFF)
    eights = fours.view(np.uint64)
    eights = (eights * np.uint64(10**4) + (eights >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    whole = eights @ np.array([10**16, 10**8, 1], np.uint64)[-eights.shape[1] :]
    places = np.where(point < 0, 0, width - 1 - point)
    exact &= (eights[:, 0] < 1000) | (width < _TEXT)
    exact &= (whole <= _WHOLE) & (places < len(_TENS))
    quotient = whole.astype(np.longdouble) / _TENS[np.minimum(places, len(_TENS) - 1)]
    values = quotient.astype(np.float64)
    left, step = np.abs(quotient - values).astype(np.float64), np.spacing(values)
    return values, exact & (left * 2 != step) & (left * 4 != step)
