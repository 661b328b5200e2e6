"""The engine as the event loop sees it: what is asked goes to its thread, and pieces of answers come back.

The engine's thread leaves pieces in a letter box and wakes the loop once for all that has come since it last looked;
a wake-up for every piece would take a lock and a system call for each token of each stream.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakSet

from core.data.tokenizers import Tokenizer
from core.inference.request import EngineClosedError, EngineStats, Piece, QueueFullError, Request, SamplingError
from server.errors import ApiError
from server.metrics import Metrics
from server.templates import Remembered, Template

T = TypeVar("T")


class EngineLike(Protocol):
    """What the server needs of `core.inference.engine.Engine`."""

    def start(self) -> None: ...

    def submit(self, request: Request, tell: Callable[[Piece], None], /) -> int: ...

    def cancel(self, number: int, /) -> None: ...

    def stats(self) -> EngineStats: ...

    def close(self, grace_s: float = 0.0) -> None: ...


class Served(NamedTuple):
    """The checkpoint that answers now. `name` is what clients call it, `aliases` other names they may use.

    `longest_token` is the most bytes that one token stands for; `created` the time of day of its weights.
    """

    name: str
    folder: Path
    tokenizer: Tokenizer
    max_seq_len: int
    longest_token: int
    aliases: tuple[str, ...] = ()
    step: int | None = None
    tokens: int | None = None
    val_loss: float | None = None
    template: Template | None = None
    created: int = 0
    device: str = "cpu"


class Backend(Protocol):
    """Makes an engine, and gives it other weights. Both take long, and are called in a thread."""

    def open(self) -> tuple[EngineLike, Served]:
        """The engine, not yet started, and what it serves."""

    def change(self, name: str | Path) -> Served:
        """Load another checkpoint into the engine. Raises DaisyError where that cannot be."""


class Asked:
    """Requests under way that one client waits for: their pieces, each with the number of its choice."""

    def __init__(self, host: Host, requests: Sequence[Request]) -> None:
        self._host = host
        self._pieces: deque[tuple[int, Piece]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._numbers: dict[int, int] = {}
        self.began = time.monotonic()
        self.unfinished = len(requests)
        try:
            for choice, request in enumerate(requests):
                self._numbers[choice] = host.submit(request, partial(host.post, self, choice))
        except BaseException:
            self.cancel()
            raise

    def put(self, choice: int, piece: Piece) -> None:
        """One more piece has come."""
        if piece.finish is not None:
            self.unfinished -= 1
            self._numbers.pop(choice, None)
        self._pieces.append((choice, piece))
        self._wake()

    async def next(self, patience_s: float | None = None) -> list[tuple[int, Piece]]:
        """Everything that has come, at least one piece; nothing at all once so many seconds have passed."""
        if not self._pieces:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            # A timer of its own: asyncio.timeout takes several times as long, for every token of every stream.
            timer = loop.call_later(patience_s, self._wake) if patience_s is not None else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        come = list(self._pieces)
        self._pieces.clear()
        return come

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def cancel(self) -> None:
        """Nobody waits any more: the engine ends what has not ended, before its next step."""
        for number in self._numbers.values():
            self._host.cancel(number)
        self._numbers.clear()


class Host:
    """Owns the engine from its loading to its end."""

    def __init__(self, backend: Backend, metrics: Metrics, max_queue: int) -> None:
        self._backend = backend
        self.metrics = metrics
        self.max_queue = max_queue
        self.state: Literal["loading", "ready", "closing"] = "loading"
        self.is_following = False
        self.waits_for: str | None = None  # where loading waits for something
        self.remembered = Remembered()
        self._engine: EngineLike | None = None
        self._served: Served | None = None
        self._under_way: WeakSet[Asked] = WeakSet()
        self._letters: deque[tuple[Asked, int, Piece]] = deque()
        self._is_woken = False
        self._changing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def open(self) -> Served:
        """Load the model in a thread. Raises DaisyError where that cannot be."""
        engine, served = await in_thread(self._backend.open)
        self._engine, self._served = engine, served
        engine.start()
        if self.state == "loading":
            self.state = "ready"
        self.metrics.show(served, 0)
        return served

    @property
    def served(self) -> Served:
        """What answers now. Raises ApiError while nothing does."""
        self._check_ready()
        assert self._served is not None
        return self._served

    def stats(self) -> EngineStats | None:
        """The engine at this moment; None before there is one."""
        return self._engine.stats() if self._engine is not None else None

    def check_room(self) -> None:
        """Refuse while the queue is full, before any work is done for the request."""
        self._check_ready()
        stats = self.stats()
        if stats is not None and stats.waiting >= self.max_queue:
            raise self._is_full(f"{stats.waiting} requests wait already, which is as many as may")

    def ask(self, requests: Sequence[Request]) -> Asked:
        """Submit requests together, all or none. Whoever asks must `cancel` in the end, whatever happens."""
        self._check_ready()
        asked = Asked(self, requests)
        self._under_way.add(asked)
        return asked

    def submit(self, request: Request, tell: Callable[[Piece], None]) -> int:
        assert self._engine is not None
        try:
            return self._engine.submit(request, tell)
        except QueueFullError as error:
            raise self._is_full(str(error)) from error
        except EngineClosedError as error:
            raise ApiError(503, str(error), code="shutting_down") from error
        except SamplingError as error:
            code = "context_length_exceeded" if error.parameter == "max_tokens" else None
            raise ApiError(400, str(error), param=error.parameter, code=code) from error

    def cancel(self, number: int) -> None:
        assert self._engine is not None
        self._engine.cancel(number)

    def post(self, asked: Asked, choice: int, piece: Piece) -> None:
        """Called in the engine's thread: leave a piece for the loop."""
        self._letters.append((asked, choice, piece))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    async def change(self, name: str | Path) -> tuple[Served, int]:
        """Serve another checkpoint of the same model; streams go on. Returns it and the number of its weights."""
        self._check_ready()
        # Whoever asked may leave; what was begun is finished, and told of as it is.
        return await asyncio.shield(asyncio.ensure_future(self._change(name)))

    async def _change(self, name: str | Path) -> tuple[Served, int]:
        async with self._changing:
            served = await in_thread(partial(self._backend.change, name))
            self._served = served
            stats = self.stats()
            version = stats.version if stats is not None else 0
            self.metrics.show(served, version)
            return served, version

    @property
    def under_way(self) -> int:
        """How many answers clients wait for."""
        return sum(asked.unfinished for asked in self._under_way)

    def cancel_all(self) -> None:
        """End every answer now."""
        for asked in list(self._under_way):
            asked.cancel()

    def begin_closing(self) -> None:
        """Take no more requests."""
        self.state = "closing"

    async def close(self, grace_s: float) -> None:
        """Let answers under way end for so many seconds, and end the others."""
        self.begin_closing()
        if self._engine is not None:
            await in_thread(partial(self._engine.close, grace_s))

    def _check_ready(self) -> None:
        if (failure := getattr(self._engine, "failure", None)) is not None:
            raise ApiError(503, failure, code="engine_failed")
        if self.state == "loading":
            why = f"waiting for {self.waits_for}" if self.waits_for else "the model is loading"
            raise ApiError(503, why, code="loading", headers={"Retry-After": "1"})
        if self.state == "closing":
            raise ApiError(503, "the server is shutting down", code="shutting_down")

    def _is_full(self, message: str) -> ApiError:
        self.metrics.rejections.labels("queue_full").inc()
        wait_s = max(1, round(self.metrics.recent_queue_s))
        return ApiError(429, message, code="queue_full", headers={"Retry-After": str(min(wait_s, 60))})

    def _deliver(self) -> None:
        # First the flag: a piece that comes from here on wakes the loop again.
        self._is_woken = False
        while self._letters:
            asked, choice, piece = self._letters.popleft()
            asked.put(choice, piece)


async def in_thread(act: Callable[[], T]) -> T:
    """Run what takes long in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(T, result))

    def work() -> None:
        try:
            result, error = act(), None
        except BaseException as caught:  # noqa: BLE001 - whoever waits gets it
            result, error = None, caught
        with suppress(RuntimeError):  # the loop has been closed meanwhile: nobody waits
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=work, daemon=True).start()
    return await done
