from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint.save import point_link
from daisy_tui.checkpoints.checkpoint_text import ranges, short

Save = Callable[..., Path]
RUN = "20260101-120000-mine"


@pytest.fixture
def run(workspace: Path, save_model: Save) -> Path:
    """A run with the checkpoints 7 and 8, `latest` at 8 and `best` at 7; paths are relative to the workspace."""
    run = Path("runs") / RUN
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    seventh = save_model(run / "checkpoints/step_000000007")
    eighth = save_model(run / "checkpoints/step_000000008", seed=1, step=8, tokens=2048, best_val=None)
    point_link(run / "checkpoints/best", seventh)
    point_link(run / "checkpoints/latest", eighth)
    return run


def _json(text: str) -> Any:
    """Read strict JSON: NaN and Infinity, which Python would take, are none."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def _spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.weight"][3, :3] = float("nan")
    tensors["head.weight"][4, 0] = float("inf")
    tensors["gates.x0"][2] = float("nan")


def test_an_inspection_reads_as_in_the_manual(run: Path, daisy: Any) -> None:
    shown = daisy("inspect", "latest")
    assert shown.code == 0, shown.err
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == f"Checkpoint runs/{RUN}/checkpoints/step_000000008 (latest)"
    for line in (
        "  tokens           2,048 of 3,584 (50% of the training)",
        "  tokenizer        bytes, 257 ids",
        "  validation loss  none yet",
        "  resume      yes",
        f"    daisy train --resume {RUN}",
        f"    daisy train CONFIG -p runs/{RUN}/checkpoints/step_000000008",
        "Windows: L sees 16 tokens (of 32 at the end of the training), S sees 8",
        "  layers 0-5  SSSL SL",
        "Parameters: 43k in 26 tensors, 168.1 KiB",
        "    blocks.*.attention.qkvo          6  4x16x16  F32         6,144",
        "  x0        0-5       0.0000  0.0000  ▄▄▄▄▄▄",
    ):
        assert line in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("arguments", [["--stats"], ["--diff", "best", "--stats"]])
def test_figures_fit_80_columns(run: Path, daisy: Any, arguments: list[str]) -> None:
    arguments = [str(run / "checkpoints/best") if argument == "best" else argument for argument in arguments]
    shown = daisy("inspect", "latest", *arguments)
    assert shown.code == 0, shown.err
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "blocks.5.feedforward.down" in shown.out


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("latest", 8),
        ("mine", 8),
        ("2026", 8),
        (RUN, 8),
        (f"runs/{RUN}", 8),
        (f"runs/{RUN}/checkpoints/best", 7),
        (f"runs/{RUN}/checkpoints/step_000000007", 7),
    ],
)
def test_a_checkpoint_is_named_by_its_path_or_by_its_run(run: Path, daisy: Any, name: str, step: int) -> None:
    data = _json(daisy("inspect", name, "--json").out)
    assert data["step"] == step
    assert data["links"] == (["latest"] if step == 8 else ["best"])


def test_a_run_that_lost_its_link_or_its_last_checkpoint_has_the_newest_complete_one(run: Path, daisy: Any) -> None:
    (run / "checkpoints/latest").unlink()
    assert _json(daisy("inspect", "mine", "--json").out)["step"] == 8
    point_link(run / "checkpoints/latest", run / "checkpoints/step_000000008")
    shutil.rmtree(run / "checkpoints/step_000000008")
    assert _json(daisy("inspect", "mine", "--json").out)["step"] == 7
    shutil.rmtree(run / "checkpoints/step_000000007")
    ran = daisy("inspect", "mine")
    assert (ran.code, ran.err) == (1, f"error: {run}/checkpoints: this run has no complete checkpoint yet\n")


def test_a_folder_of_the_same_name_does_not_hide_a_run(run: Path, daisy: Any) -> None:
    Path("mine").mkdir()
    assert _json(daisy("inspect", "mine", "--json").out)["step"] == 8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "'nothing' names no run in runs; there are: 20260101-120000-mine"),
        ("nothing/here", "nothing/here: no such checkpoint or run"),
        ("configs", "configs: neither a checkpoint (no manifest.json) nor a run (no config.yaml)"),
        ("configs/small.yml", "configs/small.yml: a file; a checkpoint is a folder"),
        (f"runs/{RUN}/checkpoints", f"name one of them, such as runs/{RUN}/checkpoints/step_000000008"),
        (
            f"runs/{RUN}/checkpoints/best/meta.json",
            f"a file; a checkpoint is a folder, here runs/{RUN}/checkpoints/best",
        ),
        ("dangling", "dangling: its link points at gone, which is not there"),
    ],
)
def test_what_is_neither_checkpoint_nor_run_is_said_in_one_line(run: Path, daisy: Any, name: str, said: str) -> None:
    Path("dangling").symlink_to("gone")
    ran = daisy("inspect", name)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_an_incomplete_checkpoint_is_one_line(run: Path, daisy: Any) -> None:
    (run / "checkpoints/step_000000007/manifest.json").unlink()
    ran = daisy("inspect", f"{run}/checkpoints/best")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: {run}/checkpoints/best/manifest.json: missing; the checkpoint is incomplete\n"


def test_verify_checks_every_hash(run: Path, daisy: Any) -> None:
    ran = daisy("inspect", "latest", "--verify")
    assert ran.code == 0
    assert ran.out.endswith("\nall 3 files match their hashes\n")
    data = _json(daisy("inspect", "latest", "--verify", "--json").out)
    assert data["verify"] == {"ok": True, "problem": None}

    path = run / "checkpoints/step_000000008/state-rank0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    ran = daisy("inspect", "latest", "--verify")
    assert ran.code == 1
    assert "match" not in ran.out
    assert "state-rank0.safetensors: its content differs from the manifest's hash; it is damaged" in ran.err
    ran = daisy("inspect", "latest", "--verify", "--json")
    assert ran.code == 1
    assert _json(ran.out)["verify"] == {"ok": False, "problem": ran.err.removeprefix("error: ").rstrip()}
    # Of a difference both sides are checked.
    best = f"{run}/checkpoints/best"
    assert daisy("inspect", best, "--verify").code == 0
    assert daisy("inspect", best, "--diff", "latest", "--verify").code == 1


def test_what_is_not_finite_is_named_in_words_and_is_valid_json(workspace: Path, save_model: Save, daisy: Any) -> None:
    save_model(Path("bad"), edit=_spoil)
    ran = daisy("inspect", "bad", "--stats")
    assert ran.code == 0
    assert "  x0: 1 of 6 is not finite (!)" in ran.out
    assert "NOT FINITE: 2 tensors" in ran.out
    assert "  head.weight: 3 NaN and 1 infinite among 6,144 values" in ran.out
    assert "  gates.x0: 1 NaN among 6 values" in ran.out
    data = _json(daisy("inspect", "bad", "--stats", "--json").out)
    statistics = {entry["name"]: entry for entry in data["statistics"]}
    assert (statistics["head.weight"]["nan"], statistics["head.weight"]["infinite"]) == (3, 1)
    assert statistics["head.weight"]["max"] == 0
    assert next(gate for gate in data["gates"] if gate["name"] == "x0")["values"][2] is None


def test_statistics_come_in_the_order_of_the_model(run: Path, daisy: Any) -> None:
    data = _json(daisy("inspect", "latest", "--stats", "--json").out)
    names = [entry["name"] for entry in data["statistics"]]
    assert names == [tensor["name"] for group in data["parameters"]["groups"] for tensor in group["tensors"]]
    assert names[0] == "embed.weight"


def test_json_is_the_contract(run: Path, daisy: Any) -> None:
    data = _json(daisy("inspect", str(run / "checkpoints/best"), "--json").out)
    assert data["checkpoint"] == f"runs/{RUN}/checkpoints/best"
    assert data["hparams"]["model_dim"] == 16
    assert data["windows"] == [8, 8, 8, 16, 8, 16]
    assert data["tokenizer"]["name"] == "bytes"
    assert data["resume"] == {"possible": False, "note": "its run goes on from step_000000008"}
    assert data["serve"] == {"possible": True, "note": ""}
    assert data["parameters"]["count"] == 43_027
    assert data["parameters"]["groups"][0]["tensors"] == [
        {"name": "embed.weight", "shape": [384, 16], "dtype": "F32", "count": 6144}
    ]
    assert data["gates"][2]["layers"] == [5, 4, 3]
    assert {file["name"] for file in data["files"]} == {"meta.json", "model.safetensors", "state-rank0.safetensors"}
    assert len(data["files"][0]["sha256"]) == 64
    assert not {"statistics", "diff", "verify"} & data.keys()


def test_a_difference_shows_what_differs_and_with_statistics_what_moved(run: Path, daisy: Any) -> None:
    best = str(run / "checkpoints/best")
    shown = daisy("inspect", best, "--diff", "latest").out
    assert shown.startswith(f"A  runs/{RUN}/checkpoints/step_000000007\nB  runs/{RUN}/checkpoints/step_000000008\n")
    assert "step      7     8\n" in shown
    assert "best_val  4.25  -\n" in shown
    assert "windows" not in shown
    assert "hparams: no difference\n" in shown
    assert "Tensors: the same names, shapes and dtypes, with other values\n  --stats shows what moved most" in shown
    moved = daisy("inspect", best, "--diff", "latest", "--stats").out
    assert "What moved most, from A to B" in moved
    assert re.search(r"^  gates\.residual +0% +1\.0000 +2\.45 +2\.45 +0$", moved, re.MULTILINE)
    data = _json(daisy("inspect", best, "--diff", "latest", "--stats", "--json").out)
    assert data["diff"]["other"] == f"runs/{RUN}/checkpoints/latest"
    assert data["diff"]["facts"]["step"] == {"left": 7, "right": 8}
    changes = [entry["relative"] for entry in data["diff"]["movements"]]
    assert len(changes) == 26
    assert changes == sorted(changes, key=lambda change: -1e9 if change is None else -change)
    assert "Weights: the same, bit for bit" in daisy("inspect", best, "--diff", best).out


def test_a_difference_of_architecture_names_the_tensors(run: Path, save_model: Save, daisy: Any) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["blocks.1.feedforward.up"]
        tensors["head.weight"] = torch.zeros(5, 16)

    save_model(Path("other"), edit=edit, parent="x" * 70)
    shown = daisy("inspect", "latest", "--diff", "other").out
    assert "  only in A: 1 tensor\n    blocks.1.feedforward.up\n" in shown
    assert "  other shape: 1 tensor\n    head.weight: 384x16 in A, 5x16 in B\n" in shown
    assert f"  parent\n    A  -\n    B  {'x' * 70}\n" in shown
    assert "  head.weight is 5x16 and should be 384x16\n" in daisy("inspect", "other").out


def test_text_from_files_does_not_act_on_the_terminal(workspace: Path, save_model: Save, daisy: Any) -> None:
    evil = "\x1b[2J\nfake: line\u202e"

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[evil] = torch.full((2,), float("nan"))

    save_model(Path("evil"), edit=edit, torch=evil, parent=evil, tokenizer={"name": evil, "file": evil})
    save_model(Path("good"))
    for arguments in (["--stats"], ["--diff", "good", "--stats"], ["--json", "--stats"]):
        ran = daisy("inspect", "evil", *arguments)
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out
        assert "\u202e" not in ran.out
        assert not any(line.startswith("fake") for line in ran.out.splitlines())


def test_windows_that_no_pattern_explains_are_numbers(workspace: Path, save_model: Save, daisy: Any) -> None:
    save_model(Path("c"), windows=[3, 1, 4, 1, 5, 9])
    assert "Windows (tokens, layer 0 first)\n  3, 1, 4, 1, 5, 9\n" in daisy("inspect", "c").out


def test_losses_versions_and_origin_are_said_where_meta_has_them(workspace: Path, save_model: Save, daisy: Any) -> None:
    versions = {"daisy-tui": "0.1.0", "torch": "2.13"}
    save_model(Path("new"), val_loss=4.5, versions=versions, torch=None, imported={"layout": "nanogpt"})
    save_model(Path("old"))
    shown = daisy("inspect", "new").out
    assert "  validation loss  4.5000 here, 4.2500 at best\n" in shown
    assert "  imported         from nanogpt\n" in shown
    assert "  versions         daisy-tui 0.1.0, torch 2.13\n" in shown
    assert "  validation loss  4.2500 at best\n" in daisy("inspect", "old").out
    assert _json(daisy("inspect", "old", "--diff", "new", "--json").out)["diff"]["facts"] == {
        "val_loss": {"right": 4.5},
        "imported": {"right": "nanogpt"},
        "version of torch": {"left": "2.11", "right": "2.13"},
        "version of daisy-tui": {"right": "0.1.0"},
    }


def test_a_histogram_is_a_row_for_every_bin(run: Path, save_model: Save, daisy: Any) -> None:
    save_model(Path("bad"), edit=_spoil)
    shown = daisy("inspect", "bad", "--histogram", "embed.weight").out
    rows = shown[shown.index("Histogram of embed.weight: ") :].splitlines()
    assert len(rows) == 2 + 24
    assert max(map(len, rows)) <= 80
    assert sum(int(row.split()[-1].replace(",", "")) for row in rows[2:]) == 6144
    assert "  4 not finite, and left out\n" in daisy("inspect", "bad", "--histogram", "head.weight").out
    data = _json(daisy("inspect", "bad", "--histogram", "gates.x0", "--json").out)
    assert (data["histogram"]["left_out"], sum(data["histogram"]["counts"])) == (1, 5)
    ran = daisy("inspect", "bad", "--histogram", "nothing")
    assert (ran.code, "has no tensor 'nothing'" in ran.err) == (1, True)
    assert daisy("inspect", "bad", "--histogram", "gates.x0", "--diff", "latest").code == 2


def test_ranges_and_figures_are_short() -> None:
    cases = (
        ([0, 1, 2], "0-2"),
        ([5, 4, 3], "5-3"),
        ([0, 1, 4, 5], "0-1, 4-5"),
        ([0], "0"),
        ([0, 5], "0, 5"),
        ([0, 0], "0, 0"),
    )
    assert all(ranges(numbers) == text for numbers, text in cases)
    figures = (1234567.0, "1.23e6"), (0.00001234, "1.23e-5"), (-0.5, "-0.5"), (0.0, "0"), (None, "-"), (1e100, "1e100")
    assert [short(figure) for figure, _ in figures] == [text for _, text in figures]
