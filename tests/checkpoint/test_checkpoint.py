from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.checkpoint.format import (
    CheckpointError,
    check,
    checkpoint_name,
    complete_checkpoints,
    read_meta,
    read_tensor_infos,
)
from core.checkpoint.save import Saving, load_tensors, optimizer_tensors, point_link, restore_optimizers
from core.training.muon import Muon

# Nine numbers that are said to lie in four bytes.
LYING = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}})
TENSORS = {"a.weight": torch.arange(12.0).view(3, 4), "b": torch.tensor([1.5, -2.0]), "scalar": torch.tensor(3.0)}


def _save(folder: Path, step: int = 7, tensors: dict[str, Tensor] = TENSORS) -> Path:
    saving = Saving(folder / checkpoint_name(step))
    saving.begin()
    saving.write_model(tensors)
    saving.write_state(0, {"rng": torch.tensor([1, 2, 3], dtype=torch.uint8)})
    return saving.commit({"step": step, "tokens": 100 * step})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = _save(tmp_path)
    check(path, hashes=True)
    assert all(file.stat().st_mode & 0o044 for file in path.iterdir()), "others may read it"
    assert read_meta(path) == {"step": 7, "tokens": 700}
    loaded = load_tensors(path)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert load_tensors(path, "state-rank0.safetensors")["rng"].tolist() == [1, 2, 3]


def test_headers_are_read_without_torch(tmp_path: Path) -> None:
    path = _save(tmp_path)
    infos = {info.name: (info.dtype, info.shape) for info in read_tensor_infos(path / "model.safetensors")}
    assert infos == {"a.weight": ("F32", (3, 4)), "b": ("F32", (2,)), "scalar": ("F32", ())}
    probe = "import sys, core.checkpoint.format; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "False\n"


def test_a_checkpoint_cut_off_anywhere_is_refused_and_the_one_before_is_used(tmp_path: Path) -> None:
    before = _save(tmp_path, step=1)
    whole = _save(tmp_path, step=2)
    assert list(complete_checkpoints(tmp_path)) == [before, whole]
    for name in sorted(path.name for path in whole.iterdir()):
        content = (whole / name).read_bytes()
        for length in {0, 1, len(content) // 2, len(content.rstrip()) - 1}:
            (whole / name).write_bytes(content[:length])
            with pytest.raises(CheckpointError) as caught:
                load_tensors(whole)
            assert str(whole) in str(caught.value)
            assert list(complete_checkpoints(tmp_path)) == [before]
        (whole / name).unlink()
        assert list(complete_checkpoints(tmp_path)) == [before]
        (whole / name).write_bytes(content)
    assert list(complete_checkpoints(tmp_path)) == [before, whole]


def test_a_flipped_byte_is_found_by_the_hashes(tmp_path: Path) -> None:
    path = _save(tmp_path)
    for name in ("model.safetensors", "state-rank0.safetensors", "meta.json"):
        content = bytearray((path / name).read_bytes())
        content[-2] ^= 1
        (path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}: its content differs"):
            check(path, hashes=True)
        if name.endswith(".safetensors"):
            with pytest.raises(CheckpointError, match=rf"{name}: its content differs"):
                load_tensors(path, name)
        content[-2] ^= 1
        (path / name).write_bytes(content)


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{}", '{"model.safetensors": 5}', '{"../x": {"bytes": 1, "sha256": "a"}}', "[" * 10**5]
)
def test_a_manifest_that_is_none_makes_it_incomplete(tmp_path: Path, manifest: str) -> None:
    path = _save(tmp_path)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match="the checkpoint is incomplete"):
        check(path)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff" * 8,
        (10).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"[]",
        (64).to_bytes(8, "little")
        + json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).ljust(64).encode()
        + bytes(4),
    ],
)
def test_a_damaged_header_is_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: "):
        read_tensor_infos(tmp_path / "x.safetensors")


