"""Which charts a run has, and the lines in them: from its curves, for one x and one smoothing. Knows no widget.

What is drawn is a copy of what was read, because the next look reads on in another thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from core.runs.curves import Curve, Curves
from core.runs.directory import RunDirectory
from daisy_tui.lines import Line, held, smoothed


class ChartKind(NamedTuple):
    """One chart. `series` are names of curves, or patterns of them. Values are multiplied by `scale`; `smooths` says
    whether smoothing is for them."""

    id: str
    title: str
    unit: str
    series: tuple[str, ...]
    scale: float = 1.0
    smooths: bool = True


CHARTS = (
    ChartKind("loss", "loss", "", ("train_loss", "val.*.loss")),
    ChartKind("lr", "learning rate", "", ("lr.*",), smooths=False),
    ChartKind("grad_norm", "gradient norm", "", ("grad_norm",)),
    ChartKind("tokens_per_s", "speed", "tokens/s", ("tokens_per_s",)),
    ChartKind("mfu", "MFU", "%", ("mfu",), scale=100.0),
    ChartKind("memory", "memory", "GiB", ("memory",), scale=2.0**-30, smooths=False),
)
_LABELS = {"train_loss": "train", "grad_norm": "norm", "tokens_per_s": "tokens/s", "mfu": "MFU"}
CHART_IDS = tuple(kind.id for kind in CHARTS)


def curves_of(run: RunDirectory) -> Curves:
    """The curves of a run. The others are read when a chart first wants them, for each takes its time in a long run."""
    return Curves(run, "train_loss")


def load(curves: Curves, kinds: Iterable[ChartKind]) -> None:
    """Read what some charts want, all in one go."""
    curves.load(*(name for kind in kinds for name in _series(curves, kind)))


def chart_lines(curves: Curves, kind: ChartKind, x: str, smoothing: float) -> list[Line]:
    """The lines of one chart over `x` (step, tokens or time), smoothed by a factor from 0 to 0.999.

    A smoothed line has what it was made of behind it. Raises OSError as `Curves` does.
    """
    found = _series(curves, kind)
    curves.load(*found)
    lines = []
    for style, name in enumerate(found):
        raw = curves.curve(name, x)
        if not len(raw.x):
            continue
        curve = held(raw) if kind.scale == 1.0 else Curve(raw.x.copy(), raw.y * kind.scale)
        if smoothing and kind.smooths and not name.startswith("val."):
            lines.append(Line(_label(name), curve, style, faint=True))
            lines.append(Line(_label(name), smoothed(curve, smoothing), style, smoothing=smoothing))
        else:
            lines.append(Line(_label(name), curve, style))
    return lines


def last_points(curves: Curves, name: str, number: int, x: str = "step") -> list[tuple[float, float]]:
    """The last points (x, value) of a series."""
    curve = curves.curve(name, x)
    return list(zip(curve.x[-number:].tolist(), curve.y[-number:].tolist(), strict=True))


def began(curves: Curves) -> float | None:
    """When the first log point was made, in seconds of the time of day."""
    times = curves.curve("train_loss", "time").x
    return float(times[0]) if len(times) and np.isfinite(times[0]) else None


def _series(curves: Curves, kind: ChartKind) -> list[str]:
    return [name for pattern in kind.series for name in curves.names() if fnmatchcase(name, pattern)]


def _label(name: str) -> str:
    """A series as a legend names it: `lr.head_params` is head_params, `val.books.loss` is val books."""
    if name.startswith("val."):
        dataset = name.removeprefix("val.").removesuffix(".loss")
        return "val" if dataset == "val" else f"val {dataset}"
    return _LABELS.get(name, name.rpartition(".")[2])
