"""One optimizer step over a batch: forward and backward by sequence, gradients summed over ranks, clipped, applied."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from core.config.train_config import TrainConfig
from core.config.windows import windows_at
from core.data.stream import Batch, document_ids
from core.model.daisy_core import DaisyCore
from core.training.distributed import Ranks
from core.training.loss import soft_capped_loss
from core.training.metrics import Movement
from core.training.optimizers import set_progress


@dataclass(frozen=True)
class Step:
    """What one step found: the mean loss over all ranks and the norm of the gradient.

    `figures` are there where they were asked for: `max_rank_loss`, the mean of the rank where it was highest, and
    those of `Movement`.
    """

    loss: float
    grad_norm: float
    figures: dict[str, Any]


class NotFiniteError(Exception):
    """A loss or gradient that is no number; the weights are as they were before the step.

    `own_loss` is this rank's mean loss, and `grad_norms` are by parameter.
    """

    def __init__(self, loss: float, own_loss: float, grad_norm: float, grad_norms: dict[str, float]) -> None:
        super().__init__(f"loss {loss} and gradient norm {grad_norm}")
        self.loss, self.own_loss, self.grad_norm, self.grad_norms = loss, own_loss, grad_norm, grad_norms


class SummedLoss(nn.Module):
    """The model and its loss as one module, so that DDP sees the whole forward pass."""

    def __init__(self, model: DaisyCore, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self._config = config

    def forward(self, sequences: Tensor, documents: Tensor, windows: list[int]) -> Tensor:
        """Sum of the loss over the targets of sequences (count, length + 1)."""
        hidden = self.model.hidden(sequences[:, :-1], documents, windows=windows)
        c, targets = self._config, sequences[:, 1:].flatten()
        weight = self.model.head.weight
        return soft_capped_loss(
            hidden.flatten(0, 1), weight, targets, c.logit_softcap, c.loss_chunk_tokens, c.vocab_size
        )


class Stepper:
    """Takes steps with one model and its optimizers, on this rank of several. `config` may change between steps."""

    def __init__(
        self, model: DaisyCore, optimizers: list[torch.optim.Optimizer], config: TrainConfig, ranks: Ranks
    ) -> None:
        self.model = model
        self.optimizers = optimizers
        self.config = config
        self._ranks = ranks
        self._loss: nn.Module = SummedLoss(model, config)
        if ranks.world_size > 1:
            self._loss = DistributedDataParallel(self._loss)

    def step(self, batch: Batch, progress: float, *, measured: bool = False) -> Step:
        """One step at `progress` in [0, 1) over this rank's sequences; every rank has as many. `measured` adds figures.

        Raises NotFiniteError, on every rank, before any weight has changed.
        """
        config, ranks = self.config, self._ranks
        set_progress(self.optimizers, config, progress)
        own = self._backward(batch, windows_at(config, progress))
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        found = torch.stack([ranks.sum(own.clone()) / ranks.world_size, torch.nn.utils.get_total_norm(gradients)])
        mean, norm = found.tolist()  # one wait for the device
        if not (math.isfinite(mean) and math.isfinite(norm)):
            norms = {n: p.grad.norm().item() for n, p in self.model.named_parameters() if p.grad is not None}
            raise NotFiniteError(mean, own.item(), norm, norms)
        if config.grad_clip_norm is not None and norm > config.grad_clip_norm:
            torch._foreach_mul_(gradients, config.grad_clip_norm / norm)
        movement = Movement(self.optimizers) if measured else None
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if movement is None:
            return Step(mean, norm, {})
        return Step(mean, norm, {"max_rank_loss": ranks.max(own).item(), **movement.figures()})

    def _backward(self, batch: Batch, windows: list[int]) -> Tensor:
        """Leave the gradients of the mean over all targets of all ranks; returns the mean over this rank's.

        Every rank has as many targets and DDP averages over the ranks, so that each divides by its own number.
        """
        targets = batch[:, 1:].size
        mean = torch.zeros((), device=self._ranks.device)
        for number in range(len(batch)):
            part = batch[number : number + 1]
            sequences = torch.from_numpy(part).to(self._ranks.device)
            documents = torch.from_numpy(document_ids(part, self.config.eos_token_id)).to(self._ranks.device)
            with self._synchronised(last=number == len(batch) - 1):
                loss = self._loss(sequences, documents, windows) / targets
                loss.backward()
            mean += loss.detach()
        return mean

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between ranks with the last sequence of a step only."""
        if isinstance(self._loss, DistributedDataParallel) and not last:
            return self._loss.no_sync()
        return nullcontext()
