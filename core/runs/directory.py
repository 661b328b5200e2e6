"""The run directory: the truth about a run. Names of its files, and the appending of its records.

    runs/<YYYYMMDD-HHMMSS>-<name>/
        config.yaml    the composed config, complete      run.json      id, argv, host, versions, parent
        overrides.txt  as typed, a line each              logs/         rank<k>.log, torchrun.log
        metrics.jsonl  one object a log point             events.jsonl  started, eval, checkpoint, ...
        checkpoints/   step_<n>/, links latest and best

Readers skip a torn line: a record that was being appended when the machine died is no record.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from core.config.train_config import TrainConfig
from core.errors import DaisyError
from core.files import write_atomic
from core.runs.follow import RecordTail


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

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Append one record to `metrics` or `events`, in one write, on a line of its own."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a torn record, which would tear this one too
                    line = b"\n" + line
            file.write(line)

    def write_config(self, config: TrainConfig, overrides: Sequence[str]) -> None:
        """Write the config in force, and note the overrides as typed that made it so."""
        # The config stands for itself: the spec it came from may change or go.
        values = {**config.model_dump(), "model_spec": None}
        write_atomic(self.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())
        with self.overrides.open("a", encoding="utf-8") as file:
            file.writelines(f"{override}\n" for override in overrides)

    def facts(self) -> dict[str, Any]:
        """What run.json holds. Raises RunError where it cannot be read."""
        try:
            data = json.loads(self.run.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.run}: cannot be read: {error}") from error
        if not isinstance(data, dict):
            raise RunError(f"{self.run}: not an object")
        return data


def create_run(
    root: Path, name: str, config: TrainConfig, facts: dict[str, Any], now: datetime, overrides: Sequence[str] = ()
) -> RunDirectory:
    """Make `root/<time>-<name>` with its config and `run.json`. `facts` are what run.json holds beside the id."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "run"
    base = f"{now:%Y%m%d-%H%M%S}-{safe}"
    for number in range(1, 1000):
        run = RunDirectory(root / (base if number == 1 else f"{base}-{number}"))
        try:
            run.path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{run.path}: cannot be made: {error.strerror}") from error
        run.write_config(config, overrides)
        write_atomic(run.run, (json.dumps({"id": run.path.name, "name": safe, **facts}, indent=2) + "\n").encode())
        return run
    raise RunError(f"{root / base}: a thousand runs of this name began in this second")


def find_run(root: Path, name: str) -> RunDirectory:
    """A run by path, id, name, unique prefix, or `latest`. Raises RunError listing what there is."""
    given = Path(name)
    if (given / "config.yaml").is_file():
        return RunDirectory(given)
    runs = sorted(path.parent for path in root.glob("*/config.yaml"))
    if name == "latest" and runs:
        return RunDirectory(runs[-1])
    exact = [run for run in runs if name in (run.name, run.name[16:])]
    found = exact[-1:] or [run for run in runs if run.name.startswith(name) or run.name[16:].startswith(name)]
    if len(found) == 1:
        return RunDirectory(found[0])
    names = ", ".join(run.name for run in (found or runs)[-8:]) or "none"
    what = "names several runs" if found else "names no run"
    raise RunError(f"'{name}' {what} in {root}; there are: {names}")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a .jsonl file; none where there is no file."""
    yield from RecordTail(path, from_start=True).new()
