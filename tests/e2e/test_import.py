"""`daisy import` as a person runs it: the file becomes a checkpoint that is sampled and trained on, and is no run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.config.model_spec import ModelSpec
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import RANKS_FILE, train_bpe
from core.model.daisy_core import DaisyCore, initialize

ROOT = Path(__file__).parents[2]
TEXTS = [f"the quick brown fox number {n} jumps over the lazy dog. " * 3 for n in range(18)]


@pytest.fixture
def folder(training_folder: Callable[..., Path]) -> Path:
    return training_folder(batch_tokens=128, target_tokens=256, log_every_steps=1)


def _file(path: Path, vocab_size: int = 257, eos_token_id: int = 256) -> Path:
    sizes = {"num_layers": 3, "num_heads": 2, "head_dim": 8, "model_dim": 16}
    spec = ModelSpec(
        vocab_size=vocab_size, eos_token_id=eos_token_id, max_seq_len=128, attention_window_len=32, **sizes
    )
    model = DaisyCore(spec)
    initialize(model, 3)
    model.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    progress = {"tokens_processed": 4096, "target_tokens": 4096}
    content = {"model": model.state_dict(), "hparams": spec.model_dump(), "step": 8, "best_val": 3.2}
    torch.save({**content, "tokens_per_step": 512, "progress_state": progress}, path)
    return path


def _daisy(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daisy_tui", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr


def test_an_imported_file_is_sampled_and_trained_on_and_is_no_run(folder: Path) -> None:
    _file(folder / "-x.pt")
    code, out, err = _daisy(folder, "import", "--out", "mine/first", "--tokenizer", "bytes", "--", "-x.pt")
    assert (code, err) == (0, "")
    assert out.startswith("mine/first: ")
    assert "under DaisyCore's names, step 8, 4,096 tokens, best validation loss 3.2000\n" in out

    code, text, err = _daisy(folder, "sample", "mine/first", "--prompt", "the", "--max_tokens", "20")
    assert code == 0, err
    assert text.startswith("the")

    code, out, err = _daisy(folder, "train", "tiny.yml", "-p", "mine/first", "-r", "warm")
    assert code == 0, err
    run = next((folder / "runs").glob("*-warm"))
    assert (run / "checkpoints/latest").is_dir()

    code, _, err = _daisy(folder, "train", "--resume", "mine/first")
    assert code == 1
    assert "'mine/first' names no run in runs" in err
    # Put among a run's checkpoints, it is the last one, and the run says that it cannot go on from it.
    shutil.copytree(folder / "mine/first", run / "checkpoints/step_000000099")
    code, _, err = _daisy(folder, "train", "--resume", "warm")
    assert code == 1
    assert "checkpoints/step_000000099: " in err
    assert "KeyError" not in err, err


def test_the_tokenizer_travels_and_another_ones_is_refused(folder: Path) -> None:
    trained = train_bpe(iter(TEXTS), 270)
    (folder / "bpe").mkdir()
    (folder / "bpe" / RANKS_FILE).write_bytes(trained.ranks_file() or b"")
    prepare(TextSource("t", TEXTS), trained, folder / "made", PrepareOptions("made", val_fraction=0.2))
    _file(folder / "x.pt", 270, 269)
    for name in ("bpe", "made"):
        code, _, err = _daisy(folder, "import", "x.pt", "--out", f"from-{name}", "--tokenizer", name)
        assert code == 0, err
        assert (folder / f"from-{name}" / RANKS_FILE).read_bytes() == trained.ranks_file()
    shutil.rmtree(folder / "bpe")
    code, text, err = _daisy(folder, "sample", "from-bpe", "--prompt", "the quick", "--max_tokens", "5")
    assert code == 0, err
    assert text.startswith("the quick")

    code, out, err = _daisy(folder, "import", "x.pt", "--out", "no")
    assert (code, out) == (2, "")
    assert "the tokenizer 'gpt2' has 50257 ids and the model 270; --tokenizer names the model's own" in err
    assert _daisy(folder, "import", "x.pt", "--out", "no", "--tokenizer", "nope")[0] == 2
    assert _daisy(folder, "import", "x.pt", "--out", "from-made", "--tokenizer", "none")[0] == 2
    assert not (folder / "no").exists()

    code, out, err = _daisy(folder, "import", "x.pt", "--out", "without", "--tokenizer", "none")
    assert code == 0, err
    assert "note: it has no tokenizer, so it can be trained on and not sampled" in out
    code, _, err = _daisy(folder, "sample", "without")
    assert (code, err) == (1, "error: without: its meta.json names no tokenizer\n")
