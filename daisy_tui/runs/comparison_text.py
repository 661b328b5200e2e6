"""How compared runs read, in a terminal and on a screen: names, figures with the best of them marked, config values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from core.config.scalars import format_value
from core.text import count, duration

if TYPE_CHECKING:  # numpy, which whoever only imports this does without
    from daisy_tui.runs.comparing import Figures

BEST = "*"


class FigureRow(NamedTuple):
    """A figure of every run: how it reads, and of what the least is the best of the row."""

    label: str
    show: Callable[[Figures], str]
    best: Callable[[Figures], float | None] | None = None


def figure_rows(figures: Sequence[Figures]) -> Iterator[tuple[str, list[str]]]:
    """What each figure is called, and the cells of its row; the best one of a row has a BEST behind it."""
    for label, show, best in FIGURE_ROWS:
        values = [best(one) for one in figures] if best else []
        known = [value for value in values if value is not None and math.isfinite(value)]
        least = min(known) if len(known) > 1 and min(known) < max(known) else math.nan
        marks = [f" {BEST}" if value == least else "" for value in values] or [""] * len(figures)
        yield label, [show(one) + mark for one, mark in zip(figures, marks, strict=True)]


def run_names(figures: Sequence[Figures]) -> list[str]:
    """What runs are called among each other: their names, or their ids where two have the same name."""
    names = [one.name for one in figures]
    return names if len(set(names)) == len(names) else [one.id for one in figures]


def value_text(value: Any) -> str:
    """A config value as an override would have it; `-` where a run has none."""
    from daisy_tui.runs.comparing import ABSENT

    return "-" if value is ABSENT else format_value(value)


def _shown(value: Any, how: Callable[[Any], str]) -> str:
    return "-" if value is None else how(value)


def _loss(value: float | None) -> str:
    return _shown(value, "{:.4f}".format)


def _best_at(one: Figures) -> str:
    if one.best_val_step is None:
        return "-"
    return f"step {one.best_val_step:,}" + (f", {count(one.best_val_tokens)}" if one.best_val_tokens else "")


def _slowness(one: Figures) -> float | None:
    return -one.tokens_per_s if one.tokens_per_s is not None else None


FIGURE_ROWS = (
    FigureRow("state", lambda one: one.state),
    FigureRow("step", lambda one: _shown(one.step, "{:,}".format)),
    FigureRow("tokens", lambda one: _shown(one.tokens, count)),
    FigureRow("trained for", lambda one: _shown(one.seconds, duration)),
    FigureRow("tokens/s, median", lambda one: _shown(one.tokens_per_s, "{:,.0f}".format), _slowness),
    FigureRow("final train loss", lambda one: _loss(one.train_loss), lambda one: one.train_loss),
    FigureRow("final val loss", lambda one: _loss(one.val_loss), lambda one: one.val_loss),
    FigureRow("best val loss", lambda one: _loss(one.best_val), lambda one: one.best_val),
    FigureRow("best val at", _best_at),
)
