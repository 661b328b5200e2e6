"""The same screens in a browser: textual-serve on loopback, with a page that needs no other machine.

Every page that is opened starts a terminal of its own, as another window would. Whoever can send keys there acts as the
user, so only this machine's own page may: a request must name the address that is served, and a socket must come from
the page itself. textual-serve alone would let any web page that a browser shows open the socket, and its page fetches
fonts from elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
from aiohttp import web
from textual_serve.server import Server

from core.errors import DaisyError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages(Server):
    """textual-serve's server behind a door."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._door)
        return app

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        own = self.public_url.removeprefix("http://")
        if request.headers.get("Host") != own:
            raise web.HTTPForbidden(text=f"this page is http://{own} and has no other name\n")
        if request.path == "/ws" and request.headers.get("Origin") != f"http://{own}":
            raise web.HTTPForbidden(text="only the page itself may open a terminal\n")
        if request.path == "/ws" and not web.WebSocketResponse().can_prepare(request):
            raise web.HTTPBadRequest(text="a WebSocket is opened here, and this opens none\n")
        return await handler(request)

    async def on_startup(self, app: web.Application) -> None:
        """Nothing is said yet: the port may be taken."""

    def serve(self, debug: bool = False) -> None:
        """Serve until SIGINT or SIGTERM, and say so once the port is had. Raises OSError where it cannot be."""
        self.debug = debug
        self.initialize_logging()
        loop = asyncio.new_event_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_exit)
        told = f"Daisy on {self.public_url} for browsers on this machine; Ctrl-C ends it, runs go on"
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            handle_signals=False,
            loop=loop,
            print=lambda *_: click.echo(told),  # aiohttp calls it when it listens
        )


def serve_pages(command: str, host: str, port: int, folder: Path) -> None:
    """Serve `command`, a Textual app, until Ctrl-C. Raises DaisyError where the port cannot be had."""
    os.chdir(folder)
    shown = f"[{host}]" if ":" in host else host
    templates = Path(__file__).parent / "web_page"
    pages = Pages(command, host, port, title="Daisy", public_url=f"http://{shown}:{port}", templates_path=templates)
    try:
        pages.serve()
    except OSError as error:
        raise DaisyError(f"--port {port}: {error.strerror or error}; another --port may be free") from error
