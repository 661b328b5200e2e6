"""One request under way: what has been said, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.data.tokenizers import Tokenizer
from core.inference.request import Finish, Piece, Request, Scored, Timing
from core.inference.sampler import Row
from core.inference.slots import Slot
from core.inference.text import Detokenizer, StopStrings


class Answer:
    """A request from its submission to its last piece. `tell` is called with each piece, and must be quick."""

    def __init__(self, number: int, request: Request, tell: Callable[[Piece], None], tokenizer: Tokenizer) -> None:
        self.number, self.request = number, request
        self._tell = tell
        self._eos = tokenizer.eot_token_id
        self.slot: Slot | None = None
        self.cached = 0
        self.said: list[int] = []
        self.scored: list[Scored] = []  # the prompt's own tokens, where they are asked for
        self.is_cancelled = False
        self._text = Detokenizer(tokenizer, () if request.echo else request.prompt)
        self._stops = StopStrings(request.stop)
        self._submitted = time.monotonic()
        self._began = self._answered = 0.0
        params = request.params
        never = (*params.stop_tokens, *(() if params.ignore_eos else (self._eos,)))
        self.row = Row(params, request.choice, prompt=frozenset(request.prompt), never=never)

    def begin(self, slot: Slot, cached: int) -> None:
        """The request has a slot, in which so many tokens of its prompt lie already."""
        self.slot, self.cached = slot, cached
        self._began = time.monotonic()

    @property
    def wants_prompt(self) -> bool:
        """Whether the logprobs of the prompt's own tokens are asked for, so that all of them must be computed."""
        return self.request.echo and self.request.logprobs is not None

    @property
    def waiting(self) -> list[int]:
        """The tokens of the prompt that are not in the slot yet."""
        assert self.slot is not None
        return list(self.request.prompt[len(self.slot.tokens) :]) if not self.said else []

    def hear_prompt(self) -> None:
        """The prompt has been read: tell it, where it is to be echoed."""
        self._answered = time.monotonic()
        if self.request.echo:
            text = "".join("" if token == self._eos else self._text.add(token) for token in self.request.prompt)
            self._send(Piece(text, tuple(self.scored)))

    def hear(self, scored: Scored) -> Finish | None:
        """One more token was chosen: tell what it makes. Returns how the answer has ended, if it has."""
        token, params = scored.id, self.request.params
        self.said.append(token)
        self.row.said[token] += 1
        self.row.step += 1
        is_end = token == self._eos and not params.ignore_eos
        if is_end or token in params.stop_tokens:
            return self.finish("stop", stopped_by=None if is_end else token)
        text = "" if token == self._eos else self._text.add(token)
        stop = None
        if len(self.said) > params.min_tokens:
            text, stop = self._stops.add(text)
        if stop is not None:
            return self._send(Piece(text, (scored,)), "stop", stop)
        if len(self.said) >= self.request.max_tokens:
            return self.finish("length", text, (scored,))
        return self._send(Piece(text, (scored,)))

    def finish(
        self,
        how: Finish,
        text: str = "",
        tokens: tuple[Scored, ...] = (),
        *,
        stopped_by: int | None = None,
        error: str | None = None,
    ) -> Finish | None:
        """Tell the end: first what was held back of the text, in which a stop string may still be found."""
        rest, stop = self._stops.add(self._text.end())
        if stop is not None and how in ("stop", "length"):
            return self._send(Piece(text + rest, tokens), "stop", stop)
        return self._send(Piece(text + rest + self._stops.end(), tokens, error=error), how, stopped_by)

    def _send(self, piece: Piece, how: Finish | None = None, stopped_by: str | int | None = None) -> Finish | None:
        now = time.monotonic()
        began, answered = self._began or now, self._answered or now
        piece = piece._replace(
            finish=how,
            stopped_by=stopped_by,
            prompt_tokens=len(self.request.prompt),
            completion_tokens=len(self.said),
            cached_tokens=self.cached,
            timing=Timing(began - self._submitted, answered - began, now - answered) if how else None,
        )
        try:
            self._tell(piece)
        except Exception:  # noqa: BLE001 - whoever listens has failed, which must end nobody else's answer
            self.is_cancelled = True
        return how
