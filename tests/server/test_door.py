"""The door of the server: what is let in, and how everything else is refused."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, ask, running, says
from support import until

from core.errors import DaisyError
from core.inference.request import OtherModelError
from server.settings import ServeError, ServeUsageError, Settings

KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    backend = ScriptedBackend(ScriptedEngine(says("ok"), max_queue=64))
    with running(backend, max_body=20_000, read_timeout_s=0.2) as server:
        yield server


COMPLETIONS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "a name that there is not": ({"tempratur": 1}, "tempratur", "tempratur: no such parameter"),
    "a string for a number": ({"temperature": "1"}, "temperature", "Input should be a valid number"),
    "a truth for a number": ({"max_tokens": True}, "max_tokens", "valid integer"),
    "a broken number of tokens": ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
    "too hot": ({"temperature": 2.1}, "temperature", "less than or equal to 2; got 2.1"),
    "below zero": ({"temperature": -0.1}, "temperature", "greater than or equal to 0"),
    "top_p of nothing": ({"top_p": 0}, "top_p", "greater than 0"),
    "no prompts": ({"prompt": []}, "prompt", "at least 1 item"),
    "prompts of two kinds": ({"prompt": ["a", 1]}, "prompt.1", "valid string"),
    "an id that is none": ({"prompt": [1, -1]}, "prompt.1", "greater than or equal to 0"),
    "a list of ids and a text": ({"prompt": [[1], "a"]}, "prompt.1", "valid list"),
    "prompt of another type": ({"prompt": {"text": "a"}}, "prompt", "valid list"),
    "filling in": ({"suffix": "end"}, "suffix", "Input should be ''"),
    "the best of more": ({"best_of": 3}, "best_of", "must be n, which is 1"),
    "more answers than may wait": ({"n": 65}, "n", "at most 64 at once"),
    "too many answers": ({"n": 1000}, "n", "less than or equal to 128"),
    "a bias for no id": ({"logit_bias": {"x": 1}}, "logit_bias.x", "String should match pattern"),
    "a bias that is too large": ({"logit_bias": {"1": 101}}, "logit_bias.1", "less than or equal to 100"),
    "too many logprobs": ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    "a seed that is none": ({"seed": 2**64}, "seed", "less than or equal to"),
    "seventeen stops": ({"stop": ["x"] * 17}, "stop", "at most 16 items"),
    "options of a stream that is none": ({"stream_options": {"include_usage": True}}, "stream_options", "belongs to"),
    "too long for the model": (
        {"prompt": "x" * 390, "max_tokens": 20},
        "max_tokens",
        "the prompt's 390 tokens and max_tokens 20 are more than the model's 400",
    ),
    "far too long": ({"prompt": "x" * 10_000}, "prompt", "770 or more tokens are more than the model's 400"),
    "too many ids": ({"prompt": [1] * 500}, "prompt", "500 tokens"),
}


@pytest.mark.parametrize(("wrong", "param", "said"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_a_wrong_parameter_is_named_with_what_would_be_right(
    server: Running, wrong: dict[str, Any], param: str | None, said: str
) -> None:
    answer = ask(server.url, "/v1/completions", {"prompt": "a", **wrong})
    assert answer.status == 400, answer.raw
    assert answer.error["param"] == param
    assert said in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"


CHATS: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "an unknown role": ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "tools": ({"tools": [{}]}, "tools"),
    "JSON answers": ({"response_format": {"type": "json_object"}}, "response_format.type"),
    "top_logprobs alone": ({"top_logprobs": 2}, "top_logprobs"),
    "two lengths": ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
}


@pytest.mark.parametrize(("wrong", "param"), CHATS.values(), ids=CHATS)
def test_a_wrong_parameter_of_a_chat_is_named(server: Running, wrong: dict[str, Any], param: str) -> None:
    answer = ask(server.url, "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], **wrong})
    assert (answer.status, answer.error["param"]) == (400, param), answer.raw


RAW: dict[str, tuple[bytes, str | None, str]] = {
    "nothing": (b"", None, "not JSON"),
    "no object": (b"[]", None, "must be a JSON object"),
    "half of it": (b'{"prompt": "a"', None, "not JSON"),
    "not a number": (b'{"prompt": "a", "temperature": NaN}', "temperature", "finite number"),
    "infinite": (b'{"prompt": "a", "top_p": -Infinity}', "top_p", "finite number"),
    "too large for a number": (b'{"prompt": "a", "temperature": 1e400}', "temperature", "finite number"),
    "infinitely many tokens": (b'{"prompt": "a", "max_tokens": 1e400}', "max_tokens", "valid integer"),
    "a number of five thousand digits": (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", None, "4300 digits"),
    "a key that is there twice": (b'{"prompt": "a", "n": 1, "n": 2}', None, '"n" is there twice'),
    "nested without end": (b'{"prompt": ' + b"[" * 9000 + b"]" * 9000 + b"}", None, "nested too deeply"),
    "not UTF-8": (b'{"prompt": "\xff"}', None, "not UTF-8"),
}


@pytest.mark.parametrize(("raw", "param", "said"), RAW.values(), ids=RAW)
def test_a_body_that_is_none_is_refused(server: Running, raw: bytes, param: str | None, said: str) -> None:
    answer = ask(server.url, "/v1/completions", raw)
    assert answer.status == 400, answer.raw
    assert answer.error["param"] == param
    assert said in answer.error["message"]


def test_half_of_a_surrogate_pair_is_a_replacement_character_wherever_it_stands(server: Running) -> None:
    half = b'"\\ud800"'
    assert ask(server.url, "/tokenize", b'{"prompt": %b}' % half).json["tokens"] == list("\ufffd".encode())
    assert ask(server.url, "/v1/completions", b'{"prompt": "a", "model": %b}' % half).status == 404
    rendered = ask(server.url, "/v1/chat/render", b'{"messages": [{"role": "user", "content": %b}]}' % half)
    assert list("\ufffd".encode()) == rendered.json["tokens"][len("### Instruction:\n") :][:3]


def test_other_refusals_have_their_own_status_and_the_same_shape(server: Running) -> None:
    body = {"prompt": "a"}
    cases = [
        (ask(server.url, "/v1/nothing", body), 404),
        (ask(server.url, "/v1/completions", method="GET"), 405),
        (ask(server.url, "/v1/completions", b"x" * 20_001), 413),
        (ask(server.url, "/v1/completions", json.dumps(body).encode(), Content_Type="text/plain"), 415),
        (ask(server.url, "/v1/completions", gzip.compress(b"{}"), Content_Encoding="gzip"), 415),
        (ask(server.url, "/v1/completions", {**body, "model": "gpt-5"}), 404),
        (ask(server.url, "/v1/models/gpt-5"), 404),
    ]
    for answer, status in cases:
        assert answer.status == status
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.headers["Content-Type"].startswith("application/json")
    assert cases[1][0].headers["Allow"] == "POST"
    assert (cases[5][0].error["code"], cases[5][0].error["param"]) == ("model_not_found", "model")


def test_a_body_that_does_not_come_is_waited_for_only_so_long(server: Running) -> None:
    with socket.create_connection(server.address, timeout=60) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f'{head}Content-Length: 100\r\n\r\n{{"prompt'.encode())
        assert connection.recv(12) == b"HTTP/1.1 408"


def test_chunks_without_end_are_cut_off_at_the_limit(server: Running) -> None:
    with socket.create_connection(server.address, timeout=60) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"2000\r\n" + b" " * 0x2000 + b"\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_both_names_of_a_model_are_its_names(server: Running) -> None:
    for name in ("tiny", "20260101-000000-tiny"):
        assert ask(server.url, "/v1/completions", {"prompt": "a", "model": name}).status == 200
        assert ask(server.url, f"/v1/models/{name}").json["id"] == "tiny"


def test_a_page_of_another_site_cannot_ask_by_a_name_that_points_here(server: Running) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert ask(server.url, "/v1/models", Host=host).status == 403
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]", "127.8.8.8"):
        assert ask(server.url, "/v1/models", Host=host).status == 200


def test_without_cors_no_origin_is_allowed(server: Running) -> None:
    answer = ask(server.url, "/v1/models", Origin="http://localhost:3000")
    assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = {"Origin": "http://localhost:3000", "Access_Control_Request_Method": "POST"}
    assert ask(server.url, "/v1/completions", method="OPTIONS", **preflight).status == 405


def test_cors_allows_one_origin_and_no_other() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok"))), cors="http://localhost:3000", api_key=KEY) as server:
        asks = {"Access_Control_Request_Method": "POST"}
        allowed = ask(server.url, "/v1/completions", method="OPTIONS", Origin="http://localhost:3000", **asks)
        assert allowed.status == 204
        assert allowed.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert allowed.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
        other = ask(server.url, "/v1/completions", method="OPTIONS", Origin="http://evil.example", **asks)
        assert other.status == 401
        assert "Access-Control-Allow-Origin" not in other.headers
        body = {"prompt": "a", "stream": True}
        key = {"Authorization": f"Bearer {KEY}"}
        streamed = ask(server.url, "/v1/completions", body, Origin="http://localhost:3000", **key)
        assert streamed.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"])
def test_nothing_but_health_is_told_without_the_key(given: str) -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok"))), api_key=KEY) as server:
        for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/slots", "/nothing"):
            answer = ask(server.url, path, Authorization=given)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert ask(server.url, "/health").status == 200
        right = {"Authorization": f"Bearer {KEY}"}
        assert ask(server.url, "/v1/models", **right).status == 200
        metrics = ask(server.url, "/metrics", **right).raw.decode()
        assert KEY not in metrics
        assert 'daisy_rejections_total{reason="key"} 5.0' in metrics


def test_a_key_is_in_nothing_that_is_printed() -> None:
    assert KEY not in repr(Settings(api_key=KEY))


def test_an_address_that_others_reach_needs_a_key_or_insecure() -> None:
    with pytest.raises(ServeUsageError, match="--insecure"):
        Settings(host="0.0.0.0").check()
    with pytest.raises(ServeUsageError, match="every web page"):
        Settings(cors="*").check()
    for endless in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ServeUsageError, match="--grace"):
            Settings(grace_s=endless).check()
    for allowed in (Settings(host="0.0.0.0", api_key="k"), Settings(host="::", insecure=True), Settings(host="::1")):
        allowed.check()


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                ServeError, match=rf"127.0.0.1 port {port}: Address already in use; --port 0 takes a free one"
            ),
            running(ScriptedBackend(ScriptedEngine()), port=port),
        ):
            pass


def test_while_the_model_loads_everything_but_health_says_so_and_when_to_come_back() -> None:
    backend = ScriptedBackend(ScriptedEngine(says("ok")))
    backend.gate.clear()
    with running(backend, is_open=False) as server:
        health = ask(server.url, "/health")
        assert (health.status, health.json) == (503, {"status": "loading"})
        for path, body in (("/v1/models", None), ("/v1/completions", {"prompt": "a"}), ("/v1/slots", None)):
            answer = ask(server.url, path, body)
            assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "loading", "1")
        backend.gate.set()
        server.run(server.server.open())
        assert ask(server.url, "/health").json == {"status": "ok"}
        assert ask(server.url, "/v1/completions", {"prompt": "a"}).text == "ok"


def test_a_model_that_cannot_be_loaded_is_told_to_whoever_opens() -> None:
    backend = ScriptedBackend(ScriptedEngine())
    backend.fails = DaisyError("it is damaged")
    with pytest.raises(DaisyError, match="it is damaged"), running(backend):
        pass


def test_another_checkpoint_is_loaded_on_request_and_refused_in_words() -> None:
    backend = ScriptedBackend(ScriptedEngine(says("ok")))
    with running(backend) as server:
        loaded = ask(server.url, "/v1/admin/load", {"checkpoint": "runs/other"})
        assert (loaded.status, loaded.json["model"]["step"]) == (200, 8)
        for error, code in (
            (OtherModelError("another model than that of tiny"), "other_model"),
            (DaisyError("torn"), "not_loaded"),
        ):
            backend.fails = error
            refused = ask(server.url, "/v1/admin/load", {"checkpoint": "runs/third"})
            assert (refused.status, refused.error["message"], refused.error["code"]) == (409, str(error), code)
        assert ask(server.url, "/v1/models").json["data"][0]["checkpoint"] == "runs/other"
        server.server.host.is_following = True
        assert ask(server.url, "/v1/admin/load", {"checkpoint": "runs/other"}).error["code"] == "following"


def test_a_defect_is_500_without_its_traceback_and_the_server_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_request: object) -> Any:
        raise ZeroDivisionError("a secret of the inside")

    engine = ScriptedEngine(broken)
    with running(ScriptedBackend(engine)) as server:
        answer = ask(server.url, "/v1/completions", {"prompt": "a"})
        assert (answer.status, answer.error["type"]) == (500, "server_error")
        assert b"secret" not in answer.raw
        engine.says = says("ok")
        assert ask(server.url, "/v1/completions", {"prompt": "a"}).text == "ok"
    assert "a secret of the inside" in capfd.readouterr().err


def test_who_connects_and_asks_nothing_whole_is_cut_off() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok"))), read_timeout_s=0.5) as server:
        parts = urlsplit(server.url)
        assert parts.hostname is not None
        assert parts.port is not None
        with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as silent:
            silent.sendall(b"GET /health HTTP/1.1\r\nHo")
            with pytest.raises(ConnectionResetError):
                if silent.recv(1) == b"":
                    raise ConnectionResetError
        kept = http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT_S)
        for _ in range(2):  # who has asked once is not
            kept.request("GET", "/health")
            assert kept.getresponse().read()
            until(lambda: not server.server._silent)
        kept.close()
