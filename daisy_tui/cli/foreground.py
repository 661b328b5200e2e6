"""A run watched from a terminal that it does not belong to: closing the terminal leaves the run alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from core.checkpoint.format import complete_checkpoints
from core.errors import DaisyError, StoppedError
from core.runs import control
from core.runs.directory import RunDirectory
from core.runs.launch import last_log_lines
from core.runs.status import AFTER_CHECKPOINT, run_status
from daisy_tui.cli.live import LiveRun
from daisy_tui.cli.text import echo

_LOOK_EVERY_S = 0.2
_LOG_LINES = 8


def watch(run: RunDirectory, supervisor: subprocess.Popen[bytes], target_tokens: int) -> None:
    """Show a run until it ends, or until the person leaves it. Raises StoppedError or DaisyError as it ended.

    Ctrl-C on a terminal asks whether to stop the run; without one, and for SIGTERM, it stops. Once more kills it.
    """
    live = LiveRun(run, target_tokens)
    with _signals() as asked:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    supervisor.wait(_LOOK_EVERY_S)
                live.update()
                if supervisor.returncode is not None:
                    break
                if asked and not _stop(run, live, asked):
                    echo(f"left running: daisy runs show {run.path.name}")
                    return
        finally:
            live.close()
    status = run_status(run)
    name = run.path.name
    if status.alive:
        raise DaisyError(f"{run.path}: somebody else has started it meanwhile; it is {status.state}")
    if status.state == "finished":
        echo(f"finished: {run.path}; `daisy sample {name}` lets it speak")
    elif status.state == "stopped":
        how = [] if status.reason == AFTER_CHECKPOINT else [str(status.reason)]
        goes_on = "goes on exactly" if any(complete_checkpoints(run.checkpoints)) else "begins it anew"
        raise StoppedError(*how, f"stopped; `daisy train --resume {name}` {goes_on}")
    else:
        said = live.failures or ([] if status.state == "lost" else last_log_lines(run, _LOG_LINES))
        said += [] if any(str(status.reason) in line for line in said) else [str(status.reason)]
        raise DaisyError(*(line if str(run.path) in line else f"{run.path}: {line}" for line in said))


def _stop(run: RunDirectory, live: LiveRun, asked: list[int]) -> bool:
    """Act on the signals that came; False where the person would rather leave the run alone."""
    number = asked[-1]
    asked.clear()  # several within one look are one: shells and wrappers repeat a signal
    before = control.stop_request(run)
    if before is None and number == signal.SIGINT and sys.stdin.isatty() and sys.stdout.isatty():
        live.close()
        if not _wants_to_stop():
            return False
    control.ask_stop(run, now=before is not None)
    live.close()
    if before is None:
        echo("stopping: a checkpoint at the next step, then the end (once more to kill)", err=True)
    return True


def _wants_to_stop() -> bool:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = input("Stop the run with a checkpoint (Enter), or leave it running (l)? ")
        return not answer.strip().lower().startswith("l")
    except KeyboardInterrupt:
        return True
    except EOFError:  # the terminal is gone: that is no answer
        return False
    finally:
        signal.signal(signal.SIGINT, handler)


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
