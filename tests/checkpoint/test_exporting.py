from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.checkpoint import exporting
from core.checkpoint.exporting import export_checkpoint, from_float32, to_float32
from core.checkpoint.format import CheckpointError, check, read_manifest, read_meta
from core.checkpoint.inspect import inspect_checkpoint
from core.checkpoint.load import model_from_checkpoint
from core.checkpoint.save import Saving
from core.checkpoint.staging import CheckpointUsageError
from core.errors import StoppedError

Save = Callable[..., Path]


@pytest.fixture(params=[3, 1 << 20], ids=["small pieces", "one piece"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PIECE_VALUES", request.param)


def _noise(tensors: dict[str, torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    for tensor in tensors.values():
        tensor += 0.1 * torch.randn(tensor.shape, generator=generator)


@pytest.fixture
def source(tmp_path: Path, save_model: Save) -> Path:
    """A checkpoint of noise with a tokenizer's file, optimizer state, and what only its run needs."""
    state = {"state": {"cursor": 3}, "next_batch": "abc", "val_loss": 4.5}
    folder = save_model(tmp_path / "source", edit=_noise, **state)
    (folder / "tokenizer.tiktoken").write_bytes(b"ranks")
    entries = json.loads((folder / "manifest.json").read_text())
    entries["tokenizer.tiktoken"] = {"bytes": 5, "sha256": hashlib.sha256(b"ranks").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def _leftovers(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.name != "source")


@pytest.mark.usefixtures("pieces")
def test_a_copy_has_the_weights_bit_for_bit_and_no_optimizer_state(source: Path, tmp_path: Path) -> None:
    made = export_checkpoint(source, tmp_path / "copy")
    check(made.path, hashes=True)
    assert read_manifest(made.path).keys() == {"meta.json", "model.safetensors", "tokenizer.tiktoken"}
    assert (made.path / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (made.path / "tokenizer.tiktoken").read_bytes() == b"ranks"
    assert made.bytes == sum(entry["bytes"] for entry in read_manifest(made.path).values())
    assert made.notes == ()


@pytest.mark.usefixtures("pieces")
def test_bfloat16_rounds_matrices_as_torch_does_and_leaves_gates_exact(source: Path, tmp_path: Path) -> None:
    made = export_checkpoint(source, tmp_path / "half", "bfloat16")
    before, after = _weights(source), _weights(made.path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        expected = tensor.bfloat16() if tensor.ndim > 1 else tensor
        assert after[name].dtype == expected.dtype
        assert torch.equal(after[name], expected), name


def test_what_was_rounded_widens_to_the_same_values(source: Path, tmp_path: Path) -> None:
    half = export_checkpoint(source, tmp_path / "half", "bfloat16").path
    whole, again = export_checkpoint(half, tmp_path / "whole", "float32").path, tmp_path / "again"
    for name, tensor in _weights(half).items():
        assert torch.equal(_weights(whole)[name], tensor.float())
    export_checkpoint(whole, again, "bfloat16")
    assert (again / "model.safetensors").read_bytes() == (half / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
def test_a_copy_loads_and_computes_as_its_weights_say(source: Path, tmp_path: Path, dtype: str | None) -> None:
    made = export_checkpoint(source, tmp_path / "copy", dtype)
    model, hparams = model_from_checkpoint(made.path)
    reference, _ = model_from_checkpoint(source)
    for parameter in reference.parameters():
        if dtype == "bfloat16" and parameter.ndim > 1:
            parameter.data = parameter.data.bfloat16().float()
    tokens = torch.arange(40)[None]
    assert torch.equal(model(tokens), reference(tokens))
    assert model.windows == reference.windows
    assert hparams["target_tokens"] == 3584


def test_meta_says_where_a_copy_comes_from_and_nothing_of_the_run(source: Path, tmp_path: Path) -> None:
    made = export_checkpoint(source, tmp_path / "copy", "bfloat16")
    before, after = read_meta(source), read_meta(made.path)
    assert after["exported"] == {"from": str(source), "dtype": "bfloat16", "daisy-tui": "0.1.0"}
    assert {key: value for key, value in after.items() if key != "exported"} == {
        key: value for key, value in before.items() if key not in ("state", "next_batch")
    }
    inspection = inspect_checkpoint(made.path)
    assert not inspection.problems
    assert (inspection.serve.possible, inspection.warm_start.possible, inspection.resume.possible) == (
        True,
        True,
        False,
    )


def test_every_float32_rounds_as_torch_rounds_it() -> None:
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(0), dtype=torch.int64)
    ties = torch.arange(0, 1 << 16, 7, dtype=torch.int64) * (1 << 16) + 0x8000
    values = torch.cat([bits, ties, torch.tensor([0x7F800000, 0x7F7FFFFF, 0, -(2**31)])]).to(torch.int32)
    floats = values.view(torch.float32)
    made = torch.frombuffer(bytearray(from_float32(floats.numpy(), "BF16")), dtype=torch.bfloat16)
    expected = floats.bfloat16()
    assert torch.equal(made.isnan(), expected.isnan())
    assert torch.equal(made[~made.isnan()], expected[~expected.isnan()])
    assert expected.isnan().any()


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_every_form_is_read_exactly(name: str) -> None:
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[name]
    values = torch.tensor([0.0, -1.5, 1e-7, 3.0e4, float("inf")], dtype=dtype)
    read = to_float32(values.view(torch.uint8).numpy().tobytes(), name)
    assert read.tolist() == values.float().tolist()


def test_a_target_that_is_taken_is_refused_and_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine").write_text("mine")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    for name in ("taken", "file", "link", "source"):
        with pytest.raises(CheckpointUsageError, match="already there; name a folder that does not exist or is empty"):
            export_checkpoint(source, tmp_path / name)
    assert (tmp_path / "taken/mine").read_text() == "mine"
    check(source, hashes=True)


def test_an_empty_folder_is_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check(export_checkpoint(source, tmp_path / "empty").path, hashes=True)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.tiktoken"])
def test_what_is_damaged_is_not_copied(source: Path, tmp_path: Path, name: str) -> None:
    data = bytearray((source / name).read_bytes())
    data[-1] ^= 1
    (source / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name}: its content differs from the manifest's hash"):
        export_checkpoint(source, tmp_path / "copy")
    assert [*_leftovers(tmp_path)] == []


def test_optimizer_state_that_is_damaged_is_no_hindrance(source: Path, tmp_path: Path) -> None:
    data = bytearray((source / "state-rank0.safetensors").read_bytes())
    data[-1] ^= 1
    (source / "state-rank0.safetensors").write_bytes(data)
    check(export_checkpoint(source, tmp_path / "copy").path, hashes=True)


def test_what_nothing_could_load_is_refused(source: Path, tmp_path: Path, save_model: Save) -> None:
    (source / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="the checkpoint is incomplete"):
        export_checkpoint(source, tmp_path / "copy")
    other = save_model(tmp_path / "source/other", edit=lambda tensors: tensors.pop("head.weight"))
    with pytest.raises(CheckpointError, match=r"so nothing can load it: head\.weight is missing"):
        export_checkpoint(other, tmp_path / "copy")
    double = save_model(tmp_path / "source/double", edit=lambda t: t.update({"gates.x0": t["gates.x0"].double()}))
    with pytest.raises(CheckpointError, match=r"gates\.x0 is F64, and weights are F32, F16, BF16"):
        export_checkpoint(double, tmp_path / "copy")
    assert [*_leftovers(tmp_path)] == []


def test_what_cannot_be_served_is_copied_with_a_note(tmp_path: Path, save_model: Save) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["head.weight"][3, :2] = float("nan")
        tensors["head.weight"][4, 0] = torch.finfo(torch.float32).max  # infinite once it is rounded

    source = save_model(tmp_path / "source", edit=spoil, tokenizer=None)
    notes = export_checkpoint(source, tmp_path / "copy", "bfloat16").notes
    assert notes[0] == "it has no tokenizer, so it can be trained on and not sampled"
    assert notes[1].startswith("3 values are not finite")
    assert export_checkpoint(source, tmp_path / "same").notes[1].startswith("2 values are not finite")


def test_an_export_that_is_stopped_or_fails_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        export_checkpoint(source, tmp_path / "copy", None, stop)
    assert [*_leftovers(tmp_path)] == []

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.checkpoint.staging.write_atomic", full)
    with pytest.raises(CheckpointError, match="No space left on device; nothing was left behind; make room"):
        export_checkpoint(source, tmp_path / "copy")
    assert [*_leftovers(tmp_path)] == []


def test_progress_is_in_bytes_and_ends_at_all_of_them(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    export_checkpoint(source, tmp_path / "copy", "bfloat16", lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total in told}) == 1


def test_a_file_that_shrinks_after_it_was_hashed_is_damage(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(path: Path, *_: Any) -> None:
        if path.name == "model.safetensors":
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size - 8)

    monkeypatch.setattr(exporting, "check_hash", cut)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: ends within tensor .*; it is damaged"):
        export_checkpoint(source, tmp_path / "copy")
    assert [*_leftovers(tmp_path)] == []


def test_what_a_killed_export_left_is_no_checkpoint_and_no_hindrance(source: Path, tmp_path: Path) -> None:
    saving = Saving(tmp_path / "copy")
    saving.begin()
    saving.write_file("tokenizer.tiktoken", b"half")
    with pytest.raises(CheckpointError):
        check(saving.staging)
    check(export_checkpoint(source, tmp_path / "copy").path, hashes=True)
    assert [*_leftovers(tmp_path)] == ["copy"]
