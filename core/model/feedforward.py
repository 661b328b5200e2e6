"""The feed-forward of a block: squared ReLU, `relu(x W_up)^2 W_down` (So et al. 2021, Primer)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.model_spec import ModelSpec


class FeedForward(nn.Module):
    """(…, model_dim) to (…, model_dim). Both matrices are stored (hidden, model_dim)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        hidden = spec.mlp_ratio * spec.model_dim
        self.up = nn.Parameter(torch.empty(hidden, spec.model_dim))
        self.down = nn.Parameter(torch.empty(hidden, spec.model_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.linear(x, self.up.to(x.dtype))).square() @ self.down.to(x.dtype)
