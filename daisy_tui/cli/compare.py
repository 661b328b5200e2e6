"""`daisy runs compare`: runs side by side, with the config values that differ."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from core.runs.directory import RunDirectory, RunError, find_run
from core.text import plural
from daisy_tui.cli.text import JSON, echo, print_json, table
from daisy_tui.naming import RUNS
from daisy_tui.runs.comparison_text import figure_rows, run_names, value_text

if TYPE_CHECKING:  # numpy, which other commands do without
    from daisy_tui.runs.comparing import Comparison


@click.command("compare")
@click.argument("runs", metavar="RUN RUN…", nargs=-1, required=True)
@JSON
def compare_runs(runs: tuple[str, ...], as_json: bool) -> None:
    """Runs side by side: what differs in their configs, and their final and best figures.

    A `*` marks the best of a row.
    """
    from daisy_tui.runs.comparing import ComparedRun, compare

    found = _found(runs)
    compared = [ComparedRun(run) for run in found]
    for one in compared:
        try:
            one.refresh()
        except OSError as error:
            raise RunError(f"{error.filename or one.run.path}: cannot be read: {error.strerror}") from error
    comparison = compare(compared)
    if as_json:
        print_json(_json(comparison))
    else:
        echo("\n".join(_lines(comparison)))
    for problem in comparison.problems:
        echo(f"warning: {problem}", err=True)


def _found(names: Sequence[str]) -> list[RunDirectory]:
    """The runs that are named, each once."""
    found = {run.path.resolve(): run for run in (find_run(RUNS, name) for name in names)}
    if len(found) < 2:
        only = next(iter(found.values())).path.name
        raise click.UsageError(f"name two runs or more to compare; {' '.join(names)} is {only} alone")
    return list(found.values())


def _json(comparison: Comparison) -> dict[str, Any]:
    from daisy_tui.runs.comparing import ABSENT

    ids = [one.id for one in comparison.figures]
    return {
        "runs": [one.to_json() for one in comparison.figures],
        "differences": {
            key: {run: value for run, value in zip(ids, values, strict=True) if value is not ABSENT}
            for key, values in comparison.differences
        },
        "same": comparison.same,
    }


def _lines(comparison: Comparison) -> Iterator[str]:
    names = run_names(comparison.figures)
    rows = [[label, *cells] for label, cells in figure_rows(comparison.figures)]
    if comparison.differences:
        rows.append([""] * (len(names) + 1))
    rows += [[key, *map(value_text, values)] for key, values in comparison.differences]
    yield from _columns(["", *names], rows)
    yield ""
    every = "" if comparison.differences else "all "
    yield f"{every}{plural(comparison.same, 'value')} of their configs are the same"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table; on a terminal in as many parts as it takes for each to fit."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths = [max(len(row[column]) for row in [head, *rows]) + 2 for column in range(len(head))]
    parts, used = [[0]], widths[0]
    for column in range(1, len(head)):
        if used + widths[column] - 2 > room and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1].append(column)
        used += widths[column]
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from table([[row[column] for column in part] for row in [head, *rows]])
