"""Curves as braille: from points to one stroke a column of dots, and from strokes to characters. Everything in numpy.

A cell has two columns of four dots. A curve of any length becomes the least and the most of every column of dots
(`Curve.envelope`), joined with its neighbours except where a value is not finite; that is all that a terminal can show
of it. Rejected: a line between each two points, which costs what the run is long and drops NaN by joining over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.runs.curves import Curve, Envelope, Floats, Integers

BLANK = -1  # the style of a cell with nothing in it
DOTS_ACROSS, DOTS_DOWN = 2, 4

# The bit of each dot of a cell, by row and column: Unicode's order.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE, _SPACE = 0x2800, 0x20
# What is larger counts as infinite, so that an axis of it still has a length.
_LARGEST, _LARGEST_LOG = 1e300, 300.0

Flags = NDArray[np.bool_]


class Stroke(NamedTuple):
    """A curve in columns of dots, from the first to the last value of each over the least and the most.

    Values are those of the axis: on a logarithmic one their logarithms. NaN where nothing is drawn; `joined` says of
    a column whether the next one goes on from it, `gap` whether a value in it is not finite (or, on a logarithmic axis,
    not above zero).
    """

    least: Floats
    most: Floats
    first: Floats
    last: Floats
    joined: Flags
    gap: Flags

    @property
    def is_empty(self) -> bool:
        return bool(np.isnan(self.least).all())


def stroke(curve: Curve, width: int, low: float, high: float, *, log: bool = False) -> Stroke:
    """A curve from x `low` to `high` in `width` columns of dots, straight between points that lie columns apart."""
    found = _envelope(curve, width, low, high, log)
    figures = np.array(found[:4])
    is_filled = (np.abs(figures) <= (_LARGEST_LOG if log else _LARGEST)).all(axis=0)
    figures[:, ~is_filled] = np.nan
    gap = found.gap | (~np.isnan(found.least) & ~is_filled)
    filled = np.flatnonzero(is_filled)
    places, firsts, lasts, together = _with_neighbours(curve, filled, figures, gap, low, high, log)
    joined = np.zeros(width, bool)
    if len(places) > 1:
        columns = np.arange(width)
        pair = np.clip(np.searchsorted(places, columns, side="right") - 1, 0, len(places) - 2)
        reached = (columns >= places[pair]) & (columns <= places[pair + 1]) & together[pair]
        knots = np.stack((places - 1e-3, places + 1e-3), axis=1).ravel()
        between = np.interp(columns, knots, np.stack((firsts, lasts), axis=1).ravel())
        empty = reached & ~is_filled
        figures[:, empty] = between[empty]
        joined[:-1] = reached[:-1] & (columns[1:] <= places[pair[:-1] + 1])
        joined[:-1] &= ~np.isnan(figures[0, :-1]) & ~np.isnan(figures[0, 1:])
    return Stroke(figures[0], figures[1], figures[2], figures[3], joined, gap)


class Canvas:
    """Cells of `width` by `height`, each of one character and one style: a number, or BLANK."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = np.zeros((height, width), np.uint8)
        self._text = np.zeros((height, width), np.uint32)
        self._styles = np.full((height, width), BLANK, np.int32)

    def draw(self, one: Stroke, low: float, high: float, style: int, dashes: tuple[int, ...] = ()) -> None:
        """A stroke of as many columns as there are dots across, on an axis from `low` to `high`, over what is there.

        `dashes` are lengths along the line in dots, drawn and left out in turn; () is solid.
        """
        height = self.height * DOTS_DOWN
        if one.is_empty:
            return
        top, bottom, falls = _rows(one, low, high, height)
        rows = np.arange(height)[:, None]
        dots = (rows >= top) & (rows <= bottom)
        if dashes:
            lengths = np.where(np.isnan(one.least), 0, bottom - top + 1)
            along = np.cumsum(lengths) - lengths + np.where(falls, rows - top, bottom - rows)
            pattern = np.repeat(np.arange(len(dashes)) % 2 == 0, dashes)
            dots &= pattern[along % len(pattern)]
        bits = np.zeros_like(self._bits)
        for down, across in np.ndindex(DOTS_DOWN, DOTS_ACROSS):
            bits |= dots[down::DOTS_DOWN, across::DOTS_ACROSS] * np.uint8(_BITS[down][across])
        drawn = bits > 0  # what lay below gives way in whole cells, which have one colour only
        self._bits[drawn], self._styles[drawn] = bits[drawn], style

    def put(self, column: int, row: int, text: str, style: int) -> None:
        """Characters over what is there; what is beyond the edges is left out."""
        for place, character in enumerate(text, column):
            if 0 <= place < self.width and 0 <= row < self.height:
                self._text[row, place] = ord(character)
                self._styles[row, place] = style

    def fill(self, columns: Integers | slice, rows: Integers | slice, character: str, style: int) -> None:
        """A character in the cells of these columns and rows that have nothing in them."""
        empty = (self._bits == 0) & (self._text == 0)
        wanted = np.zeros_like(empty)
        wanted[rows, columns] = True
        self._text[empty & wanted] = ord(character)
        self._styles[empty & wanted] = style

    def rows(self) -> Iterator[list[tuple[str, int]]]:
        """Each row as pieces of one style; blanks count to the piece before them."""
        codes = np.where(self._bits > 0, self._bits.astype(np.uint32) + _BRAILLE, np.uint32(_SPACE))
        codes = np.where(self._text > 0, self._text, codes)
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        columns = np.arange(self.width)
        before = np.maximum.accumulate(np.where(self._styles != BLANK, columns, 0), axis=1)
        styles = np.take_along_axis(self._styles, before, axis=1)
        ends = styles[:, 1:] != styles[:, :-1]
        for row in range(self.height):
            bounds = [0, *(np.flatnonzero(ends[row]) + 1).tolist(), self.width]
            begin = row * self.width
            yield [(text[begin + left : begin + right], int(styles[row, left])) for left, right in pairwise(bounds)]


