"""One transformer block: attention and feed-forward, each behind a norm, added to the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.model_spec import ModelSpec
from core.model.attention import attention
from core.model.cache import LayerCache
from core.model.feedforward import FeedForward
from core.model.rotary import rotate

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


class Context(NamedTuple):
    """What every layer shares in one forward pass."""

    starts: Tensor | None  # (batch, time): first position of each position's document; None with a cache
    cos: Tensor  # (time, head_dim / 2) fp32
    sin: Tensor
    position: int  # tokens already in the cache


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
    ) -> Tensor:
        """x (batch, time, model_dim); `value_extra`, of the same shape, is added to the values."""
        batch, time, _ = x.shape
        weight = self.qkvo.to(x.dtype)
        q, k, v = F.linear(x, weight[:3].flatten(0, 1)).view(batch, time, 3, self.heads, self.head_dim).unbind(2)
        if value_extra is not None:
            v = v + value_extra.view_as(v)
        q, k = rotate(norm(q), context.cos, context.sin), rotate(norm(k), context.cos, context.sin)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if cache is None:
            assert context.starts is not None
            y = attention(q, k, v, context.starts, window)
        else:
            y = _cached_attention(q, k, v, cache, context.position)
        merged: Tensor = y.transpose(1, 2).reshape(batch, time, -1)
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
    ) -> Tensor:
        x = x + self.attention(norm(x), context, window, value_extra, cache)
        change: Tensor = self.feedforward(norm(x))
        return x + change


def _cached_attention(q: Tensor, k: Tensor, v: Tensor, cache: LayerCache, position: int) -> Tensor:
    """Attend over what the cache holds and the new keys, then store the new ones."""
    time = q.shape[2]
    if time == 1:
        cache.write(position, k, v)
        held = min(position + 1, cache.window)
        return F.scaled_dot_product_attention(q, cache.keys[:, :, :held], cache.values[:, :, :held])
    before = min(position, cache.window - 1)
    earlier_k, earlier_v = cache.recent(position, before)
    starts = torch.zeros(q.shape[0], time, dtype=torch.int64, device=q.device)
    y = attention(q, torch.cat((earlier_k, k), 2), torch.cat((earlier_v, v), 2), starts, cache.window)
    cache.write(position, k, v)
    return y
