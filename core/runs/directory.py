"""The run directory: the truth about a run. Names of its files, and the appending of its records.

    runs/<YYYYMMDD-HHMMSS>-<name>/
        config.yaml      the composed config, complete    run.json        id, argv, host, versions, parent
        overrides.txt    as typed, a line each            logs/           rank<k>.log, torchrun.log, supervisor.log
        metrics.jsonl    one object a log point           events.jsonl    started, eval, checkpoint, ...
        checkpoints/     step_<n>/, links latest, best    control/        requests to the run while it trains
        changes.jsonl    what was set while it trained
        launch.json      how it was last started          supervisor.json who watches over it, and its phase
        heartbeat-<k>.json  what rank k does, and when    exit.json       how it ended
        supervisor.lock  held while it has a supervisor   peaks.json      the most of the machine that it took

Standard library only: the supervisor of a waiting run is a small process. Readers skip a torn line: a record that
was being appended when the machine died is no record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import DaisyError
from core.files import write_atomic
from core.runs.follow import RecordTail
from core.runs.opening import open_regular
from core.runs.trusted import fields_of, is_time, parsed, trusted


class RunError(DaisyError):
    """A run that cannot be made, found or continued, and what would work."""


class RunDirectory:
    """One run by its directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.run = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.overrides = path / "overrides.txt"
        self.logs = path / "logs"
        self.control = path / "control"
        self.changes = path / "changes.jsonl"
        self.launch = path / "launch.json"
        self.supervisor = path / "supervisor.json"
        self.exit = path / "exit.json"
        self.lock = path / "supervisor.lock"
        self.peaks = path / "peaks.json"

    @property
    def started(self) -> float:
        """When it was last started, or else made: seconds of the time of day."""
        for path in (self.launch, self.run, self.config):
            with suppress(OSError):
                time = path.stat().st_mtime
                return time if is_time(time) else 0.0
        return 0.0

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Append one record to `metrics` or `events`, in one write, on a line of its own."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a torn record, which would tear this one too
                    line = b"\n" + line
            file.write(line)

    def facts(self) -> dict[str, Any]:
        """What run.json holds. Raises RunError where it cannot be read."""
        return read_object(self.run)


def all_runs(root: Path) -> list[RunDirectory]:
    """The runs in a folder, the newest first. What may not be looked into is left out."""
    try:
        names = sorted((entry.name for entry in os.scandir(root)), reverse=True)
    except OSError:
        return []
    return [RunDirectory(root / name) for name in names if os.access(root / name / "config.yaml", os.R_OK)]


def no_runs(root: Path) -> list[tuple[RunDirectory, str]]:
    """The folders among the runs that are none, or may not be looked into, with why; not those with a dot in front."""
    try:
        folders = sorted((Path(entry) for entry in os.scandir(root) if _is_shown_folder(entry)), reverse=True)
    except OSError:
        return []
    found = [RunDirectory(root / folder.name) for folder in folders]
    return [(run, why) for run in found if (why := why_no_run(run))]


def why_no_run(run: RunDirectory) -> str | None:
    """Why a folder is no run that can be read; None where it is one."""
    if not os.path.lexists(run.config):
        if not os.access(run.path, os.R_OK | os.X_OK):
            return "this user may not look into the folder"
        return "no run: there is no config.yaml in it"
    return None if os.access(run.config, os.R_OK) else "this user may not read its config.yaml"


def check_root(root: Path) -> None:
    """Raise RunError where something else than a folder is in the place of the runs' folder, or it cannot be read.

    Where there is nothing yet, all is well.
    """
    try:
        with os.scandir(root):
            return
    except OSError as error:
        if os.path.lexists(root):
            why = "it is no folder" if not isinstance(error, PermissionError) else "this user may not look into it"
            raise RunError(f"{root}: {why}, and runs are kept in a folder of this name; move it away") from error


def _is_shown_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:
        return False


def read_object(path: Path) -> dict[str, Any]:
    """The object that a small file holds, its known fields of their kinds. Raises RunError where it cannot be read."""
    try:
        with open_regular(path) as file:
            data = parsed(file.read())
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: not an object")
    return trusted(data, fields_of(path))


def write_object(path: Path, values: dict[str, Any]) -> None:
    """Write a small file, whole or not at all."""
    write_atomic(path, (json.dumps(values, indent=2) + "\n").encode())


def find_run(root: Path, name: str, *, usable: Callable[[RunDirectory], bool] | None = None) -> RunDirectory:
    """A run by path, id, name, unique prefix, or `latest`: the one that was started last.

    Among those that a name means, `usable` ones come first. Raises RunError listing what there is.
    """
    if not name:
        raise RunError("name a run: by id, name, unique prefix, path, or `latest`")
    given = Path(name)
    if (given / "config.yaml").is_file():
        return RunDirectory(given if given.name not in ("", "..") else given.resolve())
    check_root(root)
    runs = all_runs(root)
    runs.sort(key=lambda run: (run.started, run.path.name))
    exact = runs if name == "latest" else [run for run in runs if name in (run.path.name, run.path.name[16:])]
    preferred = [run for run in exact if usable is not None and usable(run)] or exact
    named = [(run, run.path.name) for run in runs]
    found = preferred[-1:] or [run for run, own in named if own.startswith(name) or own[16:].startswith(name)]
    if len(found) == 1:
        return found[0]
    if why := next((why for run, why in no_runs(root) if run.path.name == name), None):
        raise RunError(f"{root / name}: {why}")
    names = ", ".join(run.path.name for run in (found or runs)[-8:]) or "none (`daisy train demo` makes one)"
    what = "names several runs" if found else "names no run"
    raise RunError(f"'{name}' {what} in {root}; there are: {names}")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a .jsonl file; none where there is no file."""
    yield from RecordTail(path, from_start=True).new()
