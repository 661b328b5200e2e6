"""The server with a real engine: what comes out is what the model says, whatever else goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, ask, running
from support import until

from core.checkpoint.format import CheckpointError
from core.checkpoint.save import Saving
from core.errors import DaisyError
from core.inference.generator import Generator
from core.inference.request import SamplingParams
from core.runs.directory import RunError
from server.host import Host, Served
from server.metrics import Metrics
from server.settings import ServeError, ServeUsageError
from server.source import source_of
from server.weights import Weights

COMPLETE = "/v1/completions"


def test_the_servers_text_is_the_generators(real: Running, talker: Path) -> None:
    generator = Generator.from_checkpoint(talker)
    params = SamplingParams(temperature=0.9, top_k=40, seed=11)
    expected = "".join(generator.generate("Emma", max_tokens=60, params=params))
    how = {"prompt": "Emma", "max_tokens": 60, "temperature": 0.9, "top_k": 40, "seed": 11}
    assert ask(real.url, COMPLETE, how).text == expected
    assert ask(real.url, COMPLETE, {**how, "stream": True}).text == expected


def test_a_seed_gives_the_same_text_among_neighbours_in_a_list_and_by_itself(real: Running) -> None:
    how: dict[str, Any] = {"max_tokens": 30, "seed": 4, "n": 2}
    prompts = ["Emma", "Anne Elliot", "x" * 60]
    together = ask(real.url, COMPLETE, {"prompt": prompts, **how}).json["choices"]
    with ThreadPoolExecutor(3) as pool:
        alone = list(
            pool.map(lambda prompt: ask(real.url, COMPLETE, {"prompt": prompt, **how}).json["choices"], prompts)
        )
    assert [choice["text"] for choice in together] == [choice["text"] for choices in alone for choice in choices]
    assert together[0]["text"] != together[1]["text"]


def test_echo_without_new_tokens_scores_a_prompt(real: Running) -> None:
    body = {"prompt": "Emma", "echo": True, "logprobs": 1, "max_tokens": 0}
    (choice,) = ask(real.url, COMPLETE, body).json["choices"]
    assert choice["text"] == "Emma"
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert len(choice["logprobs"]["token_logprobs"]) == 4
    assert choice["finish_reason"] == "length"


def test_the_second_turn_of_a_chat_finds_what_the_first_left(real: Running) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body: dict[str, Any] = {"messages": messages, "max_tokens": 10, "seed": 1}
    first = ask(real.url, "/v1/chat/completions", body).json
    messages += [first["choices"][0]["message"], {"role": "user", "content": "So?"}]
    second = ask(real.url, "/v1/chat/completions", body).json
    total = first["usage"]["prompt_tokens"] + 10
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached == total - 1, "all but the last token, which was said and not read"


def test_everything_is_free_again_after_a_hundred_readers_have_left(real: Running) -> None:
    import socket

    body = json.dumps({"prompt": "x", "max_tokens": 120, "stream": True}).encode()
    head = (
        f"POST {COMPLETE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    for _ in range(100):
        with socket.create_connection(real.address) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            connection.recv(1)
    until(lambda: _is_idle(real))
    assert ask(real.url, COMPLETE, {"prompt": "x", "max_tokens": 5}).status == 200


def _is_idle(server: Running) -> bool:
    told = ask(server.url, "/v1/slots").json
    return all(slot["state"] == "idle" for slot in told["slots"]) and told["waiting"] == 0


def test_other_weights_are_taken_in_place_and_other_models_refused(
    talker: Path, save_talker: Any, tmp_path: Path
) -> None:
    newer = save_talker(tmp_path / "step_000000008", seed=3, step=8)
    how = {"prompt": "Emma", "max_tokens": 40, "temperature": 0}
    with running(Weights(source_of(str(talker)), device="cpu", slots=2)) as server:
        before = ask(server.url, COMPLETE, how)
        loaded = ask(server.url, "/v1/admin/load", {"checkpoint": str(newer)}).json["model"]
        assert (loaded["step"], loaded["weights_version"], loaded["id"]) == (8, 1, "step_000000008")
        after = ask(server.url, COMPLETE, how)
        assert after.text == "".join(
            Generator.from_checkpoint(newer).generate("Emma", max_tokens=40, params=SamplingParams(temperature=0))
        )
        assert after.text != before.text
        assert (before.json["system_fingerprint"], after.json["system_fingerprint"]) == ("step-7", "step-8")
        assert b"daisy_weights_step 8.0" in ask(server.url, "/metrics").raw
        for name in ("step_9", str(tmp_path), str(tmp_path / "nothing")):
            assert ask(server.url, "/v1/admin/load", {"checkpoint": name}).status == 409


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"device": "tpu"}, ServeUsageError, "--device tpu: there is no such device; there are auto, cpu"),
        ({"template": "alpaca"}, ServeError, "chat template 'alpaca' is unknown"),
        ({"weights": "int4"}, DaisyError, "int4"),
    ],
)
def test_what_a_server_cannot_be_started_with_is_said(
    talker: Path, change: dict[str, Any], kind: type[DaisyError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Weights(source_of(str(talker)), **{"device": "cpu", **change}).open()


def test_a_name_means_a_checkpoint_or_a_run(talker: Path, save_talker: Any, workspace: Path) -> None:
    run = workspace / "runs/20260101-000000-demo"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    assert source_of("demo", follow=True).folder() is None, "a run to follow need not have a checkpoint yet"
    first = save_talker(run / "checkpoints/step_000000007")
    for name in ("latest", "demo", "20260101-000000-demo", str(run)):
        source = source_of(name)
        assert (source.name, source.folder()) == ("demo", first)
        assert "20260101-000000-demo" in source.aliases
    inside = source_of(str(first))
    assert (inside.name, inside.folder(), inside.run) == ("demo", first, None)
    save_talker(run / "checkpoints/step_000000008")
    assert source_of("demo").folder() == run / "checkpoints/step_000000008"
    with pytest.raises(ServeUsageError, match="--follow takes a run"):
        source_of(str(talker), follow=True)
    with pytest.raises(RunError, match="names no run"):
        source_of("other")
    with pytest.raises(CheckpointError, match="neither a checkpoint"):
        source_of("model_specs/tiny.yml")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"weights": float("nan")}, "holds what is no number"),
        ({"name": "a" * 300}, "no such checkpoint or run"),
    ],
)
def test_a_checkpoint_that_would_spoil_what_is_served_is_refused(
    talker: Path, save_talker: Any, tmp_path: Path, spoil: dict[str, Any], said: str
) -> None:
    name = spoil.get("name") or str(save_talker(tmp_path / "step_8"))
    if "weights" in spoil:
        tensors = load_file(Path(name) / "model.safetensors")
        tensors["head.weight"][0, 0] = spoil["weights"]
        saving = Saving(tmp_path / "step_9")
        saving.begin()
        saving.write_model(tensors)
        name = str(saving.commit(json.loads((Path(name) / "meta.json").read_text())))
    with running(Weights(source_of(str(talker)), device="cpu", slots=2)) as server:
        refused = ask(server.url, "/v1/admin/load", {"checkpoint": name})
        assert (refused.status, said in refused.json["error"]["message"]) == (409, True)
        assert ask(server.url, "/v1/completions", {"prompt": "a", "max_tokens": 3}).status == 200


def test_a_load_whose_client_leaves_is_told_of_as_it_is() -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(ScriptedBackend):
        def change(self, name: str | Path) -> Served:
            begun.set()
            assert may_end.wait(WAIT_S)
            return self.served._replace(step=8)

    async def leave() -> int | None:
        host = Host(Slow(ScriptedEngine()), Metrics(), 4)
        await host.open()
        asked = asyncio.create_task(host.change("step_8"))
        await asyncio.to_thread(begun.wait, WAIT_S)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked
        may_end.set()
        async with asyncio.timeout(WAIT_S):
            while host.served.step != 8:
                await asyncio.sleep(0)
        return host.served.step

    assert asyncio.run(leave()) == 8
