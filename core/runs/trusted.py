"""The one place where JSON that anybody may have written becomes values that everybody may reckon with.

A run's files are written by its processes, and by whoever copies, edits or damages them. So what is read is JSON of a
moderate depth, NaN and Infinity are null in it, and a field that Daisy knows has a value of its kind or is left out:
whoever finds `time` in a record can show it as a time. The name of a file says which fields are known in it; other
fields stay as they are. Rejected: pydantic, which the supervisor of a waiting run has no memory for, and a record of a
million no time; and a `try` around each print, of which one is always missing.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

Kind = Callable[[Any], bool]
Fields = Mapping[str, Kind]

NO_FIELDS: Final[Fields] = {}
END_OF_TIME: Final = 253_402_300_800.0  # the year 10,000, in seconds of the time of day: no calendar goes on
MOST_WHOLE: Final = 1 << 63
MOST: Final = 2.0**128  # no figure of a run is greater: all are counted, or computed in float32

_DEEPEST = 20  # of what Daisy writes nothing is deeper than 5, and whatever walks through it is recursive
_LONGEST_SPAN = 1e11  # seconds
_DECODER = json.JSONDecoder(parse_constant=lambda word: None)


def parsed(data: bytes) -> Any:
    """What JSON says. Raises ValueError for what is none, and for what is nested too deeply."""
    try:
        value = _DECODER.decode(data.removeprefix(codecs.BOM_UTF8).decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _is_deeper(value, _DEEPEST):
        raise ValueError("nested too deeply")
    return value


def trusted(values: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """An object without those of its known fields whose values are not of their kind."""
    wrong = [key for key, value in values.items() if (is_kind := fields.get(key)) is not None and not is_kind(value)]
    return {key: value for key, value in values.items() if key not in wrong} if wrong else values


def fields_of(path: Path) -> Fields:
    """What is known of the objects in a file, by its name."""
    if (found := _FILES.get(path.name)) is not None:
        return found
    if path.name.startswith("heartbeat-"):
        return HEARTBEAT
    return REQUEST if path.parent.name == "control" else NO_FIELDS


def is_number(value: Any) -> bool:
    """A finite number that a figure of a run can be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST < value < MOST


def is_whole(value: Any) -> bool:
    """A count: steps, tokens, ranks."""
    return type(value) is int and 0 <= value < MOST_WHOLE


def is_time(value: Any) -> bool:
    """Seconds of the time of day."""
    return is_number(value) and 0.0 <= value < END_OF_TIME


def _is_deeper(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(one, dict | list) and (left <= 1 or _is_deeper(one, left - 1)) for one in inner)


def _is_amount(value: Any) -> bool:
    return is_number(value) and value >= 0


def _is_share(value: Any) -> bool:
    return is_number(value) and 0.0 <= value <= 1.0


def _is_span(value: Any) -> bool:
    return is_number(value) and 0.0 <= value < _LONGEST_SPAN


def _is_figure(value: Any) -> bool:
    """A number, or the word for one that is not finite, for which JSON has no other."""
    return is_number(value) or value is None or value in ("nan", "inf", "-inf")


def _is_positive(value: Any) -> bool:
    return is_whole(value) and value > 0


def _is_process(value: Any) -> bool:
    return _is_positive(value) and value < 1 << 31


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _or_none(is_kind: Kind) -> Kind:
    return lambda value: value is None or is_kind(value)


def _each(is_kind: Kind) -> Kind:
    """A mapping whose values are all of a kind."""
    return lambda value: isinstance(value, dict) and all(map(is_kind, value.values()))


def _one_of(*words: str) -> Kind:
    return lambda value: isinstance(value, str) and value in words


def _object(fields: Fields, *needed: str) -> Kind:
    """A mapping that has what is needed, and in which everything known is of its kind."""
    return lambda value: (
        isinstance(value, dict) and all(key in value for key in needed) and trusted(value, fields) is value
    )