def test_a_save_that_fails_leaves_the_previous_checkpoint_and_nothing_that_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _save(tmp_path, step=1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    saving = Saving(tmp_path / checkpoint_name(2))
    saving.begin()
    saving.write_model(TENSORS)
    monkeypatch.setattr("core.checkpoint.staging.write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        saving.commit({})
    assert list(complete_checkpoints(tmp_path)) == [before]
    saving.abandon()
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


def test_links_point_beside_themselves_and_are_not_listed(tmp_path: Path) -> None:
    first, second = _save(tmp_path, step=1), _save(tmp_path, step=2)
    for target in (first, second):
        point_link(tmp_path / "latest", target)
        assert (tmp_path / "latest").resolve() == target.resolve()
        assert str((tmp_path / "latest").readlink()) == target.name
    assert list(complete_checkpoints(tmp_path)) == [first, second]


def _trained(
    steps: int, load: dict[str, Tensor] | None = None, weights: list[Tensor] | None = None
) -> tuple[list[Tensor], dict[str, Tensor]]:
    start = weights or [torch.ones(4, 4), torch.ones(3)]
    matrix, vector = (nn.Parameter(tensor.clone()) for tensor in start)
    optimizers: list[torch.optim.Optimizer] = [Muon([matrix], lr=0.1), torch.optim.AdamW([vector], lr=0.1)]
    named = [("matrix", matrix), ("vector", vector)]
    if load is not None:
        restore_optimizers(optimizers, named, load)
    for _ in range(steps):
        ((matrix.sum() - 3) ** 2 + (vector**2).sum() + (matrix @ matrix).diagonal().sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return [matrix.detach(), vector.detach()], optimizer_tensors(optimizers, named)


def test_optimizers_go_on_bit_for_bit_from_their_saved_state(tmp_path: Path) -> None:
    whole, _ = _trained(7)
    weights, state = _trained(4)
    saving = Saving(tmp_path / checkpoint_name(4))
    saving.begin()
    saving.write_model({"matrix": weights[0], "vector": weights[1]})
    saving.write_state(0, state)
    path = saving.commit({"step": 4})
    model = load_tensors(path)
    resumed, _ = _trained(3, load_tensors(path, "state-rank0.safetensors"), [model["matrix"], model["vector"]])
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_state_of_other_optimizers_is_refused() -> None:
    _, state = _trained(1)
    weight = nn.Parameter(torch.ones(4, 4))
    wrong = {
        r"has AdamW\.vector, which nothing here has": state,
        r"has Muon\.other, which nothing here has": {"Muon.other.momentum_buffer": torch.ones(4, 4)},
        r"Muon\.matrix is not of its shape \(4, 4\)": {"Muon.matrix.momentum_buffer": torch.ones(2)},
    }
    for said, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=said):
            restore_optimizers([Muon([weight], lr=0.1)], [("matrix", weight)], tensors)


def test_state_finds_its_parameters_whatever_their_order() -> None:
    one, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    named = [("one", one), ("other", other)]
    first = torch.optim.AdamW([one, other])
    (one.sum() + 5 * other.sum()).backward()
    first.step()
    state = optimizer_tensors([first], named)
    turned = torch.optim.AdamW([other, one])
    restore_optimizers([turned], named, state)
    assert torch.equal(turned.state[one]["exp_avg"], first.state[one]["exp_avg"])
    assert torch.equal(turned.state[other]["exp_avg"], first.state[other]["exp_avg"])


FULL = """
import resource, sys, torch
from pathlib import Path
from core.checkpoint.save import Saving
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
saving = Saving(Path(sys.argv[1]) / "step_2")
saving.begin()
try:
    saving.write_model({"a": torch.zeros(1 << 20)})
except OSError as error:
    saving.abandon()
    print("refused:", error.strerror)
"""


def test_a_full_disk_while_the_weights_are_written_is_the_disks_error(tmp_path: Path) -> None:
    before = _save(tmp_path, step=1)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.startswith("refused: ")
    assert list(complete_checkpoints(tmp_path)) == [before]
    assert [path.name for path in tmp_path.iterdir()] == [before.name]
