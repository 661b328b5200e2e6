"""Requests to a run while it trains: small files in `control/`, taken by rank 0 between two steps.

`stop.json` is one file however often it is asked for; it stays until the next start, because the supervisor acts on it
too: at once, or after the grace time. Every other request is a file of its own, which goes when it is answered, by an
event `request` with its `id`. Files, because they reach a run from any process, user or machine that sees its folder.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.runs.directory import RunDirectory, RunError, read_object, write_object
from core.runs.processes import is_alive

_STOP = "stop.json"


class Request(NamedTuple):
    """`save`, `eval`, or `set` with its `values` as typed, by key."""

    id: str
    what: str
    values: dict[str, str]


def ask_stop(run: RunDirectory, *, now: bool = False, grace_s: float | None = None) -> None:
    """Ask for a checkpoint and the end, or with `now` for the end at once."""
    run.control.mkdir(exist_ok=True)
    write_object(run.control / _STOP, {"time": time.time(), "now": now} | ({"grace_s": grace_s} if grace_s else {}))


def stop(run: RunDirectory, *, now: bool = False, grace_s: float | None = None) -> None:
    """Ask for the end; where the request cannot be written, as on a full disk, by a signal to the supervisor.

    Raises RunError where neither can be done.
    """
    try:
        ask_stop(run, now=now, grace_s=grace_s)
    except OSError as error:
        supervisor = read_object(run.supervisor)
        pid = supervisor.get("pid", 0)
        if supervisor.get("host") != platform.node() or not is_alive(pid, str(supervisor.get("identity"))):
            raise RunError(f"{run.control}: cannot be written: {error.strerror}") from error
        for _ in range(1 + now):  # the second one is immediate
            os.kill(pid, signal.SIGTERM)


def stop_request(run: RunDirectory) -> dict[str, Any] | None:
    """The request to stop, if there is one."""
    path = run.control / _STOP
    try:
        return read_object(path) if path.exists() else None
    except RunError:
        return {}  # asked for, however it was written


def ask(run: RunDirectory, what: str, values: dict[str, str] | None = None) -> Request:
    """Leave a request for rank 0."""
    run.control.mkdir(exist_ok=True)
    request = Request(f"{time.time_ns()}-{os.getpid()}", what, values or {})
    write_object(run.control / f"{request.id}.json", {"what": what, "values": request.values, "time": time.time()})
    return request


def pending(run: RunDirectory) -> Iterator[Request]:
    """The requests that wait for an answer, in the order in which they came. What cannot be read is removed."""
    for path in _waiting(run):
        try:
            values = read_object(path)
            yield Request(path.stem, str(values["what"]), {str(k): str(v) for k, v in values.get("values", {}).items()})
        except (RunError, KeyError, AttributeError):
            path.unlink(missing_ok=True)


def is_pending(run: RunDirectory) -> bool:
    """Whether a request waits, at the cost of one look at the folder."""
    return any(True for _ in _waiting(run))


def answered(run: RunDirectory, request: Request) -> None:
    """Take a request away; its answer is an event."""
    (run.control / f"{request.id}.json").unlink(missing_ok=True)


def clear(run: RunDirectory) -> None:
    """Forget all requests: they were to a process that is gone."""
    for path in [*_waiting(run), run.control / _STOP]:
        path.unlink(missing_ok=True)


def _waiting(run: RunDirectory) -> list[Path]:
    try:
        return sorted(path for path in run.control.iterdir() if path.name[0].isdigit() and path.suffix == ".json")
    except FileNotFoundError:
        return []
