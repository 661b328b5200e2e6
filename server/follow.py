"""Following a run: when it has a newer complete checkpoint, its weights take over between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from core.errors import DaisyError
from core.runs.directory import RunDirectory
from server.errors import ApiError
from server.host import Host
from server.source import latest

LOOK_EVERY_S = 1.0


async def follow(host: Host, run: RunDirectory, say: Callable[[str], None], look_every_s: float = LOOK_EVERY_S) -> None:
    """Look for as long as the server lives. A checkpoint that cannot be taken is told, and waited out."""
    refused: Path | None = None
    last_told: str | None = None
    while True:
        newest: Path | None = None
        try:
            newest = await asyncio.to_thread(latest, run)
            if newest is not None and newest not in (refused, host.served.folder):
                served, _version = await host.change(newest)
                host.metrics.swaps.labels("taken").inc()
                say(f"now step {served.step} of {served.name}")
        except ApiError:  # loading still, or ending
            pass
        except Exception as error:  # noqa: BLE001 - whatever a newer checkpoint is, what is served stays served
            lines = error.lines if isinstance(error, DaisyError) else (str(error) or type(error).__name__,)
            told = "; ".join(lines)
            if newest is None or newest != refused:
                host.metrics.swaps.labels("refused").inc()
            if told != last_told:
                say(f"stays with {_step(host)}: {told}")
            refused, last_told = newest, told
        await asyncio.sleep(look_every_s)


def _step(host: Host) -> str:
    try:
        return f"step {host.served.step}"
    except ApiError:
        return "what it has"
