"""Progress of long commands: a bar with rate and ETA on a terminal, plain lines otherwise, JSON lines for programs."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from core.text import count, duration, size

Update = Callable[[int, int | None, str], None]
_PLAIN_EVERY_S, _JSON_EVERY_S = 5.0, 0.25
PROGRESS_JSON = click.option(
    "--progress-json",
    is_flag=True,
    help='Tell the progress on standard error as JSON lines, {"progress": {"done": bytes, "total": bytes, ...}}.',
)


@contextmanager
def progress(label: str, clock: Callable[[], float] = time.monotonic, *, as_json: bool = False) -> Iterator[Update]:
    """Yields `update(bytes_done, bytes_total, detail)`; call it as often as there is news."""
    if as_json:
        yield _json_lines(label, clock)
    elif sys.stderr.isatty():
        with _bar(label) as update:
            yield update
    else:
        yield _plain(label, clock)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C or SIGTERM has come. A second one ends at once."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(label: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        """Bytes a second, in the units of every other size."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{size(speed)}/s" if speed else "", no_wrap=True)

    # Together at most 60 cells beside the bar, so that 80 columns hold one line.
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        Rate(table_column=Column(no_wrap=True)),
        TextColumn("ETA", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as bar:
        task: TaskID | None = None

        def update(done: int, total: int | None, detail: str) -> None:
            nonlocal task
            if task is None:
                # What an earlier run did counts for the bar, not for the rate.
                task = bar.add_task(label, total=total, completed=done, detail=detail)
            bar.update(task, completed=done, detail=detail)

        yield update


def _plain(label: str, clock: Callable[[], float]) -> Update:
    measured = _Rate(clock, _PLAIN_EVERY_S)

    def update(done: int, total: int | None, detail: str) -> None:
        rate = measured.due(done)
        if rate is None:
            return
        of = f" of {size(total)} ({done / total:.0%})" if total else ""
        eta = f", ETA {duration((total - done) / rate)}" if total and rate else ""
        with suppress(OSError):  # whoever read standard error has left; the work goes on
            click.echo(f"{label}: {size(done)}{of}, {detail}, {size(rate)}/s{eta}", err=True)

    return update


def _json_lines(label: str, clock: Callable[[], float]) -> Update:
    measured = _Rate(clock, _JSON_EVERY_S)

    def update(done: int, total: int | None, detail: str) -> None:
        rate = measured.due(done, last=done == total)
        if rate is None:
            return
        eta = (total - done) / rate if total and rate else None
        values = {"what": label, "done": done, "total": total, "detail": detail, "rate": rate, "eta_s": eta}
        with suppress(OSError):
            click.echo(json.dumps({"progress": values}), err=True)

    return update


class _Rate:
    """Bytes a second since the first update, where another line is due: `every_s` after the one before."""

    def __init__(self, clock: Callable[[], float], every_s: float) -> None:
        self._clock, self._every_s = clock, every_s
        self._began = self._last = clock()
        self._first: int | None = None

    def due(self, done: int, *, last: bool = False) -> float | None:
        """The rate, or None where no line is due; the `last` one always is."""
        if self._first is None:  # what an earlier run did counts for no rate
            self._first = done
        now = self._clock()
        if now - self._last < self._every_s and not last:
            return None
        self._last = now
        return (done - self._first) / max(now - self._began, 1e-9)


def tokens_detail(tokens: int, documents: int) -> str:
    """`12.3M tokens in 456 docs`."""
    return f"{count(tokens)} tokens in {count(documents)} {'doc' if documents == 1 else 'docs'}"
