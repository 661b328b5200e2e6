"""How an inspected checkpoint reads in 80 columns. The numbers behind every line are in `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import TYPE_CHECKING

from core.checkpoint.inspect import Gate, Group, Inspection, shape_text
from core.config.model_spec import ModelSpec, padded_vocab
from core.config.scalars import format_value
from core.text import count, plural, size
from daisy_tui.checkpoints.checkpoint_text import bar, cell, columns, figure, not_finite, ranges, short, tensor_rows
from daisy_tui.checkpoints.inspection_text import identity, problems, uses, windows, wrapped
from daisy_tui.cli.text import table

if TYPE_CHECKING:  # numpy, which only --stats loads
    from core.checkpoint.statistics import Histogram, TensorStatistics

# Up to so many values of a gate are printed as numbers, more as bars.
_NUMBERS = 4
_BARS_A_LINE = 36
_BAR_CELLS = 48


def inspection_text(i: Inspection) -> str:
    """The whole of it, section by section."""
    sections = [
        identity(i),
        uses(i),
        problems(i),
        _architecture(i.spec) if i.spec else [],
        windows(i),
        _parameters(i.groups),
        _gates(i.gates),
        _files(i),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def statistics_text(entries: Sequence[TensorStatistics]) -> str:
    """A row for every tensor, after those in words that are not finite."""
    bad = [f"{e.name}: {not_finite(e)} among {prod(e.shape):,} values" for e in entries if not_finite(e)]
    rows: list[Sequence[str]] = [("", "norm", "mean", "std", "min", "max", "~0")]
    for e in entries:
        figures = (short(figure) for figure in (e.norm, e.mean, e.std, e.min, e.max))
        rows.append((cell(e.name), *figures, "-" if e.near_zero is None else f"{e.near_zero:.0%}"))
    if bad:
        head = [
            f"NOT FINITE: {plural(len(bad), 'tensor')}",
            *(line for text in bad for line in wrapped(text, "  ")),
            "",
        ]
    else:
        head = ["All values are finite", ""]
    legend = "Statistics of the finite values (~0: share of values up to 1/1000 of their rms)"
    return "\n".join([*head, legend, *table(rows, indent="  ", right=range(1, 7))])


def histogram_text(h: Histogram) -> str:
    """A row for every bin: from where to where, a bar, how many."""
    rest = [f"  {h.left_out:,} not finite, and left out"] if h.left_out else []
    if h.low is None or h.high is None:
        return "\n".join([f"Histogram of {cell(h.name)}: no finite value", *rest])
    width, most = (h.high - h.low) / len(h.counts), max(h.counts)
    rows = [
        (short(h.low + width * place), bar(number / most, _BAR_CELLS).ljust(_BAR_CELLS), f"{number:,}")
        for place, number in enumerate(h.counts)
    ]
    heading = f"Histogram of {cell(h.name)}: {short(h.low)} to {short(h.high)}"
    return "\n".join([heading, *rest, *table([("from", "", "values"), *rows], indent="  ", right={0, 2})])


def _architecture(spec: ModelSpec) -> list[str]:
    values = {name: format_value(value) for name, value in spec if name != "model_class"}
    values["vocab_size"] += f" (+{padded_vocab(spec.vocab_size) - spec.vocab_size} rows of padding)"
    cells = [f"{name:<24}  {value}" for name, value in values.items()]
    long = [text for text in cells if len(text) > 37]
    short = [text for text in cells if len(text) <= 37]
    half = -(-len(short) // 2)
    pairs = [(short[n], short[half + n] if half + n < len(short) else "") for n in range(half)]
    return [f"Architecture: {spec.model_class}", *table(pairs, indent="  "), *(f"  {cell(text)}" for text in long)]


def _parameters(groups: Sequence[Group]) -> list[str]:
    total = sum(group.count for group in groups)
    stored = sum(tensor.end - tensor.begin for group in groups for tensor in group.tensors)
    rows = [("", "tensors", "shape", "dtype", "parameters", "share")]
    for group in groups:
        share = f"{group.count / total:.1%}" if total else "-"
        rows.append((group.name, str(len(group.tensors)), "", "", f"{group.count:,}", share))
        for name, number, tensor in tensor_rows(group.tensors):
            shape = shape_text(tensor.shape)
            rows.append((f"  {cell(name)}", str(number), shape, cell(tensor.dtype), f"{number * tensor.count:,}", ""))
    heading = f"Parameters: {count(total)} in {plural(sum(len(g.tensors) for g in groups), 'tensor')}, {size(stored)}"
    return [heading, *table(rows, indent="  ", right={1, 4, 5})]


def _gates(gates: Sequence[Gate]) -> list[str]:
    if not gates:
        return []
    bars = any(len(gate.values) > _NUMBERS for gate in gates)
    rows = [("", "layers", "min", "max", "")]
    notes = []
    for gate in gates:
        finite = [value for value in gate.values if isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
        lines = [" ".join(figure(value) for value in gate.values)]
        if len(gate.values) > _NUMBERS:
            text = columns(gate.values)
            lines = [text[at : at + _BARS_A_LINE] for at in range(0, len(text), _BARS_A_LINE)]
        rows.append((gate.name, ranges(gate.layers), figure(low), figure(high), lines[0]))
        rows += [("", "", "", "", line) for line in lines[1:]]
        if len(finite) < len(gate.values):
            bad = len(gate.values) - len(finite)
            notes.append(f"  {gate.name}: {bad} of {len(gate.values)} {'is' if bad == 1 else 'are'} not finite (!)")
    heading = "Gates" + (" (a bar a layer, from the row's min to its max)" if bars else "")
    return [heading, *table(rows, indent="  ", right={2, 3}), *notes]


def _files(i: Inspection) -> list[str]:
    rows = [(cell(file.name), size(file.bytes), f"sha256 {cell(file.sha256[:16])}") for file in i.files]
    return [f"Files: {size(sum(file.bytes for file in i.files))}", *table(rows, indent="  ", right={1})]
