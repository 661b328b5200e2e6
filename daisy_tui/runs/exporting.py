"""A run taken out of its folder: its metrics as a table, or all of it as an archive."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path
from typing import Any

from core.checkpoint.format import complete_checkpoints
from core.runs.directory import RunDirectory, RunError, read_records


def write_csv(run: RunDirectory, out: Path) -> None:
    """Every record as a row; what is nested gets names with dots.

    Steps that were repeated after a run went on from an earlier checkpoint are there once, as they were made last.
    """
    rows: list[dict[str, Any]] = []
    last = 0
    for record in read_records(run.metrics):
        step = record.get("step", last)
        if step < last:
            while rows and rows[-1].get("step", step) >= step:
                rows.pop()
        last = step
        rows.append(dict(_flat(record)))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with out.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _flat(record: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in record.items():
        found += _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(before + key, value)]
    return found


def write_archive(run: RunDirectory, out: Path, which: str) -> None:
    """The run's folder with the checkpoints named; links stay links."""
    kept = {path.name for path in complete_checkpoints(run.checkpoints)} if which == "all" else set()
    if which in ("latest", "best"):
        link = run.checkpoints / which
        if not link.exists():
            raise RunError(f"{link}: this run has none")
        kept = {link.resolve().name}

    def chosen(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(info.name).parts
        inside = parts[2] if len(parts) > 2 and parts[1] == "checkpoints" else None
        if inside is None or inside in kept or (info.issym() and info.linkname in kept):
            return info
        return None

    path = run.path.resolve()  # of a run that was named by a link, or as `.`
    with tarfile.open(out, "w:gz") as archive:
        archive.add(path, path.name, filter=chosen)
