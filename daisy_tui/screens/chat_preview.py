"""What the model would read if the question were sent now: the text by its template, and every token with its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from core.text import plural
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.lens import Token, name, tokens_of
from daisy_tui.chatting.token_lines import shown
from daisy_tui.widgets.dialogue import Dialogue

_MOST = 3000


class Preview(NamedTuple):
    """A prompt: its text, in which special tokens stand by their names, and its ids; how many fit the model."""

    text: str
    ids: list[int]
    room: int
    tokens: list[Token]


def preview(client: Client, messages: list[dict[str, str]] | None, text: str) -> Preview:
    """The prompt that messages become, or that a text is. Raises ClientError where the server can tell neither."""
    try:
        return _preview(client, messages, text)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ClientError(f"{client.url}: answers not as a server of Daisy's kind does") from error


def _preview(client: Client, messages: list[dict[str, str]] | None, text: str) -> Preview:
    if messages is not None:
        told = client.post("/v1/chat/render", {"messages": messages})
        text = str(told["prompt"])
    else:
        told = client.post("/tokenize", {"prompt": text})
    ids = [int(number) for number in told["tokens"]]
    room = int(told["max_model_len"])
    return Preview(text, ids, room, _tokens(client, ids[: min(_MOST, room)]))


def _tokens(client: Client, ids: Sequence[int]) -> list[Token]:
    """The tokens of ids, by themselves: how likely each was, too, as the model reads them."""
    if not ids:
        return []
    asked: dict[str, Any] = {
        "prompt": list(ids),
        "echo": True,
        "max_tokens": 0,
        "logprobs": 0,
        "return_token_ids": True,
    }
    return tokens_of(client.post("/v1/completions", asked)["choices"][0])


class PreviewScreen(Dialogue[None]):
    """A prompt, to be read."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f8,v", "dismiss(None)", "Close")]

    def __init__(self, prompt: Preview) -> None:
        super().__init__()
        self._prompt = prompt

    def compose(self) -> ComposeResult:
        prompt = self._prompt
        left = prompt.room - len(prompt.ids)
        with Vertical(classes="dialogue preview"):
            title = f"What the model reads: {plural(len(prompt.ids), 'token')} of {prompt.room:,}, {left:,} left"
            yield Static(Content(title), classes="dialogue-title")
            with VerticalScroll(classes="preview-text"):
                yield Static(Content(shown(prompt.text)), markup=False)
            with VerticalScroll(classes="preview-ids"):
                yield Static(_numbered(prompt), markup=False)
            yield Static(Content("↑↓ scroll, tab goes to the other half, esc closes"), classes="hint")


def _numbered(prompt: Preview) -> Content:
    """Every token with its id."""
    parts: list[tuple[str, str]] = []
    for token in prompt.tokens:
        parts += [(name(token.raw), "bold"), (f"={token.id}   ", "dim")]  # no line ends between the two
    more = len(prompt.ids) - len(prompt.tokens)
    parts += [(f"… and {plural(more, 'more token')}", "dim")] if more else []
    return Content.assemble(*parts)
