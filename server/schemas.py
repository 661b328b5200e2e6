"""What may be asked, field by field: the one source of validation and of `/openapi.json`.

Types are strict, ranges are those of OpenAI's reference where it has the field, and a field that nothing here answers
to is refused by name instead of being ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from core.inference.request import MAX_LOGPROBS, SamplingParams

MAX_CHOICES = 128
_MAX_STOPS, _MAX_STOP_LENGTH = 16, 1024
_INT64, _UINT64 = -(2**63), 2**64 - 1


def _not_set(value: bool) -> bool:
    if value:
        raise ValueError("this is not done here, so it can only be false")
    return value


# What clients send along although they do not want it; Literal[False] would take 0.
NotSet = Annotated[bool, AfterValidator(_not_set), WithJsonSchema({"type": "boolean", "const": False})]
Token = Annotated[int, Field(ge=0, lt=2**32)]


def _kind(value: Any) -> str:
    """Which of the forms of a prompt a value has, judged by its first entry."""
    if isinstance(value, str):
        return "text"
    first = value[0] if isinstance(value, list) and value else ""
    return "lists" if isinstance(first, list) else "texts" if isinstance(first, str) else "ids"


def _one_or_many(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]
Ids = Annotated[list[Token], Field(min_length=1)]
Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Texts, Tag("texts")]
    | Annotated[Ids, Tag("ids")]
    | Annotated[list[Ids], Field(min_length=1, max_length=MAX_CHOICES), Tag("lists")],
    Discriminator(_kind),
]
_Stop = Annotated[str, Field(max_length=_MAX_STOP_LENGTH)]
Stop = Annotated[
    Annotated[_Stop, Tag("one")] | Annotated[list[_Stop], Field(max_length=_MAX_STOPS), Tag("many")],
    Discriminator(_one_or_many),
]


class Strict(BaseModel):
    """Nothing is converted, and nothing is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(Strict):
    """`include_usage`: one more chunk, which has no choices, with the counts of the whole answer."""

    include_usage: bool | None = None
    include_obfuscation: NotSet | None = None


class Sampling(Strict):
    """How to choose, which both kinds of completions have in common. Without a seed every request has its own."""

    model: str | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=1e-3, le=1e3)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: (
        dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Annotated[float, Field(ge=-100, le=100)]] | None
    ) = Field(None, max_length=1024)
    seed: int | None = Field(None, ge=_INT64, le=_UINT64)
    stop: Stop | None = None
    stop_token_ids: list[Token] | None = Field(None, max_length=64)
    min_tokens: int | None = Field(None, ge=0)
    ignore_eos: bool | None = None
    return_token_ids: bool | None = Field(None, description="Ids of prompt and answer, and of every logprob's token.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Accepted, and not used.")

    @model_validator(mode="after")
    def _options_belong_to_a_stream(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: belongs to stream = true")
        return self

    def params(self, seed: int) -> SamplingParams:
        """These, and OpenAI's defaults for what is not given."""

        def given(value: Any, otherwise: Any) -> Any:
            return otherwise if value is None else value

        return SamplingParams(
            temperature=given(self.temperature, 1.0),
            top_k=given(self.top_k, 0),
            top_p=given(self.top_p, 1.0),
            repetition_penalty=given(self.repetition_penalty, 1.0),
            seed=(seed if self.seed is None else self.seed) % 2**64,
            min_p=given(self.min_p, 0.0),
            presence_penalty=given(self.presence_penalty, 0.0),
            frequency_penalty=given(self.frequency_penalty, 0.0),
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            stop_tokens=tuple(self.stop_token_ids or ()),
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
        )

    @property
    def stops(self) -> tuple[str, ...]:
        stop = self.stop or ()
        return tuple(text for text in ((stop,) if isinstance(stop, str) else stop) if text)

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionRequest(Sampling):
    """`POST /v1/completions`. Texts are encoded as they are; only an empty one begins from end-of-text."""

    prompt: Prompt
    max_tokens: int | None = Field(None, ge=0, description="16 where it is not given.")
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Only as many as `n`.")
    suffix: Literal[""] | None = Field(None, description="A model that goes on cannot fill in: refused.")

    @model_validator(mode="after")
    def _as_many_as_are_sampled(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError(f"best_of: answers are not ranked here, so it must be n, which is {self.n or 1}")
        return self


class TextPart(Strict):
    """The one kind of content that there is."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One message. Beside role and content only what clients send along empty, as they had it in an answer."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("one")] | Annotated[list[TextPart], Field(max_length=1024), Tag("many")],
        Discriminator(_one_or_many),
    ]
    name: None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ResponseFormat(Strict):
    """Text is the only one."""

    type: Literal["text"]


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`. Without max_tokens an answer may take all that the model has left."""

    messages: Messages
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: belongs to logprobs = true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_completion_tokens: is another name of max_tokens, and says something else")
        return self


class RenderRequest(Strict):
    """`POST /v1/chat/render`."""

    messages: Messages
    model: str | None = None


class TokenizeRequest(Strict):
    """`POST /tokenize`. Names of special tokens are text here as everywhere."""

    prompt: str
    model: str | None = None
    add_special_tokens: NotSet | None = None


class DetokenizeRequest(Strict):
    """`POST /detokenize`."""

    tokens: list[Token]
    model: str | None = None


class LoadRequest(Strict):
    """`POST /v1/admin/load`: a checkpoint's path, or a run by path, id, name, unique prefix or `latest`."""

    checkpoint: str = Field(min_length=1, max_length=4096)

    @field_validator("checkpoint")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("no name has a null character")
        return value
