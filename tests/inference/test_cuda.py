"""Decoding on CUDA: graphs against the model as it is. Needs a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.data.tokenizers import ByteTokenizer
from core.inference.engine import Engine
from core.inference.loaded import Loaded
from core.inference.request import Piece, Request, SamplingParams
from core.inference.steps import GraphStep, TorchStep
from core.model.cache import Rows
from core.model.daisy_core import DaisyCore

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


@pytest.fixture
def model(tiny_model: DaisyCore) -> DaisyCore:
    tiny_model.compute_dtype = torch.bfloat16
    return tiny_model.to("cuda", torch.bfloat16).requires_grad_(False)


@torch.no_grad()
def test_a_graph_is_the_model_for_every_batch_of_slots_and_touches_no_other(model: DaisyCore) -> None:
    own, plain = model.new_cache(6), model.new_cache(6)
    graphs, torch_step = GraphStep(model, own), TorchStep(model, plain)
    tokens = torch.randint(0, 256, (6, 60), generator=torch.Generator().manual_seed(1))
    for slot in range(6):
        for cache in (own, plain):
            rows = Rows(torch.tensor([0], device="cuda"), torch.tensor([slot], device="cuda"))
            model.hidden(tokens[slot : slot + 1, : 3 * slot + 1].cuda(), cache=cache, rows=rows)
    positions = [3 * slot + 1 for slot in range(6)]
    for slots in ([0], [5], [2, 4], [1, 0, 3], [0, 1, 2, 3, 4, 5], [5, 1]) * 5:
        asked = [int(tokens[slot, positions[slot]]) for slot in slots], slots, [positions[slot] for slot in slots]
        torch.testing.assert_close(graphs(*asked), torch_step(*asked), atol=0.1, rtol=0)
        for slot in slots:
            positions[slot] += 1
        for mine, theirs in zip(own.layers, plain.layers, strict=True):
            torch.testing.assert_close(mine.keys, theirs.keys, atol=0.05, rtol=0)
            torch.testing.assert_close(mine.values, theirs.values, atol=0.05, rtol=0)


def test_the_engine_answers_in_its_thread_with_graphs(model: DaisyCore) -> None:
    engine = Engine(Loaded(model, ByteTokenizer(), {}, Path()), slots=4, prefill_chunk=16)
    assert engine.form == "GraphStep"
    engine.start()
    told: list[list[Piece]] = [[] for _ in range(9)]
    for index, pieces in enumerate(told):
        engine.submit(Request(tuple(b"the quick brown fox"[index:]), 30, GREEDY), pieces.append)
    engine.swap(engine.loaded._replace(folder=Path("again")))
    engine.close(grace_s=60.0)
    assert [pieces[-1].finish for pieces in told if pieces[-1].finish != "cancelled"]
    assert {pieces[-1].finish for pieces in told} <= {"length", "cancelled"}
