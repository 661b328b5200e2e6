"""`daisy sample`: text from a checkpoint, printed as it comes. The model runs in a child process.

The child never sees Ctrl-C: this process ends it by SIGTERM, which nothing turns into a traceback, however little of
torch is imported by then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import click

from core.errors import DaisyError, StoppedError
from core.runs.launch import child_environment
from core.runs.processes import die_with_parent
from daisy_tui.naming import checkpoint_folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", metavar="CKPT|RUN")
@click.option("--prompt", default="", help="Text to go on from. [default: none, a new document]")
@click.option("--max_tokens", "--max-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--temperature", type=float, default=0.7, show_default=True, help="0 takes the likeliest token.")
@click.option("--top_k", "--top-k", type=int, default=50, show_default=True, help="0 leaves all tokens in.")
@click.option("--top_p", "--top-p", type=float, default=1.0, show_default=True)
@click.option("--repetition_penalty", "--repetition-penalty", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same text.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def sample(checkpoint: str, **options: str | int | float) -> int:
    """Print text that a checkpoint, or a run's latest one, goes on with."""
    if sys.stdout is None:
        raise DaisyError("standard output is closed, and a sample goes nowhere else; leave it open, or redirect it")
    folder = checkpoint_folder(checkpoint)
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return run_child("core.inference.sample", [*arguments, "--", str(folder)])


def run_child(module: str, arguments: Sequence[str], content: bytes | None = None) -> int:
    """Run `python -m MODULE` with `content` on its standard input; returns its exit code.

    Ctrl-C, SIGTERM and SIGHUP end it, and it ends with this process. Raises StoppedError where it left it at that,
    and DaisyError where something else killed it.
    """
    command = [sys.executable, "-m", module, *arguments]
    asked: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        for child in children:
            child.terminate()

    with _handled(stop):
        with _blocked(signal.SIGINT):
            children.append(_started(command, content is not None))
        child = children[0]
        if asked:
            child.terminate()  # the signal came before there was a child to pass it on to
        if child.stdin is not None:
            with suppress(BrokenPipeError), child.stdin:  # a child that ends early reads nothing
                child.stdin.write(content or b"")
        code = child.wait()
    if code >= 0:
        return code
    if asked:
        raise StoppedError("stopped")
    name = signal.Signals(-code).name
    why = ": the system does that where memory runs out" if name == "SIGKILL" else ""
    raise DaisyError(f"the process that had the model was killed by {name}{why}")


def _started(command: Sequence[str], reads: bool) -> subprocess.Popen[bytes]:
    # A closed stream leaves its number free, and the first file that the child opens would take its place.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if reads else None,
        stdout=subprocess.DEVNULL if sys.stdout is None else None,
        stderr=subprocess.DEVNULL if sys.stderr is None else None,
        preexec_fn=partial(die_with_parent, os.getpid()),
        env=child_environment(),
    )


@contextmanager
def _handled(stop: Callable[[int, object], None]) -> Iterator[None]:
    """Have `stop` answer the signals that end a command, but those that this process is to ignore."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: handler for n in numbers if (handler := signal.getsignal(n)) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _blocked(number: int) -> Iterator[None]:
    """Keep a signal waiting; a child that starts meanwhile never gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
