"""What there is to talk to: runs that train, every complete checkpoint, and servers that run on this machine.

Looked at when somebody wants to choose, in a thread; nothing is remembered but what the catalogue keeps.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from core.runs.directory import RunDirectory
from core.runs.leases import LeaseError, Leases, lease_folder
from core.runs.status import run_status
from core.text import printable
from daisy_tui.checkpoints.catalog import Catalog, Listed

_STAMP = len("YYYYMMDD-HHMMSS-")


class Source(NamedTuple):
    """One thing to talk to. `where` is a checkpoint's path, a run's id, or a server's URL; a run may be followed."""

    kind: Literal["checkpoint", "run", "server"]
    name: str
    about: str
    where: str
    follow: bool = False

    @property
    def words(self) -> str:
        """What is looked through when somebody types a few letters."""
        return f"{self.name} {self.about}"


def sources(folder: Path, catalog: Catalog) -> list[Source]:
    """All there is in `folder`: the newest run first, and of each the newest checkpoint first; then servers."""
    found = catalog.look()
    entries: list[Source] = []
    for run in found.runs:
        if (follow := _following(run.path)) is not None:
            entries.append(follow)
        own = [entry for entry in found.checkpoints if entry.complete and entry.run == run.path]
        entries += [_checkpoint(folder, entry) for entry in reversed(own)]
    entries += [_checkpoint(folder, entry) for entry in found.checkpoints if entry.complete and entry.run is None]
    return [*entries, *servers()]


def servers() -> list[Source]:
    """The servers of this machine, whoever started them."""
    with suppress(LeaseError, OSError):
        said = Leases(lease_folder()).servers()
        return [
            Source("server", f"{record.get('model', '?')}", f"by {record.get('user', '?')}", str(record["server"]))
            for record in said
            if record.get("server")
        ]
    return []


def source_named(folder: Path, source: str) -> Source:
    """What the command line calls by this name: a checkpoint's path, or a run by its path or id. One that trains is to
    be followed."""
    for path in (folder / source, folder / "runs" / source):
        if (path / "config.yaml").is_file():
            name = printable(path.name[_STAMP:] or path.name)
            found = _following(path)
            return found._replace(where=source) if found else Source("run", name, "its latest checkpoint", source)
    path = folder / source
    run = path.parent.parent.name[_STAMP:] if (path.parent.parent / "config.yaml").is_file() else ""
    return Source("checkpoint", printable(f"{run} {path.name}".strip()), "", source)


def _following(path: Path) -> Source | None:
    """A run that trains, to be followed; None for one that does not."""
    state = run_status(RunDirectory(path)).state
    if state not in ("starting", "running", "stopping"):
        return None
    return Source(
        "run", printable(path.name[_STAMP:] or path.name), f"{state}: each newer checkpoint", path.name, follow=True
    )


def _checkpoint(folder: Path, entry: Listed) -> Source:
    run = entry.run.name[_STAMP:] or entry.run.name if entry.run is not None else "checkpoints"
    facts = [f"step {entry.step:,}" if entry.step is not None else entry.name]
    facts += [f"val {entry.val_loss:.3f}"] if entry.val_loss is not None else []
    where = os.path.relpath(entry.path, folder) if entry.path.is_relative_to(folder) else str(entry.path)
    return Source("checkpoint", printable(run), printable(" · ".join([*facts, *entry.links])), where)
