"""A chart as rows of text: strokes on axes with ticks, marks and gaps. legend.py writes what stands around it.

    loss nats   ●── train 3.2145   ▲╌╌ val 3.3012
     4.0┤⢇
        │⠈⠢⣀⡀
     3.5┤   ⠈⠉⠒⠒⠤⠤⠤⠤●
        └─┬───◆──┬───◆──┬
          0     500    1k

`picture` costs what is drawn and is kept; what follows the cursor costs a row or two and is not part of it. The pieces
of a row name their style: a part of the chart, or `line-2` for the look of a line. Knows no widget.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from core.runs.curves import Mark
from core.text import plural, printable
from daisy_tui.lines import DASHES, Line, look
from daisy_tui.widgets.canvas import BLANK, DOTS_ACROSS, Canvas, Stroke, stroke
from daisy_tui.widgets.ticks import Tick, elapsed, fitting, linear, logarithmic, place, whole

LEAST_WIDTH, LEAST_HEIGHT = 16, 3

# Styles of the canvas beside those of lines; a faint line has its own and _FAINT.
_GRID, _EVENT, _WARNING = -2, -3, -4
_PARTS = {BLANK: "grid", _GRID: "grid", _EVENT: "event", _WARNING: "warning"}
_FAINT = 1 << 16


class _Event(NamedTuple):
    """How an event stands on the axis, whether it is drawn upward, and what its sign means."""

    sign: str
    style: str
    is_drawn_upward: bool
    meaning: str


# What matters most comes first.
_EVENTS = {
    "warning": _Event("!", "warning", True, "warning"),
    "went_back": _Event("↶", "event", True, "went back"),
    "resumed": _Event("↻", "event", True, "resumed"),
    "restarted": _Event("↻", "event", True, "resumed"),
    "request": _Event("▸", "event", False, "request"),
    "checkpoint": _Event("◆", "event", False, "checkpoint"),
    "eval": _Event("┴", "axis", False, "evaluation"),
}
_OTHER = _Event("▸", "event", False, "request")
_RANKS = {kind: rank for rank, kind in enumerate(_EVENTS)}
_GAP_SIGN = "×"
# All signs of a chart, for a help.
SIGNS = (
    ("◆", "a checkpoint"),
    ("┴", "an evaluation"),
    ("▸", "a request: save, evaluate, set, stop"),
    ("↻", "resumed, or restarted after a failure"),
    ("↶", "gone on from an earlier step"),
    ("!", "a warning; with the cursor there the axis says which"),
    (_GAP_SIGN, "a value that is no finite number"),
    ("┊", "leads up from ↻, ↶ and !"),
    ("~0.9", "smoothed so much; what was measured lies fainter behind"),
)
_LABEL_WIDTH, _PADDING, _NEAR = 5, 0.03, 0.05

Row = list[tuple[str, str]]


class Chart(NamedTuple):
    """What is to be drawn. `x` is step, tokens or time; `view` from where to where; time is counted from `origin`."""

    lines: Sequence[Line]
    marks: Sequence[Mark]
    title: str
    unit: str
    x: str
    log_y: bool
    view: tuple[float, float] | None
    origin: float
    why: str = ""

    @property
    def span(self) -> tuple[float, float] | None:
        """From which x to which x is drawn; None where there is no point."""
        return self.view or self.whole

    @property
    def whole(self) -> tuple[float, float] | None:
        """All there is, from `origin` on where it begins near that."""
        if (found := extent(self.lines)) is None:
            return None
        low, high = found
        return (self.origin if 0 <= low - self.origin < _NEAR * (high - low) else low), high


class Picture(NamedTuple):
    """A chart drawn: the rows between heading and footing, and where on them which x lies.

    `left` and `width` are the columns of the plot, `low` and `high` its x; so many rows are to be put around.
    """

    rows: list[Row]
    left: int
    width: int
    low: float
    high: float
    ticks: Sequence[Tick] = ()
    heading_rows: int = 1
    footing_rows: int = 0
    is_empty: bool = False

    def column(self, x: float) -> int:
        """The column, counted from `left`, that an x lies in; it may be outside."""
        column = int((x - self.low) / (self.high - self.low) * self.width // 1)
        return column - 1 if x == self.high else column

    def centre(self, column: float) -> float:
        """The x in the middle of a column."""
        return self.low + (column + 0.5) / self.width * (self.high - self.low)

    def marks(self, chart: Chart, column: int | None = None) -> list[tuple[int, Mark]]:
        """The marks in sight with their columns; only those of one column where that is given."""
        found = []
        for mark in chart.marks:
            x = {"step": mark.step, "tokens": mark.tokens, "time": mark.time}[chart.x]
            if x is not None and self.low <= x <= self.high and column in (None, self.column(x)):
                found.append((self.column(x), mark))
        return found


def extent(lines: Iterable[Line]) -> tuple[float, float] | None:
    """The first and the last x of all lines; None where there is no point."""
    ends = [(float(line.curve.x[0]), float(line.curve.x[-1])) for line in lines if len(line.curve.x)]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def picture(chart: Chart, width: int, height: int, heading_rows: int = 1) -> Picture:
    """A chart in so many cells, `heading_rows` of them left free above. Where there is nothing to draw, it says why."""
    has_footing, has_axis = height >= 4, height >= 5
    rows = max(1, height - heading_rows - has_footing - has_axis)
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return _sentence("too small for a chart", width, height, 0)
    if (span := chart.span) is None:
        return _sentence(_why_empty(chart), width, height, heading_rows)
    low, high = span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5)
    left = _LABEL_WIDTH + 1
    strokes = _strokes(chart, low, high, width - left)
    values = _value_range(strokes, chart.log_y)
    if values is None:
        return _sentence(_why_empty(chart), width, height, heading_rows)
    levels = _levels(values, rows, chart.log_y)
    if (widest := max((len(label) for label in levels.values()), default=0)) > _LABEL_WIDTH:
        left = widest + 1
        strokes = _strokes(chart, low, high, width - left)
    frame = Picture([], left, width - left, low, high, _ticks(chart, low, high, width - left))
    canvas = _canvas(chart, strokes, values, frame.width, rows)
    axis = _axis(chart, frame, strokes, canvas)
    canvas.fill(slice(None), np.array(sorted(levels), dtype=np.int64), "┈", _GRID)
    for number, pieces in enumerate(canvas.rows()):
        label = levels.get(number, "")
        row = [(f"{label:>{left - 1}}", "label"), ("┤" if label else "│", "axis")]
        frame.rows.append(row + [(text, _part(style)) for text, style in pieces])
    frame.rows.extend([axis] * has_axis)
    return frame._replace(heading_rows=heading_rows, footing_rows=int(has_footing))


def signs_of(marks: Iterable[Mark]) -> str:
    """What the signs of some marks mean, each said once: `◆ checkpoint   ┴ evaluation`."""
    kinds = {_EVENTS.get(mark.kind, _OTHER) for mark in marks}
    known = dict.fromkeys(f"{one.sign} {one.meaning}" for one in reversed(_EVENTS.values()) if one in kinds)
    return "   ".join(known)


def _strokes(chart: Chart, low: float, high: float, width: int) -> list[Stroke]:
    return [stroke(line.curve, DOTS_ACROSS * width, low, high, log=chart.log_y) for line in chart.lines]


def _value_range(strokes: Sequence[Stroke], log: bool) -> tuple[float, float] | None:
    """From the least to the most of all strokes with some room, in the numbers of the axis; None: nothing is drawn."""
    drawn = [one for one in strokes if not one.is_empty]
    if not drawn:
        return None
    low, high = min(float(np.nanmin(one.least)) for one in drawn), max(float(np.nanmax(one.most)) for one in drawn)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.1 if log else 0.1 * abs(high) or 1.0
    else:
        room = _PADDING * (high - low)
    return (0.0 if 0 <= low < room and not log else low - room), high + room


def _levels(values: tuple[float, float], rows: int, log: bool) -> dict[int, str]:
    """The labels of the y axis by row."""
    low, high = values
    most = max(2, rows // 2 if rows < 8 else rows // 3)
    ticks: list[Tick] = []
    while len(ticks) < 2 and most <= rows:
        ticks = logarithmic(10 ** max(low, -300), 10 ** min(high, 300), most) if log else linear(low, high, most)
        most += 1
    places = [(tick.label, np.log10(tick.at) if log else tick.at) for tick in ticks]
    return {max(0, min(rows - 1, int((high - at) / (high - low) * rows))): label for label, at in places}


def _canvas(chart: Chart, strokes: Sequence[Stroke], values: tuple[float, float], width: int, rows: int) -> Canvas:
    """The strokes, faint and broad ones below the others; marks on ends and on points that stand alone."""
    canvas = Canvas(width, rows)
    pairs = list(zip(chart.lines, strokes, strict=True))[::-1]
    for line, one in sorted(pairs, key=lambda pair: (not pair[0].faint, -_breadth(pair[1], values))):
        dashes = () if line.faint else DASHES[look(line.style).dashes]
        canvas.draw(one, *values, line.style + _FAINT * line.faint, dashes)
    has_ends = sum(not line.faint for line in chart.lines) > 1
    for line, one in pairs:
        drawn = np.flatnonzero(~np.isnan(one.least))
        if line.faint or not len(drawn):
            continue
        alone = _alone(one) if len(drawn) <= width // 2 else []
        for column in [*alone, *([int(drawn[-1])] if has_ends else [])]:
            row = int((values[1] - one.last[column]) / (values[1] - values[0]) * rows)
            canvas.put(column // DOTS_ACROSS, max(0, min(rows - 1, row)), look(line.style).mark, line.style)
    return canvas


def _breadth(one: Stroke, values: tuple[float, float]) -> int:
    """How broad a stroke is for its length, in powers of two, so that the order does not change with every point."""
    if one.is_empty:
        return 0
    return int(np.log2(1 + 100 * np.nanmean(one.most - one.least) / (values[1] - values[0])))


def _alone(one: Stroke) -> list[int]:
    """The columns of single points that no line leads to: one dot is easily overlooked."""
    is_reached = one.joined | np.append(False, one.joined[:-1])
    columns: list[int] = np.flatnonzero((one.least == one.most) & ~is_reached).tolist()
    return columns


def _ticks(chart: Chart, low: float, high: float, width: int) -> list[Tick]:
    if chart.x != "time":
        return fitting(whole, low, high, width)
    since = fitting(elapsed, low - chart.origin, high - chart.origin, width)
    return [Tick(tick.at + chart.origin, tick.label) for tick in since]


def _axis(chart: Chart, frame: Picture, strokes: Sequence[Stroke], canvas: Canvas) -> Row:
    """The x axis with its ticks, the marks, and a sign where a value is not finite; guides upward on the canvas."""
    cells = [("─", "axis")] * frame.width
    for tick in frame.ticks:
        if 0 <= (column := frame.column(tick.at)) < frame.width:
            cells[column] = ("┬", "axis")
    guides = set()
    for column, mark in sorted(frame.marks(chart), key=lambda found: -_RANKS.get(found[1].kind, 0)):
        sign, style, is_drawn_upward, _ = _EVENTS.get(mark.kind, _OTHER)
        cells[column] = ("┼" if sign == "┴" and cells[column][0] in "┬┼" else sign, style)
        if is_drawn_upward:
            guides.add((column, _WARNING if style == "warning" else _EVENT))
    gaps = [one.gap for line, one in zip(chart.lines, strokes, strict=True) if not line.faint]
    for column in np.flatnonzero(np.any(gaps, axis=0)).tolist() if gaps else ():
        cells[column // DOTS_ACROSS] = (_GAP_SIGN, "warning")
    for column, style_number in guides if len(guides) <= frame.width // 6 else ():
        canvas.fill(slice(column, column + 1), slice(None), "┊", style_number)
    row: Row = [(" " * (frame.left - 1) + "└", "axis")]
    return row + [("".join(sign for sign, _ in run), style) for style, run in groupby(cells, lambda cell: cell[1])]


def _part(style: int) -> str:
    """The name of a style of the canvas."""
    if style >= _FAINT:
        return f"faint-{style - _FAINT}"
    return f"line-{style}" if style >= 0 else _PARTS[style]


def _why_empty(chart: Chart) -> str:
    """Why there is nothing to draw, and what would help."""
    values = [line.curve.y for line in chart.lines]
    points = sum(len(one) for one in values)
    if not points:
        return chart.why or ("no points yet" if chart.lines else "nothing chosen to draw")
    if not any(np.isfinite(one).any() for one in values):
        return f"no finite value in {plural(points, 'point')}"
    if chart.log_y and not any((one > 0).any() for one in values):
        return "no value is above zero, which is all that a logarithmic axis can show"
    low, high = (place(chart.x, x - chart.origin) for x in chart.span or (chart.origin, chart.origin))
    return f"no points from {low} to {high}; 0 shows all"


def _sentence(words: str, width: int, height: int, heading_rows: int) -> Picture:
    """A picture of words."""
    rows: list[Row] = [[] for _ in range(height - heading_rows)]
    lines = textwrap.wrap(printable(words), max(1, width - 2))[: len(rows)]
    for number, line in enumerate(lines, (len(rows) - len(lines)) // 2):
        rows[number] = [(line.center(width), "empty")]
    return Picture(rows, 0, width, 0.0, 1.0, heading_rows=heading_rows, is_empty=True)
