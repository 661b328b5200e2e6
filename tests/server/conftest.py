"""A tiny checkpoint that says something, and a server with a real engine for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from serving import Running, running

from core.data.dataset import TokenizerInfo
from core.data.tokenizers import ByteTokenizer
from server.source import source_of
from server.weights import Weights

SaveTalker = Callable[..., Path]


@pytest.fixture(scope="session")
def save_talker(save_model: Callable[..., Path]) -> SaveTalker:
    """Save a model of bytes with weights drawn by chance, so that what it says depends on all that was said."""

    def save(folder: Path, seed: int = 2, **meta: Any) -> Path:
        def stir(tensors: dict[str, Any]) -> None:
            import torch

            generator = torch.Generator().manual_seed(seed)
            for tensor in tensors.values():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))

        tokenizer = asdict(TokenizerInfo.of(ByteTokenizer()))
        return save_model(folder, edit=stir, tokenizer=tokenizer, **meta)

    return save


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory, save_talker: SaveTalker) -> Path:
    """A checkpoint of such a model, of 128 tokens at most."""
    return save_talker(tmp_path_factory.mktemp("talker") / "step_000000007")


@pytest.fixture(scope="module")
def real(talker: Path) -> Iterator[Running]:
    """A server with an engine, which takes chats by the instruction template."""
    with running(Weights(source_of(str(talker)), device="cpu", slots=4, template="instruction")) as server:
        yield server
