"""Attention under Daisy's one mask, with a backend per device that must agree with the definition.

`visible` says which keys a query may see; `reference_attention` applies it to a T x T matrix and is what the
backends are tested against. On CPU the queries go in blocks over the slice of keys that they can see,
O(T * window) in time and memory. Rejected there: one SDPA call (T x T), and an autograd loop over slices,
whose backward pads every slice's gradient to full length (2.4 s against 0.9 s at 16,384 tokens).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.model.visibility import visible

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

# Queries in one step of the CPU backend. Smaller blocks see fewer keys in vain, larger ones cost fewer calls.
CPU_BLOCK = 128


def attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, window: int | BlockMask) -> Tensor:
    """Attend: q (batch, heads, queries, head_dim), k and v (batch, heads, keys, head_dim).

    The queries are the last of the keys. `starts` (batch, queries) are positions among the keys, none
    negative. For CUDA tensors the window may be given as the block mask that `core.model.flex` made of it.
    Returns the shape of q. The tensors' device chooses the backend.
    """
    if q.is_cuda:
        from core.model.flex import build_block_masks, flex_window_attention

        mask = build_block_masks(starts, k.shape[2], [window])[window] if isinstance(window, int) else window
        return flex_window_attention(q, k, v, mask)
    result: Tensor = _BlockedAttention.apply(q, k, v, starts, window, CPU_BLOCK)  # type: ignore[no-untyped-call]
    return result


def reference_attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, window: int) -> Tensor:
    """The definition, computed as written. For tests: memory grows with queries times keys."""
    queries, keys = q.shape[2], k.shape[2]
    key = torch.arange(keys, device=q.device)
    mask = visible((key[keys - queries :])[None, :, None], key, starts[:, :, None], window)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    result: Tensor = scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1) @ v
    return result


class _BlockedAttention(torch.autograd.Function):
    """Blocks of queries over the keys they can see, by PyTorch's flash kernels for CPU.

    The kernels are private operators of torch; tests pin what is relied on.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, starts: Tensor, window: int, block: int) -> Tensor:
        out = torch.empty_like(q)
        logsumexp = q.new_empty(q.shape[:3], dtype=torch.float32)
        for queries, keys, bias in _blocks(q, k, starts, window, block):
            out[:, :, queries], logsumexp[:, :, queries] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, queries], k[:, :, keys], v[:, :, keys], attn_mask=bias
            )
        ctx.save_for_backward(q, k, v, starts, out, logsumexp)
        ctx.window, ctx.block = window, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, starts, out, logsumexp = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for queries, keys, bias in _blocks(q, k, starts, ctx.window, ctx.block):
            dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad[:, :, queries],
                q[:, :, queries],
                k[:, :, keys],
                v[:, :, keys],
                out[:, :, queries],
                logsumexp[:, :, queries],
                0.0,
                False,
                attn_mask=bias,
            )
            grad_q[:, :, queries] = dq
            grad_k[:, :, keys] += dk
            grad_v[:, :, keys] += dv
        return grad_q, grad_k, grad_v, None, None, None


def _blocks(q: Tensor, k: Tensor, starts: Tensor, window: int, block: int) -> Any:
    """Each block of queries as (slice of queries, slice of keys, additive mask)."""
    queries, keys = q.shape[2], k.shape[2]
    offset = keys - queries
    # Starts never decrease along a row, so a block's first query sees furthest back.
    first_visible = starts[:, ::block].amin(0).tolist()
    position = torch.arange(keys)
    for index, begin in enumerate(range(0, queries, block)):
        end = min(begin + block, queries)
        first = max(first_visible[index], begin + offset - window + 1, 0)
        last = end + offset
        mask = visible(position[begin + offset : last, None], position[first:last], starts[:, begin:end, None], window)
        bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
        yield slice(begin, end), slice(first, last), bias[:, None]