def _envelope(curve: Curve, width: int, low: float, high: float, log: bool) -> Envelope:
    """The envelope in the numbers of the axis. What a logarithmic axis cannot show is a gap."""
    found = curve.envelope(width, low, high)
    if not log:
        return found
    if (found.least <= 0).any():
        found = Curve(curve.x, np.where(curve.y > 0, curve.y, np.nan)).envelope(width, low, high)
    least, most, first, last = (np.log10(values) for values in found[:4])
    return Envelope(least, most, first, last, found.gap)


def _with_neighbours(
    curve: Curve, filled: Integers, figures: Floats, gap: Flags, low: float, high: float, log: bool
) -> tuple[Floats, Floats, Floats, Flags]:
    """The columns that have points, and the points just outside: where, from and to what value, and which go together.

    The last one says of each two that follow each other whether no gap lies between them.
    """
    width = len(gap)
    places, firsts, lasts = filled.astype(float), figures[2, filled], figures[3, filled]
    gaps = np.cumsum(gap)
    together = gaps[filled[1:]] - gaps[filled[:-1]] + gap[filled[:-1]] == 0
    begin, end = int(np.searchsorted(curve.x, low)), int(np.searchsorted(curve.x, high, side="right"))
    left_clear = not gap[: filled[0] + 1].any() if len(filled) else not gap.any()
    right_clear = not gap[filled[-1] :].any() if len(filled) else not gap.any()
    for index, at_front, is_clear in ((begin - 1, True, left_clear), (end, False, right_clear)):
        if not (0 <= index < len(curve.x)):
            continue
        value = curve.y[index]
        value = np.log10(value) if log and value > 0 else np.nan if log else value
        if not abs(value) <= (_LARGEST_LOG if log else _LARGEST):
            continue
        place = (curve.x[index] - low) / (high - low) * width - 0.5
        link = [is_clear] if len(places) else []
        where = 0 if at_front else len(places)
        places, firsts, lasts = (np.insert(a, where, v) for a, v in ((places, place), (firsts, value), (lasts, value)))
        together = np.insert(together, 0 if at_front else len(together), link)
    return places, firsts, lasts, together


def _rows(one: Stroke, low: float, high: float, height: int) -> tuple[Integers, Integers, Flags]:
    """The first and the last row of dots of each column, joined with its neighbours, and whether it is drawn downward.

    Columns without anything have their last row above their first one.
    """
    nothing = np.isnan(one.least)
    top, bottom, enter, leave = (
        np.clip(np.floor((high - np.where(nothing, low, values)) / (high - low) * height), 0, height - 1).astype(int)
        for values in (one.most, one.least, one.first, one.last)
    )
    falls = enter <= leave
    before, after = leave[:-1], enter[1:]
    down, up = one.joined[:-1] & (after > before), one.joined[:-1] & (after < before)
    middle = (before + after) // 2
    bottom[:-1] = np.where(down, np.maximum(bottom[:-1], middle), bottom[:-1])
    top[1:] = np.where(down, np.minimum(top[1:], middle + 1), top[1:])
    top[:-1] = np.where(up, np.minimum(top[:-1], middle + 1), top[:-1])
    bottom[1:] = np.where(up, np.maximum(bottom[1:], middle), bottom[1:])
    flat = enter == leave  # a straight piece of a line goes the way of its joints
    falls = np.where(flat & (np.append(up, False) | np.append(False, up)), False, falls)
    top[nothing], bottom[nothing] = height, -1
    return top, bottom, falls
