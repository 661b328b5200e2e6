"""The servers of a terminal: children that load beside it, are heard out, swapped, and never outlive it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, running, says
from support import ROOT, until

from core.data.dataset import TokenizerInfo
from core.data.tokenizers import ByteTokenizer
from core.errors import DaisyError
from core.inference.request import OtherModelError
from daisy_tui.chatting import serving as module
from daisy_tui.chatting.client import ClientError
from daisy_tui.chatting.serving import Options, Server, Serving, ServingError, url_in

READY = "import sys; print('serving tiny (step 7, x) on {url} with 1 slot on cpu', flush=True); sys.stdin.read()"


class Children:
    """Starts programs in the place of servers: the one for a checkpoint's name, or else one that is ready at once."""

    def __init__(self, url: str = "http://127.0.0.1:9") -> None:
        self.programs: dict[str, str] = {}
        self.url = url
        self.asked: list[tuple[str, list[str]]] = []
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, checkpoint: str, arguments: list[str], _key: str, *, folder: Path, stderr: int) -> Any:
        self.asked.append((checkpoint, arguments))
        program = self.programs.get(checkpoint, READY).format(url=self.url)
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=folder
        )
        self.started.append(child)
        return child


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(ScriptedEngine(says("ok")))


@pytest.fixture
def behind(backend: ScriptedBackend) -> Iterator[Running]:
    with running(backend) as server:
        yield server


@pytest.fixture
def children(behind: Running) -> Iterator[Children]:
    made = Children(behind.url)
    yield made
    for child in made.started:
        assert child.stdin is not None
        child.stdin.close()
        assert child.stdout is not None


@pytest.fixture
def servers(tmp_path: Path, children: Children) -> Iterator[Serving]:
    made = Serving(tmp_path, children)
    yield made
    made.close()
    assert all(child.poll() is not None for child in children.started), "nothing is left"


def settled(server: Server) -> Server:
    assert server.settled.wait(WAIT_S)
    return server


def test_a_child_loads_beside_the_terminal_and_tells_where_it_answers(servers: Serving, children: Children) -> None:
    server = servers.start("runs/demo", Options(template="plain", slots=2))
    assert server.state in ("starting", "loading", "ready")
    settled(server)
    assert (server.state, server.url, server.template) == ("ready", children.url, "instruction")
    assert server.end_of_text == 256
    assert children.asked == [("runs/demo", ["--device=auto", "--weights=auto", "--slots=2", "--chat-template=plain"])]
    assert servers.look() == [(("tiny step 7"), children.url, "ready", server.lines[-1], True, 2, 0)]


