"""How the difference of two checkpoints reads in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.checkpoint.compare import Comparison
from core.checkpoint.inspect import Inspection, shape_text
from core.config.scalars import format_value
from core.text import plural
from daisy_tui.checkpoints.checkpoint_text import cell, moved, short, shown_path
from daisy_tui.checkpoints.inspection_text import WIDTH, wrapped
from daisy_tui.cli.text import table

if TYPE_CHECKING:  # numpy, which only --stats loads
    from core.checkpoint.statistics import Movement

_SHOWN_NAMES = 10


def comparison_text(left: Inspection, right: Inspection, c: Comparison, stats: bool) -> str:
    """What differs, section by section; a section without a difference says so in one line."""
    sections = [
        [f"A  {cell(shown_path(left.folder))}", f"B  {cell(shown_path(right.folder))}"],
        _sides("Training", c.facts),
        _sides("hparams", c.hparams),
        _tensors(c, stats),
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def movements_text(entries: Sequence[Movement]) -> str:
    """A row for every tensor that both have, what moved most first, after those in words that are not finite."""
    bad = [line for e in entries if e.left_out for line in wrapped(f"{e.name}: {e.left_out:,}", "  ")]
    head = [f"NOT FINITE in A or B, and left out: {plural(len(bad), 'tensor')}", *bad, ""] if bad else []
    rows: list[Sequence[str]] = [("", "moved", "cosine", "norm A", "norm B", "norm B - A")]
    for e in entries:
        cosine = "-" if e.cosine is None else f"{e.cosine:.4f}"
        rows.append((cell(e.name), moved(e), cosine, *map(short, (e.norm_left, e.norm_right, e.norm_difference))))
    legend = "What moved most, from A to B (moved: norm of B - A against that of A)"
    return "\n".join([*head, legend, *table(rows, indent="  ", right=range(1, 6))])


def _sides(title: str, differences: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not differences:
        return [f"{title}: no difference"]
    rows = [
        (cell(key), *(_side(sides[side]) if side in sides else "-" for side in ("left", "right")))
        for key, sides in differences.items()
    ]
    lines = table([(title, "A", "B"), *rows])
    if max(map(len, lines)) <= WIDTH:
        return lines
    # What is wide stands below its key.
    stacked = [title]
    for key, one, other in rows:
        stacked += [f"  {key}", *wrapped(one, "    A  "), *wrapped(other, "    B  ")]
    return stacked


def _side(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cell(format_value(value))


def _tensors(c: Comparison, stats: bool) -> list[str]:
    if c.same_weights:
        return ["Weights: the same, bit for bit"]
    lines = [
        *_names("only in A", c.only_left),
        *_names("only in B", c.only_right),
        *_names("other shape", [f"{n}: {shape_text(a)} in A, {shape_text(b)} in B" for n, (a, b) in c.shapes.items()]),
        *_names("other dtype", [f"{n}: {a} in A, {b} in B" for n, (a, b) in c.dtypes.items()]),
    ]
    if lines:
        return ["Tensors", *lines]
    more = [] if stats else ["  --stats shows what moved most"]
    return ["Tensors: the same names, shapes and dtypes, with other values", *more]


def _names(title: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = [f"    and {len(names) - _SHOWN_NAMES:,} more"] if len(names) > _SHOWN_NAMES else []
    shown = [line for name in names[:_SHOWN_NAMES] for line in wrapped(name, "    ")]
    return [f"  {title}: {plural(len(names), 'tensor')}", *shown, *more]
