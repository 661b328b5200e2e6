"""Events of a run as people read them in a list, whatever they hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.runs.lines import event_line
from core.text import count, plural, printable
from daisy_tui.runs.run_files import number

# How bad or good an event is that says more than that something was done.
_LEVELS = {
    "warning": "warning",
    "not_finite": "error",
    "failed": "error",
    "restarted": "warning",
    "checkpoint": "good",
    "finished": "good",
}


class EventRow(NamedTuple):
    """An event in words. `level` is error, warning, good or nothing."""

    clock: str
    step: str
    kind: str
    text: str
    level: str


def event_row(event: Mapping[str, Any], now: float) -> EventRow:
    """An event of events.jsonl as people read it, whatever it holds."""
    moment, step, kind = event.get("time"), event.get("step"), event.get("event", "?")
    level = _LEVELS.get(kind, "")
    if kind == "request" and event.get("answer", "").startswith("refused"):
        level = "warning"
    return EventRow(
        clock(moment, now) if moment is not None else "",
        f"{step:,}" if step is not None else "",
        printable(kind.replace("_", " ")),
        printable(" ".join(_event_text(event, kind).split())),
        level,
    )


def _event_text(event: Mapping[str, Any], kind: str) -> str:
    line = event_line(dict(event))
    if line is not None:
        for beginning in (f"step {event.get('step')}  ", f"{kind} ", f"{kind}: "):
            line = line.removeprefix(beginning)
        return line
    if kind == "request":
        return f"{event.get('what')}: {event.get('answer')}"
    if isinstance(scores := event.get("val"), dict):
        return ", ".join(f"{name} {_score(loss)}" for name, loss in scores.items())
    if "message" in event:
        return str(event["message"])
    if kind == "started" and "devices" in event:
        return f"on {plural(event['devices'], 'device')}"
    if kind == "not_finite":
        return "weights" if event.get("weights") else f"loss {event.get('loss')}, gradient {event.get('grad_norm')}"
    if kind in ("stopped", "finished") and "tokens" in event:
        return f"after {count(event['tokens'])} tokens"
    said = {key: value for key, value in event.items() if key not in ("time", "step", "tokens", "event")}
    return ", ".join(f"{key} {value}" for key, value in said.items())


def clock(moment: float, now: float) -> str:
    """A time of day, with its date where that is another one; nothing for what is none."""
    try:
        at = time.localtime(moment)
        is_today = time.strftime("%Y%m%d", at) == time.strftime("%Y%m%d", time.localtime(now))
        return time.strftime("%H:%M:%S" if is_today else "%m-%d %H:%M", at)
    except (OverflowError, ValueError, OSError):  # beyond what a calendar has
        return ""


def _score(loss: Any) -> str:
    return str(loss) if number(loss) is None else f"{loss:.4f}"
