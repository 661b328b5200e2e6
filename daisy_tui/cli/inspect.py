"""`daisy inspect`: what a checkpoint is, what can be done with it, and how it differs from another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from core.checkpoint.compare import Comparison, compare
from core.checkpoint.format import CheckpointError, check
from core.checkpoint.inspect import Inspection, inspect_checkpoint
from core.text import plural
from daisy_tui.checkpoints.checkpoint_text import shown_path
from daisy_tui.cli.inspect_diff_text import comparison_text, movements_text
from daisy_tui.cli.inspect_text import histogram_text, inspection_text, statistics_text
from daisy_tui.cli.progress import PROGRESS_JSON, Update, progress
from daisy_tui.cli.text import echo
from daisy_tui.naming import checkpoint_folder

if TYPE_CHECKING:  # numpy, which only --stats loads
    from core.checkpoint.statistics import Histogram, Movement, TensorStatistics

_BINS, _LINES = 64, 24
Progress = Callable[[str], AbstractContextManager[Update]]


class _Asked(NamedTuple):
    """What is to be read beside the headers, and how its progress is told."""

    stats: bool
    verify: bool
    histogram: str | None
    progress_of: Progress


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="CKPT|RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--diff", "other", metavar="OTHER", help="Show only what differs from this checkpoint or run.")
@click.option("--stats", is_flag=True, help="Read the weights: figures of every tensor; with --diff, what moved most.")
@click.option("--histogram", metavar="TENSOR", help="Read one tensor: how often its values lie where.")
@click.option("--verify", is_flag=True, help="Check the hash of every file.")
@PROGRESS_JSON
def inspect(
    checkpoint: str,
    as_json: bool,
    other: str | None,
    stats: bool,
    histogram: str | None,
    verify: bool,
    progress_json: bool,
) -> None:
    """Show what a checkpoint, or a run's latest one, is and what can be done with it.

    Only headers are read, so it takes no time at any size; --stats and --verify read the weights.
    """
    if histogram is not None and other is not None:
        raise click.UsageError("--histogram is of one checkpoint; leave out --diff")
    left = inspect_checkpoint(checkpoint_folder(checkpoint))
    right = inspect_checkpoint(checkpoint_folder(other)) if other is not None else None
    asked = _Asked(stats, verify, histogram, partial(progress, as_json=progress_json))
    if as_json:
        _print_json(left, right, asked)
    else:
        _print_text(left, right, asked)


def _print_text(left: Inspection, right: Inspection | None, asked: _Asked) -> None:
    sides = [left] if right is None else [left, right]
    stats = asked.stats
    echo(inspection_text(left) if right is None else comparison_text(left, right, compare(left, right), stats))
    if asked.verify:
        _verify(sides, asked.progress_of)
        for side in sides:
            where = f"{shown_path(side.folder)}: " if right else ""
            echo(f"\n{where}all {plural(len(side.files), 'file')} match their hashes")
    if stats and right is None:
        echo(f"\n{statistics_text(_statistics(left, asked.progress_of))}")
    elif stats and right is not None:
        echo(f"\n{movements_text(_movements(left, right, asked.progress_of))}")
    if asked.histogram is not None:
        echo(f"\n{histogram_text(_histogram(left, asked.histogram, _LINES, asked.progress_of))}")


def _print_json(left: Inspection, right: Inspection | None, asked: _Asked) -> None:
    """Print one object of everything that was asked; a failed verification is in it, and raised after it."""
    data = _inspection_json(left)
    failed: CheckpointError | None = None
    if asked.verify:
        try:
            _verify([left] if right is None else [left, right], asked.progress_of)
        except CheckpointError as error:
            failed = error
        data["verify"] = {"ok": failed is None, "problem": None if failed is None else str(failed)}
    if right is None:
        if asked.stats:
            data["statistics"] = [asdict(entry) for entry in _statistics(left, asked.progress_of)]
        if asked.histogram is not None:
            data["histogram"] = asdict(_histogram(left, asked.histogram, _BINS, asked.progress_of))
    else:
        data["diff"] = {"other": str(right.folder), **_comparison_json(compare(left, right))}
        if asked.stats:
            data["diff"]["movements"] = [asdict(entry) for entry in _movements(left, right, asked.progress_of)]
    echo(json.dumps(_without_nan(data), indent=2, allow_nan=False))
    if failed is not None:
        raise failed


def _verify(sides: list[Inspection], progress_of: Progress) -> None:
    total = sum(file.bytes for side in sides for file in side.files)
    done = 0
    with progress_of("verifying") as update:

        def report(read: int) -> None:
            nonlocal done
            done += read
            update(done, total, "")

        for side in sides:
            check(side.folder, hashes=True, report=report)


def _statistics(inspection: Inspection, progress_of: Progress) -> list[TensorStatistics]:
    from core.checkpoint.statistics import statistics

    with progress_of("reading weights") as update:
        found = {entry.name: entry for entry in statistics(inspection.folder, _bytes_only(update))}
    return [found[tensor.name] for tensor in inspection.tensors]


def _movements(left: Inspection, right: Inspection, progress_of: Progress) -> list[Movement]:
    from core.checkpoint.statistics import movements

    with progress_of("comparing weights") as update:
        return movements(left.folder, right.folder, _bytes_only(update))


def _histogram(inspection: Inspection, name: str, bins: int, progress_of: Progress) -> Histogram:
    from core.checkpoint.statistics import histogram

    with progress_of("reading weights") as update:
        return histogram(inspection.folder, name, bins, _bytes_only(update))


def _bytes_only(update: Callable[[int, int | None, str], None]) -> Callable[[int, int], None]:
    return lambda done, total: update(done, total, "")


def _inspection_json(i: Inspection) -> dict[str, Any]:
    groups = [
        {
            "group": group.name,
            "count": group.count,
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "count": t.count} for t in group.tensors
            ],
        }
        for group in i.groups
    ]
    return {
        "checkpoint": str(i.folder),
        "links": list(i.links),
        "run": str(i.run) if i.run else None,
        **asdict(i.meta),
        "parent": i.parent,
        "problems": list(i.problems),
        "resume": asdict(i.resume),
        "warm_start": asdict(i.warm_start),
        "serve": asdict(i.serve),
        "parameters": {"count": sum(group.count for group in i.groups), "groups": groups},
        "gates": [asdict(gate) for gate in i.gates],
        "files": [asdict(file) for file in i.files],
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        **asdict(comparison),
        "shapes": {name: {"left": list(a), "right": list(b)} for name, (a, b) in comparison.shapes.items()},
        "dtypes": {name: {"left": a, "right": b} for name, (a, b) in comparison.dtypes.items()},
    }


def _without_nan(value: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value
