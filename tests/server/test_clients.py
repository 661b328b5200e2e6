"""Other people's clients, unchanged: openai, litellm and schemathesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from serving import WAIT_S, Running, ScriptedBackend, ScriptedEngine, ask, running, says
from support import until

HELLO: Any = [{"role": "user", "content": "Hi"}]
LITELLM = """
import json, sys
import litellm
how = {"api_base": sys.argv[1] + "/v1", "api_key": "none", "max_tokens": 12, "seed": 3, "num_retries": 0}
asked = {"model": "openai/step_000000007", "messages": [{"role": "user", "content": "Hi"}], **how}
whole = litellm.completion(**asked)
pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**asked, stream=True)]
chat = [whole.choices[0].message.content, "".join(pieces), whole.usage.completion_tokens]
asked = {"model": "text-completion-openai/step_000000007", "prompt": "Hi", **how}
whole = litellm.text_completion(**asked)
pieces = [chunk.choices[0].text or "" for chunk in litellm.text_completion(**asked, stream=True)]
print(json.dumps([chat, [whole.choices[0].text, "".join(pieces), whole.usage.completion_tokens]]))
"""


@pytest.fixture(scope="module")
def client(real: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=WAIT_S) as client:
        yield client


def test_openai_lists_the_model_with_what_it_has_learned(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == client.models.retrieve(model.id).id == "step_000000007"
    assert model.model_extra is not None
    assert (model.model_extra["step"], model.model_extra["tokens"], model.model_extra["val_loss"]) == (7, 1792, 4.25)


def test_openai_chats_streamed_and_not(client: openai.OpenAI) -> None:
    how: Any = {"model": "step_000000007", "messages": HELLO, "max_tokens": 20, "seed": 5}
    whole = client.chat.completions.create(**how)
    chunks = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 20
    assert len({chunk.id for chunk in chunks}) == 1


def test_openai_completes_texts_and_ids_streamed_and_not(client: openai.OpenAI) -> None:
    how: Any = {"model": "step_000000007", "max_tokens": 12, "temperature": 0, "logprobs": 3}
    whole = client.completions.create(prompt=["Emma", "Anne"], **how)
    ids = client.completions.create(prompt=[list(b"Emma"), list(b"Anne")], **how)
    assert [choice.text for choice in whole.choices] == [choice.text for choice in ids.choices]
    texts = ["", ""]
    for chunk in client.completions.create(prompt=["Emma", "Anne"], stream=True, **how):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.token_logprobs is not None
    assert [max(top.values()) for top in logprobs.top_logprobs] == logprobs.token_logprobs, "greedy takes the likeliest"


def test_openai_reads_logprobs_of_a_chat(client: openai.OpenAI) -> None:
    how: Any = {"model": "step_000000007", "messages": HELLO, "max_tokens": 5, "temperature": 0}
    answer = client.chat.completions.create(**how, logprobs=True, top_logprobs=2)
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    assert len(content) == 5
    assert all(entry.top_logprobs[0].bytes == entry.bytes for entry in content)


def test_openai_raises_its_own_errors(client: openai.OpenAI) -> None:
    def fails(kind: type[openai.APIStatusError], model: str = "step_000000007", **more: Any) -> Any:
        with pytest.raises(kind) as caught:
            client.chat.completions.create(model=model, messages=HELLO, **more)
        return caught.value

    assert fails(openai.NotFoundError, model="gpt-5").code == "model_not_found"
    assert fails(openai.BadRequestError, temperature=9).param == "temperature"
    too_long = fails(openai.BadRequestError, max_tokens=1000)
    assert (too_long.code, too_long.param) == ("context_length_exceeded", "max_tokens")
    assert "max_tokens 1000 are more than the model's 128" in too_long.message


def test_openai_raises_what_goes_wrong_inside_a_stream_and_what_the_key_is_for() -> None:
    from core.inference.request import Piece, Scored

    engine = ScriptedEngine(lambda _: [Piece("so far", (Scored(65),)), Piece(finish="error", error="no numbers")])
    with running(ScriptedBackend(engine), api_key="right") as server:
        how: Any = {"base_url": f"{server.url}/v1", "max_retries": 0}
        with openai.OpenAI(api_key="right", **how) as client, pytest.raises(openai.APIError, match="no numbers"):
            list(client.chat.completions.create(model="tiny", messages=HELLO, stream=True))
        with openai.OpenAI(api_key="wrong", **how) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_openai_tries_again_when_the_queue_was_full() -> None:
    engine = ScriptedEngine(slots=1, max_queue=1)
    with running(ScriptedBackend(engine), max_queue=1) as server:
        how: Any = {"base_url": f"{server.url}/v1", "api_key": "none"}
        with openai.OpenAI(max_retries=0, **how) as client, openai.OpenAI(max_retries=5, **how) as patient:
            streams = [client.chat.completions.create(model="tiny", messages=HELLO, stream=True) for _ in range(2)]
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(model="tiny", messages=HELLO)
            assert caught.value.response.headers["Retry-After"] == "1"
            for stream in streams:
                stream.close()
            until(lambda: not engine.under_way)
            engine.says = says("there")
            answer = patient.chat.completions.create(model="tiny", messages=HELLO)
            assert answer.choices[0].message.content == "there"


def test_openai_leaving_a_stream_frees_its_slot(real: Running, client: openai.OpenAI) -> None:
    stream = client.completions.create(model="step_000000007", prompt="x", max_tokens=120, stream=True)
    next(iter(stream))
    stream.close()
    until(lambda: all(slot["state"] == "idle" for slot in ask(real.url, "/v1/slots").json["slots"]))


def test_litellm_chats_and_completes_streamed_and_not(real: Running) -> None:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [sys.executable, "-c", LITELLM, real.url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    for whole, streamed, tokens in json.loads(done.stdout.splitlines()[-1]):
        assert whole == streamed != ""
        assert tokens == 12


def test_schemathesis_finds_nothing_that_the_document_does_not_say(tmp_path: Path) -> None:
    # Left out: no schema says that what one field allows is forbidden by another, or by the length of the model.
    left_out = "positive_data_acceptance,ensure_resource_availability"
    engine = ScriptedEngine(says("Hel", "lo"), slots=64, max_queue=128)
    with running(ScriptedBackend(engine), max_queue=128) as server:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
        command += [
            "--checks",
            "all",
            "--exclude-checks",
            left_out,
            "--max-examples",
            "20",
            "--generation-deterministic",
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout[-8000:]
        assert "Tested: 12" in done.stdout
        assert ask(server.url, "/v1/completions", {"prompt": "a"}).text == "Hello"
        counted = ask(server.url, "/metrics").raw.decode()
        assert 'status="500"' not in counted
        assert 'endpoint="/v1/chat/completions",status="200"' in counted
