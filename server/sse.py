"""Server-sent events, as OpenAI's clients read them, to readers that may be slow or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream:
    """A response of events, each of them JSON already.

    aiohttp waits for ever once 64 KiB lie unread. Here a write that waits for `timeout_s` ends the connection, which
    cancels the request, and `cut_off` is called. One timer looks after all writes of a stream: a timer for each takes
    as long as the write.
    """

    def __init__(self, request: web.Request, timeout_s: float, cut_off: Callable[[], None]) -> None:
        self._request = request
        self._timeout_s = timeout_s
        self._cut_off = cut_off
        self._loop = asyncio.get_running_loop()
        self._writing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.response = web.StreamResponse(headers=_HEADERS)

    async def begin(self) -> None:
        """Send the headers."""
        writer = await self.response.prepare(self._request)
        if writer is not None:
            writer.send_headers()  # they would wait for the first event, however long the queue is
        self._look()

    async def send(self, events: Iterable[bytes]) -> None:
        """Send events together. Raises ConnectionError where nobody takes them."""
        await self._write(b"".join(b"data: %b\n\n" % event for event in events))

    async def keep_alive(self) -> None:
        """Send a comment, so that nobody on the way takes the connection for dead."""
        await self._write(b": keep-alive\n\n")

    async def end(self, events: Iterable[bytes] = ()) -> None:
        """Send the last events and the end."""
        await self.send([*events, b"[DONE]"])
        await self.response.write_eof()

    def close(self) -> None:
        """Nothing is written any more, whatever the reason."""
        if self._timer is not None:
            self._timer.cancel()

    async def _write(self, data: bytes) -> None:
        if data:
            self._writing_since = self._loop.time()
            await self.response.write(data)
            self._writing_since = None

    def _look(self) -> None:
        since, transport = self._writing_since, self._request.transport
        due = (since if since is not None else self._loop.time()) + self._timeout_s
        if since is not None and self._loop.time() >= due and transport is not None:
            self._cut_off()
            transport.abort()
        else:
            self._timer = self._loop.call_at(due, self._look)
