"""A conversation without a screen: what is sent, what is kept, and what may be said instead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serving import WAIT_S, ScriptedBackend, ScriptedEngine, running, says

from core.data.tokenizers import ByteTokenizer
from core.inference.request import Piece, Request, Scored
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.lens import Alternative
from daisy_tui.chatting.turns import Turn

Script = Callable[[Request], Iterable[Piece]]


@contextmanager
def talking(
    engine: ScriptedEngine, *, template: str | None = "plain", key: str | None = None, **how: Any
) -> Iterator[Conversation]:
    with running(ScriptedBackend(engine, template=template), api_key=key) as server:
        form = "chat" if template else "text"
        yield Conversation(Client(server.url, key), **{"form": form, "gives_ids": True, **how})


def spelled(text: str, *, top: tuple[tuple[int, float], ...] = (), finish: Any = "stop") -> Script:
    """Bytes of a text as tokens, whose characters come whole."""

    def script(_request: Request) -> Iterable[Piece]:
        for character in text:
            *begin, last = character.encode()
            for byte in begin:
                yield Piece("", (Scored(byte, -0.5, ((byte, -0.5), *top)),))
            yield Piece(character, (Scored(last, -0.5, ((last, -0.5), *top)),))
        yield Piece("", (), finish, completion_tokens=len(text.encode()))

    return script


def prompts(engine: ScriptedEngine) -> list[str]:
    return [bytes(request.prompt).decode() for request in engine.requests]


def asked(conversation: Conversation, text: str) -> Turn:
    """Ask, read the answer to its end, and return it."""
    answering = conversation.begin(conversation.say(text))
    answering.run()
    return answering.turn


def test_every_branch_has_its_own_history() -> None:
    engine = ScriptedEngine(says("ok"))
    with talking(engine) as conversation:
        first = asked(conversation, "one")
        asked(conversation, "two")
        conversation.tree.leave(first)
        asked(conversation, "three")
        conversation.system = "Be brief."
        conversation.begin(first.siblings[0].parent or first).run()
    assert prompts(engine) == ["one\n", "one\nok\ntwo\n", "one\nok\nthree\n", "Be brief.\n\none\n"]
    assert [turn["content"] for turn in conversation.turns] == ["one", "ok"], "another answer ends the path"


def test_another_answer_has_the_next_seed_and_says_with_which_it_was_asked() -> None:
    engine = ScriptedEngine(says("ok"))
    with talking(engine, sampling={"seed": 7, "temperature": 0.5}) as conversation:
        answer = asked(conversation, "Hi")
        assert answer.parent is not None
        conversation.begin(answer.parent).run()
        asked(conversation, "So?")
    assert [request.params.seed for request in engine.requests] == [7, 8, 7]
    assert [turn.asked["seed"] for turn in answer.siblings] == [7, 8]


def test_a_text_goes_on_exactly_as_it_was_typed() -> None:
    engine = ScriptedEngine(says(" rich"))
    with talking(engine, template=None) as conversation:
        answer = asked(conversation, "Emma was")
        asked(conversation, ",\nand")
        conversation.begin(answer).run()
    assert prompts(engine) == ["Emma was", "Emma was rich,\nand", "Emma was rich"]
    assert [request.max_tokens for request in engine.requests] == [100] * 3, "a quarter of what the model holds"


def test_the_ids_of_prompt_and_answer_are_kept_with_what_might_have_come() -> None:
    engine = ScriptedEngine(spelled("né", top=((66, -1.5),)))
    with talking(engine, alternatives=2) as conversation:
        answer = asked(conversation, "Hi")
    assert answer.prompt_ids == [*b"Hi\n"]
    assert [token.id for token in answer.tokens] == [*"né".encode()]
    assert [other.id for other in answer.tokens[1].top] == [0xC3, 66]
    assert engine.requests[0].logprobs == 2


def test_a_fork_goes_on_from_the_very_ids_with_the_alternative_in_its_place() -> None:
    engine = ScriptedEngine(spelled("about"))
    with talking(
        engine, alternatives=2, sampling={"max_tokens": 20, "stop": ["X"]}, template="instruction"
    ) as conversation:
        answer = asked(conversation, "Hi")
        engine.says = spelled(" ice")
        forking = conversation.fork(answer, 2, Alternative(ord("r"), b"r", -1.0))
        forking.run()
    assert forking.turn.siblings == [answer, forking.turn]
    assert forking.turn.text == "abr ice"
    assert bytes(engine.requests[1].prompt) == bytes(engine.requests[0].prompt) + b"abr"
    assert engine.requests[1].max_tokens == 17, "what was said counts"
    assert set(engine.requests[1].stop) == {"X", "### Instruction:"}, "the template's own end it as in a chat"
    assert bytes(token.id or 0 for token in forking.turn.tokens) == b"abr ice"
    assert forking.turn.speed is not None
    assert forking.turn.speed.tokens == 4, "only what is new counts"


def test_a_fork_inside_a_character_leaves_the_character_to_what_comes() -> None:
    engine = ScriptedEngine(spelled("aé"))
    with talking(engine, alternatives=1) as conversation:
        answer = asked(conversation, "Hi")
        engine.says = lambda _: [Piece("ä", (Scored(0xA4, -0.1),), "stop")]
        forking = conversation.fork(answer, 1, Alternative(0xC3, b"\xc3", -1.0))
        forking.run()
    assert forking.turn.text == "aä"


def test_a_fork_at_the_end_of_text_is_over_and_asks_nothing() -> None:
    engine, end = ScriptedEngine(spelled("abc")), ByteTokenizer().eot_token_id
    with talking(engine, alternatives=1, end=end) as conversation:
        answer = asked(conversation, "Hi")
        forking = conversation.fork(answer, 2, Alternative(end, b"<|endoftext|>", -1.0))
        forking.run()
    assert len(engine.requests) == 1
    assert (forking.turn.text, forking.turn.ended) == ("ab", "stop"), "its name is no text"


def test_an_answer_that_was_cut_short_goes_on_from_where_it_was() -> None:
    engine = ScriptedEngine(spelled("once", finish="length"))
    with talking(engine, template=None, alternatives=0) as conversation:
        answer = asked(conversation, "")
        assert answer.ended == "length"
        engine.says = spelled(" upon")
        forking = conversation.fork(answer, 4)
        forking.run()
    assert forking.turn.text == "once upon"


def test_without_ids_there_is_no_fork() -> None:
    engine = ScriptedEngine(spelled("ab"))
    with talking(engine, alternatives=1, gives_ids=False) as conversation:
        answer = asked(conversation, "Hi")
        assert answer.tokens[0].id is None
        with pytest.raises(ClientError, match="ids of this answer are not known"):
            conversation.fork(answer, 0, Alternative(None, b"x", -1.0))
        conversation.alternatives = None
        conversation.gives_ids = True
        plain = asked(conversation, "So?")
        with pytest.raises(ClientError, match="ids of this answer are not known"):
            conversation.fork(plain, 0)
    assert len(answer.siblings) == len(plain.siblings) == 1


@pytest.mark.parametrize("template", ["plain", None])
def test_a_stop_before_the_first_token_ends_the_waiting_at_once_and_the_server_hears_of_it(
    template: str | None,
) -> None:
    engine = ScriptedEngine()  # says nothing
    with talking(engine, template=template) as conversation:
        answering = conversation.begin(conversation.say("Hi"))
        thread = threading.Thread(target=answering.run)
        thread.start()
        engine.asked.get(timeout=WAIT_S)
        answering.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert engine.cancelled.get(timeout=WAIT_S) == 1
    assert (answering.turn.ended, answering.turn.failure, answering.turn.text) == ("cut", "", "")


def test_a_stop_in_mid_stream_keeps_what_came() -> None:
    engine = ScriptedEngine(lambda _: [Piece("half", (Scored(65),))])
    came: queue.Queue[str] = queue.Queue()

    def read(pieces: Iterator[str]) -> None:
        for piece in pieces:
            came.put(piece)

    with talking(engine) as conversation:
        answering = conversation.begin(conversation.say("Hi"))
        thread = threading.Thread(target=read, args=(answering.pieces(),))
        thread.start()
        assert came.get(timeout=WAIT_S) == "half"
        answering.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert engine.cancelled.get(timeout=WAIT_S) == 1
    assert (answering.turn.ended, answering.turn.text) == ("cut", "half")
    assert conversation.turns[-1]["content"] == "half"


def test_what_is_stopped_before_it_was_asked_is_never_asked() -> None:
    engine = ScriptedEngine(says("ok"))
    with talking(engine) as conversation:
        answering = conversation.begin(conversation.say("Hi"))
        answering.stop()
        answering.run()
    assert engine.requests == []
    assert answering.turn.ended == "cut"


def test_a_failure_stays_with_its_answer_and_an_empty_answer_is_no_part_of_the_history() -> None:
    engine = ScriptedEngine(lambda _: [Piece(finish="error", error="no numbers")])
    with talking(engine) as conversation:
        answering = conversation.begin(conversation.say("Hi"))
        with pytest.raises(ClientError, match="no numbers"):
            answering.run()
        assert (answering.turn.ended, answering.turn.failure) == ("failed", f"{conversation.client.url}: no numbers")
        engine.says = says("ok")
        asked(conversation, "Well?")
    assert prompts(engine)[1] == "Hi\nWell?\n"


def test_a_wrong_key_is_a_failure_of_its_own_code() -> None:
    engine = ScriptedEngine(says("ok"))
    with talking(engine, key="right") as conversation:
        conversation.client = Client(conversation.client.url, "wrong")
        with pytest.raises(ClientError, match="wrong or missing API key") as raised:
            asked(conversation, "Hi")
    assert raised.value.code == "invalid_api_key"


def test_the_speed_is_by_the_servers_clock() -> None:
    engine = ScriptedEngine(says("a", "b", "c"))
    with talking(engine) as conversation:
        speed = asked(conversation, "Hi").speed
    assert speed is not None
    assert (speed.tokens, speed.first_s, speed.rest_s) == (3, pytest.approx(0.3), 0.3), "queued and prefill; decode"


class Hearing:
    """A keeper that only remembers in which order it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def begun(self, turn: Turn) -> None:
        self.heard.append(("begun", turn.text))

    def grown(self, turn: Turn) -> None:
        self.heard.append(("grown", turn.text))

    def ended(self, turn: Turn) -> None:
        self.heard.append(("ended", f"{turn.text} {turn.ended}"))

    def removed(self, turn: Turn) -> None:
        self.heard.append(("removed", turn.text))


