from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.checkpoint.format import check, complete_checkpoints
from core.checkpoint.retention import Retention
from core.checkpoint.save import load_tensors
from core.checkpoint.tensor_file import write_tensors
from core.checkpoint.writer import CheckpointWriter


def _write(writer: CheckpointWriter, step: int, weight: torch.Tensor, val_loss: float | None = None) -> None:
    meta = {"step": step, "tokens": 10 * step, "val_loss": val_loss}
    writer.write({"w": weight}, {"0.0.momentum_buffer": weight}, meta, {"tokenizer.tiktoken": b"x"})


def test_a_checkpoint_holds_the_weights_as_they_were_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def after_go(*arguments: object) -> dict[str, object]:
        go.wait(60)
        return write_tensors(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("core.checkpoint.save.write_tensors", after_go)
    writer = CheckpointWriter(tmp_path, Retention())
    weight = torch.ones(4)
    _write(writer, 1, weight)
    assert writer.outcomes() == [], "training goes on while it is written"
    weight.fill_(7)
    go.set()
    (outcome,) = writer.outcomes(wait=True)
    assert (outcome.step, outcome.tokens, outcome.failure) == (1, 10, None)
    assert outcome.path is not None
    check(outcome.path, hashes=True)
    assert load_tensors(outcome.path)["w"].tolist() == [1, 1, 1, 1]
    assert (tmp_path / "latest").resolve() == outcome.path.resolve()
    assert writer.outcomes(wait=True) == [], "an outcome is told once"


def test_links_and_retention_follow_the_validation_loss(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, Retention(keep_last=2))
    for step, loss in enumerate((3.0, 1.0, None, 2.0, 1.5), 1):
        _write(writer, step, torch.ones(2), loss)
    removed = [name for outcome in writer.outcomes(wait=True) for name in outcome.removed]
    assert removed == ["step_000000001", "step_000000003"]
    assert [path.name[-1] for path in complete_checkpoints(tmp_path)] == ["2", "4", "5"]
    assert (tmp_path / "best").resolve().name == "step_000000002"
    assert (tmp_path / "latest").resolve().name == "step_000000005"
    assert not list(tmp_path.glob(".*"))


def test_retention_leaves_what_it_just_wrote_and_what_other_steps_left(tmp_path: Path) -> None:
    early, late = CheckpointWriter(tmp_path, Retention()), CheckpointWriter(tmp_path, Retention(1, keep_best=0))
    for step in (1, 9):
        _write(early, step, torch.ones(2))
    early.outcomes(wait=True)
    for step in (2, 3):  # as after a resume from before step 9
        _write(late, step, torch.ones(2))
    removed = [name for outcome in late.outcomes(wait=True) for name in outcome.removed]
    assert removed == ["step_000000001", "step_000000002"]
    assert [path.name[-1] for path in complete_checkpoints(tmp_path)] == ["3", "9"]


def test_broken_weights_replace_no_good_ones(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, Retention(keep_last=1))
    _write(writer, 1, torch.ones(2))
    _write(writer, 2, torch.tensor([1.0, float("inf")]))
    failures = [outcome.failure for outcome in writer.outcomes(wait=True)]
    assert failures == [None, "weights are not finite (w)"]
    assert [path.name[-1] for path in complete_checkpoints(tmp_path)] == ["1"]


def test_a_save_that_fails_is_told_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, Retention(keep_last=1))
    _write(writer, 1, torch.ones(2))
    assert writer.outcomes(wait=True)[0].failure is None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.checkpoint.save.write_tensors", full)
    _write(writer, 2, torch.ones(2))
    (outcome,) = writer.outcomes(wait=True)
    assert outcome.failure is not None
    assert outcome.failure == "No space left on device"
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step_000000001"]
    assert (tmp_path / "latest").resolve().name == "step_000000001"


def test_a_checkpoint_is_saved_even_where_an_older_one_cannot_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(tmp_path, Retention(keep_last=1))
    _write(writer, 1, torch.ones(2))
    writer.outcomes(wait=True)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("core.checkpoint.writer.superfluous", refuse)
    _write(writer, 2, torch.ones(2))
    (outcome,) = writer.outcomes(wait=True)
    assert outcome.failure is not None
    assert outcome.path == tmp_path / "step_000000002"
    check(outcome.path, hashes=True)
    assert (tmp_path / "latest").resolve() == outcome.path.resolve()


def test_what_a_killed_save_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, Retention())
    _write(writer, 1, torch.ones(2))
    writer.outcomes(wait=True)
    (tmp_path / ".step_000000002.partial").mkdir()
    (tmp_path / ".step_000000002.partial" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "step_000000003").mkdir()  # incomplete, but under a checkpoint's name: somebody may want it
    CheckpointWriter(tmp_path, Retention())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_000000001", "step_000000003"]


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors = {
        "bytes": torch.arange(5, dtype=torch.uint8),
        "bf16": torch.randn(3, 5).bfloat16(),
        "transposed": torch.randn(4, 6).T,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "large": torch.randn(3000, 3000),
        "double": torch.tensor([1e300], dtype=torch.float64),
    }
    entry = write_tensors(tmp_path / "x.safetensors", tensors)
    assert entry["bytes"] == (tmp_path / "x.safetensors").stat().st_size
    loaded = load_file(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
