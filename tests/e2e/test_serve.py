"""`daisy serve` and `daisy chat` as a person runs them: real processes, signals, and what is left of them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from serving import WAIT_S, ScriptedBackend, ScriptedEngine, ask, read_until, running
from support import run_daisy, start_daisy, until

from core.checkpoint.save import point_link
from core.data.dataset import TokenizerInfo
from core.data.tokenizers import ByteTokenizer
from core.inference.request import Piece, Scored

KEY = "a-key-that-nobody-guesses"
TOKENIZER = asdict(TokenizerInfo.of(ByteTokenizer()))


@pytest.fixture
def folder(tmp_path: Path, save_model: Callable[..., Path]) -> Path:
    save_model(tmp_path / "step_000000007", tokenizer=TOKENIZER)
    return tmp_path


def _url(process: subprocess.Popen[str]) -> str:
    """Wait for the one line that a server says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"serving .* on (http://127\.0\.0\.1:\d+) with \d+ slots? on cpu\n", line)
    assert found, line + (process.stderr.read() if process.stderr is not None and not line else "")
    return found[1]


def test_the_command_is_the_server_whose_key_nobody_sees(folder: Path) -> None:
    process = start_daisy(folder, "serve", "step_000000007", "--port=0", "--api-key", KEY)
    try:
        url = _url(process)
        itself = psutil.Process(process.pid)
        assert "server.main" in itself.cmdline()
        assert itself.children() == [], "no wrapper is left over, and no helper"
        assert all(KEY not in " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
        assert ask(url, "/v1/models").status == 401
        key = {"Authorization": f"Bearer {KEY}"}
        assert ask(url, "/v1/completions", {"prompt": "Emma", "max_tokens": 5}, **key).status == 200
        (shown,) = json.loads(run_daisy(folder, "runs", "queue", "--json")[0])["servers"]
        assert (shown["server"], shown["pid"], shown["model"]) == (url, process.pid, "step_000000007")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()
    assert json.loads(run_daisy(folder, "runs", "queue", "--json")[0])["servers"] == []


def test_sigterm_tells_every_stream_that_it_is_over(folder: Path) -> None:
    how = ["--port=0", "--grace=0", "--slots=1", "--chat-template=plain"]
    process = start_daisy(folder, "serve", "step_000000007", *how)
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 120, "ignore_eos": True, "stream": True}
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    try:
        address = urlsplit(_url(process))
        with ExitStack() as stack:
            streams = [
                stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=WAIT_S))
                for _ in range(40)
            ]
            for stream in streams:
                stream.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            read = [read_until(stream, b'"role":"assistant"') for stream in streams]
            process.send_signal(signal.SIGTERM)
            ends = [begun + _rest(stream) for begun, stream in zip(read, streams, strict=True)]
        assert process.wait(WAIT_S) == 0
        assert all(end.endswith(b"data: [DONE]\n\n") for end in ends)
        assert b'"code":"shutting_down"' in ends[-1]
    finally:
        process.kill()
        process.communicate()


def _rest(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no run": (["nothing"], 1, "'nothing' names no run in runs; there are: none"),
    "no checkpoint": (["no/where"], 1, "no/where: neither a checkpoint"),
    "everybody": (["step_000000007", "--host=0.0.0.0"], 2, "--host 0.0.0.0 is not this machine alone"),
    "every page": (["step_000000007", "--cors=*"], 2, "--cors *: would let every web page ask"),
    "a checkpoint to follow": (["step_000000007", "--follow"], 2, "--follow takes a run"),
    "a template that is none": (["step_000000007", "--chat-template=x"], 1, "chat template 'x' is unknown"),
    "damaged weights": (["bad", "--port=0"], 1, "its content differs from the manifest's hash"),
    "no such device": (["step_000000007", "--port=0", "--device=tpu"], 2, "--device tpu: there is no such device"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG.values(), ids=WRONG)
def test_a_server_that_cannot_start_is_one_line(
    folder: Path, save_model: Callable[..., Path], arguments: list[str], code: int, said: str
) -> None:
    if arguments[0] == "bad":
        weights = save_model(folder / "bad", tokenizer=TOKENIZER) / "model.safetensors"
        raw = weights.read_bytes()
        weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    out, err = run_daisy(folder, "serve", *arguments, code=code)
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_run_is_followed_from_before_its_first_checkpoint_on(folder: Path, save_model: Callable[..., Path]) -> None:
    run = folder / "runs/20260101-000000-demo"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    process = start_daisy(folder, "serve", "latest", "--follow", "--port=0", "--chat-template", "plain")
    assert process.stderr is not None
    try:
        waits = "demo has no checkpoint yet; waiting for its first, and listening on http://"
        assert process.stderr.readline().startswith(waits)
        for step in (10, 20):
            saved = save_model(run / f"checkpoints/step_{step:09d}", seed=step, tokenizer=TOKENIZER, step=step)
            point_link(run / "checkpoints/latest", saved)
            if step == 10:
                url = _url(process)
        assert process.stderr.readline() == "now step 20 of demo\n"
        (model,) = ask(url, "/v1/models").json["data"]
        assert (model["id"], model["step"], model["weights_version"]) == ("demo", 20, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_chat_has_a_server_of_its_own_and_takes_it_along(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daisy_tui", "chat", "step_000000007", "--max_tokens=9", "--chat-template=plain"]
    pipe = subprocess.PIPE
    chat = subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
    try:
        _url(chat)
        servers = psutil.Process(chat.pid).children()
        assert len(servers) == 1
        out, err = chat.communicate("Hi\n/quit\n", timeout=WAIT_S)
        assert (chat.returncode, err) == (0, "")
        assert "first after " in out
        until(lambda: not servers[0].is_running())
    finally:
        chat.kill()
        chat.communicate()


def test_ctrl_c_stops_the_answer_and_not_the_chat(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(ScriptedBackend(engine)) as server:
        command = [sys.executable, "-m", "daisy_tui", "chat", "--url", server.url]
        pipe = subprocess.PIPE
        chat = subprocess.Popen(command, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
        try:
            assert chat.stdin is not None
            assert chat.stdout is not None
            chat.stdin.write("Hi\n")
            chat.stdin.flush()
            number = engine.asked.get(timeout=WAIT_S)
            engine.tell(number, Piece("half\n", (Scored(65),)))
            assert chat.stdout.readline().startswith("/help lists the commands")
            assert chat.stdout.readline() == "half\n"
            chat.send_signal(signal.SIGINT)
            assert engine.cancelled.get(timeout=WAIT_S) == number
            out, err = chat.communicate("/new\n", timeout=WAIT_S)
            assert (chat.returncode, err) == (0, "")
            assert "[stopped; 1 token" in out
            assert "a new conversation" in out
        finally:
            chat.kill()
            chat.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells a child that its parent has ended")
def test_a_chat_that_is_killed_while_the_model_loads_takes_its_server_along(folder: Path) -> None:
    chat = start_daisy(folder, "chat", "step_000000007")
    servers: list[psutil.Process] = []
    until(lambda: servers.extend(psutil.Process(chat.pid).children()) or servers)
    chat.kill()
    chat.communicate()
    until(lambda: not servers[0].is_running() or servers[0].status() == psutil.STATUS_ZOMBIE)
