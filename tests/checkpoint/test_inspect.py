from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint.compare import compare
from core.checkpoint.format import CheckpointError, check, read_tensor_infos
from core.checkpoint.inspect import OTHER_GROUP, inspect_checkpoint
from core.checkpoint.save import load_tensors, point_link
from core.config.model_spec import ModelSpec
from core.config.parameters import parameters
from daisy_tui.cli.inspect_text import inspection_text, wrapped

Save = Callable[..., Path]
LARGE = ModelSpec(
    num_layers=30,
    num_heads=16,
    head_dim=128,
    model_dim=2048,
    vocab_size=50257,
    eos_token_id=50256,
    max_seq_len=65536,
    attention_window_len=3456,
)


def _rewrite(folder: Path, **meta: Any) -> None:
    """Change what meta.json says, None meaning no such key, and make the manifest fit."""
    data = json.loads((folder / "meta.json").read_text()) | meta
    _write_meta(folder, json.dumps({key: value for key, value in data.items() if value is not None}))


def _write_meta(folder: Path, text: str) -> None:
    (folder / "meta.json").write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["meta.json"] = {"bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _in_a_run(folder: Path) -> Path:
    (folder / "run/checkpoints").mkdir(parents=True)
    (folder / "run/config.yaml").touch()
    return folder / "run/checkpoints"


def test_an_inspection_says_what_was_saved(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(_in_a_run(tmp_path) / "step_000000007")
    point_link(folder.parent / "latest", folder)
    tensors = load_tensors(folder)
    found = inspect_checkpoint(folder.parent / "latest")
    assert (found.meta.step, found.meta.tokens, found.meta.best_val, found.meta.progress) == (7, 1792, 4.25, 0.5)
    assert found.meta.windows == (8, 8, 8, 16, 8, 16)
    assert found.meta.hparams["model_dim"] == 16
    assert found.links == ("latest",)
    assert found.run == tmp_path / "run"
    assert found.problems == ()
    assert found.spec is not None
    assert {t.name: t.shape for t in found.tensors} == {name: tuple(t.shape) for name, t in tensors.items()}
    assert {g.name: g.count for g in found.groups} == {
        "embed_params": 6144,
        "value_embed_params": 12288,
        "hidden_matrix_params": 18432,
        "scalar_params": 19,
        "head_params": 6144,
    }
    by_name = {file.name: file for file in found.files}
    assert by_name.keys() == {"model.safetensors", "state-rank0.safetensors", "meta.json"}
    assert all(file.bytes == (folder / file.name).stat().st_size for file in found.files)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_gates_have_their_values_and_the_layers_they_act_in(
    tmp_path: Path, save_model: Save, dtype: torch.dtype
) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for number, name in enumerate(("residual", "x0", "skip", "value")):
            size = len(tensors[f"gates.{name}"])
            tensors[f"gates.{name}"] = (torch.arange(size) / 3 - number).to(dtype)

    folder = save_model(tmp_path / "c", edit=edit)
    gates = {gate.name: gate for gate in inspect_checkpoint(folder).gates}
    tensors = load_tensors(folder)
    assert all(list(gate.values) == tensors[f"gates.{name}"].tolist() for name, gate in gates.items())
    assert {name: gate.layers for name, gate in gates.items()} == {
        "residual": (0, 1, 2, 3, 4, 5),
        "x0": (0, 1, 2, 3, 4, 5),
        "skip": (5, 4, 3),
        "value": (0, 1, 4, 5),
    }


def test_gates_act_in_the_layers_that_the_model_has_them_in(save_model: Save, tmp_path: Path) -> None:
    from core.checkpoint.load import model_from_checkpoint

    folder = save_model(tmp_path / "c")
    model, _ = model_from_checkpoint(folder)
    seen: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].detach()))
    tokens = torch.arange(12)[None]

    def streams() -> list[torch.Tensor]:
        seen.clear()
        with torch.no_grad():
            model(tokens)
        return list(seen)

    with torch.no_grad():
        for block in model.blocks:
            block.feedforward.down.normal_()
            block.attention.qkvo.normal_()
    for gate in inspect_checkpoint(folder).gates:
        values = getattr(model.gates, gate.name)
        for place, layer in enumerate(gate.layers):
            before = streams()
            with torch.no_grad():
                values[place] += 1.0
            after = streams()
            with torch.no_grad():
                values[place] -= 1.0
            changed = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if not torch.equal(a, b)]
            # The values of attention change inside their block: the next one is the first to see it.
            first = layer + 1 if gate.name == "value" else layer
            assert changed[:1] == ([first] if first < 6 else []), gate.name


def test_only_headers_are_read_at_any_size(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    header, end = {}, 0
    for parameter in parameters(LARGE):
        offsets = [end, end + 4 * parameter.count]
        header[parameter.name] = {"dtype": "F32", "shape": parameter.shape, "data_offsets": offsets}
        end = offsets[1]
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)  # 6.4 GiB, none of which is on the disk
    entries = {"model.safetensors": {"bytes": 8 + len(raw) + end, "sha256": ""}}
    (folder / "manifest.json").write_text(json.dumps(entries))
    _write_meta(folder, json.dumps({"hparams": LARGE.model_dump()}))
    before = _bytes_read()
    found = inspect_checkpoint(folder)
    assert _bytes_read() - before < 1 << 20
    assert sum(group.count for group in found.groups) == end // 4 == 1_715_994_684
    assert found.gates[0].values == (0.0,) * 30


