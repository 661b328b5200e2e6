"""What is asked of the engine and what it answers: the contract between it and whoever serves, screens or not.

No torch here: a server imports this before a model is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple

from core.checkpoint.format import CheckpointError
from core.errors import DaisyError

MAX_LOGPROBS = 20
# "stop": end-of-text, a stop token or a stop string. "cancelled": whoever asked has left.
Finish = Literal["stop", "length", "cancelled", "error"]


class SamplingError(DaisyError):
    """A sampling parameter out of its range. `parameter` names it."""

    exit_code = 2

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class QueueFullError(DaisyError):
    """More requests wait than may."""


class EngineClosedError(DaisyError):
    """The engine has ended, or takes no more requests."""


class OtherModelError(CheckpointError):
    """A checkpoint whose weights an engine cannot take over: its model or its tokenizer is another one."""


@dataclass(frozen=True)
class SamplingParams:
    """How to choose. temperature 0 takes the likeliest token; top_k 0, top_p 1 and min_p 0 leave all of them in.

    Penalties are as in the field: repetition (Keskar et al. 2019) divides the score of whatever prompt or answer hold,
    presence and frequency (OpenAI) are taken from the scores of what the answer holds, once and for each time.
    `logit_bias` is added by id. `stop_tokens` end the answer and are no part of its text, as end-of-text does unless
    `ignore_eos`; neither can come before `min_tokens`. The order is penalties, biases, temperature, top_k, min_p,
    top_p. What is drawn is a function of (seed, choice, step).

    Raises SamplingError for a value out of its range.
    """

    temperature: float = 0.7
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_tokens: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for name, fits, range_ in (
            ("temperature", 0 <= self.temperature < inf, "at least 0, and finite"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 1e-3 <= self.repetition_penalty <= 1e3, "from 0.001 to 1000 (1 leaves it out)"),
            ("presence_penalty", -2 <= self.presence_penalty <= 2, "from -2 to 2"),
            ("frequency_penalty", -2 <= self.frequency_penalty <= 2, "from -2 to 2"),
            ("seed", 0 <= self.seed < 2**64, "from 0 to 2^64 - 1"),
            ("min_tokens", self.min_tokens >= 0, "at least 0"),
        ):
            if not fits:
                raise SamplingError(f"{name} must be {range_}; got {getattr(self, name)}", name)
        for token, bias in self.logit_bias:
            if token < 0 or not -100 <= bias <= 100:
                wants = "ids with numbers from -100 to 100"
                raise SamplingError(f"logit_bias must hold {wants}; got {token}: {bias}", "logit_bias")


@dataclass(frozen=True)
class Request:
    """One answer that is wanted. `prompt` are ids, at least one; prompt and max_tokens fit the model's max_seq_len.

    `stop` are strings that end the answer and are no part of it. `logprobs` asks for the logarithm of each token's
    probability and for as many of the likeliest instead; `echo` for the prompt's tokens too, and their text.
    `choice` tells several answers to one prompt apart.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    params: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    echo: bool = False
    choice: int = 0


class Scored(NamedTuple):
    """A token. `logprob` is None where none was asked for, and for the first of a prompt, which nothing precedes.

    `top` are the likeliest at its place, the likeliest first, as (id, logprob). Logprobs are those of the model, before
    temperature and penalties, in nats.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Timing(NamedTuple):
    """Seconds that a request has waited, its prompt has taken, and its answer has."""

    queued_s: float
    prefill_s: float
    decode_s: float


class Piece(NamedTuple):
    """What is new of an answer. Pieces joined are its whole text; the last one, and only that, has `finish`.

    `tokens` are those that came with this piece; their text may come with a later one, whole. `stopped_by` is the stop
    string or the id that ended the answer. Counts are of the whole request: `cached_tokens` of the prompt were already
    there from an earlier one. `error` says what failed, where `finish` is "error".
    """

    text: str = ""
    tokens: tuple[Scored, ...] = ()
    finish: Finish | None = None
    stopped_by: str | int | None = None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    timing: Timing | None = None


class SlotState(NamedTuple):
    """A slot at one moment: `held` tokens lie in its cache; `done` of the answer's `max_tokens` are there."""

    id: int
    state: Literal["idle", "prefill", "decode"]
    held: int
    done: int
    max_tokens: int


class EngineStats(NamedTuple):
    """The engine at one moment, and what it has done since it began.

    `cache_used` is the share of all slots' tokens that are held, from 0 to 1; `version` counts the weights it has had.
    """

    slots: tuple[SlotState, ...]
    waiting: int
    cache_used: float
    version: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finished: dict[str, int]
