"""Running `daisy …` commands as children: whatever a screen does, it does by the command that it shows.

So a screen can do nothing that a person cannot do without it, and what was done can be copied, repeated and put into a
script. Rejected: calling the same functions here, in a process that holds a screen and must never wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import DaisyError

_END_WITHIN_S = 10.0


class CommandError(DaisyError):
    """A command that ended badly: its last words are the lines of this error. `code` is its exit code."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__(*lines)
        self.code = code


class Done(NamedTuple):
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with `--json`."""
        return json.loads(self.out)


def command_line(arguments: Sequence[str]) -> str:
    """`daisy runs stop demo`, quoted for a shell."""
    return shlex.join(["daisy", *arguments])


class Commands:
    """Runs `daisy` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, *arguments: str, codes: Container[int] = (0,)) -> Done:
        """Run one command to its end. Raises CommandError where its exit code is none of `codes`.

        Who is cancelled while waiting interrupts it, as Ctrl-C would.
        """
        child = await self._start(*arguments, err=asyncio.subprocess.PIPE)
        try:
            out, err = await child.communicate()
        except asyncio.CancelledError:
            await _interrupt(child)
            raise
        done = Done(child.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
        if done.code not in codes:
            raise _error(arguments, done)
        return done

    async def lines(self, *arguments: str) -> AsyncGenerator[str, None]:
        """What one command prints, line by line as it comes, errors too. Raises CommandError where it ends badly.

        Who stops listening interrupts it.
        """
        child = await self._start(*arguments, err=asyncio.subprocess.STDOUT)
        assert child.stdout is not None
        last: list[str] = []
        try:
            async for raw in child.stdout:
                line = raw.decode(errors="replace").rstrip("\n")
                last = [*last[-4:], line]
                yield line
            code = await child.wait()
        finally:
            await _interrupt(child)
        if code:
            raise _error(arguments, Done(code, "", "\n".join(last)))

    async def _start(self, *arguments: str, err: int) -> asyncio.subprocess.Process:
        from core.runs.launch import child_environment  # which the first frame need not wait for

        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daisy_tui", *arguments),
            cwd=self._folder,
            env={**child_environment(), "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
            start_new_session=True,  # the keys of this terminal are not for it
            limit=1 << 20,
        )


def _error(arguments: Sequence[str], done: Done) -> CommandError:
    said = [line.removeprefix("error: ") for line in done.err.splitlines() if line.startswith("error: ")]
    said = said or [line for line in done.err.splitlines() if line.strip()][-1:]
    return CommandError(*(said or [f"{command_line(arguments)}: ended with exit code {done.code}"]), code=done.code)


async def _interrupt(child: asyncio.subprocess.Process) -> None:
    """End a command as Ctrl-C does, so that it leaves things in order; after a while without asking."""
    if child.returncode is not None:
        return
    for sent in (signal.SIGINT, signal.SIGKILL):
        try:
            os.kill(child.pid, sent)
            await asyncio.wait_for(child.wait(), _END_WITHIN_S)
        except ProcessLookupError:
            return
        except TimeoutError:
            continue
        return
