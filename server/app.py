"""The server put together: its routes, its sockets, and its life from the first bind to the last stream."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from functools import partial
from importlib.metadata import version

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from server import answers, schemas, status
from server.chat import chat_completions, render_chat
from server.completions import completions
from server.door import guard
from server.errors import encoded
from server.host import Backend, Host, Served
from server.metrics import Metrics
from server.openapi import Endpoint, document
from server.settings import ServeError, Settings

ENDPOINTS = (
    Endpoint("POST", "/v1/completions", completions, answers.Completion, schemas.CompletionRequest, streams=True),
    Endpoint("POST", "/v1/chat/completions", chat_completions, answers.ChatCompletion, schemas.ChatRequest, True),
    Endpoint("POST", "/v1/chat/render", render_chat, answers.RenderedChat, schemas.RenderRequest),
    Endpoint("GET", "/v1/models", status.models, answers.Models),
    Endpoint("GET", "/v1/models/{name}", status.model, answers.Model),
    Endpoint("GET", "/v1/slots", status.slots, answers.SlotList),
    Endpoint("POST", "/v1/admin/load", status.load, answers.Loaded, schemas.LoadRequest),
    Endpoint("POST", "/tokenize", status.tokenize, answers.Tokens, schemas.TokenizeRequest),
    Endpoint("POST", "/detokenize", status.detokenize, answers.Text, schemas.DetokenizeRequest),
    Endpoint("GET", "/tokenizer_info", status.tokenizer_info, answers.TokenizerAnswer),
    Endpoint("GET", "/health", status.health, answers.Health),
    Endpoint("GET", "/metrics", status.metrics, str),
)
_LOG = logging.getLogger("daisy.server")
_IDLE_CONNECTION_S = 75.0
_LINGER_S = 2.0
_LAST_WORDS_S = 5.0


class Server:
    """One server. `start` binds and serves refusals; `open` loads the model; `stop` ends both."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        settings.check()
        self.settings = settings
        self.metrics = Metrics()
        self.host = Host(backend, self.metrics, settings.max_queue)
        self.metrics.watch(self.host.stats)
        self._silent: set[int] = set()  # connections that have not asked anything yet
        self._runner = web.AppRunner(
            self._app(),
            access_log=None,
            logger=_LOG,
            # aiohttp would go on answering those who have left.
            handler_cancellation=True,
            handle_signals=False,
            auto_decompress=False,
            keepalive_timeout=_IDLE_CONNECTION_S,
            lingering_time=_LINGER_S,
            shutdown_timeout=_LAST_WORDS_S,
        )
        self._listening: asyncio.Server | None = None
        self._lag: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Bind and listen; returns the URL. Raises ServeError where the address cannot be had."""
        await self._runner.setup()
        sock = _bound(self.settings.host, self.settings.port)
        self._listening = await asyncio.get_running_loop().create_server(self._connection, sock=sock)
        self._lag = asyncio.create_task(self.metrics.watch_loop())
        port = sock.getsockname()[1]
        name = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{name}:{port}"

    async def open(self) -> Served:
        """Load the model. Raises DaisyError where that cannot be."""
        return await self.host.open()

    async def stop(self, grace_s: float | None = None) -> None:
        """Listen no more, let streams end for the grace time, tell the others that it is over, and end."""
        self.host.begin_closing()
        if self._listening is not None:
            self._listening.close()
        await self.host.close(self.settings.grace_s if grace_s is None else grace_s)
        await self._runner.cleanup()
        if self._lag is not None:
            self._lag.cancel()
            with suppress(asyncio.CancelledError):
                await self._lag

    def _connection(self) -> asyncio.Protocol:
        """One more connection. aiohttp would wait for ever for the headers of its first request."""
        assert self._runner.server is not None
        connection = self._runner.server()
        self._silent.add(id(connection))
        asyncio.get_running_loop().call_later(self.settings.read_timeout_s, self._end_silent, connection)
        return connection

    def _end_silent(self, connection: RequestHandler) -> None:
        if id(connection) in self._silent:
            self._silent.discard(id(connection))
            if connection.transport is not None:
                connection.transport.abort()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=self.settings.max_body)
        guard(app, self.settings, self.metrics, self._silent.discard)
        for endpoint in ENDPOINTS:
            app.router.add_route(endpoint.method, endpoint.path, partial(_handle, endpoint, self))
        described = encoded(document(ENDPOINTS, version("daisy-tui")))

        async def openapi(_http: web.Request) -> web.Response:
            return web.Response(body=described, content_type="application/json")

        app.router.add_get("/openapi.json", openapi, allow_head=False)
        return app


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """What is no HTTP is answered with 400, and would otherwise fill the log with tracebacks."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_LOG.addFilter(_is_worth_a_line)


async def _handle(endpoint: Endpoint, server: Server, http: web.Request) -> web.StreamResponse:
    return await endpoint.handle(http, server.host, server.settings)


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"--host {host}: {error.strerror or error}; name an address of this machine") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except (OSError, OverflowError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ServeError(f"{host} port {port}: {why}; --port 0 takes a free one") from error
    return sock
