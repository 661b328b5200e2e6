"""What is read of a run only when somebody asks for it: its config, its tags, its best evaluation.

Each file is read once and then again only where it has changed; events.jsonl is read on from where it was left. So a
query over two hundred runs costs their configs once, and the runs that nobody asks about cost nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.errors import ConfigError
from core.runs.directory import RunDirectory
from core.runs.follow import record_of
from core.runs.opening import open_regular
from core.runs.trusted import EVENTS, is_number
from daisy_tui.runs.query import CONFIG, config_values

Stamp = tuple[int, int, int] | None
_BIGGEST_CONFIG = 1 << 20  # bytes; those that Daisy writes have two thousand


def stamp(path: Path) -> Stamp:
    """What changes when a file is written: its time, size and number; None where it cannot be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def number(value: Any) -> float | None:
    """A value that somebody wrote, if it is a number that a figure can be."""
    return float(value) if is_number(value) else None


def progress(tokens: Any, target_tokens: Any) -> float | None:
    """The share of the target that is done, from 0 to 1; None where either is unknown."""
    done, target = number(tokens), number(target_tokens)
    return None if done is None or not target or target < 0 else min(1.0, max(0.0, done / target))


class RunFiles:
    """The files of a run that queries, sorting and details ask for. Nothing in them is raised."""

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.config
        self._config: tuple[Stamp, dict[str, Any], str | None] = None, {}, None
        self._evaluations = _Evaluations(run.events)

    def config(self) -> Mapping[str, Any]:
        """What config.yaml holds; empty where it cannot be read."""
        now = stamp(self._path)
        if now != self._config[0]:
            self._config = now, *_read_config(self._path, now)
        return self._config[1]

    @property
    def problem(self) -> str | None:
        """What kept config.yaml from being read when it was last asked for."""
        return self._config[2]

    def best_val(self, last: Any) -> float | None:
        """The lowest mean loss of all evaluations, the `last` one among them."""
        known = [loss for loss in (self._evaluations.best(), number(last)) if loss is not None]
        return min(known, default=None)

    def value(self, key: str, facts: Mapping[str, Any]) -> Any:
        """A value as `daisy_tui.runs.query` names it, of a run with these facts; None where unknown."""
        if key == "tags" or key.startswith(CONFIG):
            return config_values(self.config(), key.removeprefix(CONFIG))
        if key == "best_val":
            return self.best_val(facts.get("val_loss"))
        if key == "progress":
            return progress(facts.get("tokens"), facts.get("target_tokens"))
        if key == "state" and facts.get("stalls"):
            return [facts.get(key), "stalled"]
        return facts.get(key)


class _Evaluations:
    """The lowest loss among the evaluations that events.jsonl tells of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._offset = 0
        self._best = math.inf

    def best(self) -> float | None:
        """The lowest so far; None before the first."""
        try:
            with open_regular(self._path) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._file or status.st_size < self._offset:
                    self._file, self._offset, self._best = status.st_ino, 0, math.inf
                file.seek(self._offset)
                data = file.read()
        except OSError:
            data = b""
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.split(b"\n"):
            if b'"eval"' in line and (loss := _mean_loss(line)) is not None:
                self._best = min(self._best, loss)
        return self._best if math.isfinite(self._best) else None


def _mean_loss(line: bytes) -> float | None:
    record = record_of(line, EVENTS) or {}
    scores = record.get("val", {}) if record.get("event") == "eval" else {}
    losses = [loss for loss in scores.values() if is_number(loss)]
    return sum(losses) / len(losses) if losses else None


def _read_config(path: Path, known: Stamp) -> tuple[dict[str, Any], str | None]:
    """What a config holds; and what is wrong with it, where it holds nothing."""
    if known is None or known[1] > _BIGGEST_CONFIG:
        return {}, f"{path}: cannot be read" if known is None else f"{path}: is too big for a config"
    from core.config.plain_yaml import load_plain  # a tenth of a second for two hundred configs

    try:
        with open_regular(path) as file:
            loaded = load_plain(file.read(), str(path))
    except OSError as error:
        return {}, f"{path}: cannot be read: {error.strerror or error}"
    except ConfigError as error:
        return {}, str(error)
    return (loaded, None) if isinstance(loaded, dict) else ({}, f"{path}: holds no `key: value` lines")