def _bytes_read() -> int:
    path = Path("/proc/self/io")
    return int(path.read_text().split()[1]) if path.exists() else 0


def test_a_checkpoint_in_a_run_can_be_resumed_started_from_and_served(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(_in_a_run(tmp_path) / "step_000000007")
    found = inspect_checkpoint(folder)
    assert [(use.possible, use.note) for use in (found.resume, found.warm_start, found.serve)] == [(True, "")] * 3
    _rewrite(folder, progress=1.0)
    assert inspect_checkpoint(folder).resume.note == "its run has reached its target_tokens"
    newer = save_model(folder.with_name("step_000000008"))
    assert inspect_checkpoint(newer).resume.possible
    resume = inspect_checkpoint(folder).resume
    assert (resume.possible, resume.note) == (False, "its run goes on from step_000000008")
    (newer / "manifest.json").unlink()
    assert inspect_checkpoint(folder).resume.possible


def test_what_cannot_be_done_has_its_reason(tmp_path: Path, save_model: Save) -> None:
    alone = save_model(tmp_path / "alone")
    assert "lies in no run directory" in inspect_checkpoint(alone).resume.note
    bare = inspect_checkpoint(save_model(_in_a_run(tmp_path) / "step_1", state=False))
    assert (bare.resume.possible, bare.resume.note) == (False, "it holds no optimizer state (state-rank0.safetensors)")
    for meta, reason in (
        ({"tokenizer": None}, "its meta.json names no tokenizer"),
        ({"tokenizer": {"name": "mine", "file": "tokenizer.tiktoken"}}, "its tokenizer's file tokenizer.tiktoken"),
        ({"tokenizer": {"name": "bytes"}, "windows": None}, "its meta.json has no windows"),
    ):
        _rewrite(alone, **meta)
        found = inspect_checkpoint(alone)
        assert not found.serve.possible
        assert reason in found.serve.note
        assert found.warm_start.possible


@pytest.mark.parametrize("file", [["tokenizer.tiktoken"], {"a": 1}, 5, "../meta.json"])
def test_a_tokenizer_file_that_is_none_cannot_be_served(tmp_path: Path, save_model: Save, file: Any) -> None:
    folder = save_model(tmp_path / "c", tokenizer={"name": "mine", "file": file})
    found = inspect_checkpoint(folder)
    assert not found.serve.possible
    assert "its tokenizer's file" in found.serve.note
    assert found.warm_start.possible


def test_hparams_and_windows_that_contradict_themselves_are_said(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    hparams = json.loads((folder / "meta.json").read_text())["hparams"]
    _rewrite(folder, hparams={**hparams, "num_heads": "7"}, windows=[16] * 5 + [129])
    found = inspect_checkpoint(folder)
    assert found.problems == (
        "its hparams describe no DaisyCore: num_heads * head_dim is 7 * 8 = 56, but model_dim is 16; "
        "num_heads=2 or model_dim=56 would fit",
        "the window of layer 5 is 129 tokens; windows are 1 to 128 (max_seq_len)",
    )
    assert not any(use.possible for use in (found.resume, found.warm_start, found.serve))


def test_a_path_is_never_broken_across_lines(tmp_path: Path, save_model: Save) -> None:
    parent = "/" + "/".join(["a folder with-a name"] * 6)
    shards = [f"/{'long' * 30}/{split}_*.bin" for split in "ab"]
    folder = save_model(tmp_path / ("deep" * 30), parent=parent)
    hparams = json.loads((folder / "meta.json").read_text())["hparams"]
    _rewrite(folder, hparams={**hparams, "train_shards": shards})
    lines = inspection_text(inspect_checkpoint(folder)).splitlines()
    assert f"  parent           {parent}" in lines
    at = lines.index(f"  trained on       {shards[0]}")
    assert lines[at + 1] == f"                   {shards[1]}"
    assert sum(str(folder) in line for line in lines) == 3
    assert wrapped("a " * 40 + "b" * 90, "    A  ")[-1] == "       " + "b" * 90


def test_tensors_that_are_not_those_of_the_spec_are_shown_and_said(tmp_path: Path, save_model: Save) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["blocks.1.feedforward.up"]
        tensors["head.weight"] = torch.zeros(5, 16)
        tensors["gates.x0"] = torch.zeros(2)
        tensors["extra"] = torch.zeros(3)

    found = inspect_checkpoint(save_model(tmp_path / "c", edit=edit, windows=[8, 8]))
    assert set(found.problems) == {
        "blocks.1.feedforward.up is missing",
        "head.weight is 5x16 and should be 384x16",
        "gates.x0 is 2 and should be 6",
        "extra is not in the spec",
        "2 windows for 6 layers",
    }
    assert [tensor.name for tensor in found.groups[-1].tensors] == ["extra"]
    assert found.groups[-1].name == OTHER_GROUP
    assert [gate.name for gate in found.gates] == ["residual", "skip", "value"]
    assert not any(use.possible for use in (found.resume, found.warm_start, found.serve))


def test_meta_data_of_another_program_leaves_the_tensors_to_be_seen(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    _write_meta(folder, "{}")
    found = inspect_checkpoint(folder)
    assert found.spec is None
    assert found.problems == ("its hparams describe no DaisyCore: num_layers: Field required",)
    assert [group.name for group in found.groups] == [OTHER_GROUP]
    assert len(found.tensors) == 26
    assert not found.warm_start.possible


def test_the_parent_is_what_meta_says_or_else_what_the_training_began_from(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    assert inspect_checkpoint(folder).parent is None
    hparams = json.loads((folder / "meta.json").read_text())["hparams"]
    _rewrite(folder, hparams={**hparams, "init_checkpoint": "/there"})
    assert inspect_checkpoint(folder).parent == "/there"
    _rewrite(folder, parent="/here")
    assert inspect_checkpoint(folder).parent == "/here"


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"step": "seven"}, "step: "),
        ({"windows": 5}, "windows: "),
        ({"hparams": [1]}, "hparams: "),
        ({"hparams": {"tags": _nested(700)}}, "hparams"),
        ({"tokenizer": "bytes"}, "tokenizer: "),
    ],
)
def test_meta_data_that_is_none_is_one_line(tmp_path: Path, save_model: Save, meta: dict[str, Any], said: str) -> None:
    folder = save_model(tmp_path / "c")
    _rewrite(folder, **meta)
    with pytest.raises(CheckpointError, match=r"meta\.json: .*; the checkpoint is damaged") as caught:
        inspect_checkpoint(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_incomplete_checkpoint_is_one_line(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    (folder / "state-rank0.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"state-rank0\.safetensors: missing; the checkpoint is incomplete"):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": ["a"], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2.0, 2.0], "data_offsets": [0, 16]},
        {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [-8, 8]},
        {"dtype": "F32", "shape": 4, "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 16]},
    ],
)
def test_a_header_that_lies_is_one_line(tmp_path: Path, entry: dict[str, Any]) -> None:
    raw = json.dumps({"a": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(16))
    with pytest.raises(CheckpointError, match=r"x\.safetensors: "):
        read_tensor_infos(tmp_path / "x.safetensors")


def test_hashing_reports_every_byte(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    read: list[int] = []
    check(folder, hashes=True, report=read.append)
    assert sum(read) == sum(file.bytes for file in inspect_checkpoint(folder).files)


def test_a_comparison_holds_what_differs_and_nothing_else(tmp_path: Path, save_model: Save) -> None:
    left = save_model(tmp_path / "a")
    hparams = json.loads((left / "meta.json").read_text())["hparams"]
    muon = {"type": "Muon", "momentum": 0.95, "params": [{"group": "hidden_matrix_params", "lr": 0.02}]}
    _rewrite(left, hparams={**hparams, "optimizers": [muon], "seed": 1, "gone": 5})

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["embed.weight"]
        tensors["extra"] = torch.zeros(3)
        tensors["gates.x0"] = torch.zeros(2)
        tensors["gates.residual"] = tensors["gates.residual"].double()

    right = save_model(tmp_path / "b", edit=edit, step=8)
    other = {**muon, "params": [{"group": "hidden_matrix_params", "lr": 0.03}]}
    _rewrite(right, hparams={**hparams, "optimizers": [other], "seed": 1, "new": 6})
    found = compare(inspect_checkpoint(left), inspect_checkpoint(right))
    assert found.facts == {"step": {"left": 7, "right": 8}}
    assert found.hparams == {
        "optimizers.Muon.hidden_matrix_params.lr": {"left": 0.02, "right": 0.03},
        "gone": {"left": 5},
        "new": {"right": 6},
    }
    assert (found.only_left, found.only_right) == (("embed.weight",), ("extra",))
    assert found.shapes == {"gates.x0": ((6,), (2,))}
    assert found.dtypes == {"gates.residual": ("F32", "F64")}
    assert not found.same_weights


def test_optimizers_that_cannot_be_named_are_compared_whole(tmp_path: Path, save_model: Save) -> None:
    folders = [save_model(tmp_path / name) for name in "ab"]
    values: list[Any] = [[{"type": "AdamW"}, {"type": "AdamW"}], "none"]
    for folder, optimizers in zip(folders, values, strict=True):
        hparams = json.loads((folder / "meta.json").read_text())["hparams"]
        _rewrite(folder, hparams={**hparams, "optimizers": optimizers})
    found = compare(*map(inspect_checkpoint, folders))
    assert found.hparams == {"optimizers": {"left": values[0], "right": values[1]}}


def test_the_same_weights_are_known_by_their_hash(tmp_path: Path, save_model: Save) -> None:
    left, right = save_model(tmp_path / "a", step=1), save_model(tmp_path / "b", step=2)
    assert compare(inspect_checkpoint(left), inspect_checkpoint(right)).same_weights
