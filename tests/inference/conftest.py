"""Tiny models that say something, and tokenizers that say what they are told to."""

from __future__ import annotations

import pytest
import torch

from core.config.model_spec import ModelSpec
from core.model.daisy_core import DaisyCore, initialize

SPEC = ModelSpec(
    num_layers=3,
    num_heads=2,
    head_dim=8,
    model_dim=16,
    vocab_size=257,
    eos_token_id=256,
    max_seq_len=400,
    attention_window_len=16,
)


@pytest.fixture
def tiny_model() -> DaisyCore:
    """A model of bytes whose windows are 8, 8 and 16 tokens, with weights drawn by chance."""
    model = DaisyCore(SPEC)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
