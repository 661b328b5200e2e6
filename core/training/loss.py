"""Soft-capped cross-entropy whose logits never exist all at once.

Logits are made, capped, reduced and turned into gradients chunk by chunk, in one buffer; the forward pass
leaves the gradients of hidden states and head behind, and the backward pass only scales them. Within a chunk a
CPU goes over a few rows at a time, which stay in its cache: on two cores the loss and its gradients take 1.2
times their matrix products, and 1.9 times where each operation walks over the whole chunk. Rejected: the plain
form (`reference_loss`, kept as the test), whose fp32 logits take 13 GB for 65,536 tokens of GPT-2's vocabulary.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# A target that does not count: padding, or a prompt that is not to be learned.
IGNORED = -100
# Rows of logits that a CPU takes through all elementwise operations before the next: 3 MB of GPT-2's vocabulary.
_CPU_ROWS = 16


def soft_capped_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, cap: float, chunk: int, vocab_size: int | None = None
) -> Tensor:
    """Sum of the cross-entropy over the targets that count, a 0-D fp32 tensor.

    `hidden` (tokens, model_dim), `weight` (rows, model_dim) fp32, `targets` (tokens,) int64 with IGNORED where
    nothing is to be predicted; logits are capped to (-cap, cap). Rows of the weight from `vocab_size` on are
    padding: no part of the loss, and their gradient is zero. The sum, and not a mean: the caller divides by
    the number of targets over all ranks and accumulation steps.
    """
    size = len(weight) if vocab_size is None else vocab_size
    loss: Tensor = _ChunkedLoss.apply(hidden, weight, targets, cap, chunk, size)  # type: ignore[no-untyped-call]
    return loss


def reference_loss(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """The same without padding, as it is written in books."""
    logits = cap * torch.tanh(F.linear(hidden, weight.to(hidden.dtype)).float() / cap)
    return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, cap: float, chunk: int, vocab_size: int
    ) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        matrix = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        buffer = hidden.new_empty(min(chunk, len(hidden)), len(weight))
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            inputs, counted = hidden[part], (targets[part] != IGNORED)[:, None]
            logits = torch.mm(inputs, matrix.T, out=buffer[: len(inputs)])
            index = targets[part].clamp(min=0)[:, None]
            in_place = _compiled() if logits.is_cuda else _losses_into_gradients
            losses = in_place(logits, index, cap, vocab_size, wants_hidden or wants_weight)
            total += (losses * counted).sum()
            if grad_hidden is not None:
                torch.mm(logits, matrix, out=grad_hidden[part]).mul_(4 * counted)
            if grad_weight is not None:
                counting = inputs * (4 * counted)
                if logits.dtype == grad_weight.dtype:
                    grad_weight.addmm_(logits.T, counting)
                else:
                    grad_weight += logits.T @ counting
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # In place, which saves a copy of the head. A second backward pass over the same graph is refused by
        # autograd's own count of changes.
        scaled = [g.mul_(grad.to(g.dtype)) if g is not None else None for g in ctx.saved_tensors]
        return (*scaled, None, None, None, None)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # On CUDA the operations become a few passes over the chunk, which otherwise takes longer than its products.
    return torch.compile(_losses_into_gradients, dynamic=False)


def _losses_into_gradients(logits: Tensor, index: Tensor, cap: float, vocab_size: int, wants_grad: bool) -> Tensor:
    """The loss of each row (rows, 1) of uncapped logits, which are overwritten by a quarter of their gradients.

    `index` (rows, 1) are the targets. Everything is computed in fp32, with s = sigmoid(2x / cap), which is six
    times faster than tanh on a CPU: cap * tanh(x / cap) = 2 * cap * s - cap, of which the softmax does not see
    the last term, and its derivative is 4 * s * (1 - s).
    """
    rows = len(logits) if logits.is_cuda else _CPU_ROWS
    losses = logits.new_empty(len(logits), 1, dtype=torch.float32)
    scratch = torch.empty(rows, logits.shape[1], dtype=torch.float32, device=logits.device)
    for begin in range(0, len(logits), rows):
        part = slice(begin, begin + rows)
        here, target = logits[part], index[part]
        sigmoid = here.float().mul_(2 / cap).sigmoid_()  # in place where the logits are fp32
        capped = torch.mul(sigmoid, 2 * cap, out=scratch[: len(sigmoid)])
        capped[:, vocab_size:] = float("-inf")
        at_target, largest = capped.gather(1, target), capped.amax(dim=1, keepdim=True)
        probabilities = torch.softmax(capped, dim=1, out=capped)
        # log(sum(exp(capped))), by the one probability that cannot underflow.
        logsumexp = largest - probabilities.amax(dim=1, keepdim=True).log()
        losses[part] = logsumexp - at_target
        if wants_grad:
            probabilities.scatter_(1, target, probabilities.gather(1, target) - 1)
            grad = sigmoid.addcmul_(sigmoid, sigmoid, value=-1).mul_(probabilities)
            if grad is not here:
                here.copy_(grad)
    return losses
