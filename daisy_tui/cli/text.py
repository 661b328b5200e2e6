"""What commands print: lines that cannot act on the terminal, tables, and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from core.text import printable

_WIDTH = 32


class Seconds(click.FloatRange):
    """Seconds, at least one, and a number: click's own range lets NaN pass."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return number


SECONDS = Seconds(1)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may hold anybody's names and paths: control characters do not act."""
    write(printable(text), err=err)


def write(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text as it is."""
    with naming_stream("standard error" if err else "standard output"):
        click.echo(text, err=err, nl=nl)


@contextmanager
def naming_stream(name: str) -> Iterator[None]:
    """Have a failure to write, as to a full device, say what could not be written to; not that a reader has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error


def short(text: str) -> str:
    """A name as a table on a terminal has room for: its beginning. Whole where no person reads it."""
    return text if len(text) <= _WIDTH or sys.stdout is None or not sys.stdout.isatty() else text[: _WIDTH - 1] + "…"


def print_json(value: Any) -> None:
    """Print a value as JSON, which knows no number that is not finite: null stands for it."""
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_infinities(value), indent=2, allow_nan=False)
    write(text)


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinities(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: Sequence[Sequence[str]], *, indent: str = "", right: Container[int] = ()) -> list[str]:
    """Rows as aligned columns, those in `right` to the right; the last one ragged."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        padded = enumerate(zip(row, widths, strict=True))
        cells = [cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in padded]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
