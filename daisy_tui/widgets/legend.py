"""The rows around a plot: title and legend with values above, labels of the x axis below. Both follow the cursor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from core.runs.curves import Curve, Mark
from core.text import printable
from daisy_tui.cutting import cut_apart, cut_end
from daisy_tui.lines import Line, look
from daisy_tui.widgets.plot import Chart, Picture, Row
from daisy_tui.widgets.ticks import figure, place

_LONGEST = (40, 24, 16, 12, 8, 5, 3)  # labels, the first that fits
_GAP, _MORE = 2, 5  # between entries, and the room for "+12" behind them


def heading_rows(chart: Chart, width: int, height: int) -> int:
    """How many rows the heading of a chart takes."""
    most = 1 if height < 10 else 2 if height < 20 else 3
    return len(_entries(chart, None, width, most))


def heading(chart: Chart, frame: Picture, width: int, cursor: float | None) -> list[Row]:
    """The title, and the legend with the values at the cursor, or else the last ones in sight."""
    rows = _entries(chart, cursor, width, max(1, frame.heading_rows))[: frame.heading_rows]
    return rows + [[] for _ in range(frame.heading_rows - len(rows))]


def footing(chart: Chart, frame: Picture, cursor: float | None, chosen: tuple[int, int] | None = None) -> Row:
    """The labels of the x axis; with a cursor, where it is and what happened there; or else the columns `chosen`."""
    here = said = ""
    column = 0
    if chosen is not None:
        first, last = sorted(chosen)
        column = (first + last) // 2
        low, high = (place(chart.x, frame.centre(end) - chart.origin) for end in (first - 0.5, last + 0.5))
        here = f" {low} to {high} "
    elif cursor is not None and frame.low <= cursor <= frame.high:
        column = frame.column(cursor)
        here = f" {place(chart.x, cursor - chart.origin)} "
        said = "; ".join(dict.fromkeys(_words(mark) for _, mark in frame.marks(chart, column)))
    begin = max(0, min(column - len(here) // 2, frame.width - len(here)))
    said_at, said = _beside(begin, begin + len(here), said, frame.width)
    cells = list(" " * frame.width)
    for tick in frame.ticks:
        left = frame.column(tick.at) - (len(tick.label) - 1) // 2
        left = max(0, min(left, frame.width - len(tick.label)))
        right = left + len(tick.label)
        if right < min(begin, said_at) or left > max(begin + len(here), said_at + len(said)) or not here:
            cells[left:right] = tick.label
    cells[said_at : said_at + len(said)] = said
    before, here, after = ("".join(cells[:begin]), here[: frame.width], "".join(cells[begin + len(here) :]))
    return [(" " * frame.left + before, "label"), (here, "place"), (after, "label")]


def value_at(curve: Curve, x: float, reach: float) -> float | None:
    """The value of the point nearest to `x`; None further than `reach` beyond the ends of the curve."""
    if not len(curve.x) or x < curve.x[0] - reach or x > curve.x[-1] + reach:
        return None
    return float(curve.y[nearest(curve, x)])


def nearest(curve: Curve, x: float) -> int:
    """The index of the point nearest to `x`, of a curve that has points."""
    after = int(np.searchsorted(curve.x, x))
    candidates = [index for index in (after - 1, after) if 0 <= index < len(curve.x)]
    return min(candidates, key=lambda index: float(abs(curve.x[index] - x)))


def _beside(begin: int, end: int, said: str, width: int) -> tuple[int, str]:
    """Where something is said beside the columns from `begin` to `end`, where there is room; and as much as fits."""
    right, left = width - end - 1, begin - 1
    if right >= len(said) or right >= left:
        return end + 1, cut_end(said, right)
    said = cut_end(said, left)
    return begin - 1 - len(said), said


def _words(mark: Mark) -> str:
    return _plain(f"{mark.kind.replace('_', ' ')} {mark.text}".strip())


def _entries(chart: Chart, cursor: float | None, width: int, most_rows: int) -> list[Row]:
    """The title and the legend in at most so many rows, with labels as long as they fit."""
    lines = [line for line in chart.lines if not line.faint]
    span = chart.span or (0.0, 0.0)
    figures = [_figure(line.curve, chart, cursor, (span[1] - span[0]) / max(1, width)) for line in lines]
    words = (chart.unit, "log" if chart.log_y else "", "zoomed" if chart.view is not None else "")
    said = ", ".join(word for word in words if word)
    title = [(f" {_plain(chart.title)} ", "title"), (f" {_plain(said)}" if said else "", "label")]
    rows: list[Row] = []
    for longest in _LONGEST:
        labels = cut_apart([_plain(line.label) for line in lines], longest)
        entries = [_entry(*one) for one in zip(lines, labels, figures, strict=True)]
        rows, is_whole = _flow(title, entries, width, most_rows)
        if is_whole:
            break
    return rows


def _figure(curve: Curve, chart: Chart, cursor: float | None, reach: float) -> str:
    """The value at the cursor, or else the last one in sight; of another column with where that is: `3.4 @500`."""
    if cursor is not None:
        value = value_at(curve, cursor, reach)
        if value is None:
            return "–"
        at = float(curve.x[nearest(curve, cursor)])
        where = place(chart.x, at - chart.origin).removeprefix("step ").removesuffix(" tokens")
        return figure(value) + (f" @{where}" if abs(at - cursor) > reach else "")
    end = len(curve.x) if chart.view is None else int(np.searchsorted(curve.x, chart.view[1], side="right"))
    return figure(float(curve.y[end - 1])) if end else "–"


def _entry(line: Line, label: str, text: str) -> Row:
    """A line's look, name and figure, with how much it was smoothed where it was: `● train ~0.9 3.2145`."""
    said = " ".join(filter(None, (label, f"~{line.smoothing:g}" if line.smoothing else "")))
    return [(look(line.style).sample, f"line-{line.style}"), (f" {said} " if said else " ", "label"), (text, "value")]


def _flow(title: Row, entries: Sequence[Row], width: int, most_rows: int) -> tuple[list[Row], bool]:
    """Entries behind the title and in rows below it, and whether all had room; the last row tells how many had none."""
    rows, used = [list(title)], _length(title)
    for number, entry in enumerate(entries):
        length = _length(entry) + _GAP
        is_last_row, is_last = len(rows) == most_rows, number == len(entries) - 1
        if used + length > width - (_MORE if is_last_row and not is_last else 0):
            if is_last_row:
                rows[-1].append((f"  +{len(entries) - number}", "label"))
                return rows, False
            rows.append([])
            used = 0
        rows[-1] += [(" " * _GAP, "label"), *entry]
        used += length
    return rows, True


def _plain(text: str) -> str:
    return printable(text).replace("\n", " ")


def _length(row: Row) -> int:
    return sum(cell_len(text) for text, _ in row)
