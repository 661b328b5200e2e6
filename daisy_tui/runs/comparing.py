"""Runs side by side: which values of their configs differ, and how far and how well each trained. Knows no screen.

A `ComparedRun` is read along, so that looking again costs what is new; a `Comparison` is a value. What all runs have in
common is left out and only counted: of a hundred keys the two that differ are what one wants to see. Optimizers and
their groups are compared by name, as overrides name them, for by place one more group would make all of them differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.runs.changes import overrides_of, read_changes
from core.runs.curves import Curves, Floats
from core.runs.directory import RunDirectory, RunError
from core.runs.follow import RecordTail
from core.runs.status import run_status
from core.runs.summary import Recorded, recorded, summary
from core.runs.trusted import is_whole
from daisy_tui.runs.run_files import RunFiles

# How entries of these lists are named; a part "params" is no part of a name, as in optimizers.Muon.embed_params.lr.
_NAMED_BY = {"optimizers": "type", "params": "group"}
_NO_FACTS = frozenset({"id", "name", "argv", "spec"})  # of run.json; what they lead to is in the config
_BEGINNINGS = frozenset({"started", "resumed"})


class _Absent:
    """Stands for the value of a key that a run does not have."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Difference(NamedTuple):
    """A key whose value is not the same in all runs: one value a run, ABSENT where it has none."""

    key: str
    values: tuple[Any, ...]


class Figures(NamedTuple):
    """How far and how well a run trained. None is unknown; NaN is a loss that was no number.

    `seconds` is the time it trained, without pauses between its attempts; `tokens_per_s` the median of its log points;
    validation losses are means over datasets.
    """

    id: str
    name: str
    state: str
    step: int | None
    tokens: int | None
    target_tokens: int | None
    seconds: float | None
    tokens_per_s: float | None
    train_loss: float | None
    val_loss: float | None
    best_val: float | None
    best_val_step: int | None
    best_val_tokens: int | None

    def to_json(self) -> dict[str, Any]:
        """As JSON can say it: what is not finite is null."""
        values = self._asdict()
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


class Comparison(NamedTuple):
    """Runs compared, in the order they were given. `same` counts the keys that do not differ."""

    figures: tuple[Figures, ...]
    differences: tuple[Difference, ...]
    same: int
    problems: tuple[str, ...]


