"""Muon: momentum, orthogonalised (Jordan et al. 2024), for the matrices of the blocks.

Matrices are bucketed by shape and orthogonalised in batches, each slice of a fused weight by itself. The
work of a bucket is divided between the ranks and gathered once. Own code because `torch.optim.Muon` takes
2-D parameters only, one coefficient triple, and does every matrix on every rank. Runs in the precision
that is fast where it runs: bf16 on CUDA, fp32 elsewhere (a bf16 product is 8 to 150 times slower than fp32 on
a CPU without it); momenta are fp32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

Coefficients = Literal["polar_express", "newton_schulz"]

# (a, b, c) of each step X <- a X + b (X X^T) X + c (X X^T)^2 X.
COEFFICIENTS: dict[Coefficients, tuple[tuple[float, float, float], ...]] = {
    # Amsel et al. 2025, five steps, as the speed runs use them.
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    # Jordan et al. 2024: one quintic, five times.
    "newton_schulz": ((3.4445, -4.7750, 2.0315),) * 5,
}
# The norm is overestimated by this much, so that rounding takes no singular value past 1.
_SAFETY = 1.02


def orthogonalize(matrices: Tensor, coefficients: Coefficients) -> Tensor:
    """Matrices (n, rows, columns) with their singular values drawn towards 1; in their own dtype."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) * _SAFETY + 1e-7)
    x = _on_gram(x, coefficients) if _is_cheaper_on_gram(x) else _on_matrices(x, coefficients)
    return x.mT if tall else x


def _on_matrices(x: Tensor, coefficients: Coefficients) -> Tensor:
    """The iteration as it is written in papers."""
    for a, b, c in COEFFICIENTS[coefficients]:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _is_cheaper_on_gram(x: Tensor) -> bool:
    # In bf16 the small singular values would drown in the Gram matrix's rounding.
    return x.dtype == torch.float32 and x.shape[2] >= 2 * x.shape[1]


def _on_gram(x: Tensor, coefficients: Coefficients) -> Tensor:
    """The same for wide matrices (n, rows, columns), iterated on rows x rows: 50 products of that size, not 90, for
    columns = 4 rows.

    Every step multiplies x from the left by a polynomial Q of its Gram matrix G, so the steps are gathered in one
    factor, and G becomes Q G Q.
    """
    gram = x @ x.mT
    factor = gram
    steps = COEFFICIENTS[coefficients]
    for number, (a, b, c) in enumerate(steps):
        q = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal(dim1=1, dim2=2).add_(a)
        factor = q if number == 0 else q @ factor
        if number < len(steps) - 1:
            gram = q @ gram @ q
    return factor @ x


class Muon(torch.optim.Optimizer):
    """Parameters of two axes, or of three: then each slice along the first is a matrix of its own."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        cautious: bool = False,
        coefficients: Coefficients = "polar_express",
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "cautious": cautious,
            "coefficients": coefficients,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; every rank ends with the same parameters, given the same gradients."""
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            buckets: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    buckets.setdefault((parameter.shape[-2], parameter.shape[-1]), []).append(parameter)
            for parameters in buckets.values():
                self._step_bucket(parameters, group)

    def _step_bucket(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Nesterov momentum, orthogonalised, for parameters whose matrices have one shape."""
        rows, columns = parameters[0].shape[-2:]
        updates = torch.cat([self._momentum(p, group["momentum"]).view(-1, rows, columns) for p in parameters])
        directions = _divided(updates, group["coefficients"])
        # A tall matrix maps unit vectors to shorter ones: this keeps the size of a change per output.
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        taken = 0
        for parameter in parameters:
            count = parameter.numel() // (rows * columns)
            direction = directions[taken : taken + count].view_as(parameter).to(parameter.dtype)
            taken += count
            if group["weight_decay"]:
                decay = group["lr"] * group["weight_decay"] * parameter
                parameter.sub_(decay * (direction * parameter > 0) if group["cautious"] else decay)
            parameter.sub_(direction, alpha=rate)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)


def _divided(updates: Tensor, coefficients: Coefficients) -> Tensor:
    """Orthogonalise (n, rows, columns), each rank its share, and gather all of them on every rank."""
    dtype = torch.bfloat16 if updates.is_cuda else torch.float32
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return orthogonalize(updates.to(dtype), coefficients)
    share = -(-len(updates) // world)
    padded = updates.new_zeros(share * world, *updates.shape[1:], dtype=dtype)
    padded[: len(updates)] = updates
    begin = dist.get_rank() * share
    mine = orthogonalize(padded[begin : begin + share], coefficients).contiguous()
    gathered = torch.empty_like(padded)
    dist.all_gather_into_tensor(gathered, mine)
    return gathered[: len(updates)]
