import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.data.shards import write_shard


def test_help_lists_every_command(daisy: Any) -> None:
    ran = daisy("--help")
    assert ran.code == 0
    assert "config" in ran.out
    assert "data" in ran.out
    assert "Exit codes" in ran.out


def test_version_is_the_distributions(daisy: Any) -> None:
    from importlib.metadata import version

    assert daisy("--version").out == f"daisy {version('daisy-tui')}\n"


def test_alone_it_shows_what_is_here_and_what_to_run(workspace: Path, daisy: Any) -> None:
    ran = daisy()
    assert ran.code == 0
    assert "small" in ran.out
    assert "none yet in ./data" in ran.out
    assert daisy("data", "demo").code == 0
    assert "data/demo" in daisy().out.split("What to run")[0]


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["--nope"], ["config", "show", "--diff"], ["data", "prepare"], ["--readonly", "runs", "list"]],
)
def test_bad_usage_is_code_2_and_points_to_the_help(daisy: Any, arguments: list[str]) -> None:
    ran = daisy(*arguments)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "--help` shows the usage" in ran.err


def test_an_interrupt_is_code_3(daisy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("daisy_tui.cli.start.show_start", interrupted)
    ran = daisy()
    assert (ran.code, ran.err.strip()) == (3, "interrupted")


def test_shipped_configs_check_the_vocabulary_of_their_shards(workspace: Path, daisy: Any) -> None:
    import numpy as np

    (workspace / "shards").mkdir()
    write_shard(workspace / "shards/x_train_000000.bin", np.arange(300), 50257)
    ran = daisy("config", "show", "small")
    assert ran.code == 2
    assert (
        "error: model_specs/tiny.yml:6: vocab_size 300 is smaller than the tokenizer of the shards, 'gpt2'" in ran.err
    )


def test_what_cannot_be_printed_is_one_line(workspace: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "daisy_tui", "config", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


def test_a_reader_that_leaves_early_is_no_failure(workspace: Path) -> None:
    command = f"{sys.executable} -m daisy_tui config schema | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "show", "x" * 300],
        ["config", "show", "~nobody-here/x"],
        ["config", "show", "demo", "model_spec=" + "x" * 300],
        ["config", "show", "demo", "train_shards=~nobody-here/*.bin", "--strict"],
        ["config", "show", "demo", "seed=" + "9" * 5000],
        ["config", "show", "demo", "-n", "9" * 4000],
        ["config", "show", "demo", "a\nb=3"],
        ["config", "show", "demo", "tags[0]=x", "tags=[]", "tags[0]=x"],
        ["data", "prepare", "x" * 300, "--out", "d"],
        ["data", "prepare", ".", "--out", ""],
        ["data", "preview", ".", "--tokens", "9" * 5000 + ":"],
        ["data", "verify", "x" * 300],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_no_argument_makes_a_traceback(workspace: Path, daisy: Any, arguments: list[str]) -> None:
    ran = daisy(*arguments)
    assert ran.code in (1, 2)
    assert "Traceback" not in ran.err
    assert ran.err.count("error: ") >= 1
    assert all(line.startswith(("error: ", "`daisy")) for line in ran.err.splitlines())


def test_lengths_without_a_common_divisor_are_answered_at_once(workspace: Path, daisy: Any) -> None:
    ran = daisy(
        "config",
        "show",
        "demo",
        "val_seq_len=null",
        "training_sequence_length=1e12",
        "attention_window_len=1e12",
        "window_block_size=999999999999",
    )
    assert "1000000000000 divides them all" in ran.err


def test_names_with_control_characters_do_not_act(workspace: Path, daisy: Any) -> None:
    (workspace / "configs/evil\x1b[31m.yml").write_text("model_spec: 'a\x1b'\n")
    for command in ([], ["config", "list"], ["data", "demo", "--out", "d\x1b[31m"]):
        ran = daisy(*command)
        assert "\x1b" not in ran.out + ran.err
