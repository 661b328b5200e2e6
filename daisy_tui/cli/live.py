"""A run as it trains: one line that changes on a terminal, a line for each log point otherwise.

Everything shown is read from the run directory, so what a person sees is what is on disk.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from core.runs.directory import RunDirectory
from core.runs.follow import RecordTail
from daisy_tui.cli.text import count, duration, printable, size


class LiveRun:
    """Prints what a run has newly recorded. `failures` gathers what its ranks said about a failure."""

    def __init__(self, run: RunDirectory, target_tokens: int) -> None:
        self.failures: list[str] = []
        self._target = target_tokens
        self._metrics, self._events = RecordTail(run.metrics), RecordTail(run.events)
        self._terminal = sys.stdout.isatty()
        self._line_open = False

    def update(self) -> None:
        """Print what is new."""
        for record in sorted([*self._metrics.new(), *self._events.new()], key=lambda record: record["time"]):
            if record.get("event") == "failed" and record["message"] not in self.failures:
                self.failures.append(record["message"])
            if "event" in record and (line := event_line(record)):
                self.print(line)
            if "train_loss" in record:
                self._progress(step_line(record, self._target))
            for name, score in record.get("val", {}).items() if "event" not in record else ():
                self.print(f"step {record['step']}  {name}: {_figures(score)}")

    def print(self, line: str) -> None:
        """Print a line above the one that changes."""
        self.close()
        sys.stdout.write(printable(line) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """End the line that changes."""
        if self._line_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._line_open = False

    def _progress(self, line: str) -> None:
        if not self._terminal:
            self.print(line)
            return
        width = shutil.get_terminal_size().columns
        # Carriage return and "erase the line" (ECMA-48); what does not fit is cut, or it would scroll.
        sys.stdout.write("\r\x1b[2K" + printable(line)[: width - 1])
        sys.stdout.flush()
        self._line_open = True


def step_line(record: dict[str, Any], target_tokens: int) -> str:
    """A log point for people: `step 20  100%  loss 4.4321  820k tokens  9,000 tokens/s  MFU 41%  ETA 0:12`."""
    return (
        f"step {record['step']}  {record['tokens'] / target_tokens:4.0%}  loss {record['train_loss']:.4f}  "
        f"{count(record['tokens'])} tokens  {record['tokens_per_s']:,.0f} tokens/s  MFU {record['mfu']:.0%}  "
        f"ETA {duration(record['eta_s'])}"
    )


def event_line(record: dict[str, Any]) -> str | None:
    """An event for people; None for those that other lines already say."""
    event = record["event"]
    if event == "checkpoint":
        gone = f", removed {', '.join(record['removed'])}" if record.get("removed") else ""
        return f"step {record['step']}  checkpoint {record['path']}{gone}"
    if event == "warning":
        return f"warning: {record['message']}"
    if event == "memory":
        used = record["peak"] - record["before"]
        return f"memory: {size(used)} at the peak of the first step, {size(record['estimated'])} estimated (a device)"
    if event == "resumed":
        return f"resumed at step {record['step']}, {count(record['tokens'])} tokens"
    if event == "not_finite" and "text" in record:
        return f"not finite at cursor {record['cursor']}, in the text: {record['text'][:60]!r} ..."
    return None


def _figures(score: dict[str, float]) -> str:
    return f"loss {score['loss']:.4f}  ppl {score['ppl']:.2f}  bpb {score['bpb']:.4f}"
