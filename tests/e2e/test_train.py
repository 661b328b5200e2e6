"""`daisy train` as a person runs it: real processes, torchrun, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer

ROOT = Path(__file__).parents[2]
CONFIG = """\
num_layers: 2
num_heads: 2
head_dim: 8
model_dim: 16
vocab_size: 257
eos_token_id: 256
max_seq_len: 128
attention_window_len: 32
train_shards: shards/x_train_*.bin
val_shards: shards/x_val_*.bin
training_sequence_length: 64
window_block_size: 16
batch_tokens: 128
target_tokens: 2560
tot_val_tokens: 256
log_every_steps: 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    texts = [f"the quick brown fox number {n} jumps over the lazy dog. " * 3 for n in range(18)]
    prepare(TextSource("t", texts), ByteTokenizer(), tmp_path / "shards", PrepareOptions("x", val_fraction=0.15))
    (tmp_path / "tiny.yml").write_text(CONFIG)
    return tmp_path


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daisy_tui", "train", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment)


def _run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = _start(folder, *arguments)
    out, err = process.communicate()
    return process.returncode, out, err


def _until(process: subprocess.Popen[str], beginning: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if line.startswith(beginning):
            return


def _alive(folder: Path) -> list[str]:
    """Processes that still train in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        if process.info["cwd"] == str(folder) and "core.training.main" in command:
            found.append(command)
    return found


def test_a_run_finishes_stops_on_request_and_goes_on(folder: Path) -> None:
    code, out, err = _run(folder, "tiny.yml", "-r", "whole")
    assert code == 0, err
    assert "step 20  100%" in out
    assert "finished: runs/" in out

    stopped = _start(folder, "tiny.yml", "-r", "cut")
    lines = list(_until(stopped, "step 3 "))
    assert lines[-1].startswith("step 3 ")
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate()
    assert stopped.returncode == 3, err
    assert "stopped; `daisy train --resume" in err
    assert "Traceback" not in err
    assert _alive(folder) == []

    code, out, err = _run(folder, "--resume", "cut")
    assert code == 0, err
    assert "step 20  100%" in out
    runs = sorted((folder / "runs").iterdir())
    whole, cut = (run / "checkpoints/latest/model.safetensors" for run in runs)
    assert whole.read_bytes() == cut.read_bytes()
    facts = json.loads((runs[0] / "run.json").read_text())
    assert facts["name"] == "whole"
    assert facts["devices"] == 1


def test_two_ranks_and_a_second_signal_that_kills(folder: Path) -> None:
    process = _start(folder, "tiny.yml", "-n", "2", "target_tokens=3B", "-r", "long")
    assert list(_until(process, "step 2 "))[-1].startswith("step 2 ")
    for rank in _ranks(process):
        rank.suspend()  # a rank that hangs answers no request
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert "once more to kill" in next(line for line in process.stderr if "stopping" in line)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 1
    assert _alive(folder) == []


def _ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "--run-dir" in child.cmdline()]


def test_what_cannot_be_trained_is_said_before_anything_starts(folder: Path) -> None:
    for arguments, said in (
        (["tiny.yml", "train_shards=nothing/*.bin"], "train_shards: no shard matches nothing/*.bin"),
        (["tiny.yml", "wandb_log=true"], "logging to Weights & Biases is not built yet"),
        (["tiny.yml", "-n", "3"], "on 3 devices; the nearest are 192"),
        (["nope"], "config 'nope' does not exist"),
        ([], "name a CONFIG"),
        (["tiny.yml", "--resume", "x"], "--resume goes on with the run's own config"),
    ):
        code, out, err = _run(folder, *arguments)
        assert code == 2, err
        assert said in err
        assert out == ""
    assert _run(folder, "--resume", "x")[0] == 1
    assert _run(folder, "tiny.yml", "-p", "nowhere")[0] == 1
    code, out, _ = _run(folder, "tiny.yml", "--dry-run")
    assert code == 0
    assert "torch.distributed.run" in out
    assert not (folder / "runs").exists()


def test_a_warm_start_takes_the_architecture_of_its_checkpoint(folder: Path) -> None:
    code, _, err = _run(folder, "tiny.yml", "num_layers=3", "target_tokens=256", "-r", "first")
    assert code == 0, err
    checkpoint = next((folder / "runs").glob("*-first/checkpoints/latest"))
    code, out, err = _run(folder, "tiny.yml", "-p", str(checkpoint), "target_tokens=256", "-r", "second")
    assert code == 0, err
    assert out.splitlines()[1].startswith("step 1 ")
    # The second run stands for itself: it goes on when the run it came from is gone.
    shutil.rmtree(checkpoint.parents[1])
    code, _, err = _run(folder, "--resume", "second")
    assert code == 0, err


def test_a_trained_run_says_something_and_the_same_with_the_same_seed(folder: Path) -> None:
    assert _run(folder, "tiny.yml")[0] == 0

    def sample(*arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "daisy_tui", "sample", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
        return done.returncode, done.stdout or done.stderr

    code, text = sample("latest", "--prompt", "the quick", "--max_tokens", "30", "--seed", "5")
    assert code == 0
    assert text.startswith("the quick")
    assert sample("latest", "--prompt", "the quick", "--max-tokens", "30", "--seed", "5") == (0, text)
    assert sample("latest", "--prompt", "the quick", "--max_tokens", "30", "--seed", "6") != (0, text)
    assert sample("latest", "--top_p", "2") == (2, "error: top_p must be above 0 and at most 1; got 2.0\n")
    assert sample("nope")[0] == 1
