"""What only a GPU can show. `pytest tests/model/test_cuda.py` on a machine that has one."""

from __future__ import annotations

import pytest
import torch

from core.config.model_spec import ModelSpec
from core.model.attention import attention, reference_attention
from core.model.daisy_core import DaisyCore, initialize
from core.model.visibility import document_starts

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),
]
SPEC = ModelSpec(
    num_layers=4,
    num_heads=2,
    head_dim=64,
    model_dim=128,
    vocab_size=500,
    eos_token_id=499,
    max_seq_len=2048,
    attention_window_len=512,
)


@pytest.mark.parametrize("window", [1, 100, 128, 1000])
@pytest.mark.parametrize("time", [128, 300, 1024])
def test_flex_is_the_definition_forward_and_backward(time: int, window: int) -> None:
    generator = torch.Generator("cuda").manual_seed(time)
    q, k, v = (torch.randn(1, 2, time, 64, device="cuda", generator=generator).requires_grad_() for _ in range(3))
    starts = document_starts((torch.arange(time, device="cuda") // 90)[None])
    ours = attention(q, k, v, starts, window)
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    reference = reference_attention(*exact, starts, window)
    torch.testing.assert_close(ours.double(), reference, atol=2e-2, rtol=0)
    weight = torch.randn_like(ours)
    grads = torch.autograd.grad(ours, (q, k, v), weight)
    for grad, other in zip(grads, torch.autograd.grad(reference, exact, weight.double()), strict=True):
        assert ((grad.double() - other).norm() / other.norm().clamp(min=1e-9)).item() < 2e-2


def test_compiled_blocks_are_the_plain_ones_and_a_growing_window_compiles_nothing() -> None:
    plain, compiled = (DaisyCore(SPEC, compute_dtype=torch.bfloat16) for _ in range(2))
    for model in (plain, compiled):
        initialize(model, 1)
        model.to("cuda")
    compiled.compile_blocks()
    tokens = torch.randint(0, 499, (1, 1024), device="cuda")
    documents = (torch.arange(1024, device="cuda") // 300)[None]

    def run(model: DaisyCore, long: int) -> torch.Tensor:
        hidden = model.hidden(tokens, documents, windows=[long // 2, long // 2, long // 2, long])
        hidden.float().square().sum().backward()
        return hidden.detach().float()

    run(compiled, 128)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for long in (256, 384, 512):
            difference = (run(compiled, long) - run(plain, long)).norm() / run(plain, long).norm()
            assert difference.item() < 2e-2
