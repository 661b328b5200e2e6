"""A run as it trains: one line that changes on a terminal, a line for each log point otherwise.

Everything shown is read from the run directory, so what a person sees is what is on disk.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from core.runs.directory import RunDirectory
from core.runs.follow import RecordTail
from core.runs.lines import event_line, score_line, step_line
from core.text import printable
from daisy_tui.cli.text import naming_stream


class LiveRun:
    """Prints what a run has newly recorded. `failures` gathers what its ranks said about a failure."""

    def __init__(self, run: RunDirectory, target_tokens: int) -> None:
        self.failures: list[str] = []
        self._target = target_tokens
        self._metrics, self._events = RecordTail(run.metrics), RecordTail(run.events)
        self._terminal = sys.stdout is not None and sys.stdout.isatty()
        self._line_open = False

    def update(self) -> None:
        """Print what is new."""
        news = [*((record, self._metric) for record in self._metrics.new())]
        news += [(record, self._event) for record in self._events.new()]
        for record, show in sorted(news, key=lambda item: item[0].get("time", 0.0)):
            show(record)

    def print(self, line: str) -> None:
        """Print a line above the one that changes."""
        self.close()
        if sys.stdout is not None:  # it may have been closed
            _write(printable(line) + "\n")

    def close(self) -> None:
        """End the line that changes."""
        if self._line_open:
            _write("\n")
            self._line_open = False

    def _metric(self, record: dict[str, Any]) -> None:
        if "train_loss" in record:
            self._progress(step_line(record, record.get("target_tokens", self._target)))
        for name, score in record.get("val", {}).items():
            self.print(score_line(record.get("step", 0), name, score))

    def _event(self, record: dict[str, Any]) -> None:
        if record.get("event") == "failed" and (message := record.get("message", "")) not in self.failures:
            self.failures.append(message)
        if line := event_line(record):
            self.print(line)

    def _progress(self, line: str) -> None:
        if not self._terminal:
            self.print(line)
            return
        width = shutil.get_terminal_size().columns
        # Carriage return and "erase the line" (ECMA-48); what does not fit is cut, or it would scroll.
        _write("\r\x1b[2K" + printable(line)[: width - 1])
        self._line_open = True


def _write(text: str) -> None:
    with naming_stream("standard output"):
        sys.stdout.write(text)
        sys.stdout.flush()
