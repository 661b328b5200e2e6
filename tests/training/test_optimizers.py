from __future__ import annotations

import pytest
import torch

from core.config.compose import compose
from core.config.train_config import TrainConfig
from core.model.daisy_core import DaisyCore, initialize
from core.training.muon import Muon
from core.training.optimizers import build_optimizers, set_progress

SMALL = ["num_layers=2", "num_heads=2", "head_dim=8", "model_dim=16", "vocab_size=200", "eos_token_id=1"]


def _config(*overrides: str) -> TrainConfig:
    return compose("demo", [*SMALL, *overrides]).config


def _rates(optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
    return {group["name"]: group["lr"] for optimizer in optimizers for group in optimizer.param_groups}


def test_groups_have_their_parameters_and_rates() -> None:
    config = _config("lr_scale=0.5")
    optimizers = build_optimizers(DaisyCore(config.spec), config)
    assert [type(optimizer) for optimizer in optimizers] == [Muon, torch.optim.AdamW]
    assert _rates(optimizers) == {
        "hidden_matrix_params": 0.02,
        "embed_params": 0.15,
        "head_params": 0.01,
        "scalar_params": 0.0025,
    }


def test_rates_follow_the_schedule_and_muons_stays_while_its_momentum_warms() -> None:
    config = _config("cooldown_frac=0.5", "optimizers.Muon.schedule=constant")
    optimizers = build_optimizers(DaisyCore(config.spec), config)
    set_progress(optimizers, config, 0.75)
    rates = _rates(optimizers)
    assert rates["embed_params"] == pytest.approx(0.15)
    assert rates["hidden_matrix_params"] == 0.04
    assert optimizers[0].param_groups[0]["momentum"] == pytest.approx(0.925)
    shared = _config("cooldown_frac=0.5", "optimizers.Muon.schedule=shared")
    optimizers = build_optimizers(DaisyCore(shared.spec), shared)
    set_progress(optimizers, shared, 0.75)
    assert _rates(optimizers)["hidden_matrix_params"] == pytest.approx(0.02)


def test_an_empty_group_makes_no_optimizer_group() -> None:
    groups = ("embed_params", "value_embed_params", "head_params", "scalar_params")
    params = ", ".join(f"{{group: {group}, lr: 0.1}}" for group in groups)
    config = _config(f"optimizers[1].params=[{params}]")
    assert "value_embed_params" not in _rates(build_optimizers(DaisyCore(config.spec), config))
    config = _config(f"optimizers[1].params=[{params}]", "value_embeddings=1")
    assert "value_embed_params" in _rates(build_optimizers(DaisyCore(config.spec), config))


def test_a_few_steps_learn_what_there_is_to_learn() -> None:
    from core.training.loss import soft_capped_loss

    config = _config()
    model = DaisyCore(config.spec)
    initialize(model, seed=1)
    optimizers = build_optimizers(model, config)
    tokens = torch.arange(64)[None] % 7
    losses = []
    for _ in range(200):
        hidden = model.hidden(tokens[:, :-1])[0]
        weight = model.head.weight[: config.vocab_size]
        loss = soft_capped_loss(hidden, weight, tokens[0, 1:], config.logit_softcap, 16) / 63
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(200.0).log().item())
    assert losses[-1] < 0.1
