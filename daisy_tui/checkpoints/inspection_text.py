"""What an inspected checkpoint is and is good for, section by section, in lines of a width: for commands and screens.

The first line of a section is its heading, and what stands below it is indented.
"""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Any

from core.checkpoint.inspect import Inspection, Use
from core.config.scalars import format_value
from core.config.sources import display_path
from core.config.windows import layer_windows
from daisy_tui.checkpoints.checkpoint_text import cell, shown_path

WIDTH = 80
_RUNS = Path("runs")
_SHOWN_PROBLEMS = 8


def identity(i: Inspection, width: int = WIDTH) -> list[str]:
    """Which checkpoint it is, and what meta.json says of it."""
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
        *([("exported from", _paths(meta.exported.get("from"), "unknown"))] if meta.exported is not None else []),
        ("versions", ", ".join(f"{name} {value}" for name, value in meta.versions.items()) or "unknown"),
    ]
    lines = []
    for key, value in rows:
        first = f"  {key:<15}  "
        if isinstance(value, str):
            lines += wrapped(value, first, width)
        else:
            lines += [f"{' ' * len(first) if number else first}{cell(path)}" for number, path in enumerate(value)]
    return [f"Checkpoint {cell(shown_path(i.folder))}{links}", *lines]


def _paths(value: Any, missing: str) -> list[str]:
    """Paths, each of which gets a line to itself, however long: it is to be copied, and to be found by grep."""
    if value is None or value == []:
        return [missing]
    return [format_value(path) for path in (value if isinstance(value, list) else [value])]


def uses(i: Inspection, width: int = WIDTH) -> list[str]:
    """What can be done with it, by which command; why not."""
    path = shlex.quote(shown_path(i.folder))
    run = ""
    if i.run is not None:
        run = shlex.quote(i.run.name if i.run.parent == _RUNS.resolve() else display_path(i.run))
    answers: list[tuple[str, Use, str]] = [
        ("resume", i.resume, f"daisy train --resume {run}"),
        ("warm start", i.warm_start, f"daisy train CONFIG -p {path}"),
        ("serve", i.serve, f"daisy serve {path}"),
    ]
    lines = []
    for name, use, command in answers:
        answer = ("yes, but " if use.possible else "no: ") + use.note if use.note else "yes"
        lines += wrapped(answer, f"  {name:<12}", width)
        lines += [f"    {cell(command)}"] if use.possible else []
    return ["What can be done with it", *lines]


def problems(i: Inspection, width: int = WIDTH) -> list[str]:
    """In which ways it is not what its spec says; no line where it is."""
    if not i.problems:
        return []
    shown = [line for problem in i.problems[:_SHOWN_PROBLEMS] for line in wrapped(problem, "  ", width)]
    more = len(i.problems) - _SHOWN_PROBLEMS
    return ["Problems", *shown, *([f"  and {more:,} more"] if more > 0 else [])]


def windows(i: Inspection, width: int = WIDTH) -> list[str]:
    """L and S by layer where the spec's pattern explains the windows, and plain numbers where it does not."""
    seen, spec = i.meta.windows, i.spec
    if not seen:
        return []
    if spec is None or list(seen) != layer_windows(spec, seen[-1]):
        return ["Windows (tokens, layer 0 first)", *wrapped(", ".join(f"{window:,}" for window in seen), "  ", width)]
    full = layer_windows(spec)[-1]
    grown = "" if seen[-1] == full else f" (of {full:,} at the end of the training)"
    pattern = spec.window_pattern
    letters = [pattern[layer % len(pattern)] for layer in range(len(seen) - 1)] + ["L"]
    sees = f"L sees {seen[-1]:,} tokens{grown}"
    if "S" in letters:
        sees += f", S sees {seen[letters.index('S')]:,}"
    chunks = ["".join(letters[at : at + len(pattern)]) for at in range(0, len(letters), len(pattern))]
    return [f"Windows: {sees}", *wrapped(" ".join(chunks), f"  layers 0-{len(letters) - 1}  ", width)]


def wrapped(text: str, first: str, width: int = WIDTH) -> list[str]:
    """Lines of at most `width`, or of a word that is longer; `first` stands before them, the others below its text."""
    return textwrap.wrap(
        cell(text),
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: Any) -> str:
    return "unknown" if value is None else format_value(value)
