"""What tests of the chat have in common: children that are none, a chat screen on scripted servers, servers of another
kind, and waiting."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import ScriptedBackend, ScriptedEngine, says
from terminal import app_of, drive, finish, settle, words
from textual.pilot import Pilot

from core.inference.request import Piece, Request, Scored
from daisy_tui.app import DaisyApp
from daisy_tui.chatting.serving import Serving
from daisy_tui.screens.chat import ChatScreen
from daisy_tui.services import Services
from daisy_tui.widgets.chat_pane import ChatPane

CHECKPOINT = "runs/20260301-110000-emma/checkpoints/step_000000007"


class FakeChild:
    """A child process by what a server's thread sees of it: lines, and an end."""

    def __init__(self, *lines: str) -> None:
        read, write = os.pipe()
        self.stdout, self._said = os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)
        self.returncode: int | None = None
        self._over = threading.Event()
        self.say(*lines)

    def say(self, *lines: str) -> None:
        self._said.write("".join(line + "\n" for line in lines).encode())

    def end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self._said.close()
            self._over.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        self._over.wait(60)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self.end(-15)

    def kill(self) -> None:
        self.end(-9)


class Children:
    """Starts children that name `urls` in turn, and are ready at once unless they `wait`."""

    def __init__(self, *urls: str, wait: bool = False) -> None:
        self.urls, self.waits = list(urls), wait
        self.asked: list[tuple[str, list[str]]] = []
        self.started: list[FakeChild] = []

    def __call__(self, checkpoint: str, arguments: list[str], _key: str, **_how: Any) -> Any:
        self.asked.append((checkpoint, arguments))
        child = FakeChild()
        self.started.append(child)
        if not self.waits:
            self.get_ready()
        return child

    def get_ready(self) -> None:
        """The child that was started last answers now."""
        url = self.urls[min(len(self.started), len(self.urls)) - 1]
        self.started[-1].say(f"serving tiny (step 7, x) on {url} with 1 slot on cpu")


def serve_from(services: Services, *urls: str, wait: bool = False) -> Children:
    """Have a terminal's servers be such children."""
    children = Children(*urls, wait=wait)
    services.__dict__["serving"] = Serving(services.folder, children)
    return children


def chat_app(services: Services) -> DaisyApp:
    """An app that begins on the chat."""
    return app_of(services, ChatScreen)


def chat(app: DaisyApp) -> ChatScreen:
    """The chat screen of an app, whatever is above it."""
    screen = app.screen_stack[0]
    assert isinstance(screen, ChatScreen)
    return screen


async def talk_to(pilot: Pilot[Any], source: str = CHECKPOINT) -> ChatPane:
    """Have the left side talk to a checkpoint, once its server is ready."""
    screen = chat(pilot.app)  # type: ignore[arg-type]
    screen.context(source=source)
    await get_ready(pilot)
    return screen.panes.left


async def get_ready(pilot: Pilot[Any]) -> None:
    """Wait until every server is ready, or has failed, and the screen knows."""
    screen = chat(pilot.app)  # type: ignore[arg-type]
    await finish(pilot)
    for pane in (screen.panes.left, screen.panes.right):
        if pane.server is not None:
            assert await asyncio.to_thread(pane.server.settled.wait, 60)
    await settle(pilot)


async def ask(pilot: Pilot[Any], text: str) -> None:
    """Type a question, and wait for its whole answer."""
    await send(pilot, text)
    await finish(pilot)


async def send(pilot: Pilot[Any], text: str) -> None:
    """Type a question and send it."""
    screen = chat(pilot.app)  # type: ignore[arg-type]
    screen.prompt.focus()
    screen.prompt.load_text(text)
    await pilot.press("enter")


async def until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    """Let the app go on until something holds."""
    for _ in range(6000):
        if holds():
            return
        await pilot.pause(0.005)
    raise AssertionError("it never came to hold")


def tell(app: DaisyApp, story: Callable[[Pilot[Any]], Any], size: tuple[int, int] = (80, 24)) -> None:
    """Drive an app through a story, and end its servers. Where it fails, what stood on the screen is printed."""

    async def telling(pilot: Pilot[Any]) -> None:
        try:
            await story(pilot)
        except AssertionError:
            sys.stdout.write(words(app) + "\n")
            raise

    try:
        drive(app, telling, size)
    finally:
        app.services.close()


@contextmanager
def sending(stream: Iterable[bytes], models: bytes = b'{"data": [{"id": "stranger"}]}') -> Iterator[str]:
    """The URL of a server of another kind, whose every answer is `stream` as it stands; it may have no end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(models)))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(models)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if self.path.endswith("/completions") else 404)
            self.end_headers()
            if self.path.endswith("/completions"):
                with suppress(ConnectionError):
                    for part in stream:
                        self.wfile.write(part)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chunk(text: Any, **more: Any) -> bytes:
    """A line of a stream that says this, in a chat and in a text."""
    choice = {"delta": {"content": text}, "text": text, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def reaching(most: int) -> Callable[[Request], Iterable[Piece]]:
    """An answer that ends at max_tokens, or with `most` tokens before."""

    def script(request: Request) -> Iterable[Piece]:
        tokens = min(request.max_tokens, most)
        for place in range(tokens):
            yield Piece("a", (Scored(97, -0.1, ((97, -0.1),)),), completion_tokens=place + 1)
        yield Piece("", (), "length" if request.max_tokens <= most else "stop", completion_tokens=tokens)

    return script


def spelled(text: str, *, every: int = 3) -> Callable[[Request], Iterable[Piece]]:
    """Bytes of a text as tokens with two alternatives; every so many is little expected. Characters come whole."""

    def script(request: Request) -> Iterable[Piece]:
        raw, held, place = text.encode(), b"", 0
        for place, byte in enumerate(raw, 1):
            probability = 0.02 if place % every == 0 else 0.9
            top = sorted(((byte, math.log(probability)), (88, math.log(0.06))), key=lambda pair: -pair[1])
            held += bytes([byte])
            try:
                whole, held = held.decode(), b""
            except UnicodeDecodeError:
                whole = ""
            scored = Scored(byte, math.log(probability), tuple(top[: request.logprobs or 0]))
            yield Piece(whole, (scored,), completion_tokens=place)
        yield Piece("", (), "stop", completion_tokens=place)

    return script


def scripted(*texts: str, **how: Any) -> ScriptedBackend:
    """A backend whose every answer is these texts."""
    return ScriptedBackend(ScriptedEngine(says(*texts)), **how)
