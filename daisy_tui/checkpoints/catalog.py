"""All checkpoints there are: those of every run, and those beside the runs, as `daisy import` and `export` make them.

`Catalog` looks at the names and sizes of files each time, and reads a checkpoint's small files again only where these
have changed: a folder of hundreds of runs is listed in milliseconds. Weights are never opened. Rejected: an index file,
which would be another truth than the folders, and wrong after the first `rm`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from core.checkpoint.format import MANIFEST_FILE, META_FILE, MODEL_FILE, CheckpointError, read_meta, state_file
from core.checkpoint.inspect import LINKS
from core.runs.directory import RunDirectory, RunError, all_runs, read_object

# Where the manual has `daisy import --out` and `daisy export --out` put theirs.
BESIDE = "checkpoints"
_STEP = re.compile(r"step_(\d+)(?:\.([\w-]+))?")  # and why it was put aside
_PARTIAL = re.compile(r"\..+\.partial")
_UNFINISHED = "being written, or left behind by what was killed"


@dataclass(frozen=True)
class Listed:
    """One checkpoint, or what is not yet or no longer one; what is not known is None.

    `run` is the directory of its run. `problem` says of what is not `complete` why. `bytes` are those of all its files.
    `parent` is what its weights come from: what its run began from, or, where `origin` says exported or imported, the
    checkpoint or file that it was made of. `written` is in seconds of the time of day.
    """

    path: Path
    run: Path | None
    complete: bool = False
    problem: str = ""
    step: int | None = None
    tokens: int | None = None
    val_loss: float | None = None
    bytes: int = 0
    optimizer: bool = False
    links: tuple[str, ...] = ()
    parent: str | None = None
    origin: str = ""
    written: float = 0.0

    @property
    def name(self) -> str:
        return self.path.name


class ListedRun(NamedTuple):
    """A run as far as checkpoints are concerned. `parent` is the one that it was warm-started from."""

    path: Path
    parent: str | None

    @property
    def id(self) -> str:
        return self.path.name


class Found(NamedTuple):
    """Runs, the newest first, and checkpoints: a run's together in the order of their steps, those of no run last."""

    runs: tuple[ListedRun, ...]
    checkpoints: tuple[Listed, ...]


# Name, size and time of change of every file in a folder.
_Files = tuple[tuple[str, int, int], ...]


