"""Servers of another kind, broken or hostile: what they send is bounded, and ends in one line that does nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from chatting import ask, chat, chat_app, chunk, get_ready, sending, serve_from, tell
from terminal import finish, words
from textual.pilot import Pilot

from daisy_tui.chatting import client as client_module
from daisy_tui.chatting.answering import MOST_CHARACTERS, MOST_TOKENS, Answering
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.serving import Serving
from daisy_tui.services import Services


def asked(url: str, **how: Any) -> Answering:
    conversation = Conversation(Client(url), **how)
    return conversation.begin(conversation.say("Hi"))


@pytest.mark.parametrize("form", ["chat", "text"])
def test_an_answer_without_an_end_is_cut_and_kept_as_far_as_it_came(form: Any) -> None:
    with sending(itertools.repeat(chunk("word " * 1000))) as url:
        answering = asked(url, form=form)
        answering.run()
    turn = answering.turn
    assert turn.ended == "cut"
    assert turn.failure.startswith("cut at 26")
    assert MOST_CHARACTERS < len(turn.text) <= MOST_CHARACTERS + 5000


def test_tokens_without_an_end_are_cut_too() -> None:
    with sending(itertools.repeat(chunk("a"))) as url:
        answering = asked(url)
        answering.run()
    assert len(answering.turn.pieces) == MOST_TOKENS + 1
    assert answering.turn.ended == "cut"


def test_a_line_without_an_end_is_not_gathered() -> None:
    with sending(itertools.chain([chunk("half "), b"data: "], itertools.repeat(b"x" * 65536))) as url:
        answering = asked(url)
        with pytest.raises(ClientError, match=r"sends a line of more than 4\.00 MiB, and what came until then is kept"):
            answering.run()
    assert (answering.turn.text, answering.turn.ended) == ("half ", "failed")


@pytest.mark.parametrize("line", [b": alive\n", b"\n", b'data: {"choices": []}\n'])
def test_a_stream_that_says_nothing_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    monkeypatch.setattr(client_module, "_MOST_STREAMED", 1 << 20)
    with sending(itertools.repeat(line * 1000)) as url:
        answering = asked(url)
        with pytest.raises(ClientError, match=r"sends more than 1\.00 MiB"):
            answering.run()


def test_what_is_not_streamed_is_bounded_too() -> None:
    with (
        sending([], b'{"data": "' + b"x" * (2 << 20) + b'"}') as url,
        pytest.raises(ClientError, match=r"answers with more than 1\.00 MiB"),
    ):
        Client(url).get("/v1/models")


def lines(*chunks: Any) -> list[bytes]:
    return [b"data: " + json.dumps(value).encode() + b"\n\n" for value in chunks]


def said(**choice: Any) -> list[bytes]:
    return lines({"choices": [{"delta": {"content": "a"}, **choice}]})


ENDS = [b"data: [DONE]\n\n"]
GARBAGE: dict[str, Iterable[bytes]] = {
    "no JSON": [b"data: {\n\n"],
    "no object": lines([1]),
    "no UTF-8": [b"data: \xff\xfe\n\n"],
    "far too deep": [b"data: " + b"[" * 100_000 + b"\n\n"],
    "choices are a number": lines({"choices": 3}),
    "a choice is a word": lines({"choices": ["x"]}),
    "text is a list": lines({"choices": [{"delta": {"content": ["\x1b[2J"]}}]}),
    "delta is a word": lines({"choices": [{"delta": "x"}]}),
    "usage is a list": lines({"choices": [], "usage": [1]}),
    "times are words": lines({"choices": [], "timing": {"queued_s": "x", "prefill_s": 1, "decode_s": 1}}),
    "times are missing": lines({"choices": [], "timing": {"queued_s": 1}}),
    "ids are words": lines({"choices": [{"prompt_token_ids": ["x"]}]}),
    "a logprob is no number": [b'data: {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": NaN}]}}]}\n\n'],
    "a byte is none": said(logprobs={"content": [{"token": "a", "bytes": [999], "logprob": -1}]}),
    "an error that acts": lines({"error": {"message": "\x1b[2Jgone\nand\x07 more " + "x" * 5000}}),
    "an error that is a list": lines({"error": [1, 2]}),
    "nothing at all": [],
    "a page": [b"<html>\n\x1b[2J</html>\n"],
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_one_line_and_loses_nothing(garbage: Iterable[bytes]) -> None:
    with sending([chunk("so far"), *garbage]) as url:
        answering = asked(url, alternatives=5)
        with pytest.raises(ClientError) as raised:
            answering.run()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600
    assert (answering.turn.text, answering.turn.ended, answering.turn.failure) == (
        "so far",
        "failed",
        str(raised.value),
    )
    assert str(answering.turn.speed)


ODD: dict[str, Iterable[bytes]] = {
    "counts are words": lines({"choices": [], "usage": {"completion_tokens": "many", "prompt_tokens": -1}}),
    "half a pair": lines({"choices": [{"delta": {"content": "\ud800"}}]}),
    "times without an end": [b'data: {"choices":[],"timing":{"queued_s":1e999,"prefill_s":1,"decode_s":1}}\n\n'],
    "no blank behind the colon": [b'data:{"choices": [{"delta": {"content": "more"}}]}\n\n'],
    "an error that is none": lines({"error": None, "choices": []}),
    "a thousand alternatives": said(
        logprobs={"content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": "b", "logprob": -2}] * 1000}]}
    ),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_merely_odd_is_borne(odd: Iterable[bytes]) -> None:
    with sending([chunk("so far "), *odd, *ENDS]) as url:
        answering = asked(url, alternatives=5)
        answering.run()
    turn = answering.turn
    assert turn.text.startswith("so far ")
    turn.text.encode()
    assert "inf" not in str(turn.speed)
    assert all(len(token.top) <= 32 for token in turn.tokens)


def test_a_model_is_named_in_one_line_whatever_its_server_says(tmp_path: Path) -> None:
    model = {"id": "\x1b[2J" + "long\n" * 900, "chat_template": {"\x07": 1}, "max_model_len": "many", "step": True}
    with sending([], json.dumps({"data": [model]}).encode()) as url:
        server = Serving(tmp_path).attach(url)
    assert server.what.isprintable()
    assert len(server.what) < 300
    assert (server.template or "").isprintable()
    assert server.size == 0


NO_MODELS = [
    b'{"data":[{"id":5,"max_model_len":"x"},null,"a"],"object":3}',
    b'{"data":[{"id":"one"},null]}',
    b'{"data":[{"max_model_len":400}]}',
    b'{"data":[]}',
    b'{"data":{"id":"one"}}',
    b"{}",
]


@pytest.mark.parametrize("models", NO_MODELS)
def test_a_server_that_names_its_models_in_no_known_way_is_refused_in_one_line(tmp_path: Path, models: bytes) -> None:
    serving = Serving(tmp_path)
    with sending([], models) as url, pytest.raises(ClientError) as raised:
        serving.attach(url)
    assert str(raised.value) == f"{url}: answers not as a server of OpenAI's kind does"
    assert serving.status() == []


def test_an_endless_answer_is_cut_on_the_screen_and_the_chat_goes_on(services: Services) -> None:
    serve_from(services)
    app = chat_app(services)
    with sending(itertools.repeat(chunk("\x1b[2Jword " * 100))) as url:

        async def story(pilot: Pilot[Any]) -> None:
            pane = chat(app).panes.left
            chat(app)._take_server(pane, services.serving.attach(url))
            await get_ready(pilot)
            await ask(pilot, "Hi")
            shown = words(app)
            assert "that is all that is taken of one answer" in " ".join(shown.split())
            assert "\ufffd[2Jword" in shown
            assert "\x1b" not in shown
            assert len(app.screen.query("*")) < 120, "it is one widget, not one for each paragraph"
            await pilot.press(*"So?")
            await finish(pilot)
            assert chat(app).prompt.text == "So?"
            assert pane.is_ready

        tell(app, story)