class ComparedRun:
    """A run that is compared. `curves` are its own, read along by `refresh`; one thread at a time."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.curves = Curves(run, "train_loss", "tokens_per_s")
        self._events = RecordTail(run.events, from_start=True)
        self._attempts: list[list[float]] = []
        self._recorded: Recorded | None = None
        self._files = RunFiles(run)

    def refresh(self) -> bool:
        """Take up what the run has recorded; whether that is anything. Raises OSError for files that resist."""
        changed = self.curves.refresh()
        for event in self._events.new():
            changed = True
            if (time := event.get("time")) is not None:
                if event.get("event") in _BEGINNINGS:
                    self._attempts.append([time, time])
                elif self._attempts and event.get("event") != "restarted":
                    self._attempts[-1][1] = max(self._attempts[-1][1], time)
        return changed

    def figures(self, now: float | None = None) -> Figures:
        """The figures as of the last `refresh`, with the state at `now` (seconds of the time of day)."""
        self._recorded = recorded(self.run, self._recorded)
        facts = summary(self.run, run_status(self.run, now), now, self._recorded)
        attempts = self._lasted()
        train, speed = self.curves.curve("train_loss"), self.curves.curve("tokens_per_s").y
        finite_speed = speed[np.isfinite(speed)]
        target = self._files.config().get("target_tokens")
        val = self._evaluations("step")
        best = min((one for one in val if math.isfinite(one[1])), key=lambda one: one[1], default=None)
        tokens = dict(zip((x for x, _ in val), (x for x, _ in self._evaluations("tokens")), strict=True))
        return Figures(
            **{key: facts[key] for key in ("id", "name", "state", "step", "tokens")},
            target_tokens=facts["target_tokens"] or (target if is_whole(target) else None),
            seconds=sum(seconds for _, seconds in attempts) if attempts else None,
            tokens_per_s=float(np.median(finite_speed)) if len(finite_speed) else None,
            train_loss=float(train.y[-1]) if len(train.y) else None,
            val_loss=val[-1][1] if val else None,
            best_val=best[1] if best else None,
            best_val_step=int(best[0]) if best else None,
            best_val_tokens=int(tokens[best[0]]) if best and math.isfinite(tokens[best[0]]) else None,
        )

    def values(self) -> tuple[dict[str, Any], list[str]]:
        """The config by dotted key, with what was set in flight and where it ran; and what could not be read."""
        problems = []
        config = dict(leaves(self._files.config()))
        if not config:
            problems.append(f"{self._files.problem or f'{self.run.config}: is empty'}, so it is not compared")
        try:
            if changes := overrides_of(read_changes(self.run)):
                config["set in flight"] = ", ".join(changes)
            facts = {key: value for key, value in self.run.facts().items() if key not in _NO_FACTS}
            config |= {f"run.{key}": value for key, value in leaves(facts)}
        except RunError as error:
            problems.append(str(error))
        return config, problems

    def _evaluations(self, x: str) -> list[tuple[float, float]]:
        """Every evaluation: where it was, and its mean loss."""
        names = [name for name in self.curves.names() if name.startswith("val.") and name.endswith(".loss")]
        self.curves.load(*names)
        losses: dict[float, list[float]] = {}
        places: dict[float, float] = {}
        for name in names:
            over_steps, over_x = self.curves.curve(name), self.curves.curve(name, x)
            for step, place, loss in zip(over_steps.x.tolist(), over_x.x.tolist(), over_steps.y.tolist(), strict=True):
                losses.setdefault(step, []).append(loss)
                places[step] = place
        return [(places[step], sum(losses[step]) / len(losses[step])) for step in sorted(losses)]

    def trained(self, times: Floats) -> Floats:
        """Times of day as seconds that the run had trained by then, pauses between its attempts left out."""
        attempts = self._lasted()
        if not attempts:
            return np.zeros_like(times)
        begins, lengths = np.array(attempts).T
        before = np.cumsum(lengths) - lengths
        number = np.clip(np.searchsorted(begins, times, side="right") - 1, 0, None)
        result: Floats = before[number] + np.clip(times - begins[number], 0.0, lengths[number])
        return result

    def _lasted(self) -> list[tuple[float, float]]:
        """When each attempt began, and how many seconds it lasted: to the last that it recorded."""
        times = self.curves.curve("train_loss", "time").x
        attempts = self._attempts or [[float(time), float(time)] for time in times[:1]]
        found = []
        for (begin, last), (next_begin, _) in zip(attempts, [*attempts[1:], [math.inf, 0.0]], strict=False):
            before = int(np.searchsorted(times, next_begin))
            found.append((begin, max(0.0, last - begin, float(times[before - 1]) - begin if before else 0.0)))
        return found


def compare(runs: Sequence[ComparedRun], now: float | None = None) -> Comparison:
    """Runs side by side as of their last `refresh`."""
    found = [run.values() for run in runs]
    every, differing = differences([values for values, _ in found])
    problems = tuple(problem for _, ones in found for problem in ones)
    return Comparison(tuple(run.figures(now) for run in runs), differing, every - len(differing), problems)


def differences(configs: Sequence[Mapping[str, Any]]) -> tuple[int, tuple[Difference, ...]]:
    """How many keys there are in all, and those whose values differ, in the order in which the first runs have them."""
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = (Difference(key, tuple(config.get(key, ABSENT) for config in configs)) for key in keys)
    differing = tuple(row for row in rows if any(not _same(value, row.values[0]) for value in row.values[1:]))
    return len(keys), differing


def leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a config by dotted key; lists of plain values are values."""
    for key, value in config.items():
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            names = list(_names(str(key), value))
            for name, entry in zip(names, value, strict=True):
                inner = {k: v for k, v in entry.items() if k != _NAMED_BY.get(str(key)) or "[" in name}
                path = name if key == "params" else f"{key}{name}" if name.startswith("[") else f"{key}.{name}"
                yield from ((f"{path}.{inside}", leaf) for inside, leaf in leaves(inner))
        elif isinstance(value, Mapping) and value:
            yield from ((f"{key}.{inside}", leaf) for inside, leaf in leaves(value))
        else:
            yield str(key), value


def _names(key: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What entries of a list are called: by name where each has one of its own, else by place."""
    named = [entry.get(_NAMED_BY.get(key, "")) for entry in entries]
    is_named = all(isinstance(name, str) for name in named) and len(set(named)) == len(named)
    return (str(name) if is_named else f"[{place}]" for place, name in enumerate(named))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same; true is not 1, and not-a-number is itself."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or (one != one and other != other)
