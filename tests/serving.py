"""What tests of the server have in common: a server in a thread, an engine that follows a script, and HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.data.tokenizers import ByteTokenizer, Tokenizer
from core.inference.request import (
    EngineClosedError,
    EngineStats,
    Piece,
    QueueFullError,
    Request,
    Scored,
    SlotState,
    Timing,
)
from server.app import Server
from server.host import Served
from server.settings import Settings
from server.templates import Template, template_named

WAIT_S = 60.0
Tell = Callable[[Piece], None]


class ScriptedEngine:
    """Says what it is told to. `says` answers at once; without it the test calls `tell` when it likes."""

    def __init__(
        self, says: Callable[[Request], Iterable[Piece]] | None = None, *, slots: int = 2, max_queue: int = 4
    ) -> None:
        self.says, self.slots, self.max_queue = says, slots, max_queue
        self.requests: list[Request] = []
        self.asked: queue.Queue[int] = queue.Queue()
        self.cancelled: queue.Queue[int] = queue.Queue()
        self.under_way: dict[int, Tell] = {}
        self.closed_with: float | None = None
        self._lock = threading.RLock()

    def start(self) -> None:
        """Nothing works here."""

    def submit(self, request: Request, tell: Tell) -> int:
        with self._lock:
            if self.closed_with is not None:
                raise EngineClosedError("the engine has ended")
            if len(self.under_way) >= self.slots + self.max_queue:
                raise QueueFullError(f"{self.max_queue} requests wait already")
            self.requests.append(request)
            number = len(self.requests)
            self.under_way[number] = tell
        for piece in self.says(request) if self.says is not None else ():
            self.tell(number, piece)
        self.asked.put(number)
        return number

    def tell(self, number: int, piece: Piece) -> None:
        """One more piece of an answer, with the counts that an engine would give."""
        with self._lock:
            tell = self.under_way.get(number)
            if piece.finish is not None:
                self.under_way.pop(number, None)
        if tell is not None:
            timing = Timing(0.1, 0.2, 0.3) if piece.finish else None
            tell(piece._replace(prompt_tokens=len(self.requests[number - 1].prompt), timing=timing))

    def cancel(self, number: int) -> None:
        self.tell(number, Piece(finish="cancelled"))
        self.cancelled.put(number)

    def stats(self) -> EngineStats:
        busy = min(len(self.under_way), self.slots)
        states = tuple(SlotState(n, "decode" if n < busy else "idle", 0, 0, 0) for n in range(self.slots))
        waiting = max(0, len(self.under_way) - self.slots)
        return EngineStats(states, waiting, 0.25, 0, 10, 20, 5, 30, {"stop": 1})

    def close(self, grace_s: float = 0.0) -> None:
        self.closed_with = grace_s
        for number in list(self.under_way):
            self.tell(number, Piece(finish="cancelled"))


class ScriptedBackend:
    """Opens a scripted engine. `gate` holds the loading up; `refuses` is what another checkpoint is refused with."""

    def __init__(
        self,
        engine: ScriptedEngine,
        *,
        template: str | Template | None = "instruction",
        tokenizer: Tokenizer | None = None,
        max_seq_len: int = 400,
    ) -> None:
        self.engine = engine
        self.gate = threading.Event()
        self.gate.set()
        self.fails: Exception | None = None
        self.changed: list[str | Path] = []
        self.served = Served(
            name="tiny",
            folder=Path("runs/tiny/checkpoints/step_000000007"),
            tokenizer=tokenizer or ByteTokenizer(),
            max_seq_len=max_seq_len,
            longest_token=13,
            aliases=("20260101-000000-tiny",),
            step=7,
            tokens=1792,
            val_loss=4.25,
            template=template_named(template) if isinstance(template, str) else template,
        )

    def open(self) -> tuple[ScriptedEngine, Served]:
        assert self.gate.wait(WAIT_S)
        if self.fails is not None:
            raise self.fails
        return self.engine, self.served

    def change(self, name: str | Path) -> Served:
        self.changed.append(name)
        if self.fails is not None:
            raise self.fails
        self.served = self.served._replace(folder=Path(name), step=(self.served.step or 0) + 1)
        return self.served


def says(*texts: str, finish: Any = "stop", tokens: int = 1) -> Callable[[Request], Iterable[Piece]]:
    """Pieces of these texts, each of so many tokens, and the end."""

    def script(request: Request) -> Iterable[Piece]:
        for index, text in enumerate(texts):
            scored = tuple(
                Scored(65 + n, -0.5, ((65 + n, -0.5), (66, -1.5))[: request.logprobs]) for n in range(tokens)
            )
            last = index == len(texts) - 1
            yield Piece(text, scored, finish if last else None, completion_tokens=tokens * (index + 1))

    return script


@dataclass
class Running:
    """A server that runs in a thread."""

    url: str
    server: Server
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


@contextmanager
def running(backend: Any, *, is_open: bool = True, **settings: Any) -> Iterator[Running]:
    """A server on a free port; not yet open where `is_open` is false."""
    ready: queue.Queue[Running | BaseException] = queue.Queue()
    ended = threading.Event()

    async def live() -> None:
        server = Server(Settings(**{"port": 0, "grace_s": 0.0, **settings}), backend)
        try:
            url = await server.start()
            if is_open:
                await server.open()
            ready.put(Running(url, server, asyncio.get_running_loop()))
            await asyncio.to_thread(ended.wait)
        finally:
            await server.stop()

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001 - the test gets it
            ready.put(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        found = ready.get(timeout=WAIT_S)
        if isinstance(found, BaseException):
            raise found
        yield found
    finally:
        ended.set()
        thread.join(WAIT_S)


@dataclass(frozen=True)
class Answer:
    """What a server answered. `events` are those of a stream, without the last `[DONE]`."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = self.raw.decode().split("\n\n")
        assert blocks[-2:] == ["data: [DONE]", ""]
        found = [block for block in blocks[:-2] if not block.startswith(":")]
        assert all(block.startswith("data: ") for block in found)
        return [json.loads(block.removeprefix("data: ")) for block in found]

    @property
    def text(self) -> str:
        """The first choice's text, streamed or not."""
        chunks = self.events if self.headers["Content-Type"].startswith("text/event-stream") else [self.json]
        choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == 0]
        return "".join(
            choice.get("text") or (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            for choice in choices
        )


def ask(url: str, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> Answer:
    """Ask a server: a body that is no bytes goes as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} if data is not None else {}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if data is None else "POST"), path, data, {**sent, **names})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def read_until(connection: socket.socket, what: bytes) -> bytes:
    """Read until something has come."""
    read = b""
    while what not in read:
        more = connection.recv(65536)
        assert more, read
        read += more
    return read
