"""One run in some twenty lines, for beside a list of runs: what is wrong and what to do, its settings, checkpoints, and
what it last did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from core.checkpoint.format import complete_checkpoints
from core.config.scalars import format_value
from core.runs.changes import changes_in_words
from core.runs.directory import RunDirectory
from core.runs.follow import records_backwards
from core.runs.lines import event_line
from core.runs.status import run_status
from core.runs.summary import recorded
from core.text import count, plural, size
from daisy_tui.checkpoints.pruning import folder_bytes
from daisy_tui.runs.advice import Advice, advice
from daisy_tui.runs.query import config_values
from daisy_tui.runs.run_files import Stamp, stamp
from daisy_tui.runs.runs_cells import loss
from daisy_tui.runs.watching import UNREADABLE, RunRow

_EVENTS, _SHOWN_EVENTS = 200, 8


class Saved(NamedTuple):
    """The complete checkpoints of a run: how many, their bytes, the newest and the best by name."""

    number: int = 0
    bytes: int = 0
    last: str | None = None
    last_bytes: int | None = None
    best: str | None = None


class Details(NamedTuple):
    """What there is to say of a run. `settings` are names and words, `events` times and words, the newest first."""

    row: RunRow
    advice: tuple[Advice, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    saved: str = ""
    events: tuple[tuple[str, str], ...] = ()


class DetailReader:
    """Looks at one run after another, mostly at the same again; reads its checkpoints where their folder changed."""

    def __init__(self) -> None:
        self._saved: tuple[Path, Stamp, Saved] = Path(), None, Saved()

    def look(self, row: RunRow, now: float) -> Details:
        """The run of a row at `now`, in seconds of the time of day. Raises OSError where it cannot be read."""
        if row.state == UNREADABLE:
            return Details(row)
        run = row.directory
        events = [*islice(records_backwards(run.events), _EVENTS)]
        saved = self._checkpoints(run)
        found = advice(
            run_status(run, now),
            events[::-1],
            point=recorded(run).point,
            last_checkpoint=saved.last,
            checkpoint_bytes=saved.last_bytes,
            spare_checkpoints=max(0, saved.number - len({saved.last, saved.best} - {None})),
            disk_free=shutil.disk_usage(run.path).free,
        )
        config = row.files.config() if row.files is not None else {}
        lines = [(_clock(record), line) for record in events if (line := event_line(record))]
        return Details(row, tuple(found), _settings(run, row, config), _words(saved), tuple(lines[:_SHOWN_EVENTS]))

    def _checkpoints(self, run: RunDirectory) -> Saved:
        now = stamp(run.checkpoints)
        if self._saved[:2] != (run.path, now):
            self._saved = run.path, now, _read_checkpoints(run.checkpoints)
        return self._saved[2]


def _read_checkpoints(folder: Path) -> Saved:
    found = [(path, folder_bytes(path)) for path in complete_checkpoints(folder)]
    if not found:
        return Saved()
    best = folder / "best"
    total = sum(taken for _, taken in found)
    return Saved(len(found), total, found[-1][0].name, found[-1][1], best.resolve().name if best.exists() else None)


def _words(saved: Saved) -> str:
    if saved.last is None:
        return "none yet"
    best = f", best {saved.best}" if saved.best not in (None, saved.last) else ", which is the best" * bool(saved.best)
    return f"{plural(saved.number, 'checkpoint')}, {size(saved.bytes)}; last {saved.last}{best}"


def _settings(run: RunDirectory, row: RunRow, config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What one run is told from another by."""

    def of(key: str) -> str:
        return ", ".join(_short(value) for value in config_values(config, key) if value is not None)

    shape = f"{of('num_layers')} layers × {of('model_dim')}, {of('num_heads')} heads" if of("num_layers") else ""
    rates = {str(group): rate for group, rate in zip(_params(config, "group"), _params(config, "lr"), strict=False)}
    lines = [
        ("config", row.config or ""),
        ("tags", ", ".join(map(str, tags)) if isinstance(tags := config.get("tags"), list) else ""),
        ("model", shape),
        ("context", _with(of("training_sequence_length"), "window", of("attention_window_len"))),
        ("batch", f"{of('batch_tokens')} tokens" if of("batch_tokens") else ""),
        ("best val", loss(best) if (best := row.value("best_val")) is not None else ""),
        ("target", f"{count(row.target_tokens)} tokens" if row.target_tokens else ""),
        ("schedule", _with(of("learning_rate_schedule"), "cooldown", of("cooldown_frac"))),
        ("rates", ", ".join(f"{group.removesuffix('_params')} {_short(rate)}" for group, rate in rates.items())),
        ("lr_scale", of("lr_scale") if of("lr_scale") != "1.0" else ""),
        ("data", of("train_shards")),
        ("from", row.parent or ""),
        ("set since", ", ".join(changes_in_words(run))),
    ]
    return tuple((name, words) for name, words in lines if words)


def _params(config: Mapping[str, Any], key: str) -> list[Any]:
    optimizers = config.get("optimizers")
    every = [o.get("params") for o in optimizers if isinstance(o, dict)] if isinstance(optimizers, list) else []
    return [p.get(key) for params in every if isinstance(params, list) for p in params if isinstance(p, dict)]


def _with(first: str, name: str, second: str) -> str:
    return f"{first}, {name} {second}" if first and second else first


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else format_value(value)


def _clock(record: Mapping[str, Any]) -> str:
    return time.strftime("%H:%M:%S", time.localtime(record["time"])) if "time" in record else "?"
