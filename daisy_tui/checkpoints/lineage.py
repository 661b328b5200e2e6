"""Which run began from which checkpoint, as a tree: runs hold their checkpoints, and from these other runs descend.

The tree is a list of rows with their depths, made without recursion: a chain of a thousand runs, each warm-started from
the one before, is as good as any. What a run names as its beginning may lie elsewhere or have been removed, and copied
or edited folders may even descend from themselves; all of them are shown as what they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from daisy_tui.checkpoints.catalog import Found, Listed, ListedRun

_BRANCH, _LAST, _THROUGH, _SPACE = "├─ ", "└─ ", "│  ", "   "


class Row(NamedTuple):
    """A line of the tree: a `run`, a `checkpoint`, or what is only named as a beginning.

    `kind` is run, checkpoint, elsewhere (it is there, and none of these runs') or gone; `note` says what is odd.
    """

    path: Path
    kind: str
    run: ListedRun | None = None
    checkpoint: Listed | None = None
    depth: int = 0
    note: str = ""


def lineage(found: Found, folder: Path) -> list[Row]:
    """The rows of the tree, the newest run first. A beginning that is no absolute path is one from `folder`."""
    rows, parents = _holding(found)
    # The newest first: where runs descend from each other in a circle, it is the oldest one that cannot be right.
    for path, named in _beginnings(found):
        begun_from = folder / named
        key, parent = os.path.realpath(path), os.path.realpath(begun_from)
        if parent not in rows:
            rows[parent] = Row(begun_from, "elsewhere" if _is_there(begun_from) else "gone")
            if (run := str(Path(parent).parent.parent)) in rows:
                parents[parent] = run
        if key in (parent, *_ancestors(parent, parents)):
            note = f"cannot have begun from {begun_from.name}, which descends from it"
            rows[key] = rows[key]._replace(note=note)
        else:
            parents[key] = parent
    return [*_flattened(rows, parents)]


def listing(found: Found) -> list[Row]:
    """The runs that have checkpoints, each with its own, and then the checkpoints of no run."""
    rows, parents = _holding(found)
    holders = {*parents.values()}
    return [*_flattened({key: row for key, row in rows.items() if row.run is None or key in holders}, parents)]


def _holding(found: Found) -> tuple[dict[str, Row], dict[str, str]]:
    """A row for all there is by its real path, in the order in which siblings stand; and who holds whom."""
    rows = {os.path.realpath(run.path): Row(run.path, "run", run=run) for run in found.runs}
    keys = {row.path: key for key, row in rows.items()}
    real: dict[Path, str] = {}  # of folders: to ask the system for every checkpoint takes longer than all the rest
    parents = {}
    for entry in found.checkpoints:
        above = entry.path.parent
        if above not in real:
            real[above] = os.path.realpath(above)
        key = f"{real[above]}/{entry.name}"
        rows[key] = Row(entry.path, "checkpoint", checkpoint=entry)
        if entry.run is not None:
            parents[key] = keys[entry.run]
    return rows, parents


def _beginnings(found: Found) -> Iterator[tuple[Path, str]]:
    """What says of itself that it began from, or is a copy of, which checkpoint."""
    for run in found.runs:
        if run.parent is not None:
            yield run.path, run.parent
    for entry in found.checkpoints:
        if entry.run is None and entry.origin == "exported" and entry.parent is not None:
            yield entry.path, entry.parent


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # it may not be looked at
        return True


def _ancestors(key: str, parents: dict[str, str]) -> Iterator[str]:
    while key in parents:
        key = parents[key]
        yield key


def _flattened(rows: dict[str, Row], parents: dict[str, str]) -> Iterator[Row]:
    """Every row below its parent."""
    children: dict[str, list[str]] = {}
    for key in rows:
        children.setdefault(parents.get(key, ""), []).append(key)
    waiting = [(key, 0) for key in reversed(children.get("", []))]
    while waiting:
        key, depth = waiting.pop()
        yield rows[key]._replace(depth=depth)
        waiting += [(child, depth + 1) for child in reversed(children.get(key, []))]


def guides(depths: Sequence[int], deepest: int = 8) -> list[str]:
    """The lines that lead to each row of a tree; beyond `deepest` they begin with the depth as a number instead."""
    has_next: list[bool] = []  # by depth: whether another row stands below the same one, seen from the end
    found = []
    for depth in reversed(depths):
        has_next += [False] * (depth + 1 - len(has_next))
        lead = [_THROUGH if has_next[level] else _SPACE for level in range(max(1, depth - deepest + 1), depth)]
        lead += [_BRANCH if has_next[depth] else _LAST] if depth else []
        found.append((f"…{depth} " if depth > deepest else "") + "".join(lead))
        has_next[depth:] = [True]
    return found[::-1]
