"""One reply to one client: its answers from the engine, as a whole or as they come, and their end in every case."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from core.inference.request import Piece, Request, Scored, Timing
from server.answers import TimingInfo, Usage
from server.errors import ApiError, defect, encoded
from server.host import Asked, Host, Served
from server.settings import Settings
from server.sse import EventStream

# Tokens whose logprobs are written down in a thread: a prompt of 64k that is echoed takes a good part of a second.
_LONG_ANSWER = 1024
# A body beyond the first is sent with a limit of time, for readers of at least so many bytes a second.
_LONG_BODY, _SLOWEST = 64 << 10, 100_000


@dataclass
class Answer:
    """One choice, as far as it has come."""

    request: Request
    pieces: list[str] = field(default_factory=list)
    tokens: list[Scored] = field(default_factory=list)
    last: Piece = field(default_factory=Piece)

    def add(self, piece: Piece) -> None:
        """What has come."""
        self.pieces.append(piece.text)
        self.tokens += piece.tokens
        self.last = piece

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Form(Protocol):
    """How answers are written down: one class for completions, one for chat."""

    def opening(self) -> list[bytes]:
        """The chunks that come before all others."""

    def chunk(self, choice: int, answer: Answer, piece: Piece) -> bytes | None:
        """The chunk for a piece; None where it says nothing."""

    def usage_chunk(self, usage: Usage, timing: TimingInfo | None) -> bytes:
        """The chunk that only counts."""

    def whole(self, answers: Sequence[Answer], usage: Usage, timing: TimingInfo | None) -> bytes:
        """All answers at once."""

    def ended(self, answer: Answer) -> None:
        """An answer has ended by itself."""


class Head:
    """What all chunks of a reply have in common, encoded once."""

    def __init__(self, kind: str, prefix: str, served: Served) -> None:
        common = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": f"step-{served.step}",
        }
        self._begin = encoded(common)[:-1] + b","

    def with_(self, **more: Any) -> bytes:
        """The common keys, and these."""
        return self._begin + encoded(more)[1:]

    def counted(self, choices: Sequence[Any], usage: Usage, timing: TimingInfo | None, **more: Any) -> bytes:
        """These choices with counts, and the times of the one answer there is."""
        return self.with_(choices=choices, usage=usage, **({"timing": timing} if timing else {}), **more)


async def reply(
    http: web.Request,
    host: Host,
    settings: Settings,
    requests: Sequence[Request],
    form: Form,
    *,
    stream: bool,
    usage: bool,
    choices_each: int = 1,
) -> web.StreamResponse:
    """Ask the engine and answer the client; `choices_each` of the requests share a prompt. Raises ApiError."""
    answers = [Answer(request) for request in requests]
    asked = host.ask(requests)
    try:
        if stream:
            return await _stream(http, host, settings, asked, answers, form, choices_each if usage else 0)
        first = True
        while asked.unfinished:
            for choice, piece in await asked.next():
                first = _take(host, asked, answers[choice], form, piece, first)

        def written() -> bytes:
            return form.whole(answers, _usage(answers, choices_each), _timing(answers))

        is_long = sum(len(answer.tokens) for answer in answers) > _LONG_ANSWER
        body = await asyncio.to_thread(written) if is_long else written()
        response = web.Response(body=body, content_type="application/json")
        if len(body) > _LONG_BODY:
            await _write(http, host, response, settings.write_timeout_s + len(body) / _SLOWEST)
        return response
    finally:
        asked.cancel()


async def _write(http: web.Request, host: Host, response: web.Response, seconds: float) -> None:
    """Send a long answer, and cut off who does not take it: aiohttp would wait for ever, with all of it in memory."""
    try:
        async with asyncio.timeout(seconds):
            await response.prepare(http)
            await response.write_eof()
    except TimeoutError:
        host.metrics.rejections.labels("slow_reader").inc()
        if http.transport is not None:
            http.transport.abort()


async def _stream(
    http: web.Request,
    host: Host,
    settings: Settings,
    asked: Asked,
    answers: Sequence[Answer],
    form: Form,
    choices_each: int,
) -> web.StreamResponse:
    events = EventStream(http, settings.write_timeout_s, host.metrics.rejections.labels("slow_reader").inc)
    try:
        await events.begin()
        await events.send(form.opening())
        first = True
        while asked.unfinished:
            come = await asked.next(settings.keep_alive_s)
            if not come:
                await events.keep_alive()
                continue
            chunks: list[bytes] = []
            for choice, piece in come:
                try:
                    first = _take(host, asked, answers[choice], form, piece, first)
                except ApiError as error:
                    await events.end([*chunks, encoded(error.body)])
                    return events.response
                if len(piece.tokens) > _LONG_ANSWER:
                    chunk = await asyncio.to_thread(form.chunk, choice, answers[choice], piece)
                else:
                    chunk = form.chunk(choice, answers[choice], piece)
                chunks += [chunk] if chunk is not None else []
            await events.send(chunks)
        last = [form.usage_chunk(_usage(answers, choices_each), _timing(answers))] if choices_each else []
        await events.end(last)
    except ConnectionError:
        pass  # the client has left between two events
    except Exception:  # noqa: BLE001 - the headers are out: whatever it is, it can only be said in the stream
        await events.end([encoded(defect().body)])
    finally:
        events.close()
    return events.response


def _take(host: Host, asked: Asked, answer: Answer, form: Form, piece: Piece, first: bool) -> bool:
    """Add a piece to its answer. Returns whether the first token is still to come. Raises ApiError."""
    answer.add(piece)
    if first and piece.tokens:
        first = False
        host.metrics.first_token(time.monotonic() - asked.began)
    if piece.finish in ("stop", "length"):
        form.ended(answer)
        if piece.timing is not None:
            host.metrics.answered(piece.timing, piece.completion_tokens)
    elif piece.finish == "error":
        raise ApiError(500, piece.error or "the model failed", code="engine_error")
    elif piece.finish == "cancelled":
        raise ApiError(503, "the server is shutting down, and the answer is not complete", code="shutting_down")
    return first


def _usage(answers: Sequence[Answer], choices_each: int) -> Usage:
    """Counts of all answers; the prompt that several share counts once."""
    prompts = sum(answer.last.prompt_tokens for answer in answers[::choices_each])
    completions = sum(answer.last.completion_tokens for answer in answers)
    cached = sum(answer.last.cached_tokens for answer in answers[::choices_each])
    return {
        "prompt_tokens": prompts,
        "completion_tokens": completions,
        "total_tokens": prompts + completions,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _timing(answers: Sequence[Answer]) -> TimingInfo | None:
    """How long the one answer took; None where there are several."""
    timing: Timing | None = answers[0].last.timing if len(answers) == 1 else None
    if timing is None:
        return None
    return {"queued_s": timing.queued_s, "prefill_s": timing.prefill_s, "decode_s": timing.decode_s}
