"""The runs as a table of words: which columns a width has room for, and what stands in each cell.

It knows no screen: a cell is text and the name of a colour, which says nothing that the text does not say too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from core.text import count, duration, percent, printable
from daisy_tui.glyphs import state_glyph
from daisy_tui.runs.overview import label
from daisy_tui.runs.runs_order import STALLED, shown_state
from daisy_tui.runs.sparklines import blocks

if TYPE_CHECKING:
    from daisy_tui.runs.watching import RunRow

MARK = "◆"
_NAME, _LONGEST_NAME = 20, 40  # cells: what other columns leave, and no more than
_TREND, _WIDEST_TREND = 14, 32
_BAR = 5
PADDING = 2


class Column(NamedTuple):
    """A column: its `key` is a field of a row, `width` in cells without padding."""

    key: str
    title: str
    width: int
    is_right: bool = True


class Cell(NamedTuple):
    """What stands in a cell, as wide as its column; `colour` is a theme's variable."""

    text: str
    colour: str = ""


# In the order in which they are shown.
COLUMNS: Final = (
    Column("state", "state", 12, False),
    Column("name", "run", _NAME, False),
    Column("progress", "progress", _BAR + 5, False),
    Column("started", "last start", 12, False),
    Column("step", "step", 8),
    Column("tokens", "tokens", 6),
    Column("train_loss", "train", 6),
    Column("sparkline", "course", _TREND, False),
    Column("val_loss", "val", 6),
    Column("tokens_per_s", "tok/s", 6),
    Column("mfu", "MFU", 4),
    Column("eta_s", "ETA", 8),
    Column("devices", "devices", 8, False),
)
# In the order in which they are given room; the essential ones have theirs at 80 cells.
_ESSENTIAL = ("state", "name", "train_loss", "progress", "val_loss", "eta_s")
_SHORTEST_NAME = 8
_MORE = ("step", "sparkline", "tokens_per_s", "mfu", "started", "devices", "tokens")


def fitting(width: int) -> tuple[Column, ...]:
    """The columns for a table of a width in cells: the essential ones, others as there is room, and longer names."""
    chosen = {column.key: column for column in COLUMNS if column.key in _ESSENTIAL}
    spare = _NAME - _SHORTEST_NAME
    for key in reversed(_ESSENTIAL):
        left = width - sum(column.width + PADDING for column in chosen.values())
        if left + spare >= 0 or len(chosen) == 2:
            break
        del chosen[key]
    for column in (column for key in _MORE for column in COLUMNS if column.key == key):
        if left < column.width + PADDING:
            break
        chosen[column.key] = column
        left -= column.width + PADDING
    for key, widest in (("name", _LONGEST_NAME), ("sparkline", _WIDEST_TREND)):
        if key in chosen and left != 0:
            wider = max(_SHORTEST_NAME, min(widest, chosen[key].width + left))
            left -= wider - chosen[key].width
            chosen[key] = chosen[key]._replace(width=wider)
    return tuple(chosen[column.key] for column in COLUMNS if column.key in chosen)


def titles(columns: Sequence[Column], by: str, is_descending: bool) -> list[str]:
    """The heads of columns; the one that is sorted by says so."""
    found = []
    for column in columns:
        words = f"{column.title}{'▼' if is_descending else '▲'}" if column.key == by else column.title
        found.append(_fit(words, column))
    return found


def cells(
    row: RunRow, is_marked: bool, columns: Sequence[Column], labels: Mapping[str, str], place: int | None = None
) -> list[Cell]:
    """A run in these columns. `labels` are what people call devices, by key; `place` is the run's in the queue."""
    found = (_cell(row, is_marked, column, labels, place) for column in columns)
    return [cell._replace(text=_fit(cell.text, column)) for cell, column in zip(found, columns, strict=True)]


def loss(value: float) -> str:
    """A loss in six cells."""
    return f"{value:.4f}" if 0 <= value < 10 else f"{value:.3f}" if 0 <= value < 100 else f"{value:.2g}"


def state_words(row: RunRow, place: int | None = None) -> Cell:
    """The state of a run: a sign, a word, its place where it waits, and a colour."""
    if row.state == "queued" and not row.alive:
        return Cell("! not queued", "$text-warning")
    state = shown_state(row)
    sign, colour = state_sign(state)
    return Cell(f"{sign} {printable(state)}{f' {place}' if place and state == 'queued' else ''}", colour)


def state_sign(state: str) -> tuple[str, str]:
    """The sign of a state, and its colour as text, which is legible on every theme's ground."""
    if state == STALLED:
        return "!", "$text-error"
    return state_glyph(state)


def _cell(row: RunRow, is_marked: bool, column: Column, labels: Mapping[str, str], place: int | None) -> Cell:
    match column.key:
        case "state":
            return state_words(row, place)
        case "name":
            name = printable(row.name).replace("\n", " ")
            return Cell(f"{MARK} {name}", "$text-accent") if is_marked else Cell(name)
        case "progress":
            return Cell(_progress(row.progress))
        case "sparkline":
            return Cell(blocks(row.sparkline, column.width), "$text-accent")
        case "devices":
            return Cell(",".join(printable(label(key, labels)) for key in row.devices) if row.alive else "")
        case _:
            value = getattr(row, column.key)
            return Cell("" if value is None else _FIGURES[column.key](value))


def _progress(share: float | None) -> str:
    if share is None:
        return ""
    eighths = int(share * _BAR * 8)
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths < _BAR * 8 else ""
    bar = ("█" * (eighths // 8) + part).ljust(_BAR).replace(" ", "·")[:_BAR]
    return f"{bar} {percent(share):>4}"


def _fit(text: str, column: Column) -> str:
    if cell_len(text) > column.width:
        text = set_cell_size(text, column.width - 1).rstrip() + "…"
    return " " * (column.width - cell_len(text)) + text if column.is_right else set_cell_size(text, column.width)


_FIGURES = {
    "started": lambda moment: time.strftime("%b %d %H:%M", time.localtime(moment)) if moment else "",
    "step": lambda step: f"{step:,}" if step < 1_000_000 else count(step),
    "tokens": count,
    "train_loss": loss,
    "val_loss": loss,
    "tokens_per_s": lambda rate: count(round(rate)),
    "mfu": "{:.0%}".format,
    "eta_s": duration,
}