_PLACE: dict[str, Kind] = {"time": is_time, "step": is_whole, "tokens": is_whole}
METRICS: Fields = _PLACE | {
    "target_tokens": _is_positive,
    "train_loss": _is_figure,
    "grad_norm": _is_figure,
    "tokens_per_s": _is_amount,
    "mfu": _is_amount,
    "data_wait": _is_share,
    "eta_s": _is_span,
    "memory": _is_amount,
    "step_ms": _each(_is_amount),
    "val": _each(_object({"loss": _is_figure, "ppl": _is_figure, "bpb": _is_figure})),
}
EVENTS: Fields = _PLACE | {
    "event": _is_text,
    "rank": is_whole,
    "devices": is_whole,
    "peak_flops": _is_amount,
    "peak_device": _is_text,
    "message": _is_text,
    "explained": _is_flag,
    "path": _is_text,
    "removed": _are_texts,
    "reason": _is_text,
    "number": is_whole,
    "of": is_whole,
    "peak": is_whole,
    "before": is_whole,
    "estimated": is_whole,
    "checkpoint": is_whole,
    "id": _is_text,
    "what": _is_text,
    "answer": _is_text,
    "val": _each(_is_figure),
    "cursor": is_whole,
    "text": _is_text,
    "parameters": _are_texts,
}
HEARTBEAT: Fields = {
    "rank": is_whole,
    "pid": _is_process,
    "identity": _is_text,
    "time": is_time,
    "progress": is_time,
    "phase": _is_text,
    "step": is_whole,
    "median_step_s": _or_none(_is_span),
}
REQUEST: Fields = {"what": _is_text, "time": is_time, "now": _is_flag, "grace_s": _is_span}
_RUN: Fields = {
    "id": _is_text,
    "name": _is_text,
    "argv": _are_texts,
    "host": _is_text,
    "devices": is_whole,
    "config": _or_none(_is_text),
    "spec": _or_none(_is_text),
    "parent": _or_none(_is_text),
    "versions": _is_mapping,
}
_LAUNCH: Fields = {
    "nproc": is_whole,
    "devices": _are_texts,
    "number": is_whole,
    "machines": _object({"number": is_whole, "rank": is_whole, "endpoint": _or_none(_is_text)}),
    "resume": _is_flag,
    "accept_new_data": _is_flag,
    "queue": _is_flag,
    "grace_s": _is_span,
    "max_restarts": is_whole,
    "attempt": is_whole,
}
_SUPERVISOR: Fields = {
    "attempt": is_whole,
    "pid": _is_process,
    "identity": _or_none(_is_text),
    "host": _is_text,
    "user": _is_text,
    "started": is_time,
    "restarts": is_whole,
    "torchrun": _or_none(_is_process),
    "devices": _are_texts,
    "phase": _is_text,
}
_EXIT: Fields = {
    "attempt": is_whole,
    "outcome": _one_of("finished", "stopped", "failed"),
    "code": is_whole,
    "reason": _is_text,
    "step": _or_none(is_whole),
    "tokens": _or_none(is_whole),
    "restarts": is_whole,
    "time": is_time,
}
_PEAK = _object({"value": _is_amount, "time": is_time}, "value")
LEASE: Fields = {
    "among": _are_texts,
    "number": is_whole,
    "run": _is_text,
    "pid": _is_process,
    "user": _is_text,
    "server": _is_text,
    "model": _is_text,
    "device": _is_text,
}
_FILES: Mapping[str, Fields] = {
    "metrics.jsonl": METRICS,
    "events.jsonl": EVENTS,
    "changes.jsonl": {"step": is_whole, "values": _each(_is_text)},
    "run.json": _RUN,
    "launch.json": _LAUNCH,
    "supervisor.json": _SUPERVISOR,
    "exit.json": _EXIT,
    "peaks.json": {"host_memory": _PEAK, "gpu_memory": _PEAK, "gpu_utilisation": _PEAK},
}
