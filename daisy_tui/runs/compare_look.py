"""All that the Compare screen shows, looked at in a thread: the runs there are, and the chosen ones side by side.

A `CompareReader` keeps what it has read of the chosen runs, so that a look costs what is new; a `CompareLook` is a
value that a screen may keep while the next one is made. Times are those that a run had trained, so that runs with and
without pauses lie over each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.runs.curves import Curve
from core.runs.directory import RunDirectory
from daisy_tui.lines import smoothed
from daisy_tui.runs.comparing import ComparedRun, Comparison, compare
from daisy_tui.runs.query import QueryError, parse_query
from daisy_tui.runs.watching import UNREADABLE, RunRow, RunsWatch

LOSS = "train_loss"
# What is compared most comes first; the rest follows by name.
_FIRST = (LOSS, "val.*.loss", "grad_norm", "lr.*", "tokens_per_s", "mfu", "memory", "val.*")
_NO_SERIES = frozenset({"step", "tokens", "time", "eta_s", "target_tokens"})
_LABELS = {
    LOSS: ("train loss", "", 1.0),
    "grad_norm": ("gradient norm", "", 1.0),
    "tokens_per_s": ("speed", "tokens/s", 1.0),
    "mfu": ("MFU", "%", 100.0),
    "memory": ("memory", "GiB", 2.0**-30),
    "data_wait": ("data wait", "%", 100.0),
}


class Wanted(NamedTuple):
    """What is to be looked at: which runs, which series over which x, how smoothed; `text` narrows the list of runs.

    `runs` None are those that are worth a look to begin with.
    """

    runs: tuple[Path, ...] | None = None
    series: str = LOSS
    x: str = "step"
    smoothing: float = 0.0
    text: str = ""


class CompareLook(NamedTuple):
    """The runs at a moment. `rows` are those that the text picks, of `every` there are; `problem` is wrong with it.

    `runs` are the chosen ones that could be read, `curves` one of each, `series` what can be drawn of them, and
    `problems` what could not be read.
    """

    wanted: Wanted
    rows: tuple[RunRow, ...]
    every: int
    problem: str | None
    runs: tuple[Path, ...]
    curves: tuple[Curve, ...]
    series: tuple[str, ...]
    comparison: Comparison
    problems: tuple[str, ...]


class CompareReader:
    """Looks at the runs of a folder, again and again; one thread at a time."""

    def __init__(self, watch: RunsWatch) -> None:
        self._watch = watch
        self._runs: dict[Path, ComparedRun] = {}
        self._drawn: dict[Path, tuple[tuple[str, str, float], Curve]] = {}

    def look(self, wanted: Wanted, now: float) -> CompareLook:
        """The runs at `now`, in seconds of the time of day."""
        every = tuple(row for row in self._watch.look() if row.state != UNREADABLE)
        rows, problem = _picked(every, wanted.text)
        chosen = first_runs(every) if wanted.runs is None else wanted.runs
        self._runs = {path: self._runs.get(path) or ComparedRun(RunDirectory(path)) for path in chosen}
        runs, problems = [], []
        for path, run in self._runs.items():
            try:
                if not path.is_dir():
                    raise FileNotFoundError(2, "the run is gone")
                if run.refresh():
                    self._drawn.pop(path, None)
            except OSError as error:
                name = f"{path.name}/{Path(error.filename).name}" if error.filename else path.name
                problems.append(f"{name}: {error.strerror}")
            else:
                runs.append(path)
        found = [self._runs[path] for path in runs]
        curves = tuple(self._curve(path, wanted) for path in runs)
        comparison = compare(found, now)
        series = ordered_series(name for run in found for name in run.curves.names())
        problems += comparison.problems
        return CompareLook(wanted, rows, len(every), problem, tuple(runs), curves, series, comparison, tuple(problems))

    def _curve(self, path: Path, wanted: Wanted) -> Curve:
        """The curve of a run that is wanted: the one drawn before where the run has not gained anything."""
        how = wanted.series, wanted.x, wanted.smoothing
        before = self._drawn.get(path)
        if before is None or before[0] != how:
            run = self._runs[path]
            raw = run.curves.curve(wanted.series, wanted.x)
            x = run.trained(raw.x) if wanted.x == "time" else raw.x
            curve = smoothed(Curve(x.copy(), raw.y * series_label(wanted.series)[2]), wanted.smoothing)
            before = self._drawn[path] = how, curve
        return before[1]


def first_runs(rows: Sequence[RunRow]) -> tuple[Path, ...]:
    """The runs to begin with: the newest that have trained."""
    return tuple(row.path for row in rows if row.step)[:3]


def ordered_series(names: Iterable[str]) -> tuple[str, ...]:
    """The series that can be drawn, each once, what is compared most first."""
    patterns = [re.compile(re.escape(pattern).replace(r"\*", ".*")) for pattern in _FIRST]

    def rank(name: str) -> tuple[int, str]:
        return next((place for place, one in enumerate(patterns) if one.fullmatch(name)), len(patterns)), name

    return tuple(sorted(set(names) - _NO_SERIES, key=rank))


def series_label(name: str) -> tuple[str, str, float]:
    """A series as people call it, its unit, and what its values are multiplied with for that."""
    if name in _LABELS:
        return _LABELS[name]
    room, _, rest = name.partition(".")
    if room == "val":
        dataset, _, score = rest.rpartition(".")
        return f"val {score}" if dataset == "val" else f"val {score} {dataset}", "", 1.0
    return f"{room.replace('_', ' ')} {rest}".strip(), "", 1.0


def _picked(rows: tuple[RunRow, ...], text: str) -> tuple[tuple[RunRow, ...], str | None]:
    """The runs that a query picks; all of them and what is wrong with it where it means nothing."""
    try:
        query = parse_query(text)
    except QueryError as error:
        return rows, str(error)
    return tuple(row for row in rows if query.matches(row.value)), None
