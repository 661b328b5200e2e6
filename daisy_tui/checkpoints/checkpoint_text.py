"""How figures and names of a checkpoint read in a line, for commands and screens alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoint.format import TensorInfo
from core.config.sources import display_path
from core.text import printable

if TYPE_CHECKING:  # numpy, which only the reading of weights loads
    from core.checkpoint.statistics import Movement, TensorStatistics
from daisy_tui.glyphs import BLOCKS

_EIGHTHS = " ▏▎▍▌▋▊▉█"


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


def figure(value: float) -> str:
    """A gate's value: four places while it is small."""
    return f"{value:z.4f}" if isfinite(value) and abs(value) < 100 else f"{value:.3g}"


def ranges(numbers: Sequence[int]) -> str:
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


def columns(values: Sequence[float]) -> str:
    """A column for each value, from the lowest of them to the highest; `!` for what is not finite."""
    finite = [value for value in values if isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)

    def column(value: float) -> str:
        if not isfinite(value):
            return "!"
        return BLOCKS[min(7, int(8 * (value - low) / (high - low)))] if high > low else BLOCKS[3]

    return "".join(map(column, values))


def chart(
    values: Sequence[float], rows: int, each: int = 1, *, from_zero: bool = False, apart: bool = False
) -> list[str]:
    """Values as columns of `each` cells in `rows` rows, the highest first: from the lowest value, or from zero.

    The lowest one is still seen; `!` in the last row stands for what is not finite. Columns that stand `apart` have a
    blank behind them.
    """
    finite = [value for value in values if isfinite(value)]
    low, high = (0.0 if from_zero else min(finite), max(finite)) if finite else (0.0, 0.0)
    levels = rows * 8

    def height(value: float) -> int:
        """In eighths of a row."""
        if high <= low:
            return 0 if from_zero else levels // 2
        least = 0 if from_zero and value <= 0 else 1
        return max(least, round(levels * (value - low) / (high - low)))

    heights = [height(value) if isfinite(value) else -1 for value in values]
    blank, width = (" ", each - 1) if apart else ("", each)

    def cell_of(filled: int, row: int) -> str:
        if filled < 0:
            return " " if row else "!"
        return " " if filled <= 8 * row else BLOCKS[min(8, filled - 8 * row) - 1]

    return ["".join(width * cell_of(filled, row) + blank for filled in heights) for row in range(rows - 1, -1, -1)]


def bar(share: float, width: int) -> str:
    """A share of 0 to 1 as a bar of at most `width` cells, to an eighth of a cell; never nothing for something."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


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


def not_finite(entry: TensorStatistics) -> str:
    """`3 NaN and 1 infinite`; nothing where all values are finite."""
    words = ((entry.nan, "NaN"), (entry.infinite, "infinite"))
    return " and ".join(f"{number:,} {word}" for number, word in words if number)


def moved(entry: Movement) -> str:
    """How far a tensor is from another, as a share of the other's norm."""
    if entry.relative is not None:
        return f"{short(100 * entry.relative)}%"
    return "from zero" if entry.norm_right else "unknown"
