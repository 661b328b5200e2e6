"""A server that follows a run: it takes what is newer and whole, and stays with what it has otherwise."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, ask, running, says
from support import until

from core.checkpoint.save import point_link
from core.errors import DaisyError
from core.runs.directory import RunDirectory
from server.follow import follow


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "demo/checkpoints").mkdir(parents=True)
    return RunDirectory(tmp_path / "demo")


def _checkpoint(run: RunDirectory, step: int, *, whole: bool = True) -> Path:
    """A checkpoint as far as its manifest goes."""
    folder = run.checkpoints / f"step_{step:09d}"
    folder.mkdir()
    if whole:
        (folder / "manifest.json").write_text(json.dumps({}))
    point_link(run.checkpoints / "latest", folder)
    return folder.resolve()


@contextmanager
def _following(run: RunDirectory, backend: ScriptedBackend) -> Iterator[tuple[Running, queue.Queue[str]]]:
    said: queue.Queue[str] = queue.Queue()
    with running(backend) as server:
        host = server.server.host
        task = asyncio.run_coroutine_threadsafe(follow(host, run, said.put, look_every_s=0.01), server.loop)
        try:
            yield server, said
        finally:
            task.cancel()


def test_newer_weights_are_taken_once_and_told(run: RunDirectory) -> None:
    backend = ScriptedBackend(ScriptedEngine(says("ok")))
    first = _checkpoint(run, 1)
    backend.served = backend.served._replace(folder=first)
    with _following(run, backend) as (server, said):
        second = _checkpoint(run, 2)
        assert said.get(timeout=WAIT_S) == "now step 8 of tiny"
        assert ask(server.url, "/v1/models").json["data"][0]["checkpoint"] == str(second)
        third = _checkpoint(run, 3)
        assert said.get(timeout=WAIT_S) == "now step 9 of tiny"
        assert backend.changed == [second, third]
        assert b'daisy_weight_swaps_total{outcome="taken"} 2.0' in ask(server.url, "/metrics").raw


def test_what_is_not_whole_is_waited_for(run: RunDirectory) -> None:
    backend = ScriptedBackend(ScriptedEngine(says("ok")))
    backend.served = backend.served._replace(folder=_checkpoint(run, 1))
    with _following(run, backend) as (_, said):
        unfinished = _checkpoint(run, 2, whole=False)
        (unfinished / "manifest.json").write_text("{}")
        assert said.get(timeout=WAIT_S) == "now step 8 of tiny"
        assert backend.changed == [unfinished]


def test_what_cannot_be_taken_is_told_once_and_the_server_stays_with_what_it_has(run: RunDirectory) -> None:
    backend = ScriptedBackend(ScriptedEngine(says("ok")))
    first = _checkpoint(run, 1)
    backend.served = backend.served._replace(folder=first)
    with _following(run, backend) as (server, said):
        backend.fails = DaisyError("its content differs from the manifest's hash")
        _checkpoint(run, 2)
        assert said.get(timeout=WAIT_S) == "stays with step 7: its content differs from the manifest's hash"
        assert ask(server.url, "/v1/completions", {"prompt": "a"}).text == "ok"
        backend.fails = None
        third = _checkpoint(run, 3)
        assert said.get(timeout=WAIT_S) == "now step 8 of tiny"
        assert backend.changed[-1] == third
        assert said.empty(), "the second is not tried again and again"


def test_a_stream_goes_on_while_weights_are_changed(run: RunDirectory) -> None:
    from core.inference.request import Piece, Scored

    engine = ScriptedEngine()
    backend = ScriptedBackend(engine)
    backend.served = backend.served._replace(folder=_checkpoint(run, 1))

    with _following(run, backend) as (server, said):
        answers: queue.Queue[str] = queue.Queue()
        body = {"prompt": "a", "stream": True}
        asking = threading.Thread(target=lambda: answers.put(ask(server.url, "/v1/completions", body).text))
        asking.start()
        number = engine.asked.get(timeout=WAIT_S)
        engine.tell(number, Piece("before ", (Scored(65),)))
        _checkpoint(run, 2)
        assert said.get(timeout=WAIT_S) == "now step 8 of tiny"
        engine.tell(number, Piece("and after", (Scored(65),), "stop"))
        assert answers.get(timeout=WAIT_S) == "before and after"
        asking.join(WAIT_S)
        until(lambda: not engine.under_way)
