"""Progress of long commands: a bar with rate and ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from daisy_tui.cli.text import count, duration, size

Update = Callable[[int, int | None, str], None]
_PLAIN_EVERY_S = 5.0


@contextmanager
def progress(label: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Update]:
    """Yields `update(bytes_done, bytes_total, detail)`; call it as often as there is news."""
    if sys.stderr.isatty():
        with _bar(label) as update:
            yield update
    else:
        yield _plain(label, clock)


@contextmanager
def _bar(label: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    # Together at most 60 cells beside the bar, so that 80 columns hold one line.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TransferSpeedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as bar:
        task = bar.add_task(label, total=None, detail="")
        first: list[int] = []

        def update(done: int, total: int | None, detail: str) -> None:
            if not first:
                # What an earlier run did counts for the bar, not for the rate.
                first.append(done)
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done, total=total, detail=detail)

        yield update


def _plain(label: str, clock: Callable[[], float]) -> Update:
    began = clock()
    last = began
    first: list[int] = []

    def update(done: int, total: int | None, detail: str) -> None:
        nonlocal last
        first.append(done) if not first else None
        now = clock()
        if now - last < _PLAIN_EVERY_S:
            return
        last = now
        rate = (done - first[0]) / (now - began)
        of = f" of {size(total)} ({done / total:.0%})" if total else ""
        eta = f", ETA {duration((total - done) / rate)}" if total and rate else ""
        click.echo(f"{label}: {size(done)}{of}, {detail}, {size(rate)}/s{eta}", err=True)

    return update


def tokens_detail(tokens: int, documents: int) -> str:
    """`12.3M tokens in 456 docs`."""
    return f"{count(tokens)} tokens in {count(documents)} {'doc' if documents == 1 else 'docs'}"
