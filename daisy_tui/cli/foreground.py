"""A run watched from a terminal that it does not belong to: closing the terminal leaves the run alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from core.checkpoint.format import complete_checkpoints
from core.errors import DaisyError, StoppedError
from core.runs import control
from core.runs.directory import RunDirectory
from core.runs.launch import last_log_lines
from core.runs.leases import Leases, lease_folder
from core.runs.status import AFTER_CHECKPOINT, reason_for, run_status
from daisy_tui.cli.live import LiveRun
from daisy_tui.cli.text import echo

_LOOK_EVERY_S = 0.2
_LOG_LINES = 8
_LEFT, _KILLED = "leave", "kill"


def watch(run: RunDirectory, start: Callable[[], subprocess.Popen[bytes]], target_tokens: int) -> None:
    """Start a run and show it until it ends, or until the person leaves it. Raises StoppedError or DaisyError as it
    ended.

    Ctrl-C on a terminal asks whether to stop the run; without one, and for SIGTERM, it stops. Once more kills it.
    """
    live = LiveRun(run, target_tokens)
    waiting, killed = "", False
    with _signals() as asked:  # from before the start: a Ctrl-C at any moment is one to this run
        supervisor = start()
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    supervisor.wait(_LOOK_EVERY_S)
                live.update()
                if supervisor.returncode is not None:
                    break
                if (now := _waiting(run)) != waiting:
                    waiting = now
                    live.print(waiting or "its devices are free: starting")
                did = _stop(run, live, asked) if asked else ""
                if did == _LEFT:
                    echo(f"left running: daisy runs show {run.path.name}")
                    return
                killed = killed or did == _KILLED
        except BrokenPipeError:  # whoever read this has left, as `| head` does
            echo(f"nobody reads on; left running: daisy runs show {run.path.name}", err=True)
            raise
        finally:
            live.close()
    status = run_status(run)
    name = run.path.name
    if status.alive:
        raise DaisyError(f"{run.path}: somebody else has started it meanwhile; it is {status.state}")
    if status.state == "finished":
        echo(f"finished: {run.path}; `daisy sample {name}` lets it speak")
    elif status.state == "stopped":
        why = reason_for(status, asked_to_kill=killed)
        how = "stopped" if why == AFTER_CHECKPOINT else f"stopped: {why}"
        goes_on = "goes on from it" if any(complete_checkpoints(run.checkpoints)) else "begins it anew"
        raise StoppedError(f"{how}; `daisy train --resume {name}` {goes_on}")
    else:
        said = live.failures
        if not said and str(status.reason).startswith("torchrun ended"):  # and nobody has said why
            said = last_log_lines(run, _LOG_LINES)
        said += [] if any(str(status.reason) in line for line in said) else [str(status.reason)]
        raise DaisyError(*(line if str(run.path) in line else f"{run.path}: {line}" for line in said))


def _stop(run: RunDirectory, live: LiveRun, asked: list[int]) -> str:
    """Act on the signals that came; returns what the person wanted in the end."""
    number = asked[-1]
    asked.clear()  # several within one look are one: shells and wrappers repeat a signal
    before = control.stop_request(run)
    if before is None and number == signal.SIGINT and _is_terminal():
        live.close()
        wish = _wish(queued=run_status(run).state == "queued")
        if wish != "stop":
            return wish
    control.stop(run, now=before is not None)
    live.close()
    if before is None and run_status(run).state != "queued":
        echo("stopping: a checkpoint at the next step, then the end (once more to kill)", err=True)
    return "stop" if before is None else _KILLED


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _wish(*, queued: bool) -> str:
    """What a person wants of the run: stop, leave, or watch."""
    stop = "Take the run out of the queue" if queued else "Stop the run with a checkpoint"
    leave = "leave it waiting" if queued else "leave it running"
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    wishes = {"": "stop", "s": "stop", "y": "stop", "l": _LEFT, "w": "watch", "n": "watch"}
    try:
        while True:
            answer = input(f"{stop} (Enter), {leave} (l), or go on watching (w)? ").strip().lower()[:1]
            if answer in wishes:
                return wishes[answer]
    except KeyboardInterrupt:
        return "stop"
    except EOFError:  # the terminal is gone: that is no answer
        return _LEFT
    finally:
        signal.signal(signal.SIGINT, handler)


def _waiting(run: RunDirectory) -> str:
    """What a queued run waits for, and its place; nothing for one that does not wait."""
    status = run_status(run)
    if status.state != "queued":
        return ""
    leases = Leases(lease_folder())
    here = str(run.path.resolve())
    tickets = [ticket for ticket in leases.tickets() if ticket.waiting]
    place = next((number for number, ticket in enumerate(tickets, 1) if ticket.details.get("run") == here), None)
    if place is None:
        return ""
    wanted = tickets[place - 1].wanted
    owners = [f"{key} by {owner.get('run', '?')}" for key, owner in leases.owners().items() if key in wanted.among]
    held = f"; held: {', '.join(owners)}" if owners else ""
    return f"queued, place {place} of {len(tickets)}: waits for {', '.join(wanted.among)}{held}"


@contextmanager
def _signals() -> Iterator[list[int]]:
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda received, _frame: asked.append(received)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
