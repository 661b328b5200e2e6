"""`daisy runs checkpoints`: all checkpoints there are, and which run began from which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.config.sources import display_path
from core.runs.directory import find_run
from core.text import count, size
from daisy_tui.checkpoints.catalog import BESIDE, Catalog, Found
from daisy_tui.checkpoints.checkpoint_text import cell, shown_path
from daisy_tui.checkpoints.lineage import Row, guides, lineage, listing
from daisy_tui.cli.showing import shown
from daisy_tui.cli.text import JSON, echo, print_json, short, table
from daisy_tui.naming import RUNS


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--tree", is_flag=True, help="Show which run began from which checkpoint.")
@JSON
def checkpoints(run: str | None, tree: bool, as_json: bool) -> None:
    """All checkpoints of a run, or of all runs and of ./checkpoints, with their sizes.

    With --tree runs stand below the checkpoints that they began from.
    """
    found = _found(run)
    rows = lineage(found, Path.cwd()) if tree else listing(found)
    if as_json:
        print_json([_json(row, tree) for row in rows if tree or row.kind == "checkpoint"])
        return
    if not rows:
        whose = f"{run} has no checkpoints" if run else f"no checkpoints in {RUNS} or in {BESIDE}"
        echo(f"{whose} yet; `daisy train` writes them, `daisy import` makes them")
        return
    lines = [("", "step", "tokens", "val", "size", ""), *map(_cells, rows, guides([row.depth for row in rows]))]
    echo("\n".join(table(lines, right={1, 2, 3, 4})))
    entries = [row.checkpoint for row in rows if row.checkpoint is not None]
    echo(f"{sum(entry.complete for entry in entries):,} complete, {size(sum(entry.bytes for entry in entries))} in all")


def _found(name: str | None) -> Found:
    catalog = Catalog(Path())
    return catalog.look() if name is None else catalog.look_at(find_run(RUNS, name))


def _cells(row: Row, guide: str) -> tuple[str, ...]:
    if row.checkpoint is None:
        name = short(row.path.name) if row.run is not None or row.depth else display_path(row.path)
        return (guide + cell(name), "", "", "", "", row.note or ("" if row.run is not None else row.kind))
    entry = row.checkpoint
    name = entry.name if entry.run is not None else shown_path(entry.path)
    said = [*entry.links, entry.problem] if entry.problem else [*entry.links]
    said += [f"{entry.origin} from {cell(entry.parent or 'elsewhere')}"] if entry.origin else []
    return (
        guide + cell(name),
        shown(entry.step, "{:,}".format),
        shown(entry.tokens, count),
        shown(entry.val_loss, "{:.4f}".format),
        size(entry.bytes),
        ", ".join(said),
    )


def _json(row: Row, tree: bool) -> dict[str, Any]:
    place = {"depth": row.depth, "kind": row.kind, "note": row.note} if tree else {}
    entry = row.checkpoint
    if entry is None:
        return {**place, "path": str(row.path), "parent": row.run.parent if row.run is not None else None}
    return {
        **place,
        "path": str(entry.path),
        "run": entry.run.name if entry.run is not None else None,
        "step": entry.step,
        "tokens": entry.tokens,
        "val_loss": entry.val_loss,
        "bytes": entry.bytes,
        "links": list(entry.links),
        "complete": entry.complete,
        "problem": entry.problem or None,
        "optimizer": entry.optimizer,
        "parent": entry.parent,
        "origin": entry.origin or None,
        "written": entry.written,
    }
