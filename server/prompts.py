"""From what a client wrote to the ids that the model reads: what cannot fit is refused before it is encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from server.errors import ApiError
from server.host import Served
from server.schemas import ChatMessage
from server.templates import Message, Remembered, Rendered, render

# More characters than these are encoded in a thread: about 2 ms of a slow core.
_LONG_TEXT = 4096


def check_model(served: Served, name: str | None) -> None:
    """Raise ApiError where a client asks for another model than the one that answers."""
    if name is not None and name not in (served.name, *served.aliases):
        known = f"this server has '{served.name}'"
        raise ApiError(404, f"model '{name}' does not exist; {known}", param="model", code="model_not_found")


def too_long(served: Served, tokens: str, max_tokens: int, param: str) -> ApiError:
    """A prompt of so many tokens, with what is asked for, is more than the model can hold."""
    wanted = f" and max_tokens {max_tokens}" if max_tokens else ""
    message = f"the prompt's {tokens} tokens{wanted} are more than the model's {served.max_seq_len}"
    return ApiError(400, message, param=param, code="context_length_exceeded")


async def encode(served: Served, text: str, max_tokens: int = 0, param: str = "prompt") -> list[int]:
    """Ids of a text, as it is. Raises ApiError where they cannot fit."""
    _check_characters(served, len(text), max_tokens, param)
    if len(text) > _LONG_TEXT:
        return await asyncio.to_thread(_ids, served, text)
    return _ids(served, text)


async def rendered(
    served: Served, messages: Sequence[ChatMessage], remembered: Remembered, max_tokens: int = 0
) -> Rendered:
    """A conversation by the model's template. Raises ApiError where it has none, or where it cannot fit."""
    if served.template is None:
        raise ApiError(
            400,
            f"{served.name} has no chat template; use /v1/completions, or start the server with --chat-template NAME",
            param="messages",
            code="no_chat_template",
        )
    turns = [Message("system" if m.role == "developer" else m.role, m.text) for m in messages]
    characters = sum(len(turn.content) for turn in turns)
    _check_characters(served, characters, max_tokens, "messages")
    if characters > _LONG_TEXT:
        return await asyncio.to_thread(render, served.template, turns, served.tokenizer, remembered)
    return render(served.template, turns, served.tokenizer, remembered)


def _ids(served: Served, text: str) -> list[int]:
    ids: list[int] = served.tokenizer.encode(text).tolist()
    return ids


def _check_characters(served: Served, characters: int, max_tokens: int, param: str) -> None:
    # A character is at least a byte, and a token at most `longest_token` of them.
    least = -(-characters // served.longest_token)
    if least > served.max_seq_len:
        raise too_long(served, f"{least} or more", max_tokens, param)
