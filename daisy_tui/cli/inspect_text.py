"""How an inspected checkpoint reads in 80 columns. The numbers behind every line are in `--json`."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoint.format import TensorInfo
from core.checkpoint.inspect import Gate, Group, Inspection, Use, shape_text
from core.config.model_spec import ModelSpec, padded_vocab
from core.config.scalars import format_value
from core.config.sources import display_path
from core.config.windows import layer_windows
from core.text import count, plural, printable, size
from daisy_tui.cli.checkpoints import RUNS
from daisy_tui.cli.text import table

if TYPE_CHECKING:  # numpy, which only --stats loads
    from core.checkpoint.statistics import TensorStatistics

WIDTH = 80
_BARS = "▁▂▃▄▅▆▇█"
# Up to so many values of a gate are printed as numbers, more as bars.
_NUMBERS = 4
_BARS_A_LINE = 36
_SHOWN_PROBLEMS = 8


def inspection_text(i: Inspection) -> str:
    """The whole of it, section by section."""
    sections = [
        _identity(i),
        ["What can be done with it", *_uses(i)],
        _problems(i),
        _architecture(i.spec) if i.spec else [],
        _windows(i),
        _parameters(i.groups),
        _gates(i.gates),
        _files(i),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def statistics_text(entries: Sequence[TensorStatistics]) -> str:
    """A row for every tensor, after those in words that are not finite."""
    bad = [
        f"{e.name}: {' and '.join(_counts(e))} among {prod(e.shape):,} values" for e in entries if e.nan or e.infinite
    ]
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


def shown_path(folder: Path) -> str:
    """A checkpoint's path as it can be typed; where a link was given, what it points at."""
    return display_path(folder.parent.resolve() / folder.resolve().name)


def cell(text: str) -> str:
    """Text from a file as one line."""
    return printable(text).replace("\n", "\\n")


def short(figure: float | None) -> str:
    """Three digits in few characters: `0.0123`, `1.2e-5`; `-` for none."""
    if figure is None:
        return "-"
    text = f"{figure:.2e}" if 0 < abs(figure) < 1e-3 else f"{figure:.3g}"
    return re.sub(r"e([+-])0*", lambda m: f"e{m[1].strip('+')}", text)


