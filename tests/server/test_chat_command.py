"""`daisy chat` and `daisy complete` against a server: what is sent, what is shown, and what is kept."""

from __future__ import annotations

import io
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import chunk, reaching, sending
from serving import Running, ScriptedBackend, ScriptedEngine, running, says

from core.inference.request import Piece, Scored
from daisy_tui.chatting.client import Client, ClientError
from daisy_tui.chatting.conversation import Conversation
from daisy_tui.chatting.transcripts import read
from daisy_tui.chatting.turns import Speed
from daisy_tui.cli.main import main

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Run a command whose standard input is these lines."""

    def run(arguments: list[str], *lines: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
        code = main(arguments)
        return code, *capfd.readouterr()

    return run


def _prompts(engine: ScriptedEngine) -> list[str]:
    return [bytes(request.prompt).decode() for request in engine.requests]


def test_a_chat_keeps_its_history_and_obeys(typed: Typed) -> None:
    engine = ScriptedEngine(says("one", " two"))
    with running(ScriptedBackend(engine, template="plain")) as server:
        lines = [
            "Hi",
            "/temp 0.4",
            "So?",
            "/retry",
            "/system Be brief.",
            "/new",
            "//etc",
            "/temp hot",
            "/nothing",
            "/help",
        ]
        code, out, err = typed(["chat", "--url", server.url, "--seed", "7"], *lines)
    assert (code, err) == (0, "")
    assert _prompts(engine) == [
        "Hi\n",
        "Hi\none two\nSo?\n",
        "Hi\none two\nSo?\n",
        "Be brief.\n\n/etc\n",
    ]
    assert [request.params.temperature for request in engine.requests] == [0.7, 0.4, 0.4, 0.4]
    assert [request.params.seed for request in engine.requests] == [7, 7, 8, 7], "another answer has another seed"
    assert out.count("one two\n") == 4
    assert "2 tokens, 3.3 tokens/s, first after " in out
    assert "/temp hot: a number from 0 to 2, such as /temp 0.4" in out
    assert "/nothing: no such command; /help lists those there are" in out
    assert "Ctrl-C stops an answer" in out


def test_a_saved_chat_is_whole_and_is_gone_on_with(typed: Typed, tmp_path: Path) -> None:
    engine, file = ScriptedEngine(says("one", " two")), tmp_path / "chat.jsonl"
    with running(ScriptedBackend(engine, template="plain")) as server:
        save = ["chat", "--url", server.url, "--save", str(file)]
        assert typed(save, "Hi", "/new", "So?", "/retry")[0] == 0
        saved = read(file)
        assert [turn.text for turn in saved.tree] == ["Hi", "one two", "So?", "one two", "one two"]
        assert [turn.text for turn in saved.tree.path] == ["So?", "one two"]
        code, out, err = typed(save, "And?")
        assert (code, err) == (0, "")
        assert f"going on with {file}, of 2 turns" in out
        assert _prompts(engine)[-1] == "So?\none two\nAnd?\n"
        assert len(read(file).tree.path) == 4
        file.write_text("something else")
        code, _, err = typed(save, "Hi")
    assert code == 1
    assert f"{file}: is no transcript of a chat" in err


def test_a_model_without_a_template_goes_on_with_the_text_as_it_stands_and_says_so(typed: Typed) -> None:
    engine = ScriptedEngine(says(" was rich"))
    with running(ScriptedBackend(engine, template=None)) as server:
        code, out, _ = typed(["chat", "--url", server.url], "Emma", " and")
    assert code == 0
    assert "this model has no chat template: it goes on with the text as it stands" in out
    assert _prompts(engine) == ["Emma", "Emma was rich\nand"], (
        "an answer goes on with the question, and the next question begins a line"
    )
    assert [request.max_tokens for request in engine.requests] == [100, 100], "a quarter of what the model holds"


def test_what_a_model_says_cannot_act_on_the_terminal(typed: Typed) -> None:
    with running(ScriptedBackend(ScriptedEngine(says("a\x1b[2Jb\tc\u202e")))) as server:
        _, out, _ = typed(["chat", "--url", server.url], "Hi")
    assert "a\ufffd[2Jb\tc\ufffd" in out


def test_a_refused_question_is_not_part_of_the_conversation(typed: Typed) -> None:
    engine = ScriptedEngine(says("ok"))
    with running(ScriptedBackend(engine, template="plain")) as server:
        code, out, err = typed(["chat", "--url", server.url, "--max_tokens", "20"], "x" * 390, "Hi", "/retry")
    assert code == 0
    assert "are more than the model's 400; /new begins a new conversation" in err
    assert _prompts(engine) == ["Hi\n", "Hi\n"]
    assert out.count("ok\n") == 2


def test_an_answer_is_bounded_and_a_full_context_is_told_before_one_asks_in_vain(typed: Typed) -> None:
    engine = ScriptedEngine(reaching(1000))
    with running(ScriptedBackend(engine, template="plain")) as server:
        lines = ["Hi", "So?", "And?", "Or?", "In vain", "/new", "Again", "/retry"]
        code, out, err = typed(["chat", "--url", server.url], *lines)
        assert code == 0
        assert typed(["chat", "--url", server.url, "--max_tokens", "7"], "Hi")[1].endswith(", cut at max_tokens 7]\n")
    assert [request.max_tokens for request in engine.requests] == [100, 100, 100, 81, 100, 100, 7]
    assert out.count(", cut at max_tokens 100]") == 5
    assert ", the context of 400 tokens is full]" in out
    full = "the context is full: 0 of its 400 tokens are left; /new begins a new conversation"
    assert out.count(full) == 1, "it is said at once"
    assert err == full + "\n", "and again to who asks nevertheless"


def test_the_default_of_max_tokens_is_in_the_help(typed: Typed) -> None:
    out = " ".join(typed(["chat", "--help"])[1].split())
    assert "Of an answer. [default: 512, at most a quarter of what the model holds]" in out


def test_an_answer_without_an_end_is_cut_with_a_line_that_says_so(typed: Typed) -> None:
    model = b'{"data": [{"id": "stranger", "max_model_len": "many"}]}'
    with sending(itertools.repeat(chunk("\x1b[2Jword " * 100)), model) as url:
        code, out, err = typed(["chat", "--url", url], "Hi", "/help")
    assert code == 0
    assert 262_000 < len(out) < 300_000
    assert "\x1b" not in out + err
    assert err.startswith("cut at 26")
    assert err.endswith(" characters: that is all that is taken of one answer\n")
    assert "/quit" in out


def test_an_answer_that_fails_is_told_and_the_chat_goes_on(typed: Typed) -> None:
    engine = ScriptedEngine(lambda _: [Piece("so far", (Scored(65),)), Piece(finish="error", error="no numbers")])
    with running(ScriptedBackend(engine)) as server:
        code, out, err = typed(["chat", "--url", server.url], "Hi", "/help")
    assert code == 0
    assert "so far\n" in out
    assert err.endswith("no numbers\n")
    assert "/quit" in out


def test_complete_prints_the_text_alone_and_its_speed_beside_it(typed: Typed) -> None:
    engine = ScriptedEngine(says(" Wood", "house"))
    with running(ScriptedBackend(engine)) as server:
        how = ["--max_tokens", "5", "--stop", "END", "--temperature", "0"]
        code, out, err = typed(["complete", "Emma", "--url", server.url, *how])
        assert (code, out) == (0, " Woodhouse\n")
        assert err.startswith("2 tokens, 3.3 tokens/s, first after ")
        code, out, _ = typed(["complete", "-", "--url", f"{server.url}/v1"], "from a", "pipe")
        assert (code, out) == (0, " Woodhouse\n")
    assert _prompts(engine) == ["Emma", "from a\npipe\n"]
    assert (engine.requests[0].max_tokens, engine.requests[0].stop) == (5, ("END",))


def test_a_key_comes_from_the_environment(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok"))), api_key="right") as server:
        code, _, err = typed(["complete", "Emma", "--url", server.url])
        assert code == 1
        assert "wrong or missing API key" in err
        monkeypatch.setenv("DAISY_API_KEY", "right")
        assert typed(["complete", "Emma", "--url", server.url])[:2] == (0, "ok\n")


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no server": (["complete", "a", "--url", "http://127.0.0.1:9"], 1, "cannot be asked: Connection refused"),
    "no URL": (["complete", "a", "--url", "ftp://x"], 1, "not the URL of a server"),
    "no port": (["chat", "--url", "http://localhost:http"], 1, "--url http://localhost:http"),
    "two servers": (["chat", "latest", "--url", "http://localhost:9"], 2, "CKPT|RUN is for one of the chat's own"),
    "a device of another's": (
        ["chat", "--url", "http://localhost:9", "--device", "cpu"],
        2,
        "--device is for one of the chat's own",
    ),
}


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_asked_is_one_line(typed: Typed, arguments: list[str], code: int, said: str) -> None:
    returned, out, err = typed(arguments)
    assert (returned, out) == (code, "")
    assert said in err.splitlines()[0]
    assert len(err.splitlines()) == (2 if code == 2 else 1)


def test_a_server_that_accepts_and_says_nothing_is_given_up(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client.get.__kwdefaults__ is not None
    assert 0 < Client.get.__kwdefaults__["within_s"] <= 30
    monkeypatch.setitem(Client.get.__kwdefaults__, "within_s", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        code, _, err = typed(["chat", "--url", f"http://127.0.0.1:{mute.getsockname()[1]}"], "hello")
    assert code == 1
    assert "cannot be asked: timed out" in err
    assert len(err.splitlines()) == 1


def test_a_server_of_another_kind_is_told_apart() -> None:
    with running(ScriptedBackend(ScriptedEngine(says("ok")))) as server:
        with pytest.raises(ClientError, match="no such endpoint"):
            Client(server.url).get("/v2/models")
        with pytest.raises(ClientError, match="the server's answer is not JSON"):
            Client(server.url).get("/metrics")


def test_whoever_stops_listening_keeps_what_was_said_and_the_server_is_told() -> None:
    engine = ScriptedEngine()
    with running(ScriptedBackend(engine, template="plain")) as server:
        conversation = Conversation(Client(server.url))
        answer = conversation.ask("Hi")
        _say_when_asked(server, engine, "half")
        assert next(answer) == "half"
        answer.close()
        assert engine.cancelled.get(timeout=60) == 1
    assert conversation.turns == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "half"}]


def _say_when_asked(server: Running, engine: ScriptedEngine, text: str) -> None:
    """Say something as soon as the question is there, and not end."""
    engine.says = lambda _: [Piece(text, (Scored(65),))]


def test_speed_in_words() -> None:
    assert str(Speed(1, 0.25, 0.0)) == "1 token, first after 0.25 s"
    assert str(Speed(11, 0.5, 2.0)) == "11 tokens, 5.0 tokens/s, first after 0.50 s"


@pytest.mark.parametrize("command", ["serve", "chat", "complete"])
def test_the_commands_themselves_load_neither_torch_nor_a_server(command: str) -> None:
    probe = (
        "import json, sys; from daisy_tui.cli.main import main; main([sys.argv[1], '--help']); "
        "import daisy_tui.chatting.conversation; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe, command], capture_output=True, text=True, check=True)
    loaded: Any = json.loads(done.stdout.splitlines()[-1])
    assert not {"torch", "aiohttp", "server", "core.inference", "textual", "numpy"} & set(loaded)
