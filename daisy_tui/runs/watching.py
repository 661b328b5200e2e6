"""All runs of a folder as they are now, at the cost of what has changed since the last look.

`RunsWatch` keeps what it has read of each run, and reads again where a file has changed. A run that lives is asked for
its state every time, one that has ended never again. Whatever lies in the folder and is no run, or cannot be read, is a
row that says so; nothing of it is raised. Rejected: inotify, which network file systems do not have.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.runs.directory import RunDirectory, why_no_run
from core.runs.status import Status, run_status
from core.runs.summary import BEING_MADE_S, Recorded, recorded, summary
from core.runs.summary import UNREADABLE as UNREADABLE
from core.text import printable
from daisy_tui.runs.run_files import RunFiles, Stamp, progress, stamp
from daisy_tui.runs.sparklines import LossSamples


@dataclass(frozen=True)
class RunRow:
    """A run in a line: what `daisy runs list --json` says of it, made safe to show and count with.

    `state` is one of core.runs.status or UNREADABLE; then `reason` says why. `started` is in seconds of the time of
    day, `eta_s` in seconds, `mfu` a share; `sparkline`, if asked for, is the training loss (NaN: a gap).
    """

    id: str
    name: str
    path: Path
    state: str
    alive: bool = False
    reason: str | None = None
    stalls: tuple[str, ...] = ()
    step: int | None = None
    tokens: int | None = None
    target_tokens: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    tokens_per_s: float | None = None
    mfu: float | None = None
    eta_s: float | None = None
    devices: tuple[str, ...] = ()
    config: str | None = None
    parent: str | None = None
    started: float = 0.0
    sparkline: tuple[float, ...] = ()
    files: RunFiles | None = field(default=None, repr=False, compare=False)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def progress(self) -> float | None:
        """The share of the target that is done, from 0 to 1."""
        return progress(self.tokens, self.target_tokens)

    def value(self, key: str) -> Any:
        """A value as queries and sorting name it, see `daisy_tui.runs.query`; None where unknown. It may read files."""
        return self.files.value(key, vars(self)) if self.files is not None else vars(self).get(key)


class RunsWatch:
    """The runs of a folder, which need not exist. `clock` gives the time of day in seconds. For any thread."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.rows: tuple[RunRow, ...] = ()
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Watched] = {}

    def look(self, drawn: Collection[str] = ()) -> tuple[RunRow, ...]:
        """All runs, the newest first, and behind them what is none. A run in which nothing changed is the same object.

        The runs with the ids `drawn` come with their sparklines.
        """
        with self._lock:
            self._known = {name: self._known.get(name) or _Watched(self.folder / name) for name in self._names()}
            now = self._clock()
            rows = [row for name, run in self._known.items() if (row := run.look(now, name in drawn)) is not None]
            self.rows = tuple(sorted(rows, key=lambda row: row.state == UNREADABLE))
            return self.rows

    def row(self, name: str) -> RunRow | None:
        """A run of the last look, by its id."""
        return next((row for row in self.rows if row.id == name), None)

    def supervisors(self) -> dict[int, Path]:
        """The runs that lived on this machine at the last look, by the pid of their supervisors; no file is read."""
        with self._lock:
            found = [(run.supervisor(), run.path) for run in self._known.values()]
        return {pid: path for pid, path in found if pid is not None}

    def configs(self) -> list[Mapping[str, Any]]:
        """The configs of all runs of the last look; each is read once."""
        return [row.files.config() for row in self.rows if row.files is not None]

    def _names(self) -> list[str]:
        try:
            found = [entry.name for entry in os.scandir(self.folder) if _is_folder(entry)]
        except OSError:
            return []
        return sorted((name for name in found if not name.startswith(".")), reverse=True)


class _Watched:
    """One folder among the runs, and what is known of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run = RunDirectory(path)
        looked_at = (path, self._run.config, self._run.launch, self._run.supervisor, self._run.exit)
        self._paths = (*looked_at, self._run.metrics, self._run.events)
        self._stamps: list[Stamp] = []
        self._sampled: list[Stamp] = []
        self._records: tuple[list[Stamp], Recorded] | None = None
        self._samples = LossSamples(self._run.metrics)
        self._files = RunFiles(self._run)
        self._status: Status | None = None
        self._row: RunRow | None = None

    def look(self, now: float, drawn: bool) -> RunRow | None:
        """The run as it is at `now`; None while it is being made, or where it has just gone."""
        stamps = [stamp(path) for path in self._paths]
        if stamps[0] is None:
            return None
        is_known = self._row is not None and stamps == self._stamps and (not drawn or stamps == self._sampled)
        if not is_known or (self._status is not None and self._status.alive):
            row = self._read(stamps, now, drawn)
            self._stamps = stamps
            if row != self._row:
                self._row = row
        return self._row

    def supervisor(self) -> int | None:
        """The pid of its supervisor, where that lives on this machine."""
        facts = self._status.supervisor if self._status is not None and self._status.alive else None
        pid = facts.get("pid") if facts is not None and facts.get("host") == platform.node() else None
        return pid if isinstance(pid, int) else None

    def _read(self, stamps: list[Stamp], now: float, drawn: bool) -> RunRow | None:
        is_new = stamps[0] is not None and 0 <= now - stamps[0][0] / 1e9 < BEING_MADE_S
        self._status = None
        try:
            if problem := why_no_run(self._run):
                return None if is_new and stamps[1] is None else self._unreadable(problem)
            status = run_status(self._run, now)
            if status.state == "lost":  # it may have ended between two of the files that were read
                status = run_status(self._run, now)
            if status.state == "lost" and ((stamps[2] is None and is_new) or stamp(self.path) is None):
                return None
            if self._records is None or self._records[0] != stamps:
                self._records = stamps, recorded(self._run, self._records[1] if self._records is not None else None)
            row = _row(self.path, summary(self._run, status, now, self._records[1]), self._files)
            self._status = status
            return replace(row, sparkline=self._sparkline(stamps, row.train_loss, drawn))
        except Exception as error:  # noqa: BLE001 - a stranger's files may hold anything, and the other runs are shown
            return self._unreadable(f"its files cannot be understood: {type(error).__name__}: {error}")

    def _sparkline(self, stamps: list[Stamp], last: float | None, drawn: bool) -> tuple[float, ...]:
        if drawn:
            self._sampled = stamps
            self._samples.look()
        losses = self._samples.values
        return (*losses, last) if losses and last is not None else losses

    def _unreadable(self, reason: str) -> RunRow:
        name = self.path.name
        return RunRow(name, name, self.path, UNREADABLE, reason=printable(reason), files=self._files)


def _row(path: Path, facts: dict[str, Any], files: RunFiles) -> RunRow:
    """The facts of a run as a row."""
    facts = facts | {"id": path.name, "name": facts["name"] or path.name}
    lists = {"stalls": tuple(facts["stalls"]), "devices": tuple(facts["devices"] or ())}
    return RunRow(**{**facts, **lists}, path=path, files=files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
