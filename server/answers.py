"""What is answered, key by key, as OpenAI's clients read it. `timing` is Daisy's own: seconds of the engine's."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic takes typing's only from Python 3.12 on

FinishReason = Literal["stop", "length"]


class ErrorDetail(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(TypedDict):
    error: ErrorDetail


class TimingInfo(TypedDict):
    queued_s: float
    prefill_s: float
    decode_s: float


class PromptDetails(TypedDict):
    cached_tokens: int


class Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class TopLogprob(TypedDict):
    """A token at a place. `id` is there where ids are asked for: two tokens may have one name."""

    token: str
    logprob: float
    bytes: list[int]
    id: NotRequired[int]


class ChatLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(TypedDict):
    """One entry a token, the prompt's first if it was echoed; None for a first token, which nothing precedes.

    `content` is the same in the form that chats have, where ids are asked for.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]
    content: NotRequired[list[ChatLogprob]]


class CompletionChoice(TypedDict):
    """The ids are there where they are asked for; the prompt's in the first chunk of a stream alone."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None
    stop_reason: NotRequired[str | int | None]
    prompt_token_ids: NotRequired[list[int]]
    token_ids: NotRequired[list[int]]


class Completion(TypedDict):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]
    timing: NotRequired[TimingInfo]


class ChatLogprobs(TypedDict):
    content: list[ChatLogprob]
    refusal: None


class ChatAnswer(TypedDict):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: NotRequired[str | int | None]
    token_ids: NotRequired[list[int]]


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    timing: NotRequired[TimingInfo]
    prompt_token_ids: NotRequired[list[int]]


class Model(TypedDict):
    """`chat_template` is the name of the one in force, None where the model has none."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    checkpoint: str
    step: int | None
    tokens: int | None
    val_loss: float | None
    max_model_len: int
    chat_template: str | None
    weights_version: int


class Models(TypedDict):
    object: Literal["list"]
    data: list[Model]


class Tokens(TypedDict):
    tokens: list[int]
    count: int
    max_model_len: int


class Text(TypedDict):
    prompt: str


class RenderedChat(TypedDict):
    """`prompt` is the text, in which special tokens stand by their names; `tokens` are what the model reads."""

    prompt: str
    tokens: list[int]
    count: int
    max_model_len: int
    stop: list[str]


class TokenizerAnswer(TypedDict):
    """`eos_token` is None: its name in a text is text, so that only ids can mean it."""

    tokenizer_class: str
    vocab_size: int
    eos_token: None
    eos_token_id: int
    fingerprint: str


class SlotInfo(TypedDict):
    id: int
    state: Literal["idle", "busy"]
    phase: Literal["prefill", "decode"] | None
    held: int
    done: int
    max_tokens: int


class SlotList(TypedDict):
    slots: list[SlotInfo]
    waiting: int


class Health(TypedDict):
    status: Literal["ok", "loading", "closing"]


class Loaded(TypedDict):
    model: Model


Document = dict[str, Any]
