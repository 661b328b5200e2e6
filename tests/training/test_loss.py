from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.training.loss import IGNORED, reference_loss, soft_capped_loss


def _inputs(tokens: int, vocabulary: int = 50, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    hidden = (scale * torch.randn(tokens, 12, generator=generator)).requires_grad_()
    weight = torch.randn(vocabulary, 12, generator=generator).requires_grad_()
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    return hidden, weight, targets


def _exact(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    h, w = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    logits = 15.0 * torch.tanh(h @ w.T / 15.0)
    loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return (loss, *torch.autograd.grad(loss, (h, w)))


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("chunk", [1, 8, 1000])
def test_chunks_give_the_loss_and_gradients_of_the_whole(tokens: int, chunk: int) -> None:
    hidden, weight, targets = _inputs(tokens)
    targets[::3] = IGNORED
    loss = soft_capped_loss(hidden, weight, targets, 15.0, chunk)
    grads = torch.autograd.grad(loss, (hidden, weight))
    for ours, exact in zip((loss, *grads), _exact(hidden, weight, targets), strict=True):
        torch.testing.assert_close(ours.double(), exact, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(reference_loss(hidden, weight, targets, 15.0), loss)


def test_a_chunk_in_which_nothing_counts_adds_nothing() -> None:
    hidden, weight, targets = _inputs(16)
    targets[8:] = IGNORED
    loss = soft_capped_loss(hidden, weight, targets, 15.0, 8)
    assert torch.equal(loss, soft_capped_loss(hidden[:8], weight, targets[:8], 15.0, 8))
    (grad,) = torch.autograd.grad(loss, hidden)
    assert (grad[8:] == 0).all()
    nothing = soft_capped_loss(hidden, weight, torch.full_like(targets, IGNORED), 15.0, 8)
    assert nothing.item() == 0.0
    assert all((g == 0).all() for g in torch.autograd.grad(nothing, (hidden, weight)))


def test_the_backward_pass_scales_with_what_the_loss_is_divided_by() -> None:
    hidden, weight, targets = _inputs(8)
    whole = torch.autograd.grad(soft_capped_loss(hidden, weight, targets, 15.0, 3), (hidden, weight))
    eighth = torch.autograd.grad(soft_capped_loss(hidden, weight, targets, 15.0, 3) / 8, (hidden, weight))
    for one, other in zip(whole, eighth, strict=True):
        torch.testing.assert_close(one / 8, other)


def test_large_logits_stay_finite() -> None:
    hidden, weight, targets = _inputs(8, scale=1e4)
    loss = soft_capped_loss(hidden, weight, targets, 15.0, 4)
    assert loss.isfinite()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, (hidden, weight)))


def test_evaluation_makes_no_gradient() -> None:
    hidden, weight, targets = _inputs(8)
    with torch.no_grad():
        loss = soft_capped_loss(hidden, weight, targets, 15.0, 4)
    assert not loss.requires_grad
    torch.testing.assert_close(loss.double(), _exact(hidden, weight, targets)[0], atol=1e-4, rtol=0)


def test_padded_rows_are_no_part_of_the_loss() -> None:
    hidden, weight, targets = _inputs(40, vocabulary=64)
    targets.clamp_(max=49)
    padded = soft_capped_loss(hidden, weight, targets, 15.0, 8, 50)
    exact = _exact(hidden, weight[:50], targets)
    torch.testing.assert_close(padded.double(), exact[0], atol=1e-4, rtol=1e-5)
    grad_hidden, grad_weight = torch.autograd.grad(padded, (hidden, weight))
    torch.testing.assert_close(grad_hidden.double(), exact[1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(grad_weight[:50].double(), exact[2], atol=1e-4, rtol=1e-5)
    assert (grad_weight[50:] == 0).all()


def test_bf16_gives_the_loss_of_its_own_logits_in_fp32() -> None:
    hidden, weight, targets = _inputs(40)
    half = hidden.detach().bfloat16().requires_grad_()
    loss = soft_capped_loss(half, weight, targets, 15.0, 16)
    torch.testing.assert_close(loss, reference_loss(half, weight, targets, 15.0), rtol=1e-5, atol=1e-3)
    ours = torch.autograd.grad(loss, (half, weight))
    exact = _exact(half.float(), weight.bfloat16().float(), targets)[1:]
    for one, other in zip(ours, exact, strict=True):
        assert ((one.double() - other).norm() / other.norm()).item() < 0.02


class _Largest(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_the_whole_logits_never_exist() -> None:
    hidden, weight, targets = _inputs(512, vocabulary=300)
    with _Largest() as seen:
        soft_capped_loss(hidden, weight, targets, 15.0, 32).backward()
    assert seen.elements == max(32 * 300, hidden.numel())
    with _Largest() as plain:
        reference_loss(hidden, weight, targets, 15.0).backward()
    assert plain.elements == 512 * 300