class Catalog:
    """The checkpoints of the runs in `folder/runs`, and those in `folder/checkpoints`; remembers what it has read."""

    def __init__(self, folder: Path) -> None:
        self._runs, self._beside = folder / "runs", folder / BESIDE
        self._checkpoints: dict[Path, tuple[_Files, Listed]] = {}
        self._parents: dict[Path, tuple[tuple[int, int], str | None]] = {}

    def look(self) -> Found:
        """What there is now. What vanishes while it is looked at is left out."""
        runs = tuple(self._run(run) for run in all_runs(self._runs))
        found = [entry for run in runs for entry in self._of_run(run.path)]
        found += self._of_no_run()
        _keep(self._checkpoints, (entry.path for entry in found))
        _keep(self._parents, (run.path for run in runs))
        return Found(runs, tuple(found))

    def look_at(self, run: RunDirectory) -> Found:
        """One run, wherever it lies, with its checkpoints."""
        return Found((self._run(run),), tuple(self._of_run(run.path)))

    def _of_run(self, run: Path) -> list[Listed]:
        folder = run / "checkpoints"
        links = [(name, _link(folder / name)) for name in LINKS]
        found = []
        for path in _folders(folder):
            step = _STEP.fullmatch(path.name)
            if not step and not _PARTIAL.fullmatch(path.name):
                continue
            entry = self._checkpoint(path, run)
            if entry is not None and entry.complete and step and step[2]:
                entry = replace(entry, complete=False, problem=f"put aside ({step[2]}), so no run goes on from it")
            elif entry is not None and entry.complete:
                entry = replace(entry, links=tuple(name for name, target in links if target == str(path)))
            found += [entry] if entry is not None else []
        return sorted(found, key=lambda entry: (_step_of(entry.name), entry.name))

    def _of_no_run(self) -> list[Listed]:
        found = []
        for path in sorted(_folders(self._beside)):
            names = (MANIFEST_FILE, META_FILE, MODEL_FILE)
            if _PARTIAL.fullmatch(path.name) or any((path / name).exists() for name in names):
                entry = self._checkpoint(path, None)
                found += [entry] if entry is not None else []
        return found

    def _checkpoint(self, path: Path, run: Path | None) -> Listed | None:
        """What a folder holds, from memory where its files are as they were; None where it is gone."""
        try:
            files = _files(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Listed(path, run, problem=f"cannot be read: {error.strerror}")
        known = self._checkpoints.get(path)
        if known is None or known[0] != files:
            known = self._checkpoints[path] = files, _read(path, run, files)
        return known[1]

    def _run(self, run: RunDirectory) -> ListedRun:
        try:
            status = run.run.stat()
        except OSError:
            return ListedRun(run.path, None)
        key, known = (status.st_mtime_ns, status.st_size), self._parents.get(run.path)
        if known is None or known[0] != key:
            known = self._parents[run.path] = key, _parent_of(run)
        return ListedRun(run.path, known[1])


def _read(path: Path, run: Path | None, files: _Files) -> Listed:
    size, written = sum(file[1] for file in files), max((file[2] for file in files), default=0) / 1e9
    entry = Listed(path, run, bytes=size, written=written)
    if _PARTIAL.fullmatch(path.name):
        return replace(entry, problem=_UNFINISHED)
    try:
        meta = read_meta(path)
    except CheckpointError as error:
        return replace(entry, problem=str(error).removeprefix(f"{path}/").removeprefix(f"{path}: "))
    except OSError as error:
        return replace(entry, problem=f"cannot be read: {error.strerror}")
    parent, origin = _origin(meta)
    return replace(
        entry,
        complete=True,
        step=_whole(meta.get("step")),
        tokens=_whole(meta.get("tokens")),
        val_loss=_number(meta.get("val_loss")),
        optimizer=state_file(0) in {file[0] for file in files},
        parent=parent,
        origin=origin,
    )


def _origin(meta: dict[str, Any]) -> tuple[str | None, str]:
    """What a checkpoint's weights come from, and how they came."""
    exported = meta.get("exported")
    if isinstance(exported, dict) and (source := _path(exported.get("from"))):
        return source, "exported"
    parent = _path(meta.get("parent"))
    return parent, "imported" if meta.get("imported") else ""


def _parent_of(run: RunDirectory) -> str | None:
    try:
        return _path(read_object(run.run).get("parent"))
    except RunError:
        return None


def _path(value: Any) -> str | None:
    """What can be the name of a file; JSON may hold anything."""
    try:
        return value if isinstance(value, str) and value and b"\0" not in os.fsencode(value) else None
    except UnicodeEncodeError:
        return None


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder; links and what may not be looked into are left out."""
    try:
        return [folder / entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _files(folder: Path) -> _Files:
    found = ((entry.name, entry.stat()) for entry in os.scandir(folder) if entry.is_file())
    return tuple(sorted((name, status.st_size, status.st_mtime_ns) for name, status in found))


def _link(link: Path) -> str:
    """What a link points at, as far as its text tells; nothing where it is none."""
    try:
        return os.path.normpath(link.parent / link.readlink())
    except OSError:
        return ""


def _keep(memory: dict[Path, Any], paths: Iterable[Path]) -> None:
    """Forget what is of other paths."""
    for path in memory.keys() - set(paths):
        del memory[path]


def _step_of(name: str) -> float:
    """The step in a name; what has none comes last."""
    step = _STEP.fullmatch(name.removeprefix(".").removesuffix(".partial"))
    return int(step[1]) if step else float("inf")


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    """A number that can be shown; meta.json may hold what somebody else wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if isfinite(value) else None
