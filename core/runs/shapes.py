"""The numbers in the lines of metrics.jsonl by dotted name, as json gives them, and ten times as soon.

json takes ten seconds for a million records. Their lines come in a few shapes, though, and differ only in their values:
so the text before each colon is compared with that of one line, and only the values wanted are read, all lines at once
and to the same doubles. Whatever is different goes through json, which the tests hold all of it against. Rejected: an
index beside the file, which would not help whoever opens a run for the first time, and which the terminal would have to
write where it only reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.runs.appended import MARGIN, Block
from core.runs.decimals import WIDEST, read_decimals
from core.runs.follow import record_of
from core.runs.trusted import MOST, NO_FIELDS, Fields, parsed

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SMALL = 1 << 15  # bytes that json reads sooner than shapes are found
_ALIKE, _SHAPES = 16, 4  # lines that are worth a shape, and shapes that are tried among lines of as many colons
_WORD = 8  # bytes that are compared at once
_SPACE, _OPEN = b" {"
# A member of an object: the text up to its colon, its key, and its value unless that is an object.
_MEMBER = re.compile(rb'([\s{},]*"([^"\\:]*)"\s*):\s*([^\s{},:]*)')


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
        leaves = dict(_leaves(record(block.line(place))))
        points = {name: point for name, value in leaves.items() if (point := _point(value)) is not None}
        numbers.names |= points.keys()
        for name in names & points.keys():
            found.setdefault(name, []).append((place, points[name]))
    for name, pairs in found.items():
        places, values = zip(*pairs, strict=True)
        numbers.add(name, np.array(places, np.int64), np.array(values, np.float64))
    return numbers


def records(block: Block, fields: Fields = NO_FIELDS) -> list[dict[str, Any]]:
    """The records of a block, an empty one for each line that was torn."""
    return [record(block.line(place), fields) for place in range(len(block.last))]


def record(line: bytes, fields: Fields = NO_FIELDS) -> dict[str, Any]:
    """One record; an empty one for a line that was torn when its writer was killed."""
    return record_of(line, fields) or {}


def _leaves(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _point(value: Any) -> float | None:
    """A value as a point: NaN for null and for what no figure can be, such as infinity, also in words; None for what is
    no number."""
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
    if isinstance(value, str):
        return None if math.isfinite(number) else math.nan
    return number if -MOST < number < MOST else math.nan


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
        return shape if whole and max(map(len, shape.before)) <= MARGIN else None

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
            text, marks = self.before[place], block.marks[firsts + place]
            width = -(-len(text) // _WORD) * _WORD
            there = block.before(marks, width).view(np.uint64)
            words, masks = (np.frombuffer(part.rjust(width, b"\0"), np.uint64) for part in (text, b"\xff" * len(text)))
            for column, word, mask in zip(there.T, words, masks, strict=True):
                fits &= column & mask == word
            if text.lstrip().startswith(b"}"):  # which must not be the end of an empty object
                last = block.data[marks - len(text) - 1]
                fits &= (last > _SPACE) & (last != _OPEN)
        return fits


def _read_values(block: Block, begins: Integers, ends: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """The points that are written at these places, and which of the places hold one."""
    lengths = ends - begins
    width = min(WIDEST, -(-int(lengths.max(initial=1)) // 8) * 8)
    values, exact = read_decimals(block.before(ends, width), lengths)
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
        return _point(parsed(text))
    except ValueError:
        return None
