"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.config.compose import Composed, compose
from core.config.model_spec import ModelSpec
from core.config.windows import layer_windows
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer

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


TINY_RUN = {
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 8,
    "model_dim": 16,
    "vocab_size": 257,
    "eos_token_id": 256,
    "max_seq_len": 128,
    "attention_window_len": 32,
    "train_shards": "shards/x_train_*.bin",
    "training_sequence_length": 64,
    "window_block_size": 16,
    "tot_val_tokens": 256,
}


def pytest_configure() -> None:
    """Who starts tests in the background may have had signals ignored, which every process of theirs would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["TZ"] = "UTC"  # times of the day are shown in that of the machine
    time.tzset()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real processes, pictures of whole screens, and every worker that fails take minutes."""
    for item in items:
        if item.path.parent.name == "e2e" or item.path.stem.endswith(("_pictures", "_workers")):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The compiled step is built once a session, and not in anybody's home."""
    os.environ["DAISY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny models are slower on several threads than on one, above all beside other tests."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_leases(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that train at the same time do not wait for each other's devices."""
    monkeypatch.setenv("DAISY_LEASES", str(tmp_path_factory.mktemp("leases")))


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


@pytest.fixture
def training_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make an empty working directory with a config `tiny.yml`, which takes the given keys, and shards of bytes.

    They hold 3,000 tokens to train on, which a run of more goes through several times.
    """

    def make(**keys: Any) -> Path:
        monkeypatch.chdir(tmp_path)
        texts = [f"the quick brown fox number {n} jumps over the lazy dog {n * n}. " * 3 for n in range(18)]
        prepare(TextSource("t", texts), ByteTokenizer(), tmp_path / "shards", PrepareOptions("x", val_fraction=0.15))
        (tmp_path / "tiny.yml").write_text(yaml.safe_dump(TINY_RUN | keys))
        return tmp_path

    return make


@pytest.fixture(scope="session")
def save_model() -> Callable[..., Path]:
    """Save a small initialised DaisyCore with all its gates as a checkpoint, as the trainer does.

    `edit` may change the tensors before they are written; `meta` what stands in meta.json.
    """

    def save(
        folder: Path,
        *,
        seed: int = 0,
        state: bool = True,
        edit: Callable[[dict[str, Any]], None] = lambda tensors: None,
        **meta: Any,
    ) -> Path:
        import torch

        from core.checkpoint.save import Saving
        from core.model.daisy_core import DaisyCore, initialize

        shape = {"num_layers": 6, "num_heads": 2, "head_dim": 8, "model_dim": 16, "vocab_size": 257}
        lengths = {"eos_token_id": 256, "max_seq_len": 128, "attention_window_len": 32}
        spec = ModelSpec(**shape, **lengths, depth_skips=True, value_embeddings=2)
        model = DaisyCore(spec)
        initialize(model, seed)
        tensors = model.state_dict()
        edit(tensors)
        saving = Saving(folder)
        saving.begin()
        saving.write_model(tensors)
        if state:
            saving.write_state(0, {"0.0.momentum_buffer": torch.zeros(3)})
        facts = {"step": 7, "tokens": 1792, "best_val": 4.25, "tokens_per_step": 256, "progress": 0.5}
        hparams = {**spec.model_dump(), "target_tokens": 3584, "init_checkpoint": None}
        tokenizer = {"name": "bytes", "vocab_size": 257, "eot_token_id": 256, "fingerprint": "f", "file": None}
        more = {
            "windows": layer_windows(spec, 16),
            "hparams": hparams,
            "tokenizer": tokenizer,
            "versions": {"torch": "2.11"},
        }
        return saving.commit(facts | more | meta)

    return save
