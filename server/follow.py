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
    while True:
        newest = await asyncio.to_thread(latest, run)
        try:
            if newest is not None and newest not in (refused, host.served.folder):
                served, _version = await host.change(newest)
                host.metrics.swaps.labels("taken").inc()
                say(f"now step {served.step} of {served.name}")
        except ApiError:  # loading still, or ending
            pass
        except DaisyError as error:
            refused = newest
            host.metrics.swaps.labels("refused").inc()
            say(f"stays with step {host.served.step}: {'; '.join(error.lines)}")
        await asyncio.sleep(look_every_s)
