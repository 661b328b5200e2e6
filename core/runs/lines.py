"""What a run has recorded as lines for people: the same in its log, in a terminal, and on a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.text import count, duration, percent, size


def step_line(record: dict[str, Any], target_tokens: int) -> str:
    """A log point for people: `step 20  100%  loss 4.4321  ETA 0:12  9,000 tokens/s  820k tokens  MFU 41%`.

    What matters most comes first, because a narrow terminal cuts the end. What is missing is a dash.
    """
    step, tokens = _shown(record.get("step"), str), record.get("tokens")
    done = _shown(tokens, lambda tokens: percent(min(1.0, tokens / target_tokens)))
    loss, eta = _shown(record.get("train_loss"), "{:.4f}".format), _shown(record.get("eta_s"), duration)
    speed, mfu = _shown(record.get("tokens_per_s"), "{:,.0f}".format), _shown(record.get("mfu"), "{:.0%}".format)
    known = _shown(tokens, count)
    return f"step {step}  {done:>4}  loss {loss}  ETA {eta}  {speed} tokens/s  {known} tokens  MFU {mfu}"


def event_line(record: dict[str, Any]) -> str | None:
    """An event for people; None for those that other lines already say."""
    try:
        return _event_line(record)
    except (KeyError, TypeError, ValueError, AttributeError):  # another version's, or somebody else's
        return None


def _event_line(record: dict[str, Any]) -> str | None:
    event = record.get("event")
    if event == "checkpoint":
        gone = f", removed {', '.join(record['removed'])}" if record.get("removed") else ""
        return f"step {record['step']}  checkpoint {record['path']}{gone}"
    if event == "warning":
        return f"warning: {record['message']}"
    if event == "memory":
        used = record["peak"] - record["before"]
        estimated = f"{size(record['estimated'])} estimated for tensors"
        return f"memory: {size(used)} of memory at the first step's peak; {estimated}"
    if event == "restarted":
        return f"restarted, {record['number']} of {record['of']}: {record['reason']}"
    if event == "request" and record["what"] == "set":
        return f"step {record['step']}  set {record['answer']}"
    if event == "resumed":
        return f"resumed at step {record['step']}, {count(record['tokens'])} tokens"
    if event == "not_finite" and "text" in record:
        return f"not finite at cursor {record['cursor']}, in the text: {record['text'][:60]!r} ..."
    return None


def score_line(step: int, name: str, score: Mapping[str, float]) -> str:
    """An evaluation for people: `step 20  val: loss 4.5000  ppl 90.02  bpb 1.5000`."""
    loss, bits = (_shown(score.get(key), "{:.4f}".format) for key in ("loss", "bpb"))
    return f"step {step}  {name}: loss {loss}  ppl {_shown(score.get('ppl'), '{:.2f}'.format)}  bpb {bits}"


def _shown(value: Any, how: Callable[[Any], str]) -> str:
    """A figure; a word that stands for one as it is, and a dash for none."""
    return "-" if value is None else value if isinstance(value, str) else how(value)
