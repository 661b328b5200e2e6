"""How long an answer may be where nobody says it, and what is told of a full context before one asks in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chatting import ask, chat, chat_app, chunk, reaching, sending, serve_from, talk_to, tell
from serving import ScriptedBackend, ScriptedEngine, running
from terminal import finish, words
from textual.pilot import Pilot
from textual.widgets import Input

from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.room import Room, answer_limit
from daisy_tui.chatting.transcripts import listed, read
from daisy_tui.chatting.turns import Turn
from daisy_tui.services import Services


@contextmanager
def talking(
    engine: ScriptedEngine, *, size: int = 400, template: str | None = "plain", **how: Any
) -> Iterator[Conversation]:
    with running(ScriptedBackend(engine, template=template, max_seq_len=size)) as server:
        form = "chat" if template else "text"
        yield Conversation(Client(server.url), **{"form": form, "gives_ids": True, "size": size, **how})


def asked(conversation: Conversation, text: str) -> Turn:
    answering = conversation.begin(conversation.say(text))
    answering.run()
    return answering.turn


def test_an_answer_is_a_quarter_of_what_the_model_holds_and_never_more_than_512() -> None:
    assert [answer_limit(size) for size in (0, 2, 64, 400, 2048, 4096, 1 << 20)] == [512, 1, 16, 100, 512, 512, 512]


def test_a_context_is_nearly_full_before_it_is_full() -> None:
    assert not Room(4096, 3800).is_nearly_full
    assert Room(4096, 3900).is_nearly_full
    assert not Room(4096, 4000).is_full
    assert Room(4096, 4080).is_full
    assert str(Room(4096, 3900)) == "the context is almost full: 196 of its 4,096 tokens are left"
    assert str(Room(400, 410)) == "the context is full: 0 of its 400 tokens are left"


@pytest.mark.parametrize("template", ["plain", None])
def test_without_max_tokens_an_answer_is_bounded_and_the_last_one_takes_what_is_left(template: str | None) -> None:
    engine = ScriptedEngine(reaching(1000))
    with talking(engine, template=template) as conversation:
        turns = [asked(conversation, "Hi") for _ in range(4)]
    assert [request.max_tokens for request in engine.requests[:3]] == [100] * 3
    assert engine.requests[3].max_tokens == 400 - len(engine.requests[3].prompt) < 100
    assert [turn.ended for turn in turns] == ["length"] * 3 + ["full"]
    assert turns[0].speed is not None
    assert turns[3].speed is not None
    assert str(turns[0].speed).endswith(", cut at max_tokens 100")
    assert str(turns[3].speed).endswith(", the context of 400 tokens is full")
    assert conversation.room() == Room(400, 400)
    assert conversation.room(turns[0]) == Room(400, len(engine.requests[0].prompt) + 100)


def test_a_limit_that_was_typed_is_sent_as_it_is() -> None:
    engine = ScriptedEngine(reaching(1000))
    with talking(engine, sampling={"max_tokens": 7}) as conversation:
        turn = asked(conversation, "Hi")
        conversation.sampling = {"max_tokens": 9999}
        with pytest.raises(ClientError, match="max_tokens 9999 are more than the model's 400"):
            asked(conversation, "So?")
    assert engine.requests[0].max_tokens == 7
    assert str(turn.speed).endswith(", cut at max_tokens 7")


@pytest.mark.parametrize("typed", [{}, {"max_tokens": 100}])
def test_going_on_where_an_answer_was_cut_has_as_much_room_again(typed: dict[str, Any]) -> None:
    engine = ScriptedEngine(reaching(1000))
    with talking(engine, alternatives=1, sampling=typed) as conversation:
        turn = asked(conversation, "Hi")
        answering = conversation.fork(turn, len(turn.tokens))
        answering.run()
    assert [request.max_tokens for request in engine.requests] == [100, 100]
    assert len(answering.turn.text) == 200


def test_a_server_that_counts_nothing_is_asked_for_512_tokens_and_says_why_it_ended() -> None:
    with sending([chunk("a"), chunk("", finish_reason="length"), b"data: [DONE]\n\n"]) as url:
        conversation = Conversation(Client(url))
        question = conversation.say("Hi")
        assert conversation._asking(question, {}).body["max_tokens"] == 512
        answering = conversation.begin(question)
        answering.run()
    assert str(answering.turn.speed).endswith(", cut at max_tokens 512")
    assert conversation.room() is None


def test_a_full_context_is_told_before_one_asks_in_vain_and_nothing_typed_is_lost(services: Services) -> None:
    engine = ScriptedEngine(reaching(1000))
    with running(ScriptedBackend(engine, template="plain")) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            placeholder = chat(app).side.query_one("#parameter-max_tokens", Input).placeholder
            assert placeholder == "100 by default"
            await ask(pilot, "Hi")
            assert "cut at max_tokens 100: ctrl+g goes on" in words(app)
            assert "full" not in words(app)
            await ask(pilot, "So?")
            assert "context 52% full" in words(app)
            await ask(pilot, "So?")
            assert "the context is" not in words(app)
            await ask(pilot, "So?")
            shown = " ".join(words(app).split())
            assert "the context of 400 tokens is full: ctrl+n begins a new chat" in shown
            assert "the context is full: 0 of its 400 tokens are left; ctrl+n begins a new chat, ctrl+t asks" in shown
            await ask(pilot, "And now?")
            assert chat(app).prompt.text == "And now?"
            assert len(engine.requests) == 4, "nothing was asked in vain"
            chat(app).prompt.load_text("")
            await pilot.press("ctrl+t")
            chat(app).prompt.load_text("Or?")
            await pilot.press("enter")
            await finish(pilot)
            assert len(engine.requests) == 5, "an earlier question has the room that its answer took"
            await pilot.press("ctrl+n")
            await finish(pilot)
            assert "full" not in words(app)
            await ask(pilot, "Hi again")
            assert pane.turn is not None
            assert pane.turn.ended == "length"

        tell(app, story)
    kept = [read(entry.path) for entry in listed(services.folder)]
    (first,) = [saved for saved in kept if len(list(saved.tree)) > 2]
    last = first.tree.path[-1]
    assert (last.ended, last.held) == ("full", 400), "another terminal knows it too"
    assert str(last.speed).endswith("the context of 400 tokens is full")


def test_a_context_that_is_almost_full_says_what_helps(services: Services) -> None:
    with running(ScriptedBackend(ScriptedEngine(reaching(60)), template=None, max_seq_len=256)) as server:
        serve_from(services, server.url)
        app = chat_app(services)

        async def story(pilot: Pilot[Any]) -> None:
            pane = await talk_to(pilot)
            pane.editor.load_text("x" * 180)
            await pilot.press("ctrl+g")
            await finish(pilot)
            said = " ".join(words(app).split())
            assert "almost full: 16 of its 256 tokens are left; a shorter text leaves more, ctrl+n begins" in said
            await pilot.press("ctrl+g")
            await finish(pilot)
            assert "the context of 256 tokens is full: ctrl+n begins a new chat" in words(app)
            await pilot.press("ctrl+g")
            await finish(pilot)
            said = " ".join(words(app).split())
            assert "more than the model's 256; a shorter text leaves more, ctrl+n begins a new one" in said

        tell(app, story)
