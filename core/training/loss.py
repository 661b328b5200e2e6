"""Soft-capped cross-entropy whose logits never exist all at once.

Logits are made, capped, reduced and turned into gradients chunk by chunk; the forward pass leaves the
gradients of hidden states and head behind, and the backward pass only scales them. Rejected: the plain
form (`reference_loss`, kept as the test), whose fp32 logits take 13 GB for 65,536 tokens of GPT-2's vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# A target that does not count: padding, or a prompt that is not to be learned.
IGNORED = -100


def soft_capped_loss(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float, chunk: int) -> Tensor:
    """Sum of the cross-entropy over the targets that count, a 0-D fp32 tensor.

    `hidden` (tokens, model_dim), `weight` (vocabulary, model_dim) fp32, `targets` (tokens,) int64 with
    IGNORED where nothing is to be predicted; logits are capped to (-cap, cap). The sum, and not a mean:
    the caller divides by the number of targets over all ranks and accumulation steps.
    """
    loss: Tensor = _ChunkedLoss.apply(hidden, weight, targets, cap, chunk)  # type: ignore[no-untyped-call]
    return loss


def reference_loss(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """The same, as it is written in books."""
    logits = cap * torch.tanh(F.linear(hidden, weight.to(hidden.dtype)).float() / cap)
    return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, cap: float, chunk: int) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        matrix = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            loss, grad = _chunk(hidden[part], matrix, targets[part], cap, wants_hidden or wants_weight)
            total += loss
            if grad is None:
                continue
            if grad_hidden is not None:
                torch.mm(grad, matrix, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight += (grad.T @ hidden[part]).to(grad_weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [g * grad.to(g.dtype) if g is not None else None for g in ctx.saved_tensors]
        return (*scaled, None, None, None)


def _chunk(
    hidden: Tensor, matrix: Tensor, targets: Tensor, cap: float, wants_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Loss of one chunk, and its gradient with respect to the uncapped logits, in the compute dtype."""
    counted = targets != IGNORED
    index = targets.clamp(min=0)[:, None]
    capped = F.linear(hidden, matrix).float().div_(cap).tanh_()  # in (-1, 1): logits over cap
    logits = capped * cap
    logsumexp = logits.logsumexp(dim=1, keepdim=True)
    loss = ((logsumexp - logits.gather(1, index)).squeeze(1) * counted).sum()
    if not wants_grad:
        return loss, None
    grad = logits.sub_(logsumexp).exp_()  # probabilities
    grad.scatter_(1, index, grad.gather(1, index) - 1)
    # d(cap * tanh(x / cap)) / dx = 1 - tanh(x / cap)^2
    grad.mul_(capped.square_().neg_().add_(1)).mul_(counted[:, None])
    return loss, grad.to(hidden.dtype)