def test_a_checkpoint_that_fails_to_load_is_said_in_its_own_words(servers: Serving, children: Children) -> None:
    children.programs["torn"] = "import sys; print('noise'); print('error: torn: is damaged'); sys.exit(1)"
    children.programs["silent"] = "import sys; sys.exit(3)"
    children.programs["killed"] = (
        "import os, signal; print('loading', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    torn, silent, killed = (settled(servers.start(name)) for name in ("torn", "silent", "killed"))
    assert (torn.state, torn.failure) == ("failed", "torn: is damaged")
    assert silent.failure == "silent: its server has ended with exit code 3"
    assert killed.failure == "loading"
    with pytest.raises(ServingError, match="torn: its server does not answer yet"):
        _ = torn.client


def test_what_cannot_even_be_started_is_said(tmp_path: Path) -> None:
    def start(*_arguments: Any, **_how: Any) -> Any:
        raise OSError(12, "Cannot allocate memory")

    server = settled(Serving(tmp_path, start).start("demo"))
    assert server.failure == "demo: its server cannot be started: [Errno 12] Cannot allocate memory"


def test_a_child_that_talks_without_end_is_heard_and_forgotten(servers: Serving, children: Children) -> None:
    flood = "import sys\nfor n in range(20_000): print(n, 'x' * 90)\nsys.stdout.write('y' * 300_000 + '\\n')\n"
    children.programs["loud"] = flood + READY
    server = settled(servers.start("loud"))
    assert server.state == "ready"
    assert len(server.lines) <= 200
    assert max(map(len, server.lines)) <= 1 << 14


def test_what_a_child_says_cannot_act_on_the_terminal(servers: Serving, children: Children) -> None:
    children.programs["odd"] = "print('error: \\x1b[2Jgone')"
    assert settled(servers.start("odd")).failure == "\\x1b[2Jgone"


def test_two_children_stand_beside_each_other(servers: Serving) -> None:
    left, right = servers.start("a"), servers.start("b")
    assert {settled(left).state, settled(right).state} == {"ready"}
    assert [status.is_own for status in servers.status()] == [True, True]
    servers.end(left)
    assert len(servers.status()) == 1
    until(lambda: left.state == "ended")
    assert right.state == "ready"


def test_a_child_that_does_not_listen_is_killed(
    servers: Serving, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_END_WITHIN_S", 0.05)
    children.programs["deaf"] = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY
    server = settled(servers.start("deaf"))
    servers.end(server)
    until(lambda: server.state == "ended")
    assert children.started[0].returncode == -signal.SIGKILL


def test_a_child_that_dies_later_has_failed(servers: Serving, children: Children) -> None:
    server = settled(servers.start("demo"))
    children.started[0].kill()
    until(lambda: server.state == "failed")
    assert server.failure == "demo: its server has ended with exit code -9"


def test_new_weights_go_into_the_same_server_where_the_model_is_the_same(
    servers: Serving, backend: ScriptedBackend, children: Children, tmp_path: Path
) -> None:
    server = settled(servers.start("a"))
    (tmp_path / "b").mkdir()
    assert servers.change(server, "b") is server
    assert backend.changed == [str(tmp_path / "b")], "a path as any folder has it"
    assert (server.source, server.model["step"], len(children.started)) == ("b", 8, 1)


def test_another_model_takes_another_child(servers: Serving, backend: ScriptedBackend, children: Children) -> None:
    server = settled(servers.start("a"))
    backend.fails = OtherModelError("b: another model than that of a")
    other = servers.change(server, "b")
    assert settled(other).state == "ready"
    assert other is not server
    until(lambda: server.state == "ended")
    assert [source for source, _ in children.asked] == ["a", "b"]


def test_a_checkpoint_that_is_refused_leaves_what_is_served(servers: Serving, backend: ScriptedBackend) -> None:
    server = settled(servers.start("a"))
    backend.fails = DaisyError("b: is damaged")
    with pytest.raises(ClientError, match="b: is damaged"):
        servers.change(server, "b")
    assert (server.source, server.state) == ("a", "ready")


def test_what_follows_a_run_is_started_anew(servers: Serving, children: Children) -> None:
    server = settled(servers.start("a"))
    other = settled(servers.change(server, "run", Options(follow=True)))
    assert children.asked[1][1][-1] == "--follow"
    settled(servers.change(other, "b", Options()))
    assert "--follow" not in children.asked[2][1]


def test_a_server_that_runs_already_is_attached_to_and_left_alone(
    servers: Serving, behind: Running, backend: ScriptedBackend
) -> None:
    server = servers.attach(f"{behind.url}/v1")
    assert (server.state, server.what, server.is_own, server.is_daisy) == ("ready", "tiny step 7", False, True)
    backend.fails = OtherModelError("another model")
    with pytest.raises(ClientError, match="another model"):
        servers.change(server, "b")
    servers.end(server)
    assert servers.status() == []
    assert servers.attach(behind.url).state == "ready"


def test_an_attached_server_that_is_gone_is_told_until_it_is_back(servers: Serving, behind: Running) -> None:
    server = servers.attach(behind.url)
    url, server.url = server.url, "http://127.0.0.1:9"
    (status,) = servers.look()
    assert (status.state, "Connection refused" in status.says) == ("failed", True)
    server.url = url
    assert servers.look()[0].state == "ready"


def test_a_server_that_is_silent_is_not_waited_for_without_end(
    servers: Serving, behind: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.attach(behind.url)
    monkeypatch.setattr(module, "_ANSWERS_WITHIN_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (status,) = servers.look()
    assert (status.state, "timed out" in status.says) == ("failed", True)


def test_a_wrong_key_attaches_to_nothing(servers: Serving) -> None:
    with running(ScriptedBackend(ScriptedEngine()), api_key="right") as locked:
        with pytest.raises(ClientError, match="wrong or missing API key") as raised:
            servers.attach(locked.url, "wrong")
        assert raised.value.code == "invalid_api_key"
        assert servers.status() == []
        assert servers.attach(locked.url, "right").state == "ready"


def test_looking_at_nothing_loads_no_http(tmp_path: Path) -> None:
    probe = (
        "import sys; from pathlib import Path; from daisy_tui.chatting.serving import Serving; s = Serving(Path()); "
        "s.look(); s.status(); s.close(); print({'http.client', 'torch', 'textual', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_only_the_line_of_a_server_that_answers_has_a_url() -> None:
    assert url_in("serving demo (step 7, x on y) on http://127.0.0.1:4 with 1 slot on cpu") == "http://127.0.0.1:4"
    assert url_in("demo has no checkpoint yet; waiting for its first, and listening on http://127.0.0.1:4") is None


def test_a_real_server_serves_takes_other_weights_and_dies_with_a_terminal_that_is_killed(
    tmp_path: Path, save_model: Callable[..., Path]
) -> None:
    tokenizer = asdict(TokenizerInfo.of(ByteTokenizer()))
    first = save_model(tmp_path / "a/step_1", tokenizer=tokenizer)
    second = save_model(tmp_path / "b/step_2", seed=1, tokenizer=tokenizer)
    servers = Serving(tmp_path)
    try:
        server = settled(servers.start(str(first), Options(device="cpu", template="plain")))
        assert server.state == "ready", server.failure
        assert servers.change(server, str(second.relative_to(tmp_path))) is server
        assert server.model["weights_version"] == 1
        gone = settled(servers.start("nowhere"))
        assert "nowhere" in gone.failure
    finally:
        servers.close()
    assert server.state == "ended"

    program = (
        "import sys, time; from pathlib import Path; from daisy_tui.chatting.serving import Serving\n"
        "s = Serving(Path()).start(sys.argv[1])\n"
        "while s.process is None: time.sleep(0.01)\n"
        "print(s.process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path) as terminal:
        assert terminal.stdout is not None
        child = psutil.Process(int(terminal.stdout.readline()))
        terminal.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
