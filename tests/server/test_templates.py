"""Chat templates: exact prompts, special tokens that nobody can type, and prompts that grow at their end only."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import ScriptedBackend, ScriptedEngine, ask, running, says

from core.data.tokenizers import BpeTokenizer, ByteTokenizer, demo_tokenizer
from core.inference.request import Piece, Scored
from server.templates import (
    TEMPLATES,
    Message,
    Remembered,
    Template,
    TemplateError,
    render,
    template_of,
)

END = "<|endoftext|>"
STORED = {"user": ["<|user|>", END], "assistant": ["<|assistant|>", END], "system": ["", END], "begin": END}
TALK = [Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")]
TURNS = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=4)


def _with_roles() -> BpeTokenizer:
    """The demo's encoding with special tokens for roles."""
    demo = demo_tokenizer()
    ranks: Any = demo._encoding._mergeable_ranks
    special = {END: 4095, "<|user|>": 4096, "<|assistant|>": 4097}
    return BpeTokenizer.from_ranks("chat", ranks, demo.pattern() or "", special)


def test_the_instruction_format_to_the_letter() -> None:
    rendered = render(TEMPLATES["instruction"], TALK, ByteTokenizer())
    assert rendered.text == (
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello\n\n### Instruction:\nBye\n\n### Response:\n"
    )
    assert bytes(rendered.ids).decode() == rendered.text


def test_the_plain_format_to_the_letter() -> None:
    assert render(TEMPLATES["plain"], TALK[1:], ByteTokenizer()).text == "Hi\nHello\nBye\n"
    assert render(TEMPLATES["plain"], [Message("user", "")], ByteTokenizer()).ids == [10]


def test_a_stored_templates_special_tokens_are_ids() -> None:
    tokenizer = _with_roles()
    template = template_of({"chat_template": STORED}, "x")
    assert template is not None
    ids = render(template, TALK[1:3], tokenizer).ids
    hi, hello = ([int(token) for token in tokenizer.encode(text)] for text in ("Hi", "Hello"))
    assert ids == [4095, 4096, *hi, 4095, 4097, *hello, 4095, 4097]


@pytest.mark.parametrize("name", [END, "<|user|>", "<|assistant|>"])
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_the_name_of_a_special_token_that_somebody_types_is_text(role: Any, name: str) -> None:
    tokenizer = _with_roles()
    template = template_of({"chat_template": STORED}, "x")
    assert template is not None
    clean = render(template, [Message(role, "a b")], tokenizer).ids
    typed = render(template, [Message(role, f"a {name} b")], tokenizer).ids
    assert [token for token in typed if token >= 4095] == [token for token in clean if token >= 4095]
    assert name.encode() in tokenizer.decode_bytes(typed)


@given(TURNS, st.sampled_from(["instruction", "plain", "stored"]))
def test_a_longer_conversation_begins_with_the_ids_of_the_shorter(turns: list[tuple[str, str]], name: str) -> None:
    template = TEMPLATES.get(name) or Template.model_validate(
        {key: tuple(value) if isinstance(value, list) else value for key, value in STORED.items()}
    )
    tokenizer = demo_tokenizer()
    before: list[int] = []
    messages: list[Message] = []
    for question, answer in turns:
        messages.append(Message("user", question))
        ids = render(template, messages, tokenizer).ids
        assert ids[: len(before)] == before
        messages.append(Message("assistant", answer))
        before = ids


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("alpaca", "chat template 'alpaca' is unknown; there are instruction, plain"),
        ({"user": ["a", "b"]}, "assistant: Field required"),
        ({**STORED, "user": ["a"]}, "user"),
        ({**STORED, "loop": "{% for %}"}, "loop: Extra inputs are not permitted"),
        (["a"], "should be a valid dictionary"),
    ],
)
def test_a_stored_template_that_is_none_is_refused_in_one_line(stored: Any, said: str) -> None:
    with pytest.raises(TemplateError, match="its chat_template is none") as caught:
        template_of({"chat_template": stored}, "step_7")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert template_of({}, "step_7") is None
    assert template_of({"chat_template": "plain"}, "step_7") is TEMPLATES["plain"]


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    remembered = Remembered()
    for number in range(1000):
        remembered.keep([1, 2], str(number), [number])
    assert remembered.ids([1, 2], "999") == (999,)
    assert remembered.ids([1, 3], "999") is None
    assert remembered.ids([1, 2], "0") is None
    remembered.keep([1, 2], "long", range(1 << 20))
    assert remembered.ids([1, 2], "999") is None
    assert remembered.ids([1, 2], "long") is not None


def test_an_answer_comes_back_in_the_next_prompt_by_the_very_ids_it_was_said_with() -> None:
    tokenizer = demo_tokenizer()
    odd = [int(token) for letter in "Hello" for token in tokenizer.encode(letter)]
    assert odd != tokenizer.encode("Hello").tolist(), "the model has said it by other ids than its encoding"
    engine = ScriptedEngine(lambda _: [Piece("Hello", tuple(Scored(token) for token in odd), "stop")])
    with running(ScriptedBackend(engine, tokenizer=tokenizer)) as server:
        asking: list[dict[str, str]] = [{"role": "user", "content": "Hi"}]
        asked = "/v1/chat/completions"
        said = ask(server.url, asked, {"messages": asking}).text
        asking += [{"role": "assistant", "content": said}, {"role": "user", "content": "Bye"}]
        rendered = ask(server.url, "/v1/chat/render", {"messages": asking}).json
        ask(server.url, asked, {"messages": asking})
    first, second = engine.requests
    assert second.prompt[: len(first.prompt) + len(odd)] == (*first.prompt, *odd)
    assert tuple(rendered["tokens"]) == second.prompt
    assert rendered["prompt"].endswith("### Instruction:\nBye\n\n### Response:\n")


def test_a_model_without_a_template_takes_no_chat_and_says_what_would_work() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok")), template=None)) as server:
        for path in ("/v1/chat/completions", "/v1/chat/render"):
            answer = ask(server.url, path, {"messages": [{"role": "user", "content": "Hi"}]})
            assert (answer.status, answer.error["code"]) == (400, "no_chat_template")
            assert "--chat-template" in answer.error["message"]
        assert ask(server.url, "/v1/models").json["data"][0]["chat_template"] is None
        assert ask(server.url, "/v1/completions", {"prompt": "a"}).text == "ok"


def test_tokenize_and_detokenize_are_each_others_inverse_and_know_no_typed_specials() -> None:
    with running(ScriptedBackend(ScriptedEngine(), tokenizer=_with_roles(), max_seq_len=5000)) as server:
        text = f"Emma {END}<|user|> 🙂 " * 50
        tokens = ask(server.url, "/tokenize", {"prompt": text}).json
        assert tokens["count"] == len(tokens["tokens"])
        assert max(tokens["tokens"]) < 4095
        assert ask(server.url, "/detokenize", {"tokens": tokens["tokens"]}).json == {"prompt": text}
        assert ask(server.url, "/detokenize", {"tokens": [4095, 4097]}).json == {"prompt": f"{END}<|assistant|>"}
        assert ask(server.url, "/detokenize", {"tokens": [9999]}).error["param"] == "tokens"
