"""Compared runs as a table, a column each: their figures, and below them the config values in which they differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rich.style import Style
from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from core.text import printable
from daisy_tui.cutting import cut_apart, cut_end
from daisy_tui.glyphs import state_glyph
from daisy_tui.lines import colours_for, look
from daisy_tui.naming import told_apart
from daisy_tui.runs.comparing import ABSENT, Comparison
from daisy_tui.runs.comparison_text import BEST, figure_rows, value_text

_LONGEST = 32


class _Rows(NamedTuple):
    """What the table shows: its heads, and its rows with the key first."""

    heads: list[Text]
    rows: list[list[Text]]


class CompareTable(DataTable[Text]):
    """The table; what has not changed in it is left alone."""

    def __init__(self) -> None:
        super().__init__(id="compare-table", cursor_type="row", zebra_stripes=True, cell_padding=1)
        self._shown = _Rows([], [])

    def show(self, comparison: Comparison, paths: tuple[Path, ...], styles: Mapping[Path, int]) -> None:
        """Show a comparison of the runs at these paths, with the looks that their lines have."""
        self.set_class(not paths, "-empty")
        now = self._rows_of(comparison, [styles[path] for path in paths])
        before, self._shown = self._shown, now
        if now.heads == before.heads and [row[0] for row in now.rows] == [row[0] for row in before.rows]:
            for place, (row, old) in enumerate(zip(now.rows, before.rows, strict=True)):
                for column, (cell, was) in enumerate(zip(row, old, strict=True)):
                    if cell != was:
                        self.update_cell_at(Coordinate(place, column), cell, update_width=True)
            return
        cursor, scroll = self.cursor_coordinate, self.scroll_offset
        self.clear(columns=True)
        self.add_columns(*now.heads)
        self.fixed_columns = 1
        for row in now.rows:
            self.add_row(*row)
        if now.rows:
            self.move_cursor(row=min(cursor.row, len(now.rows) - 1), animate=False, scroll=False)
            self.scroll_to(*scroll, animate=False)

    def _rows_of(self, comparison: Comparison, styles: list[int]) -> _Rows:
        figures = comparison.figures
        colours = colours_for(dark=self.app.current_theme.dark, ansi=self.app.native_ansi_color)
        looks = [look(style, colours) for style in styles]
        heads = [Text("")]
        names = [_plain(name) for name in told_apart([(one.id, one.name) for one in figures])]
        for line, name in zip(looks, cut_apart(names, _LONGEST), strict=True):
            heads.append(Text.assemble((line.sample, Style(color=line.rich_colour)), " ", name))
        rows = [[Text(label), *map(_figure, cells)] for label, cells in figure_rows(figures)]
        for one, cell in zip(figures, rows[0][1:], strict=True):
            cell.plain = f"{state_glyph(one.state).sign} {one.state}"
        if len(figures) > 1:
            said = f"{len(comparison.differences)} differ, {comparison.same:,} same"
            rows.append(
                [Text("config", Style(bold=True)), Text(said, Style(dim=True)), *(Text("") for _ in figures[1:])]
            )
            rows += [[_value(key), *map(_config, values)] for key, values in comparison.differences]
        return _Rows(heads, rows)


def _figure(text: str) -> Text:
    return Text(text, Style(bold=True) if text.endswith(BEST) else Style())


def _config(value: object) -> Text:
    return Text("-", Style(dim=True)) if value is ABSENT else _value(value_text(value))


def _value(text: str) -> Text:
    return Text(cut_end(_plain(text), _LONGEST), no_wrap=True)


def _plain(text: str) -> str:
    return printable(text).replace("\n", " ")
