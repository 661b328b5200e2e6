"""What commands print: lines that cannot act on the terminal, tables, and JSON."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Any

import click

from core.text import printable

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo(text: str, *, err: bool = False) -> None:
    """Print text that may hold anybody's names and paths: control characters do not act."""
    click.echo(printable(text), err=err)


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