def wrapped(text: str, first: str) -> list[str]:
    """Lines of at most WIDTH, or a word that is longer, with `first` before the first and the others below its text."""
    return textwrap.wrap(
        cell(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def tensor_rows(tensors: Iterable[TensorInfo]) -> list[tuple[str, int, TensorInfo]]:
    """Tensors with those of all layers as one: name with `*` for the layer, how many, and the first of them."""
    families: dict[tuple[str, Any, str], list[TensorInfo]] = {}
    for tensor in tensors:
        name = re.sub(r"(?<=\.)\d+(?=\.)", "*", tensor.name)
        families.setdefault((name, tensor.shape, tensor.dtype), []).append(tensor)
    return [
        (name if len(members) > 1 else members[0].name, len(members), members[0])
        for (name, _, _), members in families.items()
    ]


def _identity(i: Inspection) -> list[str]:
    meta, target = i.meta, i.meta.hparams.get("target_tokens")
    links = f" ({', '.join(i.links)})" if i.links else ""
    of = f" of {target:,}" if isinstance(target, int) else ""
    tokens = "unknown" if meta.tokens is None else f"{meta.tokens:,}{of}"
    tokens += "" if meta.progress is None else f" ({meta.progress:.0%} of the training)"
    tokenizer = meta.tokenizer or {}
    ids = tokenizer.get("vocab_size")
    losses = {"here": meta.val_loss, "at best": meta.best_val}
    known = [f"{loss:.4f} {where}" for where, loss in losses.items() if loss is not None]
    layout = (meta.imported or {}).get("layout")
    rows: list[tuple[str, str | list[str]]] = [
        ("step", "unknown" if meta.step is None else f"{meta.step:,}"),
        ("tokens", tokens),
        ("tokens a step", "unknown" if meta.tokens_per_step is None else f"{meta.tokens_per_step:,}"),
        ("validation loss", ", ".join(known) or "none yet"),
        ("trained on", _paths(i.meta.hparams.get("train_shards"), "unknown")),
        ("tokenizer", f"{_value(tokenizer.get('name'))}{f', {ids:,} ids' if isinstance(ids, int) else ''}"),
        ("parent", _paths(i.parent, "none")),
        *([("imported", f"from {_value(layout)}")] if layout is not None else []),
        ("versions", ", ".join(f"{name} {value}" for name, value in meta.versions.items()) or "unknown"),
    ]
    lines = []
    for key, value in rows:
        first = f"  {key:<15}  "
        if isinstance(value, str):
            lines += wrapped(value, first)
        else:
            lines += [f"{' ' * len(first) if number else first}{cell(path)}" for number, path in enumerate(value)]
    return [f"Checkpoint {cell(shown_path(i.folder))}{links}", *lines]


def _paths(value: Any, missing: str) -> list[str]:
    """Paths, each of which gets a line to itself, however long: it is to be copied, and to be found by grep."""
    if value is None or value == []:
        return [missing]
    return [format_value(path) for path in (value if isinstance(value, list) else [value])]


def _uses(i: Inspection) -> list[str]:
    path = shlex.quote(shown_path(i.folder))
    run = ""
    if i.run is not None:
        run = shlex.quote(i.run.name if i.run.parent == RUNS.resolve() else display_path(i.run))
    uses: list[tuple[str, Use, str]] = [
        ("resume", i.resume, f"daisy train --resume {run}"),
        ("warm start", i.warm_start, f"daisy train CONFIG -p {path}"),
        ("serve", i.serve, f"daisy serve {path}"),
    ]
    lines = []
    for name, use, command in uses:
        answer = ("yes, but " if use.possible else "no: ") + use.note if use.note else "yes"
        lines += wrapped(answer, f"  {name:<12}")
        lines += [f"    {cell(command)}"] if use.possible else []
    return lines


def _problems(i: Inspection) -> list[str]:
    if not i.problems:
        return []
    shown = [line for problem in i.problems[:_SHOWN_PROBLEMS] for line in wrapped(problem, "  ")]
    more = len(i.problems) - _SHOWN_PROBLEMS
    return ["Problems", *shown, *([f"  and {more:,} more"] if more > 0 else [])]


def _architecture(spec: ModelSpec) -> list[str]:
    values = {name: format_value(value) for name, value in spec if name != "model_class"}
    values["vocab_size"] += f" (+{padded_vocab(spec.vocab_size) - spec.vocab_size} rows of padding)"
    cells = [f"{name:<24}  {value}" for name, value in values.items()]
    long = [text for text in cells if len(text) > 37]
    short = [text for text in cells if len(text) <= 37]
    half = -(-len(short) // 2)
    pairs = [(short[n], short[half + n] if half + n < len(short) else "") for n in range(half)]
    return [f"Architecture: {spec.model_class}", *table(pairs, indent="  "), *(f"  {cell(text)}" for text in long)]


def _windows(i: Inspection) -> list[str]:
    """L and S by layer where the spec's pattern explains the windows, and plain numbers where it does not."""
    windows, spec = i.meta.windows, i.spec
    if not windows:
        return []
    if spec is None or list(windows) != layer_windows(spec, windows[-1]):
        return ["Windows (tokens, layer 0 first)", *wrapped(", ".join(f"{window:,}" for window in windows), "  ")]
    full = layer_windows(spec)[-1]
    grown = "" if windows[-1] == full else f" (of {full:,} at the end of the training)"
    pattern = spec.window_pattern
    letters = [pattern[layer % len(pattern)] for layer in range(len(windows) - 1)] + ["L"]
    sees = f"L sees {windows[-1]:,} tokens{grown}"
    if "S" in letters:
        sees += f", S sees {windows[letters.index('S')]:,}"
    chunks = ["".join(letters[at : at + len(pattern)]) for at in range(0, len(letters), len(pattern))]
    return [f"Windows: {sees}", *wrapped(" ".join(chunks), f"  layers 0-{len(letters) - 1}  ")]


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
        lines = [" ".join(_figure(value) for value in gate.values)]
        if len(gate.values) > _NUMBERS:
            text = "".join(_bar(value, low, high) for value in gate.values)
            lines = [text[at : at + _BARS_A_LINE] for at in range(0, len(text), _BARS_A_LINE)]
        rows.append((gate.name, _ranges(gate.layers), _figure(low), _figure(high), lines[0]))
        rows += [("", "", "", "", line) for line in lines[1:]]
        if len(finite) < len(gate.values):
            bad = len(gate.values) - len(finite)
            notes.append(f"  {gate.name}: {bad} of {len(gate.values)} {'is' if bad == 1 else 'are'} not finite (!)")
    heading = "Gates" + (" (a bar a layer, from the row's min to its max)" if bars else "")
    return [heading, *table(rows, indent="  ", right={2, 3}), *notes]


def _files(i: Inspection) -> list[str]:
    rows = [(cell(file.name), size(file.bytes), f"sha256 {cell(file.sha256[:16])}") for file in i.files]
    return [f"Files: {size(sum(file.bytes for file in i.files))}", *table(rows, indent="  ", right={1})]


def _bar(value: float, low: float, high: float) -> str:
    if not isfinite(value):
        return "!"
    return _BARS[min(7, int(8 * (value - low) / (high - low)))] if high > low else _BARS[3]


def _figure(value: float) -> str:
    return f"{value:z.4f}" if isfinite(value) and abs(value) < 100 else f"{value:.3g}"


def _ranges(numbers: Sequence[int]) -> str:
    """`0-5`, `5-3`, `0-1, 4-5`: runs of neighbours, up or down."""
    runs: list[list[int]] = []
    for number in numbers:
        run = runs[-1] if runs else []
        step = number - run[-1] if run else 0
        if abs(step) == 1 and step == (run[1] - run[0] if len(run) > 1 else step):
            run.append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _value(value: Any) -> str:
    return "unknown" if value is None else format_value(value)


def _counts(e: TensorStatistics) -> list[str]:
    words = ((e.nan, "NaN"), (e.infinite, "infinite"))
    return [f"{number:,} {word}" for number, word in words if number]
