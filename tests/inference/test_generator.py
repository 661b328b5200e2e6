from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint import model_from_checkpoint
from core.checkpoint.format import CheckpointError
from core.checkpoint.save import Saving
from core.config.model_spec import ModelSpec
from core.data.dataset import TokenizerInfo
from core.data.tokenizers import RANKS_FILE, ByteTokenizer, Tokenizer, demo_tokenizer
from core.errors import DaisyError
from core.inference.generator import Generator
from core.inference.request import SamplingError, SamplingParams
from core.model.daisy_core import DaisyCore, initialize

GREEDY = SamplingParams(temperature=0.0)


def _model(vocabulary: int = 257, eos: int = 256) -> DaisyCore:
    spec = ModelSpec(
        num_layers=3,
        num_heads=2,
        head_dim=8,
        model_dim=16,
        vocab_size=vocabulary,
        eos_token_id=eos,
        max_seq_len=200,
        attention_window_len=16,
    )
    model = DaisyCore(spec)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _save(folder: Path, model: DaisyCore, tokenizer: Tokenizer, windows: list[int], **said: Any) -> Path:
    saving = Saving(folder / "step_1")
    saving.begin()
    saving.write_model(model.state_dict())
    if (ranks := tokenizer.ranks_file()) is not None:
        saving.write_file(RANKS_FILE, ranks)
    tokenizer_meta = asdict(TokenizerInfo.of(tokenizer)) | said
    return saving.commit({"hparams": model.spec.model_dump(), "windows": windows, "tokenizer": tokenizer_meta})


def _tokens(generator: Generator, prompt: str, count: int, params: SamplingParams) -> list[int]:
    return [scored.id for piece in generator.pieces(prompt, count, params) for scored in piece.tokens]


@pytest.mark.parametrize("prompt", ["", "a", "the quick brown fox jumps over the lazy dog " * 2])
def test_generating_with_a_cache_is_generating_without_one(prompt: str) -> None:
    model, tokenizer = _model(), ByteTokenizer()
    history = tokenizer.encode(prompt).tolist() or [256]
    expected: list[int] = []
    with torch.no_grad():
        while len(expected) < 60:
            token = int(model(torch.tensor([history + expected]))[0, -1].argmax())
            if token == 256:
                break
            expected.append(token)
    assert _tokens(Generator(model, tokenizer), prompt, 60, GREEDY) == expected
    assert len(expected) > 20


def test_one_seed_is_one_text() -> None:
    generator = Generator(_model(), ByteTokenizer())

    def text(seed: int) -> str:
        return "".join(generator.generate("x", max_tokens=40, params=SamplingParams(temperature=1.0, seed=seed)))

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_ids_that_the_tokenizer_has_no_text_for_are_never_chosen() -> None:
    model = _model(vocabulary=300)
    weights = model.head.weight.data
    weights[:256] *= 0.01
    weights[256] = 0.0
    weights[257:] *= 10.0  # what lies beyond is likelier than all the rest
    for params in (GREEDY, SamplingParams(temperature=50.0, top_k=0)):
        said = _tokens(Generator(model, ByteTokenizer()), "abc", 100, params)
        assert len(said) > 20
        assert max(said) < 256


def test_a_window_takes_no_more_memory_than_there_are_tokens() -> None:
    model = _model()
    for short in (8, 16):
        model.windows = [short, short, 200]
        expected = _tokens(Generator(model, ByteTokenizer()), "a" * 30, 60, GREEDY)
        model.windows = [short, short, 10**15]
        assert _tokens(Generator(model, ByteTokenizer()), "a" * 30, 60, GREEDY) == expected


def test_more_than_the_model_can_hold_is_refused_with_both_numbers() -> None:
    with pytest.raises(SamplingError, match="100 tokens and max_tokens 101 are more than the model's 200"):
        list(Generator(_model(), ByteTokenizer()).generate("x" * 100, max_tokens=101))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), demo_tokenizer()], ids=lambda t: t.name)
def test_a_checkpoint_carries_all_that_generating_needs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = _model(tokenizer.vocab_size, tokenizer.eot_token_id)
    windows = [4, 4, 8]
    model.windows = windows
    path = _save(tmp_path, model, tokenizer, windows)
    loaded = Generator.from_checkpoint(path)
    assert loaded.model.windows == windows
    assert loaded.tokenizer.fingerprint() == tokenizer.fingerprint()
    ours = _tokens(Generator(model, tokenizer), "Emma", 30, GREEDY)
    assert _tokens(loaded, "Emma", 30, GREEDY) == ours
    rebuilt, hparams = model_from_checkpoint(path, device="cpu")
    assert hparams["num_layers"] == 3
    assert not rebuilt.training


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, _model(), ByteTokenizer(), [4, 4, 8])
    saving = Saving(tmp_path / "step_2")
    saving.begin()
    saving.write_model({"other": torch.ones(3)})
    other = saving.commit({"hparams": model_from_checkpoint(path)[1], "windows": [4, 4, 8]})
    with pytest.raises(CheckpointError, match="its weights are not those of its spec"):
        model_from_checkpoint(other)
    with pytest.raises(CheckpointError, match=r"its meta.json names no tokenizer"):
        Generator.from_checkpoint(other)
    saving = Saving(tmp_path / "step_3")
    saving.begin()
    saving.write_model({"other": torch.ones(3)})
    with pytest.raises(CheckpointError, match="describe no DaisyCore"):
        model_from_checkpoint(saving.commit({}))


TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "a file of another name": ({"file": "meta.json"}, "not a tiktoken ranks file"),
    "a file elsewhere": ({"file": "../tokenizer.tiktoken"}, r"its tokenizer's file \.\./tokenizer.tiktoken is missing"),
    "a list for a file": ({"file": ["tokenizer.tiktoken"]}, "its meta.json names no tokenizer"),
    "no name": ({"name": None}, "its meta.json names no tokenizer"),
    "a pattern that is none": ({"pattern": "("}, "its meta.json describes no tokenizer: Parsing error"),
    "no end of text": ({"special_tokens": {"x": 4096}}, "its meta.json describes no tokenizer: '<|endoftext|>'"),
    "an id that is none": ({"special_tokens": {"<|endoftext|>": -1}}, "its meta.json describes no tokenizer: out of"),
    "another pattern": ({"pattern": "a"}, "its tokenizer 'bpe' is not the one"),
    "more ids than the model": (
        {"fingerprint": "", "special_tokens": {"<|endoftext|>": 5000}},
        "its tokenizer 'bpe' has 5001 ids and its model 4096: they do not belong together",
    ),
}


@pytest.mark.parametrize(("wrong", "said"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_that_is_none_is_refused_in_one_line(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    tokenizer = demo_tokenizer()
    path = _save(tmp_path, _model(4096, tokenizer.eot_token_id), tokenizer, [4, 4, 8], **wrong)
    with pytest.raises(DaisyError, match=re.escape(said) if "<" in said else said) as caught:
        Generator.from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_tokenizers_file_that_was_altered_is_refused(tmp_path: Path) -> None:
    tokenizer = demo_tokenizer()
    path = _save(tmp_path, _model(4096, tokenizer.eot_token_id), tokenizer, [4, 4, 8], fingerprint="")
    ranks = (path / RANKS_FILE).read_bytes()
    (path / RANKS_FILE).write_bytes(ranks.replace(b"IHRo ", b"IHRi "))
    assert (path / RANKS_FILE).read_bytes() != ranks
    with pytest.raises(CheckpointError, match=rf"{RANKS_FILE}: its content differs from the manifest's hash"):
        Generator.from_checkpoint(path)
