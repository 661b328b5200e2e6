"""A conversation with a served model, without a screen: what is sent, what is kept, and how fast it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from daisy_tui.client import Client, ClientError


class Speed(NamedTuple):
    """Of one answer: its tokens, the seconds to the first, and those between the first and the last."""

    tokens: int
    first_s: float
    rest_s: float
    is_cut: bool = False

    def __str__(self) -> str:
        rate = f"{(self.tokens - 1) / self.rest_s:.1f} tokens/s" if self.tokens > 1 and self.rest_s > 0 else ""
        parts = [f"{self.tokens} tokens" if self.tokens != 1 else "1 token", rate, f"first after {self.first_s:.2f} s"]
        parts += ["cut at max_tokens"] if self.is_cut else []
        return ", ".join(filter(None, parts))


@dataclass
class Conversation:
    """Turns with one model. Without a chat template the model goes on with the text so far, questions and all."""

    client: Client
    sampling: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    has_template: bool = True
    turns: list[dict[str, str]] = field(default_factory=list)
    speed: Speed | None = None
    clock: Callable[[], float] = time.monotonic

    def ask(self, text: str) -> Generator[str, None, None]:
        """The answer as it comes; kept as far as it came, also where whoever listens stops. Raises ClientError."""
        self.turns.append({"role": "user", "content": text})
        said: list[str] = []
        is_asked = False
        try:
            for piece in self._stream():
                is_asked = True
                said.append(piece)
                yield piece
            is_asked = True
        finally:
            if is_asked:
                self.turns.append({"role": "assistant", "content": "".join(said)})
            else:  # it was never taken: it is not part of what was said
                self.turns.pop()

    def retry(self) -> Generator[str, None, None]:
        """Another answer to the last question. Raises ClientError where there is none."""
        while self.turns and self.turns[-1]["role"] != "user":
            self.turns.pop()
        if not self.turns:
            raise ClientError("/retry: nothing has been asked yet")
        if "seed" in self.sampling:
            self.sampling["seed"] += 1  # the same one would give the same answer
        return self.ask(self.turns.pop()["content"])

    def new(self) -> None:
        """Forget what was said; the system's text stays."""
        self.turns.clear()

    def _stream(self) -> Generator[str, None, None]:
        path, body = self._question()
        began = self.clock()
        first: float | None = None
        usage: dict[str, Any] = {}
        timing: dict[str, float] = {}
        pieces, ended = 0, None
        asking = {**body, **self.sampling, "stream_options": {"include_usage": True}}
        try:
            for chunk in self.client.events(path, asking):
                usage, timing = chunk.get("usage") or usage, chunk.get("timing") or timing
                for choice in chunk.get("choices") or ():
                    ended = choice.get("finish_reason") or ended
                    piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                    if piece:
                        pieces += 1
                        first = self.clock() - began if first is None else first
                        yield piece
        except (AttributeError, TypeError, ValueError) as error:
            raise ClientError(f"{self.client.url}: answers not as a server of OpenAI's kind does") from error
        finally:
            took = self.clock() - began
            first_s = took if first is None else first
            rest_s = timing.get("decode_s", took - first_s)
            self.speed = Speed(usage.get("completion_tokens") or pieces, first_s, rest_s, ended == "length")

    def _room(self, text: str) -> dict[str, int]:
        """All that fits behind a text: completions have 16 tokens by default, which is no answer."""
        if self.sampling.get("max_tokens") is not None:
            return {}
        counted = self.client.post("/tokenize", {"prompt": text})
        left = counted.get("max_model_len", 0) - counted.get("count", 0)
        return {"max_tokens": left} if left > 0 else {}

    def _question(self) -> tuple[str, dict[str, Any]]:
        if not self.has_template:
            text = self.system
            for turn in self.turns:  # an answer goes on with what was typed; what is typed next begins a line
                is_next = text and not text.endswith("\n") and turn["role"] == "user"
                text += ("\n" if is_next else "") + turn["content"]
            return "/v1/completions", {"prompt": text} | self._room(text)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return "/v1/chat/completions", {"messages": [*system, *self.turns]}
