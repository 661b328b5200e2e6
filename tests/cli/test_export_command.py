from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support import run_daisy

from core.checkpoint.format import check
from core.checkpoint.save import Saving, point_link
from core.data.dataset import TokenizerInfo
from core.data.tokenizers import ByteTokenizer

Save = Callable[..., Path]
RUN = "20260101-120000-mine"


@pytest.fixture
def run(workspace: Path, save_model: Save) -> Path:
    """A run whose latest checkpoint can be sampled; paths are relative to the workspace."""
    run = Path("runs") / RUN
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    saved = save_model(run / "checkpoints/step_000000007", tokenizer=asdict(TokenizerInfo.of(ByteTokenizer())))
    point_link(run / "checkpoints/latest", saved)
    return run


def test_a_runs_latest_checkpoint_is_copied_and_the_line_says_what_to_do_with_it(run: Path, daisy: Any) -> None:
    ran = daisy("export", "mine", "--out", "copies/half", "--dtype", "bfloat16")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("copies/half: ")
    assert "`daisy sample copies/half` lets it speak" in ran.out
    check(Path("copies/half"), hashes=True)
    shown = daisy("inspect", "copies/half").out
    assert f"  exported from    {Path.cwd()}/runs/{RUN}/checkpoints/step_000000007\n" in shown
    assert "  resume      no: it holds no optimizer state (state-rank0.safetensors)\n" in shown
    assert "BF16" in shown


def test_json_says_what_was_made(run: Path, daisy: Any) -> None:
    ran = daisy("export", str(run / "checkpoints/step_000000007"), "--out", "copy", "--json")
    made = json.loads(ran.out)
    assert made.keys() == {"out", "bytes", "before", "notes"}
    assert (made["out"], made["notes"]) == ("copy", [])


@pytest.mark.long
def test_a_copy_speaks_as_its_original_does(run: Path, workspace: Path) -> None:
    run_daisy(workspace, "export", "mine", "--out", "copy")
    run_daisy(workspace, "export", "mine", "--out", "half", "--dtype", "bfloat16")
    said = [
        run_daisy(workspace, "sample", name, "--prompt", "ab", "--max-tokens", "8", "--device", "cpu")[0]
        for name in ("mine", "copy", "half")
    ]
    assert said[0] == said[1]
    assert said[2].startswith("ab")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mine", "--out", "configs"], 2, "configs: already there; name a folder that does not exist or is empty"),
        (["mine", "--out", "configs/small.yml"], 2, "configs/small.yml: already there; name a folder that"),
        (["mine", "--out", "configs/small.yml/x"], 1, "configs/small.yml/x: cannot be written: Not a directory"),
        (["mine", "--out", ""], 2, "the name of a folder is empty"),
        (["mine"], 2, "Missing option '--out'"),
        (["nothing", "--out", "copy"], 1, "'nothing' names no run in runs"),
        (["mine", "--out", "copy", "--dtype", "int8"], 2, "'int8' is not one of 'float32', 'bfloat16'"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(
    run: Path, daisy: Any, arguments: list[str], code: int, said: str
) -> None:
    ran = daisy("export", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not Path("copy").exists()


def test_ctrl_c_leaves_nothing_behind(run: Path, daisy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Saving.begin

    def interrupted(self: Any) -> None:
        begin(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("core.checkpoint.staging.Staging.begin", interrupted)
    ran = daisy("export", "mine", "--out", "copies/copy")
    assert (ran.code, ran.out, ran.err) == (3, "", "stopped; nothing was left behind\n")
    assert [*Path("copies").iterdir()] == []


def test_notes_are_printed(run: Path, daisy: Any, save_model: Save) -> None:
    save_model(Path("mute"), tokenizer=None)
    ran = daisy("export", "mute", "--out", "copy")
    assert ran.out.splitlines()[1] == "note: it has no tokenizer, so it can be trained on and not sampled"
