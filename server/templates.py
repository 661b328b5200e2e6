"""Chat templates: how messages become the ids that a model was taught to answer to.

A template is data: what stands before and after the messages of each role. Only it can name special tokens; in what a
person writes, their names are ordinary text. Every message is encoded by itself, so that a longer conversation begins
with exactly the ids of the shorter one, and the engine can go on from what it holds. Rejected: Jinja, which would run
a stranger's program, and whose result is one text in which nobody can tell a template's tokens from a person's.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from core.data.tokenizers import END_OF_TEXT, Tokenizer
from server.settings import ServeError

Role = Literal["system", "user", "assistant"]
_REMEMBERED_ANSWERS, _REMEMBERED_TOKENS = 256, 1 << 20


class TemplateError(ServeError):
    """A chat template that is none, or that nobody knows."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    content: str


class Template(BaseModel):
    """What stands before and after the messages of each role; `begin` before all of them. `stop` ends answers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str = "checkpoint"
    begin: str = ""
    system: tuple[str, str] = ("", "\n\n")
    user: tuple[str, str]
    assistant: tuple[str, str]
    stop: tuple[str, ...] = ()

    def around(self, role: Role) -> tuple[str, str]:
        """What stands before and after a message of this role."""
        both: tuple[str, str] = getattr(self, role)
        return both


TEMPLATES = {
    template.name: template
    for template in (
        Template(
            name="instruction",
            user=("### Instruction:\n", "\n\n"),
            assistant=("### Response:\n", "\n\n"),
            stop=("### Instruction:",),
        ),
        Template(name="plain", user=("", "\n"), assistant=("", "\n")),
    )
}


class Rendered(NamedTuple):
    """A conversation as the model reads it. In the text special tokens stand by their names."""

    ids: list[int]
    text: str


class Remembered:
    """The ids of the latest answers. A model may say a text by other ids than the text's own encoding has.

    A client sends the text back, and with the very ids that were said before the engine finds what it holds.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()
        self._tokens = 0

    def keep(self, prompt: Sequence[int], text: str, ids: Sequence[int]) -> None:
        """An answer to a prompt."""
        key = _key(prompt, text)
        self._tokens += len(ids) - len(self._answers.pop(key, ()))
        self._answers[key] = tuple(ids)
        while len(self._answers) > _REMEMBERED_ANSWERS or self._tokens > _REMEMBERED_TOKENS:
            self._tokens -= len(self._answers.popitem(last=False)[1])

    def ids(self, prompt: Sequence[int], text: str) -> tuple[int, ...] | None:
        """The ids by which this text was the answer to this prompt; None where it was not."""
        return self._answers.get(_key(prompt, text))


def template_named(name: str) -> Template:
    """A template that Daisy has. Raises TemplateError."""
    if name not in TEMPLATES:
        raise TemplateError(f"chat template '{name}' is unknown; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def template_of(meta: dict[str, Any], where: object) -> Template | None:
    """The template that a checkpoint's meta.json holds under `chat_template`: a name or an object. None without one."""
    stored = meta.get("chat_template")
    if stored is None:
        return None
    try:
        return template_named(stored) if isinstance(stored, str) else Template.model_validate(_as_tuples(stored))
    except TemplateError as error:
        why = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join([*map(str, first["loc"]), first["msg"]])
    raise TemplateError(f"{where}: its chat_template is none ({why}); --chat-template NAME takes another")


def render(
    template: Template, messages: Sequence[Message], tokenizer: Tokenizer, remembered: Remembered | None = None
) -> Rendered:
    """The ids of a conversation, up to where the assistant's next answer begins."""
    special = tokenizer.special_tokens() or {END_OF_TEXT: tokenizer.eot_token_id}
    ids: list[int] = []
    text = template.begin
    ids += _encode(tokenizer, special, ("", template.begin))
    for role, content in messages:
        before, after = template.around(role)
        text += before + content + after
        if role == "assistant":
            ids += _encode(tokenizer, special, ("", before))
            known = remembered.ids(ids, content) if remembered is not None else None
            ids += known if known is not None else _encode(tokenizer, special, (content, ""))
            ids += _encode(tokenizer, special, ("", after))
        else:
            ids += _encode(tokenizer, special, ("", before), (content, after))
    opening = template.assistant[0]
    ids += _encode(tokenizer, special, ("", opening))
    return Rendered(ids or [tokenizer.eot_token_id], text + opening)


def _encode(tokenizer: Tokenizer, special: dict[str, int], *parts: tuple[str, str]) -> list[int]:
    """Ids of parts of (a person's text, a template's text), each followed by the next; only the latter has specials."""
    ids: list[int] = []
    text = ""
    for theirs, ours in parts:
        text += theirs
        for piece in _split(ours, special):
            if piece in special:
                ids += tokenizer.encode(text).tolist()
                ids.append(special[piece])
                text = ""
            else:
                text += piece
    return [*ids, *tokenizer.encode(text).tolist()]


def _split(text: str, special: dict[str, int]) -> Iterator[str]:
    """A template's text, cut around the names of special tokens."""
    names = "|".join(re.escape(name) for name in sorted(special, key=len, reverse=True))
    yield from filter(None, re.split(f"({names})", text))


def _as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples that strict validation wants."""
    if not isinstance(value, dict):
        return value
    return {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in value.items()}


def _key(prompt: Sequence[int], text: str) -> bytes:
    digest = hashlib.blake2b(array("Q", prompt).tobytes(), digest_size=16)
    digest.update(text.encode(errors="surrogatepass"))
    return digest.digest()
