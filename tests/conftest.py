"""Fixtures that every room's tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.compose import Composed, compose

SPEC = """\
model_class: DaisyCore
num_layers: 2
num_heads: 2
head_dim: 8
model_dim: 16
vocab_size: 300
eos_token_id: 256
max_seq_len: 1024
attention_window_len: 128
"""
CONFIG = """\
model_spec: tiny
train_shards: shards/*_train_*.bin
training_sequence_length: 256
target_tokens: 1e4
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny models are slower on several threads than on one, above all beside other tests."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a spec `tiny` and a config `small`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_specs").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "model_specs/tiny.yml").write_text(SPEC)
    (tmp_path / "configs/small.yml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def compose_text(workspace: Path) -> Callable[..., Composed]:
    """Compose a config whose lines are those of `small` and then the given ones."""

    def run(extra: str = "", *overrides: str) -> Composed:
        (workspace / "configs/small.yml").write_text(CONFIG + extra)
        return compose("small", overrides)

    return run
