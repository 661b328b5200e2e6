"""`POST /v1/chat/completions` and `/v1/chat/render`: conversations, by the model's chat template."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from aiohttp import web

from core.inference.request import Piece, Request, Scored
from server.answers import ChatChoice, ChatLogprobs, Document, RenderedChat, TimingInfo, Usage
from server.completions import check_choices, entry, finish_reason
from server.door import read
from server.errors import encoded
from server.host import Host, Served
from server.prompts import check_model, rendered, too_long
from server.replying import Answer, Head, reply
from server.schemas import ChatRequest, RenderRequest
from server.settings import Settings
from server.templates import Remembered

# Tokens of an answer; decoding more of them would keep the event loop for too long.
_LONGEST_REMEMBERED = 8192


async def chat_completions(http: web.Request, host: Host, settings: Settings) -> web.StreamResponse:
    """Answer the last message of a conversation."""
    host.check_room()
    asked = await read(http, ChatRequest)
    served = host.served
    check_model(served, asked.model)
    given = asked.max_completion_tokens or asked.max_tokens
    conversation = await rendered(served, asked.messages, host.remembered, given or 1)
    n = asked.n or 1
    check_choices(n, host, "n")
    ids = tuple(conversation.ids)
    max_tokens = given or max(1, served.max_seq_len - len(ids))
    if len(ids) + max_tokens > served.max_seq_len:
        raise too_long(served, str(len(ids)), max_tokens, "max_tokens" if given else "messages")
    assert served.template is not None
    stops = (*asked.stops, *served.template.stop)
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
    params = asked.params(secrets.randbits(63))
    requests = [Request(ids, max_tokens, params, stops, logprobs, choice=choice) for choice in range(n)]
    stream = bool(asked.stream)
    form = _Chat(served, stream, n, host.remembered, conversation.ids if asked.return_token_ids else None)
    return await reply(http, host, settings, requests, form, stream=stream, usage=asked.with_usage, choices_each=n)


async def render_chat(http: web.Request, host: Host, _settings: Settings) -> web.StreamResponse:
    """The exact prompt that a conversation becomes."""
    asked = await read(http, RenderRequest)
    served = host.served
    check_model(served, asked.model)
    text_and_ids = await rendered(served, asked.messages, host.remembered)
    assert served.template is not None
    body: RenderedChat = {
        "prompt": text_and_ids.text,
        "tokens": text_and_ids.ids,
        "count": len(text_and_ids.ids),
        "max_model_len": served.max_seq_len,
        "stop": list(served.template.stop),
    }
    return web.Response(body=encoded(body), content_type="application/json")


class _Chat:
    """How answers in a chat are written down."""

    def __init__(
        self, served: Served, stream: bool, choices: int, remembered: Remembered, prompt: list[int] | None
    ) -> None:
        self._prompt = prompt  # where ids are asked for
        self._head = Head("chat.completion.chunk" if stream else "chat.completion", "chatcmpl", served)
        self._choices = choices
        self._tokenizer = served.tokenizer
        self._remembered = remembered

    def opening(self) -> list[bytes]:
        roles = {"role": "assistant", "content": "", "refusal": None}
        told: Document = {} if self._prompt is None else {"prompt_token_ids": self._prompt}
        return [
            self._head.with_(
                choices=[{"index": index, "delta": roles, "logprobs": None, "finish_reason": None}],
                **({} if index else told),
            )
            for index in range(self._choices)
        ]

    def chunk(self, choice: int, answer: Answer, piece: Piece) -> bytes | None:
        wants_tokens = answer.request.logprobs is not None or self._prompt is not None
        if not (piece.text or piece.finish or (piece.tokens and wants_tokens)):
            return None
        said: Document = {
            "index": choice,
            "delta": {"content": piece.text} if piece.text else {},
            "logprobs": self._logprobs(answer.request, piece.tokens),
            "finish_reason": finish_reason(piece),
        }
        if piece.stopped_by is not None:
            said["stop_reason"] = piece.stopped_by
        if self._prompt is not None:
            said["token_ids"] = [scored.id for scored in piece.tokens]
        return self._head.with_(choices=[said])

    def usage_chunk(self, usage: Usage, timing: TimingInfo | None) -> bytes:
        return self._head.counted([], usage, timing)

    def whole(self, answers: Sequence[Answer], usage: Usage, timing: TimingInfo | None) -> bytes:
        choices = []
        for index, answer in enumerate(answers):
            choice: ChatChoice = {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": self._logprobs(answer.request, answer.tokens),
                "finish_reason": finish_reason(answer.last),
            }
            if answer.last.stopped_by is not None:
                choice["stop_reason"] = answer.last.stopped_by
            if self._prompt is not None:
                choice["token_ids"] = [scored.id for scored in answer.tokens]
            choices.append(choice)
        told: Document = {} if self._prompt is None else {"prompt_token_ids": self._prompt}
        return self._head.counted(choices, usage, timing, **told)

    def ended(self, answer: Answer) -> None:
        """Keep the ids of an answer: it comes back as text, in the history of the next question."""
        ids = [scored.id for scored in answer.tokens]
        if len(ids) > _LONGEST_REMEMBERED:
            return
        # Not where there is more than the text: a stop string, end-of-text, what was begun in the prompt.
        if self._tokenizer.decode_bytes(ids).decode(errors="replace") == answer.text:
            self._remembered.keep(answer.request.prompt, answer.text, ids)

    def _logprobs(self, request: Request, tokens: Sequence[Scored]) -> ChatLogprobs | None:
        if request.logprobs is None:
            return None
        with_ids = self._prompt is not None
        return {"content": [entry(self._tokenizer, scored, ids=with_ids) for scored in tokens], "refusal": None}
