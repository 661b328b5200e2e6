"""Optimizers from the configuration, one group of torch's for each of its parameter groups."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from core.config.parameters import parameters
from core.config.schedule import learning_rate_factor, muon_momentum
from core.config.train_config import GroupName, TrainConfig
from core.config.train_config import Muon as MuonConfig
from core.training.muon import Muon


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The configured optimizers over the model's parameters, at the start of their schedules.

    Raises AssertionError where a parameter is covered not exactly once: the configuration's rules have
    excluded that, so it would be a defect of the model's list of parameters.
    """
    named = _by_group(model, config)
    fused = next(model.parameters()).device.type in ("cuda", "cpu")
    optimizers: list[torch.optim.Optimizer] = []
    for settings in config.optimizers:
        groups = [
            {"params": named[entry.group], "name": entry.group, "peak_lr": entry.lr, "lr": entry.lr}
            for entry in settings.params
            if named.get(entry.group)
        ]
        if not groups:
            continue
        optimizer: torch.optim.Optimizer
        if isinstance(settings, MuonConfig):
            optimizer = Muon(
                groups,
                lr=0.0,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                cautious=settings.cautious,
                coefficients=settings.coefficients,
            )
        else:
            betas = (settings.betas[0], settings.betas[1])
            optimizer = torch.optim.AdamW(
                groups, lr=0.0, betas=betas, eps=settings.eps, weight_decay=settings.weight_decay, fused=fused
            )
        for group in optimizer.param_groups:
            group["schedule"] = settings.schedule
            group["peak_momentum"] = settings.momentum if isinstance(settings, MuonConfig) else None
        optimizers.append(optimizer)
    covered = Counter(id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])
    assert all(covered[id(p)] == 1 for p in model.parameters()), "each parameter belongs to one optimizer"
    set_progress(optimizers, config, 0.0)
    return optimizers


def set_progress(optimizers: list[torch.optim.Optimizer], config: TrainConfig, progress: float) -> None:
    """Set learning rates and Muon's momentum for `progress` = tokens / target_tokens."""
    factor = learning_rate_factor(config.learning_rate_schedule, progress, config.cooldown_frac)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * config.lr_scale * (factor if group["schedule"] == "shared" else 1.0)
            if group["peak_momentum"] is not None:
                group["momentum"] = muon_momentum(progress, group["peak_momentum"])


def _by_group(model: nn.Module, config: TrainConfig) -> dict[GroupName, list[Tensor]]:
    group_of = {parameter.name: parameter.group for parameter in parameters(config)}
    named: dict[GroupName, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        named.setdefault(group_of[name], []).append(parameter)
    return named
