"""The list of checkpoints as lines: in which order, which of them, and how each reads in a width. Knows no screen."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from core.config.sources import display_path
from core.text import count, size
from daisy_tui.checkpoints.catalog import Found, Listed
from daisy_tui.checkpoints.checkpoint_text import cell
from daisy_tui.checkpoints.lineage import Row, guides, lineage, listing
from daisy_tui.cutting import cut_front
from daisy_tui.naming import told_apart

# Pieces of a line: text, and the part it plays, which has a style; "" for none.
Line = Sequence[tuple[str, str]]

_STAMP = len("YYYYMMDD-HHMMSS-")
_MARKS = {"best": " ★ best", "latest": " ▸ latest"}
_SIGNS = {mark: mark[:2] for mark in _MARKS.values()}  # what is left of them where there is little room
_STEP = re.compile(r"\.?step_0*(\d+)(.*)")
_ROOM_FOR_PROBLEMS = 100
_MARKED = "◆ "
_LONGEST_NAME = 40
# Columns on the right: heading, width, the least width of a list that has them, and the figure.
_COLUMNS: tuple[tuple[str, int, int, Callable[[Listed], str]], ...] = (
    ("tokens", 6, 66, lambda entry: "-" if entry.tokens is None else count(entry.tokens)),
    ("val loss", 8, 46, lambda entry: "-" if entry.val_loss is None else f"{entry.val_loss:.4f}"),
    ("size", 9, 34, lambda entry: size(entry.bytes)),
)


class Order(NamedTuple):
    """A way to arrange the list. `key` sorts checkpoints where it is no tree."""

    name: str
    title: str
    key: Callable[[Listed], float] | None = None


ORDERS = (
    Order("lineage", "by descent"),
    Order("runs", "by run"),
    Order("newest", "newest first", lambda entry: -entry.written),
    Order("loss", "lowest loss first", lambda entry: float("inf") if entry.val_loss is None else entry.val_loss),
    Order("size", "largest first", lambda entry: -entry.bytes),
)


def arranged(found: Found, folder: Path, order: Order, words: str = "") -> list[Row]:
    """The rows in an order that the words of a filter leave, with what these stand below."""
    if order.key is not None:
        rows = [Row(entry.path, "checkpoint", checkpoint=entry) for entry in sorted(found.checkpoints, key=order.key)]
    else:
        rows = lineage(found, folder) if order.name == "lineage" else listing(found)
    return _filtered(rows, words)


def _filtered(rows: list[Row], words: str) -> list[Row]:
    """Rows that have every word, and none of those with a `-` before them; and the rows above each."""
    terms = words.lower().split()
    if not terms:
        return rows
    above: list[int] = []
    kept: set[int] = set()
    for index, row in enumerate(rows):
        del above[row.depth :]
        above.append(index)
        text = _searched(row)
        if all((term[1:] not in text) if term[:1] == "-" and term != "-" else term in text for term in terms):
            kept.update(above)
    return [row for index, row in enumerate(rows) if index in kept]


def _searched(row: Row) -> str:
    """What the words of a filter are looked for in."""
    entry = row.checkpoint
    if entry is None:
        return f"{row.path.name} {row.kind} {row.note}".lower()
    state = "complete" if entry.complete else f"incomplete {entry.problem}"
    run = entry.run.name if entry.run is not None else entry.origin
    step = f"step {entry.step}" if entry.step is not None else ""
    return f"{entry.name} {step} {run} {state} {' '.join(entry.links)}".lower()


def heading(width: int) -> str:
    """The line above the list."""
    right = "".join(f"  {title:>{cells}}" for title, cells, least, _ in _COLUMNS if width >= least)
    return set_cell_size("  checkpoint", max(0, width - cell_len(right))) + right


def lines(rows: Sequence[Row], width: int, order: Order, marked: Container[Path] = ()) -> Callable[[int], Line]:
    """What makes the line of a row, `width` cells wide."""
    leads = guides([row.depth for row in rows])
    columns = [(cells, figure) for _, cells, least, figure in _COLUMNS if width >= least]

    def line(index: int) -> Line:
        row, entry = rows[index], rows[index].checkpoint
        right = "".join(f"  {figure(entry) if entry is not None else '':>{cells}}" for cells, figure in columns)
        begin = (_MARKED if row.path in marked else "  ") + leads[index]
        pieces = [(begin, "muted"), *_named(row, is_alone=order.key is not None)]
        if entry is not None and not entry.complete and width >= _ROOM_FOR_PROBLEMS:
            pieces.append((f"  {cell(entry.problem)}", "muted"))
        room = width - cell_len(right)
        if sum(cell_len(text) for text, _ in pieces) > room:
            pieces = [(_SIGNS.get(text, text), part) for text, part in pieces]
        return [*_fitted(pieces, room), (right, "" if entry is None or entry.complete else "muted")]

    return line


def _named(row: Row, *, is_alone: bool) -> list[tuple[str, str]]:
    """What a row is called, and what is to be said of it."""
    entry = row.checkpoint
    if row.run is not None:
        return [(cell(row.path.name), "strong"), *([(f"  ! {row.note}", "warning")] if row.note else [])]
    if entry is None:
        name = _step(row.path.name) if row.depth else display_path(row.path)
        return [(cell(name), "muted"), ("  ✗ gone" if row.kind == "gone" else "  elsewhere", "muted")]
    name = title(entry)
    if is_alone and entry.run is not None:
        name = f"{entry.run.name[_STAMP:] or entry.run.name} {name}"
    pieces = [(cell(name), "" if entry.complete else "muted")]
    pieces += [(_MARKS[link], "good") for link in reversed(entry.links)]
    if not entry.complete:
        pieces.append((f"  {_state(entry)}", "muted" if entry.name[:1] == "." else "error"))
    elif entry.origin:
        pieces.append((f"  {entry.origin}", "muted"))
    return pieces


def name_of(row: Row | None) -> str:
    """What a row is called where nothing stands around it."""
    return "" if row is None else "".join(text for text, _ in _named(row._replace(depth=0), is_alone=True))


def called(path: Path, found: Found) -> str:
    """What a checkpoint is called among all there are, `demo step 400`; where it is none of them, by its path's end."""
    entry = next((entry for entry in found.checkpoints if entry.path == path), None)
    if entry is None or entry.run is None:
        return cut_front(cell(display_path(path) if entry is None else entry.name), _LONGEST_NAME)
    names = told_apart([(run.path.name, run.path.name[_STAMP:] or run.path.name) for run in found.runs])
    name = next(name for name, run in zip(names, found.runs, strict=True) if run.path == entry.run)
    return f"{cut_front(cell(name), _LONGEST_NAME)} {title(entry)}"


def _state(entry: Listed) -> str:
    """What one is that is not complete, in a word."""
    if entry.name[:1] == ".":
        return "⋯ unfinished"
    words = ("put aside", "damaged")
    return f"✗ {next((word for word in words if word in entry.problem), 'incomplete')}"


def title(entry: Listed) -> str:
    """`step 400` for a run's checkpoint, the folder's name for another."""
    return _step(entry.name) if entry.run is not None else entry.name


def _step(name: str) -> str:
    """`step_000000400.damaged` as `step 400.damaged`."""
    found = _STEP.fullmatch(name)
    return f"step {int(found[1]):,}{found[2].removesuffix('.partial')}" if found else name


def _fitted(pieces: Sequence[tuple[str, str]], width: int) -> Line:
    """Pieces in exactly so many cells: cut with `…`, or filled with blanks. Of runs, the ends tell them apart."""
    fitted: list[tuple[str, str]] = []
    left = max(0, width)
    for text, part in pieces:
        if cell_len(text) > left:
            cut = cut_front(text, left) if part == "strong" else set_cell_size(text, left - 1) + "…"
            fitted.append((cut if left else "", part))
            left = 0
            break
        fitted.append((text, part))
        left -= cell_len(text)
    return [*fitted, (" " * left, "")]
