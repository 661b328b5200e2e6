"""What the server costs, and what it stands, beside its limits.

    python -m benchmarks.bench_serve

A model of 12 x 768 with GPT-2's vocabulary on the CPU, its weights drawn by chance. The engine and the server take
turns, and the best of the rounds counts: time a token, tokens a second of 16 at once, time to the first token of a
chat's second turn. Then the server is mistreated: floods, readers that leave, readers that take nothing. Exit code 1
says that a limit was missed.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.models import VOCABULARY, daisy_config, novel_tokens
from core.checkpoint.save import Saving
from core.config.windows import layer_windows
from core.data.dataset import TokenizerInfo
from core.data.tokenizers import load_tokenizer
from core.inference.engine import Engine
from core.inference.loaded import load
from core.inference.request import Piece, Request, SamplingParams
from core.model.daisy_core import DaisyCore, initialize
from core.runs.launch import child_environment

LAYERS, DIM, LENGTH = 12, 768, 2048
ROUNDS, TOKENS = 4, 64
STREAMS = 16
CANCELLATIONS = 1000
LAG_S = 0.02
MIB = 1 << 20


class Stream(NamedTuple):
    """What one stream brought: when its first and its last event came, and everything that came."""

    first: float
    last: float
    data: bytes


def main() -> int:
    missed: list[str] = []

    def say(what: str, value: float, limit: float, unit: str, *, least: bool = False) -> None:
        print(f"{what}: {value:.3g} {unit}, limit {'at least ' if least else ''}{limit:g}", flush=True)
        if value < limit if least else value > limit:
            missed.append(what)

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _save(Path(folder) / "step_000000001")
        engine = Engine(load(checkpoint), slots=STREAMS)
        engine.start()
        with _server(checkpoint, Path(folder)) as (port, process):
            _speed(engine, port, say)
            engine.close()
            _first_token(port, say)
            _mistreat(port, process, say)
    for what in missed:
        print(f"missed: {what}")
    return int(bool(missed))


def _speed(engine: Engine, port: int, say: Any) -> None:
    """Time a token of one stream, and tokens a second of many, of the engine alone and through the server."""
    prompt = novel_tokens(32, 1)[0].tolist()
    alone, served, batch, streams = [], [], [], []
    for _ in range(ROUNDS):
        alone.append(_engine_times(engine, [prompt])[0])
        one = _ask(port, [_completion(prompt)])[0]
        served.append((one.last - one.first) / (TOKENS - 1))
        prompts = [tokens.tolist() for tokens in novel_tokens(32, STREAMS)]
        batch.append(_engine_times(engine, prompts)[1])
        began = time.perf_counter()
        many = _ask(port, [_completion(tokens) for tokens in prompts])
        streams.append(STREAMS * TOKENS / (max(stream.last for stream in many) - began))
    print(f"one stream: engine {1000 * min(alone):.2f} ms a token, served {1000 * min(served):.2f}")
    say("added to the engine's time a token", 100 * (min(served) / min(alone) - 1), 5, "%")
    print(f"{STREAMS} streams: engine {max(batch):.0f} tokens/s, served {max(streams):.0f}")
    say(f"throughput of {STREAMS} streams over the engine's", 100 * max(streams) / max(batch), 90, "%", least=True)


def _first_token(port: int, say: Any) -> None:
    """Time to the first token of a chat's second turn over that of its first, which has 1,000 tokens to read."""
    tokenizer = load_tokenizer("gpt2")
    shares = []
    for number in range(ROUNDS):
        history = tokenizer.decode_bytes(novel_tokens(1000, ROUNDS)[number].tolist()).decode(errors="replace")
        messages = [{"role": "user", "content": history}]
        took = []
        for question in ("And then?", "Why?"):
            body = {"messages": messages, "max_tokens": 16, "ignore_eos": True, "stream": True, "seed": number}
            began = time.perf_counter()
            (stream,) = _ask(port, [("/v1/chat/completions", body)], first_of=b'"delta":{"content":')
            took.append(stream.first - began)
            messages += [{"role": "assistant", "content": _text(stream)}, {"role": "user", "content": question}]
        shares.append(took[1] / took[0])
    say("first token of a second turn over that of the first", 100 * min(shares), 25, "%")


def _mistreat(port: int, process: psutil.Process, say: Any) -> None:
    """Everything at once, and what is left of it."""
    prompt = novel_tokens(32, 1)[0].tolist()
    _leave(port, prompt, 200)  # what is taken once is no leak
    before, lag = process.memory_info().rss, _lag(port)
    _leave(port, prompt, CANCELLATIONS)
    grown = (process.memory_info().rss - before) / MIB
    slow = [_open(port, _completion(prompt, 900, logprobs=20), 4096) for _ in range(4)]
    flood = _ask(port, [_completion(prompt, 8) for _ in range(300)])
    refused = sum(stream.data.startswith(b"HTTP/1.1 429") for stream in flood)
    answered = sum(stream.data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for stream in flood)
    print(f"a flood of 300: {answered} answered, {refused} told to come back")
    for connection in slow:
        connection.close()
    after = _lag(port)
    seen, late = after[0] - lag[0], after[1] - lag[1]
    say("requests of the flood that got neither an answer nor a 429", 300 - answered - refused, 0, "requests")
    say(f"event loop more than {1000 * LAG_S:.0f} ms late", 100 * late / max(seen, 1), 1, f"% of {seen:.0f} looks")
    say(f"memory after {CANCELLATIONS:,} cancellations (before: {before / MIB:.0f} MiB)", grown, 8, "MiB more")
    say("slots that are still busy", _busy(port), 0, "slots")


