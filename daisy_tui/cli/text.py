"""What commands print: lines that cannot act on the terminal, tables, and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Container, Sequence
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
    click.echo(printable(text), err=err)


def short(text: str) -> str:
    """A name as a table on a terminal has room for: its beginning. Whole where no person reads it."""
    return text if len(text) <= _WIDTH or sys.stdout is None or not sys.stdout.isatty() else text[: _WIDTH - 1] + "…"


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def table(rows: Sequence[Sequence[str]], *, indent: str = "", right: Container[int] = ()) -> list[str]:
    """Rows as aligned columns, those in `right` to the right; the last one ragged."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        padded = enumerate(zip(row, widths, strict=True))
        cells = [cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in padded]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
