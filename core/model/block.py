"""One transformer block: attention and feed-forward, each behind a norm, added to the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.model_spec import ModelSpec
from core.model.attention import attention
from core.model.cache import LayerCache, Rows
from core.model.feedforward import FeedForward
from core.model.rotary import rotate
from core.model.visibility import visible

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


class Context(NamedTuple):
    """What every layer shares in one forward pass."""

    starts: Tensor | None  # (batch, time): first position of each position's document; None with a cache
    cos: Tensor  # (time, head_dim / 2) fp32, or (batch, time, head_dim / 2) with a cache
    sin: Tensor
    rows: Rows | None = None  # with a cache: where the rows of the batch belong


def norm(x: Tensor) -> Tensor:
    """RMS norm over the last axis without a learned scale, reduced in fp32."""
    return F.rms_norm(x, (x.shape[-1],))


class Attention(nn.Module):
    """Sliding-window attention with one fused weight of query, key, value and output: (4, model_dim, model_dim)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.heads, self.head_dim = spec.num_heads, spec.head_dim
        self.qkvo = nn.Parameter(torch.empty(4, spec.model_dim, spec.model_dim))

    def forward(
        self,
        x: Tensor,
        context: Context,
        window: int | BlockMask,
        value_extra: Tensor | None,
        cache: LayerCache | None,
        last_only: bool = False,
    ) -> Tensor:
        """x (batch, time, model_dim); `value_extra`, of the same shape, is added to the values.

        With `last_only` (batch, 1, model_dim), of the last position; keys and values are made of all.
        """
        batch, time, _ = x.shape
        weight = self.qkvo.to(x.dtype)
        if last_only:
            q = F.linear(x[:, -1:], weight[0]).view(batch, 1, self.heads, self.head_dim)
            k, v = F.linear(x, weight[1:3].flatten(0, 1)).view(batch, time, 2, self.heads, self.head_dim).unbind(2)
        else:
            q, k, v = F.linear(x, weight[:3].flatten(0, 1)).view(batch, time, 3, self.heads, self.head_dim).unbind(2)
        if value_extra is not None:
            v = v + value_extra.view_as(v)
        asked = q.shape[1]
        q = rotate(norm(q), context.cos[..., -asked:, :], context.sin[..., -asked:, :])
        k = rotate(norm(k), context.cos, context.sin)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if cache is None:
            assert context.starts is not None
            y = attention(q, k, v, context.starts, window)
        else:
            assert context.rows is not None
            y = _decode(q, k, v, cache, context.rows) if time == 1 else _prefill(q, k, v, cache, context.rows)
        merged: Tensor = y.transpose(1, 2).reshape(batch, asked, -1)
        return merged @ weight[3]


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x))."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.attention = Attention(spec)
        self.feedforward = FeedForward(spec)

    def forward(
        self,
        x: Tensor,
        context: Context,
        window: int | BlockMask,
        value_extra: Tensor | None,
        cache: LayerCache | None,
        last_only: bool = False,
    ) -> Tensor:
        added = self.attention(norm(x), context, window, value_extra, cache, last_only)
        x = (x[:, -1:] if last_only else x) + added
        change: Tensor = self.feedforward(norm(x))
        return x + change


def _decode(q: Tensor, k: Tensor, v: Tensor, cache: LayerCache, rows: Rows) -> Tensor:
    """Attend from one new token a row to what its slot holds and to itself."""
    cache.append(rows, k[:, :, 0], v[:, :, 0])
    # What has not been written yet is not read on a CPU; a CUDA graph reads rings whole, whatever the positions.
    length = cache.ring if q.is_cuda else min(int(rows.positions.max()) + 1, cache.ring)
    keys, values = cache.held(rows, length)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=cache.visible(rows, length)[:, None, None])


def _prefill(q: Tensor, k: Tensor, v: Tensor, cache: LayerCache, rows: Rows) -> Tensor:
    """Attend from new tokens, or the last of them, to what a slot held before and to each other; then store them."""
    y = torch.empty_like(q)
    time = q.shape[2]
    slots = range(len(q)) if rows.slots is None else rows.slots.tolist()
    starts = torch.zeros(1, time, dtype=torch.int64, device=q.device)
    for row, (slot, position) in enumerate(zip(slots, rows.positions.tolist(), strict=True)):
        earlier_k, earlier_v = cache.recent(slot, position, min(position, cache.window - 1))
        query = q[row : row + 1]
        keys, values = torch.cat((earlier_k, k[row : row + 1]), 2), torch.cat((earlier_v, v[row : row + 1]), 2)
        if q.is_cuda:  # FlexAttention would be compiled anew for every length
            key = torch.arange(keys.shape[2], device=q.device)
            mask = visible(key[-time:, None], key, starts[0, :, None], cache.window)
            y[row : row + 1] = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        else:
            y[row : row + 1] = attention(query, keys, values, starts, cache.window)
        cache.extend(slot, position, k[row], v[row])
    return y
