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


@pytest.mark.parametrize("arguments", [["nope"], ["--nope"], ["config", "show", "--diff"], ["data", "prepare"]])
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
    assert (ran.code, ran.err.strip()) == (3, "stopped")


def test_shipped_configs_check_the_vocabulary_of_their_shards(workspace: Path, daisy: Any) -> None:
    import numpy as np

    (workspace / "shards").mkdir()
    write_shard(workspace / "shards/x_train_000000.bin", np.arange(300), 50257)
    ran = daisy("config", "show", "small")
    assert ran.code == 2
    assert (
        "error: model_specs/tiny.yml:6: vocab_size 300 is smaller than the tokenizer of the shards, 'gpt2'" in ran.err
    )
