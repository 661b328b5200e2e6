"""What the pane of a checkpoint says, in lines of a width: what it is, its tensors, layers and settings, and how it
differs from another. Headers give most of it at once; figures of the weights come in when they have been read.

Pure functions, so that each is tested without a screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import isfinite, sqrt
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from core.checkpoint.compare import Comparison, named_hparams
from core.checkpoint.format import TensorInfo
from core.checkpoint.inspect import Inspection, shape_text
from core.config.scalars import format_value
from core.text import count, plural, size
from daisy_tui.checkpoints.checkpoint_rows import Line
from daisy_tui.checkpoints.checkpoint_text import (
    bar,
    cell,
    chart,
    figure,
    moved,
    not_finite,
    ranges,
    short,
    shown_path,
    tensor_rows,
)
from daisy_tui.checkpoints.inspection_text import identity, problems, uses, windows, wrapped

if TYPE_CHECKING:  # numpy, which only the reading of weights loads
    from core.checkpoint.statistics import Histogram, Movement, TensorStatistics

Statistics = Mapping[str, "TensorStatistics"]

_CHART_ROWS = 3
_HISTOGRAM_ROWS = 5
_MOVED_CELLS = 10
_FOLDED_FROM, _FIRST_WORD = 20, 6


class TensorLine(NamedTuple):
    """A line of the list of tensors. `name` is that of the tensor; None for a group."""

    name: str | None
    line: Line


def about(i: Inspection, width: int, verified: str = "") -> list[Line]:
    """What it is, what can be done with it, and its files; `verified` says how its hashes were found."""
    lines: list[Line] = []
    for section in (identity(i, width), problems(i, width), uses(i, width), windows(i, width)):
        if section:
            part = "error" if section[0] == "Problems" else "strong"
            lines += [[(section[0], part)], *([(text, _tone(text))] for text in section[1:]), []]
    longest = max((len(cell(file.name)) for file in i.files), default=0)
    lines.append([(f"Files: {size(sum(file.bytes for file in i.files))}", "strong")])
    for file in i.files:
        named = f"  {cell(file.name):<{longest}}  {size(file.bytes):>9}  "
        lines.append([(named, ""), (f"sha256 {cell(file.sha256[:12])}", "muted")])
    part = "error" if "damaged" in verified else "good" if verified else "muted"
    state = verified or "not verified since this was opened: v checks every hash"
    return folded([*lines, *([(text, part)] for text in wrapped(state, "  ", width))], width)


def folded(lines: Iterable[Line], width: int) -> list[Line]:
    """Lines of at most a width: what is longer goes on below, as much further in as it began, and a little more."""
    made: list[Line] = []
    for line in lines:
        letters = [(letter, part) for piece, part in line for letter in piece]
        text = "".join(letter for letter, _ in letters)
        inset = min(len(text) - len(text.lstrip()) + 2, width // 2)
        begin, room, lead = 0, width, list[tuple[str, str]]()
        while len(text) - begin > room and width >= _FOLDED_FROM:
            blank = text.rfind(" ", begin + inset + _FIRST_WORD, begin + room)
            end = blank + 1 if blank > 0 else begin + room
            made.append([*lead, *_pieces(letters[begin:end])])
            begin, room, lead = end, width - inset, [(" " * inset, "")]
        made.append([*lead, *_pieces(letters[begin:])])
    return made


def _pieces(letters: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for part, run in groupby(letters, key=itemgetter(1)):
        yield "".join(letter for letter, _ in run), part


def _tone(text: str) -> str:
    """What a line of a section is: an answer, a command, or a fact."""
    answer = text[:12].strip() in ("resume", "warm start", "serve") and text[14:]
    if answer:
        return "good" if answer.startswith("yes") else "muted"
    return "muted" if text.startswith("    daisy ") else ""


def tensors(i: Inspection, statistics: Statistics | None, width: int) -> list[TensorLine]:
    """A heading, and a line for every group and every tensor; their figures where the weights were read."""
    shown = [column for column in _COLUMNS if width >= column.least]
    room = max(16, width - sum(column.cells + 2 for column in shown))
    head = _cut("tensor", room) + "".join(f"  {column.title:>{column.cells}}" for column in shown)
    found = [TensorLine(None, [(head, "muted")])]
    for group in i.groups:
        found.append(TensorLine(None, _group_line(group.name, group.tensors, statistics, shown, room)))
        for info in group.tensors:
            entry = statistics.get(info.name) if statistics is not None else None
            text = "".join(f"  {column.of(info, entry):>{column.cells}}" for column in shown)
            bad = entry is not None and bool(not_finite(entry))
            found.append(TensorLine(info.name, [(_cut(f" {cell(info.name)}", room) + text, "error" if bad else "")]))
    return found


class _Column(NamedTuple):
    """A column of the list of tensors. `least` is the least width of a list that has it."""

    title: str
    cells: int
    least: int

    def of(self, info: TensorInfo, entry: TensorStatistics | None) -> str:
        if self.title == "shape":
            return shape_text(info.shape)
        if self.title == "dtype":
            return cell(info.dtype)
        if self.title == "count":
            return count(info.count)
        if entry is None:
            return ""
        if self.title == "NaN, inf":
            return f"! {count(entry.nan + entry.infinite)}" if entry.nan or entry.infinite else "-"
        if self.title == "~0":
            return "-" if entry.near_zero is None else f"{entry.near_zero:.0%}"
        value: float | None = getattr(entry, self.title)
        return short(value)


_COLUMNS = (
    _Column("shape", 11, 50),
    _Column("dtype", 5, 104),
    _Column("count", 6, 84),
    _Column("norm", 8, 0),
    _Column("std", 8, 72),
    _Column("mean", 8, 94),
    _Column("min", 8, 124),
    _Column("max", 8, 124),
    _Column("~0", 4, 90),
    _Column("NaN, inf", 8, 0),
)


def _group_line(
    name: str, members: Sequence[TensorInfo], statistics: Statistics | None, shown: Sequence[_Column], room: int
) -> Line:
    entries = [statistics[info.name] for info in members if statistics is not None and info.name in statistics]
    bad = sum(entry.nan + entry.infinite for entry in entries)
    known = {"count": count(sum(info.count for info in members)), "shape": plural(len(members), "tensor")}
    if entries:
        known["norm"] = short(sqrt(sum((entry.norm or 0.0) ** 2 for entry in entries)))
        known["NaN, inf"] = f"! {count(bad)}" if bad else "-"
    text = "".join(f"  {known.get(column.title, ''):>{column.cells}}" for column in shown)
    return [(_cut(cell(name), room) + text, "error" if bad else "strong")]


def histogram(h: Histogram, width: int) -> list[Line]:
    """The values of a tensor as columns, from the lowest to the highest."""
    left_out = f"  {h.left_out:,} not finite, and left out" if h.left_out else ""
    most = f"  at most {count(max(h.counts))} in a bin" if any(h.counts) else ""
    head: Line = [(f"Histogram of {cell(h.name)}", "strong"), (most, "muted"), (left_out, "error")]
    if h.low is None or h.high is None:
        return [head, [("no finite value", "muted")]]
    each = max(1, min(2, (width - 2) // len(h.counts)))
    rows = chart([float(number) for number in h.counts], _HISTOGRAM_ROWS, each, from_zero=True)
    low, high, across = short(h.low), short(h.high), each * len(h.counts)
    zero = round(-h.low / (h.high - h.low) * across) if h.low < 0 < h.high else -1
    axis = f"{low:<{across - len(high)}}{high}"
    if len(low) + 1 < zero < across - len(high) - 1:
        axis = f"{axis[:zero]}0{axis[zero + 1 :]}"
    return [head, *([(f" {row}", "good")] for row in rows), [(f" {axis}", "muted")]]


def layers(i: Inspection, statistics: Statistics | None, width: int) -> list[Line]:
    """A small chart for every gate, a column a layer, and where the weights were read for the norms of each family."""
    lines: list[Line] = []
    for gate in i.gates:
        lines += [*_chart(f"gate {gate.name}", gate.layers, gate.values, width), []]
    if not i.gates:
        lines += [[("no gates: its hparams describe none, or the tensors are not what they say", "muted")], []]
    if statistics is None:
        return [*lines, [("norms by layer: s reads the weights", "muted")]]
    for name, number, first in tensor_rows(info for group in i.groups for info in group.tensors):
        if number > 1:
            norms = [statistics[info.name].norm for info in _family(i, name, first) if info.name in statistics]
            values = [float("nan") if norm is None else norm for norm in norms]
            lines += [*_chart(f"norm of {cell(name)}", range(len(values)), values, width), []]
    return lines


def _family(i: Inspection, name: str, first: TensorInfo) -> Iterator[TensorInfo]:
    """The tensors that one line of `tensor_rows` stands for."""
    before, _, after = name.partition("*")
    for group in i.groups:
        for info in group.tensors:
            same = info.shape == first.shape and info.dtype == first.dtype
            if same and info.name.startswith(before) and info.name.endswith(after):
                yield info


def _chart(name: str, of_layers: Sequence[int], values: Sequence[float], width: int) -> Iterator[Line]:
    finite = [value for value in values if isfinite(value)]
    yield [(name, "strong"), (f"  layers {ranges(of_layers)}", "muted")]
    if not finite:
        yield [("  no value is finite (!)", "error")]
        return
    top, bottom = figure(max(finite)), figure(min(finite))
    margin = max(len(top), len(bottom)) + 2
    each = max(1, min(3, (width - margin - 2) // max(1, len(values))))
    rows = chart(values, _CHART_ROWS, each, apart=each > 1)
    for place, row in enumerate(rows):
        label = top if place == 0 else bottom if place == len(rows) - 1 else ""
        yield [(f"{label:>{margin}} ", "muted"), (row, "good" if len(finite) == len(values) else "warning")]
    if len(finite) < len(values):
        yield [(f"{'':>{margin}} {plural(len(values) - len(finite), 'value')} not finite (!)", "error")]


def settings(hparams: Mapping[str, Any], width: int) -> list[Line]:
    """Every hparam; what is inside an optimizer has the name that an override of it has."""
    named = named_hparams(hparams)
    longest = min(36, max((len(cell(name)) for name in named), default=0))
    lines: list[Line] = []
    for name, value in named.items():
        lines += [[(text, "")] for text in wrapped(_value(value), f"{cell(name):<{longest}}  ", width) or [cell(name)]]
    return folded(lines, width) or [[("its meta.json holds no hparams", "muted")]]


def difference(
    left: Inspection, right: Inspection, found: Comparison, movements: Sequence[Movement] | None, width: int
) -> list[Line]:
    """How `right` differs from `left`; what moved most where both weights were read."""
    lines: list[Line] = [
        [("A  ", "strong"), (cell(shown_path(left.folder)), "")],
        [("B  ", "strong"), (cell(shown_path(right.folder)), "")],
        [],
    ]
    for title, sides in (("Training", found.facts), ("hparams", found.hparams)):
        lines += [*_sides(title, sides, width), []]
    lines += [*_tensors(found), []]
    if found.same_weights:
        return folded(lines, width)
    if movements is None:
        return folded([*lines, [("what moved most: s reads both weights", "muted")]], width)
    return folded([*lines, *_moved(movements, width)], width)


def _sides(title: str, sides: Mapping[str, Mapping[str, Any]], width: int) -> Iterator[Line]:
    if not sides:
        yield [(f"{title}: no difference", "muted")]
        return
    yield [(title, "strong")]
    longest = min(30, max(len(cell(name)) for name in sides))
    for name, side in sides.items():
        one, other = (_value(side[which]) if which in side else "-" for which in ("left", "right"))
        first = f"  {cell(name):<{longest}}  "
        if len(first) + len(one) + len(other) + 4 <= width:
            yield [(first, ""), (one, "muted"), (" → ", ""), (other, "good")]
        else:
            yield [(f"  {cell(name)}", "")]
            yield from ([(text, "muted")] for text in wrapped(one, "    A  ", width))
            yield from ([(text, "good")] for text in wrapped(other, "    B  ", width))


def _tensors(found: Comparison) -> Iterator[Line]:
    if found.same_weights:
        yield [("Weights: the same, bit for bit", "good")]
        return
    named = [
        *((f"only in A: {cell(name)}") for name in found.only_left),
        *((f"only in B: {cell(name)}") for name in found.only_right),
        *(f"other shape: {cell(n)}: {shape_text(a)} → {shape_text(b)}" for n, (a, b) in found.shapes.items()),
        *(f"other dtype: {cell(n)}: {cell(a)} → {cell(b)}" for n, (a, b) in found.dtypes.items()),
    ]
    same = "the same names, shapes and dtypes, with other values"
    yield [(f"Tensors: {plural(len(named), 'difference') if named else same}", "strong")]
    yield from ([(f"  {text}", "")] for text in named)


def _moved(movements: Sequence[Movement], width: int) -> Iterator[Line]:
    if left_out := [entry for entry in movements if entry.left_out]:
        yield [(f"NOT FINITE in A or B, and left out: {plural(len(left_out), 'tensor')}", "error")]
        yield from ([(f"  {cell(entry.name)}: {entry.left_out:,}", "error")] for entry in left_out)
    yield [("What moved most", "strong"), ("  norm of B - A against that of A; cosine between them", "muted")]
    most = max((entry.relative for entry in movements if entry.relative is not None), default=0.0)
    room = max(16, width - 9 - 8 - _MOVED_CELLS - 6)
    for entry in movements:
        share = 1.0 if entry.relative is None else entry.relative / most if most else 0.0
        cosine = "-" if entry.cosine is None else f"{entry.cosine:.4f}"
        yield [
            (f"  {_cut(cell(entry.name), room)}{moved(entry):>9}{cosine:>8}  ", ""),
            (bar(share, _MOVED_CELLS), "warning"),
        ]


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cell(format_value(value))


def _cut(text: str, width: int) -> str:
    """Text in exactly so many characters: of a name that is too long the end matters."""
    return text.ljust(width) if len(text) <= width else "…" + text[len(text) - width + 1 :]
