"""`daisy train` as a person runs it: real processes, torchrun, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import processes, start_daisy

from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from core.runs.directory import read_records


@pytest.fixture
def folder(training_folder: Callable[..., Path]) -> Path:
    return training_folder(val_shards="shards/x_val_*.bin", batch_tokens=128, target_tokens=2560, log_every_steps=1)


def _run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start_daisy(folder, "train", *arguments)
    out, err = process.communicate()
    return process.returncode, out, err


def _until(process: subprocess.Popen[str], beginning: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if line.startswith(beginning):
            return


def _ranks(folder: Path) -> list[psutil.Process]:
    """Processes that train in this folder, torchrun included."""
    return processes(folder, "core.training.main")


LONG = "target_tokens=76_800"  # long enough for a signal to arrive in time


def test_a_run_finishes_stops_on_request_and_goes_on(folder: Path) -> None:
    code, out, err = _run(folder, "tiny.yml", "-r", "whole", LONG)
    assert code == 0, err
    assert "step 600  100%" in out
    assert "finished: runs/" in out

    stopped = start_daisy(folder, "train", "tiny.yml", "-r", "cut", LONG)
    lines = list(_until(stopped, "step 3 "))
    assert lines[-1].startswith("step 3 ")
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate()
    assert stopped.returncode == 3, err
    assert "stopped; `daisy train --resume" in err
    assert "Traceback" not in err
    assert _ranks(folder) == []

    code, out, err = _run(folder, "--resume", "cut")
    assert code == 0, err
    assert "step 600  100%" in out
    runs = sorted((folder / "runs").iterdir())
    whole, cut = (run / "checkpoints/latest/model.safetensors" for run in runs)
    assert whole.read_bytes() == cut.read_bytes()
    facts = json.loads((runs[0] / "run.json").read_text())
    assert facts["name"] == "whole"
    assert facts["devices"] == 1


def test_two_ranks_and_a_second_signal_that_kills(folder: Path) -> None:
    process = start_daisy(folder, "train", "tiny.yml", "-n", "2", "target_tokens=3B", "-r", "long")
    assert list(_until(process, "step 2 "))[-1].startswith("step 2 ")
    for rank in _ranks(folder):
        rank.suspend()  # a rank that hangs answers no request
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert "once more to kill" in next(line for line in process.stderr if "stopping" in line)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 3
    assert "killed at once, as asked" in err
    assert _ranks(folder) == []


def test_what_cannot_be_trained_is_said_before_anything_starts(folder: Path) -> None:
    for arguments, said in (
        (["tiny.yml", "train_shards=nothing/*.bin"], "train_shards: no shard matches nothing/*.bin"),
        (["tiny.yml", "wandb_log=true"], "the package wandb is not installed; pip install 'daisy-tui[wandb]'"),
        (["tiny.yml", "--accept-new-data"], "--force (--accept-new-data) belongs to --resume"),
        (["tiny.yml", "--nnodes", "2"], "several machines meet at --rdzv-endpoint"),
        (["tiny.yml", "--node-rank", "1"], "--node-rank 1 is none of 1 machines"),
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
    assert "memory per device" in out
    assert "  num_layers=2 " in out
    assert not (folder / "runs").exists()


def test_a_warm_start_takes_the_architecture_of_its_checkpoint(folder: Path) -> None:
    code, _, err = _run(folder, "tiny.yml", "num_layers=3", "target_tokens=256", "-r", "first")
    assert code == 0, err
    checkpoint = next((folder / "runs").glob("*-first/checkpoints/latest"))
    code, out, err = _run(folder, "tiny.yml", "-p", str(checkpoint), "target_tokens=256", "-r", "second")
    assert code == 0, err
    assert out.splitlines()[1].startswith("step 1 ")
    # A run's name means its latest checkpoint: its path goes into the config, since the link will point elsewhere.
    code, out, err = _run(folder, "tiny.yml", "-p", "first", "--dry-run")
    assert code == 0, err
    assert f"init_checkpoint={checkpoint.resolve()}" in out
    # The second run stands for itself: it goes on when the run it came from is gone.
    shutil.rmtree(checkpoint.parents[1])
    code, _, err = _run(folder, "--resume", "second", "target_tokens=512")
    assert code == 0, err


def test_a_trained_run_says_something_and_the_same_with_the_same_seed(folder: Path) -> None:
    assert _run(folder, "tiny.yml")[0] == 0

    def sample(*arguments: str) -> tuple[int, str]:
        process = start_daisy(folder, "sample", *arguments)
        out, err = process.communicate()
        return process.returncode, out or err

    code, text = sample("latest", "--prompt", "the quick", "--max_tokens", "30", "--seed", "5")
    assert code == 0
    assert text.startswith("the quick")
    assert sample("latest", "--prompt", "the quick", "--max-tokens", "30", "--seed", "5") == (0, text)
    assert sample("latest", "--prompt", "the quick", "--max_tokens", "30", "--seed", "6") != (0, text)
    assert sample("latest", "--top_p", "2") == (2, "error: top_p must be above 0 and at most 1; got 2.0\n")
    assert sample("nope")[0] == 1


def test_a_run_goes_on_with_what_may_change_and_refuses_what_may_not(folder: Path) -> None:
    assert _run(folder, "tiny.yml", "-r", "short", "target_tokens=1280", "lr_scale=0.5")[0] == 0
    run = next((folder / "runs").glob("*-short"))
    code, out, err = _run(folder, "--resume", "short", "target_tokens=2560", "--log_every_steps=2")
    assert code == 0, err
    assert "resumed at step 10" in out
    assert "step 20  100%" in out
    assert (run / "overrides.txt").read_text().split() == [
        "target_tokens=1280",
        "lr_scale=0.5",
        "target_tokens=2560",
        "--log_every_steps=2",
    ]
    for override, said in (
        ("num_layers=3", "num_layers cannot change in a run that goes on"),
        ("seed=3", "seed cannot change"),
        ("nonsense=3", "unknown key 'nonsense'"),
        ("-p", "it takes key=value, but no CONFIG"),
    ):
        code, _, err = _run(folder, "--resume", "short", override, *(["x"] if override == "-p" else []))
        assert code == 2, err
        assert said in err
    # The steps of the other devices would be of another size.
    assert _run(folder, "--resume", "short", "-n", "3")[0] == 2


def test_other_shards_are_refused_unless_they_are_accepted(folder: Path) -> None:
    assert _run(folder, "tiny.yml", "target_tokens=1280")[0] == 0
    texts = [f"something else altogether {n} " * 9 for n in range(18)]
    options = PrepareOptions("x", val_fraction=0.15, overwrite=True)
    prepare(TextSource("t", texts), ByteTokenizer(), folder / "shards", options)
    code, _, err = _run(folder, "--resume", "latest", "target_tokens=2560")
    assert code == 1
    assert "the training shards are not those that this run read" in err
    assert "Traceback" not in err
    code, out, err = _run(folder, "--resume", "latest", "target_tokens=2560", "--accept-new-data")
    assert code == 0, err
    assert "step 20  100%" in out


def test_two_machines_are_one_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(folder, "tiny.yml", "-r", "alone")[0] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ("--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}")
    here = os.environ["DAISY_LEASES"]
    monkeypatch.setenv("DAISY_LEASES", f"{here}/other")  # another machine, with devices of its own
    other = start_daisy(folder, "train", "tiny.yml", "-r", "both", *meet, "--node-rank", "1")
    monkeypatch.setenv("DAISY_LEASES", here)
    code, out, err = _run(folder, "tiny.yml", "-r", "both", *meet)
    assert code == 0, err
    assert "step 20  100%" in out
    out, err = other.communicate()
    assert other.returncode == 0, err
    runs = {run.name[16:]: run for run in (folder / "runs").iterdir()}
    losses = {
        name: [record["train_loss"] for record in read_records(runs[name] / "metrics.jsonl") if "train_loss" in record]
        for name in ("alone", "both")
    }
    assert losses["both"] == pytest.approx(losses["alone"], rel=1e-4)
    assert not (runs["both-machine1"] / "metrics.jsonl").exists()
    assert (runs["both-machine1"] / "logs/rank1.log").exists()


def test_what_a_rank_says_when_it_dies_is_told_with_where_to_read_on(folder: Path) -> None:
    assert _run(folder, "tiny.yml", "-r", "good", "target_tokens=256")[0] == 0
    run = next((folder / "runs").glob("*-good"))
    state = run / "checkpoints/latest/state-rank0.safetensors"
    state.write_bytes(b"\0" * state.stat().st_size)
    code, out, err = _run(folder, "--resume", "good", "target_tokens=512")
    assert code == 1
    assert "state-rank0.safetensors: its content differs from the manifest's hash" in out
    assert "has no whole checkpoint to go on from" in err
    assert "Traceback" not in err
    assert (run / "logs/rank0.log").read_text().count("error: ") == 1
