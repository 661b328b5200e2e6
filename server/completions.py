"""`POST /v1/completions`: texts or token ids that the model goes on with."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from core.data.tokenizers import Tokenizer
from core.inference.request import Piece, Request, Scored
from core.inference.text import Detokenizer
from server.answers import ChatLogprob, CompletionChoice, Logprobs, TimingInfo, TopLogprob, Usage
from server.door import read
from server.errors import ApiError
from server.host import Host, Served
from server.prompts import check_model, encode, too_long
from server.replying import Answer, Head, reply
from server.schemas import CompletionRequest
from server.settings import Settings

_DEFAULT_MAX_TOKENS = 16
_LEAST_LOGPROB = -9999.0  # JSON has no infinity; OpenAI writes this


async def completions(http: web.Request, host: Host, settings: Settings) -> web.StreamResponse:
    """Answer a request for completions."""
    host.check_room()
    asked = await read(http, CompletionRequest)
    served = host.served
    check_model(served, asked.model)
    given: Any = asked.prompt
    many = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    n = asked.n or 1
    check_choices(len(many) * n, host, "n" if n > 1 else "prompt")
    prompts = await _prompts(served, many, asked.max_tokens or 0)
    params = asked.params(secrets.randbits(63))
    requests = []
    for ids in prompts:
        rest = served.max_seq_len - len(ids)
        max_tokens = asked.max_tokens if asked.max_tokens is not None else max(1, min(_DEFAULT_MAX_TOKENS, rest))
        if max_tokens > rest:
            raise too_long(served, str(len(ids)), max_tokens, "max_tokens")
        requests += [
            Request(ids, max_tokens, params, asked.stops, asked.logprobs, bool(asked.echo), choice)
            for choice in range(n)
        ]
    form = _Completions(served, requests, asked.logprobs, ids=bool(asked.return_token_ids))
    stream = bool(asked.stream)
    return await reply(http, host, settings, requests, form, stream=stream, usage=asked.with_usage, choices_each=n)


def check_choices(number: int, host: Host, param: str) -> None:
    """Raise ApiError for more answers than may ever wait at once."""
    if number > host.max_queue:
        most = f"this server answers at most {host.max_queue} at once"
        raise ApiError(400, f"{number} answers are wanted, and {most}; send several requests", param=param)


async def _prompts(served: Served, many: Sequence[str | list[int]], most: int) -> list[tuple[int, ...]]:
    """Ids of every prompt. Raises ApiError where one does not fit."""
    found = []
    for one in many:
        if not isinstance(one, str) and len(one) + most > served.max_seq_len:
            raise too_long(served, str(len(one)), most, "prompt")
        ids = await encode(served, one, most) if isinstance(one, str) else one
        found.append(tuple(ids) or (served.tokenizer.eot_token_id,))
    return found


class _Completions:
    """How completions are written down."""

    def __init__(self, served: Served, requests: Sequence[Request], logprobs: int | None, *, ids: bool) -> None:
        self._head = Head("text_completion", "cmpl", served)
        self._logprobs = [_LogprobWriter(served.tokenizer, r, ids) if logprobs is not None else None for r in requests]
        # Of those whose prompt is not told yet.
        self._prompts = {index: list(request.prompt) for index, request in enumerate(requests)} if ids else {}
        self._with_ids = ids

    def opening(self) -> list[bytes]:
        return []

    def chunk(self, choice: int, _answer: Answer, piece: Piece) -> bytes | None:
        if not (piece.text or piece.tokens or piece.finish):
            return None
        return self._head.with_(choices=[self._choice(choice, piece.text, piece.tokens, piece)])

    def usage_chunk(self, usage: Usage, timing: TimingInfo | None) -> bytes:
        return self._head.counted([], usage, timing)

    def whole(self, answers: Sequence[Answer], usage: Usage, timing: TimingInfo | None) -> bytes:
        choices = [self._choice(index, a.text, a.tokens, a.last) for index, a in enumerate(answers)]
        return self._head.counted(choices, usage, timing)

    def ended(self, answer: Answer) -> None:
        """Nothing is kept of completions."""

    def _choice(self, index: int, text: str, tokens: Sequence[Scored], last: Piece) -> CompletionChoice:
        writer = self._logprobs[index]
        choice: CompletionChoice = {
            "index": index,
            "text": text,
            "logprobs": writer.write(tokens) if writer is not None else None,
            "finish_reason": finish_reason(last),
        }
        if last.stopped_by is not None:
            choice["stop_reason"] = last.stopped_by
        if self._with_ids:
            choice["token_ids"] = [scored.id for scored in tokens]
        if index in self._prompts:
            choice["prompt_token_ids"] = self._prompts.pop(index)
        return choice


class _LogprobWriter:
    """The logprobs of one choice, whose offsets count characters from the beginning of its text."""

    def __init__(self, tokenizer: Tokenizer, request: Request, ids: bool) -> None:
        self._tokenizer = tokenizer
        self._ids = ids
        self._offset = 0
        self._text = Detokenizer(tokenizer, () if request.echo else request.prompt)
        self._wants_top = bool(request.logprobs)

    def write(self, tokens: Sequence[Scored]) -> Logprobs:
        offsets = []
        for scored in tokens:
            offsets.append(self._offset)
            is_end = scored.id == self._tokenizer.eot_token_id
            self._offset += 0 if is_end else len(self._text.add(scored.id))
        written: Logprobs = {
            "tokens": [token_name(self._tokenizer, scored.id) for scored in tokens],
            "token_logprobs": [scored.logprob and finite(scored.logprob) for scored in tokens],
            "top_logprobs": [self._top(scored) for scored in tokens] if self._wants_top else None,
            "text_offset": offsets,
        }
        if self._ids:
            written["content"] = [entry(self._tokenizer, scored, ids=True) for scored in tokens]
        return written

    def _top(self, scored: Scored) -> dict[str, float] | None:
        if scored.logprob is None:
            return None
        top: dict[str, float] = {}
        for token, value in (*scored.top, (scored.id, scored.logprob)):
            top.setdefault(token_name(self._tokenizer, token), finite(value))
        return top


def entry(tokenizer: Tokenizer, scored: Scored, *, ids: bool) -> ChatLogprob:
    """A token with what might have stood in its place, in the form that chats have."""

    def token(number: int, logprob: float) -> TopLogprob:
        raw = list(tokenizer.token_bytes(number))
        found: TopLogprob = {"token": token_name(tokenizer, number), "logprob": finite(logprob), "bytes": raw}
        return {**found, "id": number} if ids else found

    return {**token(scored.id, scored.logprob or 0.0), "top_logprobs": [token(*top) for top in scored.top]}


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """A token as text; one that is part of a character, as OpenAI writes its bytes."""
    raw = tokenizer.token_bytes(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def finite(logprob: float) -> float:
    """A logprob that JSON has."""
    return max(logprob, _LEAST_LOGPROB)


def finish_reason(piece: Piece) -> Any:
    """How an answer has ended, as OpenAI calls it; None while it has not."""
    return piece.finish if piece.finish in ("stop", "length") else None
