"""The loss of smaller weights, measured as training measures it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from core.data.shards import write_shard
from core.data.tokenizers import ByteTokenizer
from core.inference.loaded import Loaded
from core.inference.loss import compared, loss_of, validation_tokens
from core.model.daisy_core import DaisyCore


@pytest.fixture
def loaded(tiny_model: DaisyCore, tmp_path: Path) -> Loaded:
    """A checkpoint that was evaluated on a shard of 1,100 tokens."""
    tokens = torch.randint(0, 256, (1100,), generator=torch.Generator().manual_seed(1)).numpy().astype("uint16")
    write_shard(tmp_path / "x_val_0.bin", tokens, 257)
    (tmp_path / "a_val_0.bin").write_bytes(b"no shard")
    meta = {"hparams": {"val_shards": {"val": [str(tmp_path / "*_val_*.bin")]}}}
    return Loaded(tiny_model, ByteTokenizer(), meta, tmp_path)


@torch.no_grad()
def test_the_loss_is_the_models_and_that_of_smaller_weights_beside_it(loaded: Loaded) -> None:
    tokens = validation_tokens(loaded)
    assert tokens is not None
    assert tokens.shape == (8, 128)
    logits = loaded.model(tokens)[:, :-1]
    expected = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()
    assert loss_of(loaded, "float32", tokens) == pytest.approx(expected, abs=1e-5)
    found = compared(loaded, "float32")
    assert found is not None
    assert (found.loss, found.tokens) == (found.exact, 8 * 127)
    assert str(found) == f"{found.loss:.4f} nats a token on 1,016 of validation, +0.00000 against float32"


def test_shards_are_found_in_whatever_form_a_config_names_them(loaded: Loaded, tmp_path: Path) -> None:
    pattern = str(tmp_path / "*_val_*.bin")
    for shards in (pattern, [pattern], {"val": pattern}, {"a": [str(tmp_path / "none")], "b": [pattern]}):
        assert validation_tokens(loaded._replace(meta={"hparams": {"val_shards": shards}})) is not None


def test_without_its_validation_shards_nothing_is_said(loaded: Loaded, tmp_path: Path) -> None:
    for hparams in ({}, {"val_shards": {"val": [str(tmp_path / "none_*.bin")]}}, {"val_shards": "x"}):
        assert compared(loaded._replace(meta={"hparams": hparams}), "int8") is None
    (tmp_path / "x_val_0.bin").unlink()
    assert compared(loaded, "int8") is None
