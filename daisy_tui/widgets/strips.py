"""Rows of a plot as Textual's strips, and what is laid over them: a cursor, or columns that are chosen."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from daisy_tui.widgets.plot import Row

_EMPTY = " ┈┊"  # cells that a cursor covers; in others the line stays


def strip_of(row: Row, style: Callable[[str], Style]) -> Strip:
    """A row in styles by the names of its parts."""
    return Strip([Segment(text, style(part)) for text, part in row if text])


def with_cursor(strip: Strip, column: int, style: Style) -> Strip:
    """A strip with a cursor in one column."""
    cell = strip.crop(column, column + 1)
    if cell.text in _EMPTY:
        cell = Strip([Segment("│", style)], 1)
    else:
        cell = cell.apply_style(Style(bold=True, bgcolor=style.bgcolor))
    return Strip.join([strip.crop(0, column), cell, strip.crop(column + 1, strip.cell_length)])


def with_chosen(strip: Strip, begin: int, end: int, style: Style) -> Strip:
    """A strip with the columns from `begin` to before `end` in a style."""
    chosen = strip.crop(begin, end).apply_style(style)
    return Strip.join([strip.crop(0, begin), chosen, strip.crop(end, strip.cell_length)])
