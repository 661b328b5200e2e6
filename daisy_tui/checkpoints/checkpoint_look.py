"""One look at a row of the list: what the headers of its checkpoint say, and how it differs from a marked one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from core.checkpoint.compare import Comparison, compare
from core.checkpoint.format import CheckpointError
from core.checkpoint.inspect import Inspection, inspect_checkpoint
from core.text import count, plural, size
from daisy_tui.checkpoints.catalog import Found, Listed
from daisy_tui.checkpoints.checkpoint_rows import Line, title
from daisy_tui.checkpoints.checkpoint_text import cell, shown_path
from daisy_tui.checkpoints.inspection_text import wrapped
from daisy_tui.checkpoints.lineage import Row


class Look(NamedTuple):
    """What was seen of the checkpoint at `path`: an inspection or a `problem`; `other` is the marked one."""

    path: Path
    inspection: Inspection | None = None
    problem: str = ""
    other: Inspection | None = None
    comparison: Comparison | None = None
    other_problem: str = ""


def look(row: Row | None, marked: Path | None) -> Look:
    """Read the headers of a row's checkpoint, and compare it with another. Of what vanishes it is said."""
    if row is None or row.kind in ("run", "gone"):
        return Look(Path() if row is None else row.path)
    inspection, problem = _inspected(row.path)
    if inspection is None or marked is None or marked == row.path:
        return Look(row.path, inspection, problem)
    other, other_problem = _inspected(marked)
    found = compare(other, inspection) if other is not None else None
    return Look(row.path, inspection, problem, other, found, other_problem)


def _inspected(path: Path) -> tuple[Inspection | None, str]:
    try:
        return inspect_checkpoint(path), ""
    except CheckpointError as error:
        return None, str(error).removeprefix(f"{path}/").removeprefix(f"{path}: ")
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


def said(row: Row | None, found: Found, width: int, problem: str = "") -> list[Line]:
    """What is to be said of a row that is no complete checkpoint, or was not looked at yet."""

    def words(text: str, part: str = "") -> list[Line]:
        return [[(line, part)] for line in wrapped(text, "", width)]

    if row is None:
        return [[("nothing is chosen", "muted")]]
    if row.run is not None:
        return _of_run(row, found)
    head: Line = [(cell(shown_path(row.path)), "strong")]
    entry = row.checkpoint
    if entry is None:
        begun = [run.id for run in found.runs if run.parent is not None and Path(run.parent) == row.path]
        what = "It is not there any more" if row.kind == "gone" else "It lies elsewhere"
        return [head, [], *words(f"{what}; {', '.join(begun) or 'a copy'} began from it.")]
    if entry.complete and not problem:
        return [head]
    lines = [head, [], *words(f"✗ {problem or entry.problem}", "error"), []]
    kept = "It is never loaded, listed as latest, or removed by `daisy runs prune`."
    return [*lines, *words(f"{size(entry.bytes)} on disk. {kept}")]


def _of_run(row: Row, found: Found) -> list[Line]:
    """A run as far as its checkpoints are concerned."""
    assert row.run is not None
    own = [entry for entry in found.checkpoints if entry.run == row.path]
    whole = [entry for entry in own if entry.complete]
    latest = next((entry for entry in own if "latest" in entry.links), whole[-1] if whole else None)
    best = min((entry for entry in whole if entry.val_loss is not None), key=lambda e: e.val_loss or 0.0, default=None)
    more = f", {len(own) - len(whole)} incomplete" if len(own) > len(whole) else ""
    facts = [
        ("checkpoints", f"{len(whole)} complete{more}, {size(sum(entry.bytes for entry in own))}"),
        ("latest", _named(latest)),
        ("best", f"{title(best)}, validation loss {best.val_loss:.4f}" if best is not None else "none was evaluated"),
        ("began from", cell(row.run.parent) if row.run.parent is not None else "nothing: it was trained anew"),
    ]
    lines: list[Line] = [[(f"Run {cell(row.run.id)}", "strong")], []]
    lines += [[(f"  {name:<13}", "muted"), (value, "")] for name, value in facts]
    lines += [[], [(f"  ! {row.note}", "warning")]] if row.note else []
    return [*lines, [], [("  Enter opens the run, r goes on with it, p prunes it", "muted")]]


def _named(entry: Listed | None) -> str:
    if entry is None:
        return "none yet"
    tokens = f", {count(entry.tokens)} tokens" if entry.tokens is not None else ""
    return f"{title(entry)}{tokens}"


def total(found: Found) -> str:
    """`12 checkpoints, 3.8 GiB, 1 incomplete`."""
    whole = sum(entry.complete for entry in found.checkpoints)
    rest = len(found.checkpoints) - whole
    of = f"{plural(whole, 'checkpoint')}, {size(sum(entry.bytes for entry in found.checkpoints))}"
    return of + (f", {rest} incomplete" if rest else "")
