"""Rotary position embeddings (Su et al. 2021), computed for the positions at hand.

Rejected: tables. For 65,536 positions a table a layer costs 64 MB each; sines for one batch cost
less than one matrix product's hundredth.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (…, time, head_dim / 2) fp32, for integer positions (…, time)."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions.to(torch.float32)[..., None] * theta**-exponents
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of x (batch, time, heads, head_dim), in fp32; x's dtype returns."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1).to(x.dtype)