def _save(folder: Path) -> Path:
    spec = daisy_config(LAYERS, DIM, LENGTH).spec
    model = DaisyCore(spec)
    initialize(model, 1)
    saving = Saving(folder)
    saving.begin()
    saving.write_model(model.state_dict())
    tokenizer = asdict(TokenizerInfo.of(load_tokenizer("gpt2")))
    assert spec.vocab_size == VOCABULARY
    meta = {"hparams": spec.model_dump(), "windows": layer_windows(spec), "tokenizer": tokenizer, "step": 1}
    return saving.commit(meta)


@contextmanager
def _server(checkpoint: Path, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    command = [sys.executable, "-m", "server.main", str(checkpoint), "--port=0", f"--slots={STREAMS}", "--grace=0"]
    command += ["--chat-template=plain", "--device=cpu"]
    environment = {**child_environment(), "DAISY_LEASES": str(folder / "leases")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+) with", process.stdout.readline())
        assert found, "the server did not start"
        yield int(found[1]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate()


def _engine_times(engine: Engine, prompts: list[list[int]]) -> tuple[float, float]:
    """Seconds a token behind the first of the first prompt, and tokens a second of all."""
    times: list[list[float]] = [[] for _ in prompts]
    params = SamplingParams(temperature=1.0, top_k=0, ignore_eos=True)
    ended = threading.Semaphore(0)
    began = time.perf_counter()
    for prompt, stamps in zip(prompts, times, strict=True):

        def tell(piece: Piece, stamps: list[float] = stamps) -> None:
            stamps.append(time.perf_counter())
            if piece.finish is not None:
                ended.release()

        engine.submit(Request(tuple(prompt), TOKENS, params), tell)
    for _ in prompts:
        ended.acquire()
    last = max(stamps[-1] for stamps in times)
    return (times[0][-1] - times[0][0]) / (TOKENS - 1), len(prompts) * TOKENS / (last - began)


def _completion(prompt: list[int], tokens: int = TOKENS, **more: Any) -> tuple[str, dict[str, Any]]:
    asked = {"prompt": prompt, "max_tokens": tokens, "stream": True, "ignore_eos": True, "seed": 0, **more}
    return "/v1/completions", asked


def _open(port: int, asked: tuple[str, dict[str, Any]], buffer: int | None = None) -> socket.socket:
    """A connection on which something was asked; with a receive buffer of so many bytes."""
    path, body = asked
    data = json.dumps(body).encode()
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", port))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def _ask(port: int, asked: list[tuple[str, dict[str, Any]]], first_of: bytes = b"data: ") -> list[Stream]:
    """Streams read together, with as little work as there can be: the machine is the server's too."""
    firsts, lasts = [0.0] * len(asked), [0.0] * len(asked)
    data = [bytearray() for _ in asked]
    with selectors.DefaultSelector() as selector:
        for number, one in enumerate(asked):
            selector.register(_open(port, one), selectors.EVENT_READ, number)
        while selector.get_map():
            for key, _ in selector.select():
                connection: Any = key.fileobj
                more = connection.recv(1 << 16)
                now = time.perf_counter()
                number = key.data
                if not more:
                    selector.unregister(connection)
                    connection.close()
                    continue
                if not firsts[number] and first_of in more:
                    firsts[number] = now
                if b'"finish_reason":null' in more or not lasts[number]:
                    lasts[number] = now
                if b'"finish_reason":"' in more:
                    lasts[number] = now
                data[number] += more
    return [Stream(*entry) for entry in zip(firsts, lasts, map(bytes, data), strict=True)]


def _text(stream: Stream) -> str:
    chunks = [json.loads(found) for found in re.findall(rb"^data: (\{.*\})$", stream.data, re.MULTILINE)]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def _leave(port: int, prompt: list[int], times: int) -> None:
    """So many readers who leave at their first event, a few at a time."""
    for _ in range(0, times, STREAMS // 2):
        connections = [_open(port, _completion(prompt, 900)) for _ in range(STREAMS // 2)]
        for connection in connections:
            read = b""
            while b"data: " not in read:
                read += connection.recv(1 << 16)
            connection.close()


def _get(port: int, path: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}") as response:
        found: bytes = response.read()
        return found


def _lag(port: int) -> tuple[float, float]:
    """How often the event loop was looked at, and how often it was late."""
    text = _get(port, "/metrics").decode()
    name = "daisy_event_loop_lag_seconds"
    every = re.search(rf"^{name}_count (\S+)$", text, re.MULTILINE)
    well = re.search(rf'^{name}_bucket{{le="{LAG_S}"}} (\S+)$', text, re.MULTILINE)
    assert every is not None
    assert well is not None
    return float(every[1]), float(every[1]) - float(well[1])


def _busy(port: int) -> int:
    """Slots that are still busy ten seconds after the last reader has left."""
    until = time.monotonic() + 10
    while True:
        slots = json.loads(_get(port, "/v1/slots"))["slots"]
        busy: int = sum(slot["state"] == "busy" for slot in slots)
        if not busy or time.monotonic() > until:
            return busy
        time.sleep(0.1)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
