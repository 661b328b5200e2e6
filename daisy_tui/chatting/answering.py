"""One answer while it comes: read in a thread, stopped from any other, and kept in its turn as far as it came."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from math import isfinite
from typing import Any, NamedTuple, Protocol

from daisy_tui.chatting.client import Client, ClientError, Stream
from daisy_tui.chatting.lens import tokens_of
from daisy_tui.chatting.room import as_count
from daisy_tui.chatting.turns import Speed, Turn

# No more is taken of one answer, whatever its server says: it is all kept, and shown.
MOST_CHARACTERS, MOST_TOKENS = 1 << 18, 1 << 16
_TIMES = ("queued_s", "prefill_s", "decode_s")
_WRONG = (AttributeError, TypeError, ValueError, KeyError, OverflowError)


class Asking(NamedTuple):
    """What is sent where, to a model that holds `size` tokens, 0 where that is not known. With `is_over` nothing is
    sent: the answer is complete as it stands."""

    path: str
    body: dict[str, Any]
    size: int = 0
    is_over: bool = False


class Keeper(Protocol):
    """Who writes turns down as they come. Its methods are called in the thread that reads the answer."""

    def begun(self, turn: Turn) -> None:
        """An answer is asked for; those before it may not be written down either."""

    def grown(self, turn: Turn) -> None:
        """More of it has come."""

    def ended(self, turn: Turn) -> None:
        """It is complete, or will never be."""

    def removed(self, turn: Turn) -> None:
        """It is no part of the conversation any more."""


class Answering:
    """An answer under way. `asking` says what to send; it may ask the server first, so it is called in the thread."""

    def __init__(
        self, client: Client, turn: Turn, asking: Callable[[], Asking], clock: Callable[[], float], keeper: Keeper
    ) -> None:
        self.turn = turn
        self._client, self._asking, self._clock, self._keeper = client, asking, clock, keeper
        self._stream: Stream | None = None
        self._is_stopped = False
        self._began = 0.0
        self._first: float | None = None
        self._asked = Asking("", {})
        self._usage: dict[str, int] = {}
        self._timing: dict[str, float] = {}
        self._size = sum(map(len, turn.pieces))  # bytes of tokens count where they are more
        # What was said before this answer went on from there.
        self._said_before = len(turn.pieces), len(turn.tokens)

    def stop(self) -> None:
        """End it at once, from any thread. What has come stays."""
        self._is_stopped = True
        if self._stream is not None:
            self._stream.cut()

    def run(self) -> None:
        """Read it to its end. Raises ClientError."""
        for _ in self.pieces():
            pass

    def pieces(self) -> Generator[str, None, None]:
        """Its text as it comes. Raises ClientError, which the turn keeps too."""
        turn = self.turn
        self._keeper.begun(turn)
        self._began = self._clock()
        try:
            self._asked = self._ask()
            if self._asked.is_over:
                turn.ended = "stop"
                return
            self._stream = self._client.stream(self._asked.path, self._asked.body)
            if self._is_stopped:
                self._stream.cut()
            yield from self._read(self._stream)
        except ClientError as error:
            turn.ended = "full" if error.code == "context_length_exceeded" else "failed"
            turn.failure = str(error)
            raise
        finally:
            if turn.ended is None or (self._is_stopped and turn.failure):
                turn.ended, turn.failure = "cut", ""
            turn.speed = self._speed()
            self._keeper.ended(turn)

    def _ask(self) -> Asking:
        try:
            return self._asking()
        except _WRONG as error:
            raise self._no_such_kind() from error

    def _read(self, stream: Stream) -> Generator[str, None, None]:
        turn = self.turn
        try:
            with closing(self._chunks(stream)) as chunks:
                for chunk in chunks:
                    self._count(chunk)
                    self._take_prompt(chunk)
                    for choice in chunk.get("choices") or ():
                        if piece := self._take(choice):
                            yield piece
                    if self._size > MOST_CHARACTERS or max(len(turn.pieces), len(turn.tokens)) > MOST_TOKENS:
                        turn.ended = "cut"
                        turn.failure = f"cut at {self._size:,} characters: that is all that is taken of one answer"
                        return
                    turn.speed = self._speed()
                    self._keeper.grown(turn)
        except _WRONG as error:
            raise self._no_such_kind() from error
        size = self._asked.size
        if turn.ended == "length" and size and turn.held is not None and turn.held >= size:
            turn.ended = "full"

    def _no_such_kind(self) -> ClientError:
        return ClientError(f"{self._client.url}: answers not as a server of OpenAI's kind does")

    def _count(self, chunk: dict[str, Any]) -> None:
        """Keep the counts and times that a chunk brings."""
        if usage := chunk.get("usage"):
            self._usage = {name: as_count(value) for name, value in usage.items()}
            total = self._usage.get("prompt_tokens", 0) + self._usage.get("completion_tokens", 0)
            self.turn.held = total or self.turn.held
        if timing := chunk.get("timing"):
            times = {name: float(timing[name]) for name in _TIMES}
            self._timing = times if all(isfinite(time) for time in times.values()) else {}

    @staticmethod
    def _chunks(stream: Stream) -> Generator[dict[str, Any], None, None]:
        yield from stream

    def _take(self, choice: dict[str, Any]) -> str:
        """Keep what a choice has brought; returns its text."""
        self._take_prompt(choice)
        tokens = tokens_of(choice)
        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        # Half of a pair of surrogates is no text: no server takes it back.
        piece = piece if piece.isascii() else piece.encode(errors="replace").decode()
        self._size += max(len(piece), sum(len(token.raw) for token in tokens))
        if self._first is None and (piece or tokens):
            self._first = self._clock()
        self.turn.tokens += tokens
        if piece:
            self.turn.pieces.append(piece)
        if choice.get("finish_reason"):
            self.turn.ended = "length" if choice["finish_reason"] == "length" else "stop"
        return piece

    def _take_prompt(self, where: dict[str, Any]) -> None:
        if self.turn.prompt_ids is None and where.get("prompt_token_ids"):
            self.turn.prompt_ids = [int(token) for token in where["prompt_token_ids"]]

    def _speed(self) -> Speed:
        """So far by this clock; by the server's once it has told."""
        timing, now = self._timing, self._clock()
        first = now if self._first is None else self._first
        pieces, tokens = self._said_before
        said = max(len(self.turn.pieces) - pieces, len(self.turn.tokens) - tokens)
        first_s = timing["queued_s"] + timing["prefill_s"] if timing else first - self._began
        rest_s = timing["decode_s"] if timing else now - first
        return Speed(self._usage.get("completion_tokens") or said, first_s, rest_s, self._cut())

    def _cut(self) -> str:
        """Why it ended before its end."""
        if self.turn.ended == "full":
            return f"the context of {self._asked.size:,} tokens is full" if not self.turn.failure else ""
        if self.turn.ended == "length":
            most = as_count(self._asked.body.get("max_tokens"))
            return f"cut at max_tokens {most:,}" if most else "cut at its server's limit"
        return ""