def test_the_keeper_hears_of_an_answer_before_it_is_asked_and_to_its_end() -> None:
    keeper = Hearing()
    engine = ScriptedEngine(says("a", "b"))
    with talking(engine, keeper=keeper) as conversation:
        asked(conversation, "Hi")
    assert keeper.heard[0] == ("begun", "")
    assert ("grown", "ab") in keeper.heard
    assert keeper.heard[-1] == ("ended", "ab stop")


def test_what_was_never_taken_is_removed_where_it_is_read_at_once() -> None:
    keeper = Hearing()
    with talking(ScriptedEngine(says("ok")), keeper=keeper, sampling={"max_tokens": 9999}) as conversation:
        with pytest.raises(ClientError, match="more than the model's 400"):
            list(conversation.ask("Hi"))
        assert conversation.turns == []
    assert [what for what, _ in keeper.heard][-2:] == ["removed", "removed"]


def test_a_text_that_was_changed_stands_beside_what_it_was() -> None:
    engine = ScriptedEngine(says(" was"))
    with talking(engine, template=None) as conversation:
        answer = asked(conversation, "Emma")
        assert conversation.write("Emma was") is answer, "nothing was typed"
        more = conversation.write("Emma was rich")
        assert (more.text, more.parent) == (" rich", answer)
        assert conversation.write("Emma was") is answer
        assert conversation.tree.tip is answer, "what was taken away is kept beside"
        other = conversation.write("Emma is")
        assert (other.text, other.parent) == (" is", answer.parent)
        assert conversation.write("Anne").parent is conversation.tree.root
        assert conversation.write("") is conversation.tree.root
        assert len(list(conversation.tree)) == 5


def test_a_text_is_known_again_as_it_is_seen() -> None:
    with talking(ScriptedEngine(says("a\x1bb")), template=None) as conversation:
        answer = asked(conversation, "x")
        assert conversation.write("xa?b", lambda text: text.replace("\x1b", "?")) is answer


def test_a_second_side_begins_with_what_was_said_on_the_first() -> None:
    engine = ScriptedEngine(says("ok"))
    with talking(engine, system="Be brief.") as conversation:
        first = asked(conversation, "one")
        conversation.tree.leave(first)
        other = Conversation(conversation.client)
        other.copy(conversation)
        asked(other, "two")
    assert prompts(engine)[1] == "Be brief.\n\none\nok\ntwo\n"
    assert len(conversation.tree.path) == 2
