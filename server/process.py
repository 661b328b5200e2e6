"""The server's process: bind, load, say so, serve until a signal, and end in order."""

from __future__ import annotations

import argparse
import asyncio
import errno
import getpass
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from core.checkpoint.format import CheckpointError
from core.config.sources import display_path
from core.errors import DaisyError
from core.runs.directory import RunError, find_run
from core.runs.leases import LeaseError, Leases, lease_folder
from core.text import plural, printable
from server.app import Server
from server.follow import follow
from server.host import Served
from server.settings import KEY_VARIABLE, Settings
from server.source import RUNS, Source, source_of
from server.weights import Weights


def run(options: argparse.Namespace) -> NoReturn:
    """Serve until a signal, and end this process. Failures are lines on standard error."""
    _allow_connections()
    try:
        asyncio.run(_serve(*_prepared(options)))
        code = 0
    except DaisyError as error:
        for line in error.lines:
            _say(f"error: {line}")
        code = error.exit_code
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    # A model may still be loading in its thread, and nothing waits for that.
    os._exit(code)


def _prepared(options: argparse.Namespace) -> tuple[Settings, Weights, Source, bool]:
    settings = Settings(
        host=options.host,
        port=options.port,
        api_key=os.environ.pop(KEY_VARIABLE, None) or None,
        cors=options.cors,
        insecure=options.insecure,
        max_queue=options.max_queue,
        grace_s=options.grace,
    )
    settings.check()
    source = source_of(options.checkpoint, follow=options.follow)
    if source.checkpoint is not None and not source.checkpoint.is_dir():
        raise CheckpointError(f"{source.checkpoint}: no such checkpoint")
    with suppress(RunError):
        newest = find_run(RUNS, options.checkpoint)
        if source.run is not None and newest.path.resolve() != source.run.path.resolve():
            _say(f"{newest.path.name} has no checkpoint yet; taking {source.run.path.name}")
    weights = Weights(
        source,
        device=options.device,
        slots=options.slots,
        max_queue=options.max_queue,
        weights=options.weights,
        deterministic=options.deterministic,
        template=options.chat_template,
        wait=options.follow,
        say=_say,
    )
    return settings, weights, source, options.follow


async def _serve(settings: Settings, weights: Weights, source: Source, follows: bool) -> None:
    server = Server(settings, weights)
    server.host.is_following = follows
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_Defects())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, signals.put_nowait, number)
    url = await server.start()
    told = asyncio.create_task(signals.get())
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(_answer(server, url, source, follows))]
    try:
        await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        if streams := server.host.under_way:
            grace = server.settings.grace_s
            _say(f"ending: {plural(streams, 'answer')} may take {grace:g} s more; Ctrl-C again ends at once")
        ending = asyncio.create_task(server.stop())
        again = asyncio.create_task(signals.get())
        await asyncio.wait([ending, again], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            server.host.cancel_all()
        await ending


class _Defects:
    """What nobody else hears of, on standard error; that there are no more sockets not more than once a minute."""

    def __init__(self) -> None:
        self._told = -60.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() - self._told >= 60.0:
            self._told = loop.time()
            _say("more connections are open than this process may have; those who come wait (ulimit -n)")


def _allow_connections() -> None:
    """As many open files as this user may have at most: every connection is one."""
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _answer(server: Server, url: str, source: Source, follows: bool) -> None:
    """Load the model, say so, and keep it as new as it is to be; for as long as the server lives."""
    if source.folder() is None and follows:
        server.host.waits_for = f"the first checkpoint of {source.name}"
        _say(f"{source.name} has no checkpoint yet; waiting for its first, and listening on {url}")
    served = await server.open()
    lease = _lease(url, served)
    stats = server.host.stats()
    what = f"{served.name} (step {served.step}, {display_path(served.folder)})"
    slots = len(stats.slots) if stats is not None else 0
    _say(f"serving {what} on {url} with {plural(slots, 'slot')} on {served.device}", to_output=True)
    try:
        if follows and source.run is not None:
            await follow(server.host, source.run, _say)
        await asyncio.Event().wait()
    finally:
        if lease is not None:
            lease.release()


def _lease(url: str, served: Served) -> Leases | None:
    """Be shown by `daisy runs queue`; a machine without a folder for that is no reason not to serve."""
    said = {"server": url, "model": served.name, "device": served.device, "pid": os.getpid(), "user": _user()}
    try:
        leases = Leases(lease_folder())
        leases.serve(said)
    except (LeaseError, OSError) as error:
        _say(f"not shown in `daisy runs queue`: {error}")
        return None
    return leases


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _say(line: str, *, to_output: bool = False) -> None:
    """Write a line, if there is anybody to read it."""
    stream = sys.stdout if to_output else sys.stderr
    with suppress(OSError, ValueError, AttributeError):
        stream.write(printable(line).replace("\n", "\\n") + "\n")
        stream.flush()
