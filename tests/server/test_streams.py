"""Answers as they come: their form, their end in every case, and what becomes of those nobody waits for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, ask, read_until, running, says

from core.inference.request import Piece, Request, Scored
from server.door import parse
from server.schemas import ChatRequest

CHAT = "/v1/chat/completions"
COMPLETE = "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
ASKED: dict[str, dict[str, Any]] = {CHAT: HELLO, COMPLETE: {"prompt": "Hi"}}
EMOJI = "a👩‍🚀é"


@contextmanager
def _raw(server: Running, path: str, **more: Any) -> Iterator[socket.socket]:
    """A connection on which a question was sent, and nothing read."""
    body = json.dumps({**ASKED[path], **more}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(server.address, timeout=WAIT_S) as connection:
        connection.sendall(head.encode() + body)
        yield connection


@pytest.mark.parametrize("path", ASKED)
def test_a_stream_joined_is_the_answer_that_comes_at_once(path: str) -> None:
    with running(ScriptedBackend(ScriptedEngine(says(*EMOJI, "", " end")))) as server:
        streamed = ask(server.url, path, {**ASKED[path], "stream": True})
        whole = ask(server.url, path, ASKED[path])
        assert streamed.text == whole.text == EMOJI + " end"
        chunks = streamed.events
        assert streamed.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
        finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert finishes == [None] * (len(finishes) - 1) + ["stop"]
        assert all("usage" not in chunk for chunk in chunks)
        assert whole.json["choices"][0]["finish_reason"] == "stop"


def test_the_first_chunk_of_a_chat_has_the_role_and_no_other_has() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("a", "b")))) as server:
        deltas = [chunk["choices"][0]["delta"] for chunk in ask(server.url, CHAT, {**HELLO, "stream": True}).events]
        assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
        assert [delta for delta in deltas[1:] if "role" in delta] == []
        assert deltas[1:] == [{"content": "a"}, {"content": "b"}]


@pytest.mark.parametrize("path", ASKED)
def test_usage_comes_in_a_last_chunk_without_choices_when_it_is_asked_for(path: str) -> None:
    with running(ScriptedBackend(ScriptedEngine(says("a", "b", finish="length")))) as server:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        *_, last = ask(server.url, path, {**ASKED[path], **options}).events
        whole = ask(server.url, path, ASKED[path]).json
        assert last["choices"] == []
        assert last["usage"] == whole["usage"]
        assert last["usage"]["completion_tokens"] == 2
        assert last["timing"] == whole["timing"] == {"queued_s": 0.1, "prefill_s": 0.2, "decode_s": 0.3}


def test_several_choices_are_told_apart_and_each_ends_once() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("a", "b"), max_queue=8))) as server:
        body = {"prompt": ["x", "y"], "n": 2, "stream": True}
        chunks = ask(server.url, COMPLETE, body).events
        texts: dict[int, str] = {}
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        assert texts == {0: "ab", 1: "ab", 2: "ab", 3: "ab"}
        asked = server.server.host._engine.requests  # type: ignore[union-attr]
        assert [(bytes(request.prompt), request.choice) for request in asked] == [
            (b"x", 0),
            (b"x", 1),
            (b"y", 0),
            (b"y", 1),
        ]
        assert len({request.params.seed for request in asked}) == 1


def test_a_failure_under_way_is_an_error_in_the_stream_and_then_its_end() -> None:
    def fails(_request: Request) -> Iterable[Piece]:
        yield Piece("so far", (Scored(65),))
        yield Piece(finish="error", error="257 logits are not finite")

    engine = ScriptedEngine(fails)
    with running(ScriptedBackend(engine)) as server:
        *_, last = ask(server.url, CHAT, {**HELLO, "stream": True}).events
        assert last["error"]["message"] == "257 logits are not finite"
        assert last["error"]["type"] == "server_error"
        whole = ask(server.url, CHAT, HELLO)
        assert (whole.status, whole.error["message"]) == (500, "257 logits are not finite")
        engine.says = says("well")
        assert ask(server.url, CHAT, HELLO).text == "well", "one failure is not the server's"


def test_a_defect_in_the_middle_of_a_stream_is_told_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    no_token = Piece("b", (Scored(10_000, -0.5),), "stop")  # the tokenizer of bytes has no such id
    with running(ScriptedBackend(ScriptedEngine(lambda _: [Piece("a"), no_token]))) as server:
        *_, last = ask(server.url, CHAT, {**HELLO, "stream": True, "logprobs": True}).events
        assert last["error"]["type"] == "server_error"
        assert "internal error" in last["error"]["message"]
    assert "bytes must be in range" in capfd.readouterr().err


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ASKED)
def test_whoever_leaves_has_the_answer_ended(path: str, stream: bool) -> None:
    engine = ScriptedEngine()
    with running(ScriptedBackend(engine)) as server:
        with _raw(server, path, stream=stream) as connection:
            number = engine.asked.get(timeout=WAIT_S)
            engine.tell(number, Piece("begun", (Scored(65),)))
            if stream:
                read_until(connection, b"begun")
        assert engine.cancelled.get(timeout=WAIT_S) == number
        assert engine.under_way == {}


def test_whoever_leaves_while_waiting_for_a_slot_gives_the_place_up() -> None:
    engine = ScriptedEngine(slots=1, max_queue=1)
    with running(ScriptedBackend(engine), max_queue=1) as server, _raw(server, CHAT):
        engine.asked.get(timeout=WAIT_S)
        with _raw(server, CHAT):
            waiting = engine.asked.get(timeout=WAIT_S)
        assert engine.cancelled.get(timeout=WAIT_S) == waiting


def test_a_full_queue_is_429_with_when_to_come_back_and_before_anything_is_read() -> None:
    engine = ScriptedEngine(slots=1, max_queue=1)
    with running(ScriptedBackend(engine), max_queue=1) as server, _raw(server, CHAT), _raw(server, CHAT):
        for _ in range(2):
            engine.asked.get(timeout=WAIT_S)
        answer = ask(server.url, CHAT, b"this is not even JSON")
        assert (answer.status, answer.error["type"], answer.error["code"]) == (429, "rate_limit_error", "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
        assert b'daisy_rejections_total{reason="queue_full"} 1.0' in ask(server.url, "/metrics").raw


def test_prompts_that_do_not_all_fit_into_the_queue_leave_nothing_behind() -> None:
    engine = ScriptedEngine(slots=1, max_queue=2)
    with running(ScriptedBackend(engine), max_queue=4) as server:
        assert ask(server.url, COMPLETE, {"prompt": ["a", "b", "c", "d"]}).status == 429
        assert engine.under_way == {}
        engine.says = says("ok")
        assert ask(server.url, COMPLETE, {"prompt": "a"}).text == "ok"


def test_a_stream_that_is_silent_is_kept_alive_by_comments() -> None:
    engine = ScriptedEngine()
    with running(ScriptedBackend(engine), keep_alive_s=0.01) as server, _raw(server, CHAT, stream=True) as connection:
        number = engine.asked.get(timeout=WAIT_S)
        read_until(connection, b": keep-alive\n\n")
        engine.tell(number, Piece("late", (Scored(65),), "stop"))
        assert b"late" in read_until(connection, b"data: [DONE]")


def test_a_reader_that_takes_nothing_is_cut_off_and_the_others_read_on() -> None:
    engine = ScriptedEngine()
    with running(ScriptedBackend(engine), write_timeout_s=0.2) as server, _raw(server, COMPLETE, stream=True):
        slow = engine.asked.get(timeout=WAIT_S)
        flood = threading.Thread(target=_flood, args=(engine, slow))
        flood.start()
        assert engine.cancelled.get(timeout=WAIT_S) == slow
        flood.join(WAIT_S)
        engine.says = says("ok")
        assert ask(server.url, COMPLETE, {"prompt": "a"}).text == "ok"
        assert b'daisy_rejections_total{reason="slow_reader"} 1.0' in ask(server.url, "/metrics").raw


def _flood(engine: ScriptedEngine, number: int) -> None:
    """Say much, for as long as anybody listens; not so fast that memory is the limit."""
    pause = threading.Event()
    while number in engine.under_way:
        engine.tell(number, Piece("x" * 65536, (Scored(65),)))
        pause.wait(0.001)


def test_the_servers_end_is_told_to_streams_and_new_questions_are_refused() -> None:
    engine = ScriptedEngine()
    with running(ScriptedBackend(engine), grace_s=3.5) as server:
        with _raw(server, CHAT, stream=True) as connection:
            number = engine.asked.get(timeout=WAIT_S)
            engine.tell(number, Piece("begun", (Scored(65),)))
            read_until(connection, b"begun")
            server.run(server.server.stop())
            last = read_until(connection, b"data: [DONE]")
        assert b'"code":"shutting_down"' in last
        assert engine.closed_with == 3.5
        with pytest.raises(ConnectionRefusedError):
            ask(server.url, "/health")


def test_logprobs_of_a_chat_have_their_bytes_and_alternatives() -> None:
    def script(request: Request) -> Iterable[Piece]:
        assert request.logprobs == 2
        yield Piece("", (Scored(0xC3, -0.25, ((0xC3, -0.25), (66, -1.5))),))
        yield Piece("é", (Scored(0xA9, float("-inf"), ()),), "stop")

    with running(ScriptedBackend(ScriptedEngine(script))) as server:
        body = {**HELLO, "logprobs": True, "top_logprobs": 2}
        content = ask(server.url, CHAT, body).json["choices"][0]["logprobs"]["content"]
        assert content[0]["token"] == "bytes:\\xc3"
        assert content[0]["top_logprobs"][1] == {"token": "B", "logprob": -1.5, "bytes": [66]}
        assert (content[1]["bytes"], content[1]["logprob"]) == ([0xA9], -9999.0)
        streamed = ask(server.url, CHAT, {**body, "stream": True}).events
        parts = [chunk["choices"][0]["logprobs"]["content"] for chunk in streamed[1:]]
        assert [entry for part in parts for entry in part] == content


@pytest.mark.parametrize("path", ASKED)
def test_ids_of_prompt_answer_and_alternatives_come_where_they_are_asked_for(path: str) -> None:
    wants = {"logprobs": True, "top_logprobs": 2} if path == CHAT else {"logprobs": 2}
    with running(ScriptedBackend(ScriptedEngine(says("a", "", "bc")), template="plain")) as server:
        plain = ask(server.url, path, {**ASKED[path], **wants})
        assert b"token_ids" not in plain.raw
        assert b'"id":65' not in plain.raw
        body = {**ASKED[path], **wants, "return_token_ids": True}
        whole, streamed = ask(server.url, path, body).json, ask(server.url, path, {**body, "stream": True}).events
    prompt = [*b"Hi\n"] if path == CHAT else [*b"Hi"]
    top = [
        {"id": 65, "token": "A", "logprob": -0.5, "bytes": [65]},
        {"id": 66, "token": "B", "logprob": -1.5, "bytes": [66]},
    ]
    choice = whole["choices"][0]
    assert choice["token_ids"] == [65, 65, 65]
    assert choice["logprobs"]["content"] == [{**top[0], "top_logprobs": top}] * 3
    told = [chunk if path == CHAT else chunk["choices"][0] for chunk in [whole, *streamed]]
    assert [place.get("prompt_token_ids") for place in told[:2]] == [prompt, prompt]
    assert not any("prompt_token_ids" in place for place in told[2:]), "once in a stream"
    chunks = [chunk["choices"][0] for chunk in streamed]
    assert [token for chunk in chunks for token in chunk.get("token_ids", ())] == [65, 65, 65]


def test_ids_come_without_logprobs_too_and_before_the_text_of_a_character_is_whole() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("", "é")), template="plain")) as server:
        events = ask(server.url, CHAT, {**HELLO, "return_token_ids": True, "stream": True}).events
    assert [(c["choices"][0]["delta"].get("content"), c["choices"][0].get("token_ids")) for c in events[1:]] == [
        (None, [65]),
        ("é", [65]),
    ]


def test_echoed_logprobs_count_offsets_in_characters_and_leave_the_first_token_without_one() -> None:
    ids = "é!".encode()

    def script(request: Request) -> Iterable[Piece]:
        assert (request.echo, request.logprobs, request.max_tokens) == (True, 1, 0)
        yield Piece(
            "é!", (Scored(ids[0]), Scored(ids[1], -1.0, ((65, -0.5),)), Scored(ids[2], -2.0, ((ids[2], -2.0),)))
        )
        yield Piece(finish="length")

    with running(ScriptedBackend(ScriptedEngine(script))) as server:
        body = {"prompt": list(ids), "echo": True, "logprobs": 1, "max_tokens": 0}
        (choice,) = ask(server.url, COMPLETE, body).json["choices"]
        assert choice["text"] == "é!"
        assert choice["logprobs"] == {
            "tokens": ["bytes:\\xc3", "bytes:\\xa9", "!"],
            "token_logprobs": [None, -1.0, -2.0],
            "top_logprobs": [None, {"A": -0.5, "bytes:\\xa9": -1.0}, {"!": -2.0}],
            "text_offset": [0, 0, 1],
        }


def test_defaults_are_those_of_openai_and_what_is_given_gets_through() -> None:
    engine = ScriptedEngine(says("ok"))
    with running(ScriptedBackend(engine)) as server:
        ask(server.url, COMPLETE, {"prompt": ""})
        ask(server.url, CHAT, HELLO)
        given = {
            "temperature": 0,
            "top_k": 5,
            "min_p": 0.1,
            "seed": -1,
            "stop": ["END", ""],
            "logit_bias": {"65": -100},
        }
        ask(server.url, COMPLETE, {"prompt": "a", "max_tokens": 3, **given, "ignore_eos": True, "stop_token_ids": [66]})
    default, chat, set_ = engine.requests
    assert (default.prompt, default.max_tokens) == ((256,), 16), "an empty prompt begins from end-of-text"
    assert (default.params.temperature, default.params.top_k, default.params.top_p) == (1.0, 0, 1.0)
    assert chat.max_tokens == 400 - len(chat.prompt), "all that is left"
    assert chat.stop == ("### Instruction:",)
    assert default.params.seed != chat.params.seed
    assert set_.params.seed == 2**64 - 1
    assert (set_.stop, set_.params.logit_bias, set_.params.stop_tokens) == (("END",), ((65, -100),), (66,))
    assert (set_.params.temperature, set_.params.top_k, set_.params.min_p, set_.params.ignore_eos) == (0, 5, 0.1, True)


def test_what_stopped_an_answer_is_told() -> None:
    with running(ScriptedBackend(ScriptedEngine(lambda _: [Piece("a", (), "stop", stopped_by="END")]))) as server:
        assert ask(server.url, COMPLETE, {"prompt": "a"}).json["choices"][0]["stop_reason"] == "END"


def test_a_message_comes_back_as_clients_got_it() -> None:
    message = {"role": "assistant", "content": "a", "refusal": None, "tool_calls": None, "annotations": []}
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    asked = parse(json.dumps({"messages": [message, parts]}).encode(), ChatRequest)
    assert [turn.text for turn in asked.messages] == ["a", "ab"]


def test_slots_and_metrics_tell_what_the_engine_does() -> None:
    engine = ScriptedEngine(slots=2)
    with running(ScriptedBackend(engine)) as server, _raw(server, CHAT, stream=True):
        engine.asked.get(timeout=WAIT_S)
        slots = ask(server.url, "/v1/slots").json
        assert [slot["state"] for slot in slots["slots"]] == ["busy", "idle"]
        metrics = ask(server.url, "/metrics").raw.decode().splitlines()
        for line in (
            "daisy_requests_running 1.0",
            "daisy_requests_waiting 0.0",
            "daisy_slots 2.0",
            "daisy_cache_used_ratio 0.25",
            "daisy_generation_tokens_total 30.0",
            "daisy_weights_step 7.0",
        ):
            assert line in metrics
