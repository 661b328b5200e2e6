"""The lines of a chart: what they show, what they look like, and smoothing. Knows no widget.

A line is told apart by its colour, and without colour by its dashes and the mark at its end. Colours are those of Okabe
and Ito, which colour-blind people tell apart (https://jfly.uni-koeln.de/color/), darker on a light ground. Seven
colours, four kinds of dashes and nine marks have no common factor in pairs, so that neighbours differ in all three and
a look comes back after 252 lines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from core.runs.curves import Curve, Floats

# Sky blue, orange, bluish green, reddish purple, yellow, vermillion, blue.
DARK = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2")
LIGHT = ("#0072b2", "#b87a00", "#007a58", "#a8497f", "#8a7f00", "#c04f00", "#2f86ba")
ANSI = ("ansi_cyan", "ansi_yellow", "ansi_green", "ansi_magenta", "ansi_bright_yellow", "ansi_red", "ansi_blue")

# Dots drawn and left out along a line, and how a legend shows that. () is a solid line.
DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (1, 2), (7, 2, 1, 2))
SAMPLES = ("──", "╌╌", "┈┈", "─·")
MARKS = "●▲■◆○△□◇★"

_BLOCK = 64
_SMOOTHINGS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)


class Line(NamedTuple):
    """One line of a chart. `style` picks its look; a `faint` one lies behind the others and is in no legend.
    `smoothing` is the factor that a legend has to tell, for its figures are not those that were measured.

    The arrays of `curve` must not change while the line is shown: see `held`.
    """

    label: str
    curve: Curve
    style: int
    faint: bool = False
    smoothing: float = 0.0


class Look(NamedTuple):
    """What a line looks like: a colour, its dashes (indexes DASHES and SAMPLES) and the mark at its end."""

    colour: str
    dashes: int
    mark: str

    @property
    def rich_colour(self) -> str:
        """The colour as Rich calls it."""
        return self.colour.removeprefix("ansi_")

    @property
    def sample(self) -> str:
        """Three cells that stand for the line in a legend."""
        return SAMPLES[self.dashes] + self.mark


def look(style: int, colours: tuple[str, ...] = DARK) -> Look:
    """The look of a style, in the colours of DARK, LIGHT or ANSI."""
    return Look(colours[style % len(colours)], style % len(DASHES), MARKS[style % len(MARKS)])


def colours_for(*, dark: bool, ansi: bool) -> tuple[str, ...]:
    """The colours for a theme: those that the terminal itself has names for where it is an ANSI theme."""
    return ANSI if ansi else DARK if dark else LIGHT


def held(curve: Curve) -> Curve:
    """A copy that stays as it is when the run is read on, for what is read in one thread and drawn in another."""
    return Curve(curve.x.copy(), curve.y.copy())


def smoothed(curve: Curve, factor: float) -> Curve:
    """The exponential moving average of the finite values, free of bias at its beginning; gaps stay gaps.

    `factor`, 0 to 0.999, is the weight of what was before; 0 returns the curve itself.
    """
    if factor <= 0 or not len(curve.y):
        return curve
    finite = np.isfinite(curve.y)
    sums = _decaying_sums(curve.y[finite], factor)
    weights = -np.expm1(np.arange(1, len(sums) + 1) * np.log(factor))
    y = np.full(len(curve.y), np.nan)
    y[finite] = sums * (1 - factor) / weights
    return Curve(curve.x, y)


def next_smoothing(factor: float, by: int) -> float:
    """The factor that comes `by` steps after the one nearest to `factor`, as a person goes through them."""
    nearest = min(range(len(_SMOOTHINGS)), key=lambda place: abs(_SMOOTHINGS[place] - factor))
    return _SMOOTHINGS[max(0, min(len(_SMOOTHINGS) - 1, nearest + by))]


def _decaying_sums(values: Floats, factor: float) -> Floats:
    """s[i] = factor · s[i - 1] + values[i], block by block as matrix products: a loop takes 100 times as long."""
    powers = np.arange(_BLOCK)
    blocks = np.pad(values, (0, -len(values) % _BLOCK)).reshape(-1, _BLOCK)
    sums = blocks @ np.tril(factor ** np.abs(powers[:, None] - powers)).T
    if len(blocks) > 1:
        before = _decaying_sums(sums[:-1, -1], factor**_BLOCK)
        sums[1:] += before[:, None] * factor ** (powers + 1)
    result: Floats = sums.ravel()[: len(values)]
    return result
