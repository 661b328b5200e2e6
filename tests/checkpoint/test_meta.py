"""meta.json says what the weights mean: what it may say, and that what it should not is one line and never used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.checkpoint.format import CheckpointError, MissingError, complete_checkpoints, read_meta
from core.checkpoint.load import model_from_checkpoint
from daisy_tui.cli.main import main

Save = Callable[..., Path]


def _edit(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change what meta.json says, and make the manifest fit."""
    meta = json.loads((folder / "meta.json").read_text())
    edit(meta)
    raw = json.dumps(meta).encode()
    (folder / "meta.json").write_bytes(raw)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["meta.json"] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_meta_json_that_was_altered_in_its_length_is_used_by_nothing_and_still_listed(
    tmp_path: Path, save_model: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_model(tmp_path / "step_000000007")
    path = folder / "meta.json"
    altered = path.read_text().replace('"rope_theta": 10000.0', '"rope_theta": 10.0000')
    assert altered != path.read_text()
    path.write_text(altered)
    for use in (read_meta, model_from_checkpoint):
        with pytest.raises(
            CheckpointError, match=r"meta\.json: its content differs from the manifest's hash"
        ) as caught:
            use(folder)
        assert len(caught.value.lines) == 1
    assert main(["train", "any.yml", "-p", str(folder)]) == 1
    assert capsys.readouterr().err == f"error: {path}: its content differs from the manifest's hash; it is damaged\n"
    assert list(complete_checkpoints(tmp_path)) == [folder], "a list reads no file whole"


def test_a_key_that_is_missing_is_named_with_its_file(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    _edit(folder, lambda meta: meta.pop("hparams"))
    meta = read_meta(folder)
    assert meta.get("hparams") is None
    assert "hparams" not in meta
    with pytest.raises(KeyError):
        meta["hparams"]
    with pytest.raises(MissingError, match=rf"^{folder}/meta\.json: says no hparams"):
        meta["hparams"]


@pytest.mark.parametrize("hparams", [None, 5, "x", [], True])
def test_hparams_are_an_object_where_there_are_any(tmp_path: Path, save_model: Save, hparams: Any) -> None:
    folder = save_model(tmp_path / "c")
    _edit(folder, lambda meta: meta.update(hparams=hparams))
    with pytest.raises(CheckpointError, match=r"meta\.json: hparams: not an object of settings; .* damaged"):
        read_meta(folder)


def test_settings_may_be_nested_and_not_without_end(tmp_path: Path, save_model: Save) -> None:
    folder = save_model(tmp_path / "c")
    _edit(folder, lambda meta: meta["hparams"].update(tags={"a": _nested(40)}))
    assert read_meta(folder)["hparams"]["tags"] == {"a": _nested(40)}
    for deep in (_nested(60), {"a": _nested(60)}):
        _edit(folder, lambda meta, deep=deep: meta["hparams"].update(num_layers=deep))  # type: ignore[misc]
        with pytest.raises(CheckpointError, match=r"meta\.json: hparams.num_layers: nested without end"):
            read_meta(folder)


WARM_STARTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no hparams": lambda meta: meta.pop("hparams"),
    "hparams null": lambda meta: meta.update(hparams=None),
    "hparams a number": lambda meta: meta.update(hparams=7),
    "hparams a list": lambda meta: meta.update(hparams=[1]),
    "a setting nested without end": lambda meta: meta["hparams"].update(num_layers=_nested(700)),
}


@pytest.mark.parametrize("edit", WARM_STARTS.values(), ids=WARM_STARTS)
def test_a_warm_start_from_odd_hparams_is_one_line(
    tmp_path: Path,
    save_model: Save,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[dict[str, Any]], object],
) -> None:
    folder = save_model(tmp_path / "c")
    _edit(folder, edit)
    assert main(["train", "any.yml", "-p", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder}/meta.json: ")
    assert "hparams" in said
    assert said.count("\n") == 1


ODD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no windows": ({"windows": []}, {}, "0 windows for 6 layers"),
    "windows null": ({"windows": None}, {}, "its meta.json has no windows"),
    "a window too few": ({"windows": [16] * 5}, {}, "5 windows for 6 layers"),
    "a window too many": ({"windows": [16] * 7}, {}, "7 windows for 6 layers"),
    "a negative window": ({"windows": [16] * 5 + [-1]}, {}, "the window of layer 5 is -1 tokens; windows are 1 to 128"),
    "windows of nothing": ({"windows": [0] * 6}, {}, "the window of layer 0 is 0 tokens"),
    "windows without end": ({"windows": [10**12] * 6}, {}, "the window of layer 0 is 1000000000000 tokens"),
    "windows beyond the context": ({"windows": [129] * 6}, {}, r"windows are 1 to 128 \(max_seq_len\)"),
    "words for windows": ({"windows": ["a"] * 6}, {}, r"windows\.0: .*; the checkpoint is damaged"),
    "one window": ({"windows": 16}, {}, r"windows: .*; the checkpoint is damaged"),
    "heads that do not fit": ({}, {"num_heads": "7"}, r"num_heads \* head_dim is 7 \* 8 = 56, but model_dim is 16"),
    "an end of text that is none": ({}, {"eos_token_id": 257}, "eos_token_id 257 is outside the vocabulary"),
    "more tables than layers": ({}, {"value_embeddings": 4}, "value_embeddings 4 needs 8 layers"),
    "a null": ({}, {"num_layers": None}, "num_layers: expected a whole number"),
    "a list": ({}, {"rope_theta": [1]}, "rope_theta: expected a number"),
    "layers that are not there": (
        {"windows": [16] * 9},
        {"num_layers": 9},
        "its weights are not those of its spec: .*9",
    ),
    "a model larger than memory": (
        {},
        {"model_dim": 1 << 20, "head_dim": 1024, "num_heads": 1024, "vocab_size": 1 << 32},
        "its weights are not those of its spec: embed.weight is 384x16 and should be 4294967296x1048576; .* more",
    ),
}


@pytest.mark.parametrize(("meta", "hparams", "said"), ODD.values(), ids=ODD)
def test_a_model_that_contradicts_itself_is_not_loaded(
    tmp_path: Path, save_model: Save, meta: dict[str, Any], hparams: dict[str, Any], said: str
) -> None:
    folder = save_model(tmp_path / "c")
    _edit(folder, lambda values: (values.update(meta), values["hparams"].update(hparams)))
    with pytest.raises(CheckpointError, match=said) as caught:
        model_from_checkpoint(folder)
    assert len(caught.value.lines) == 1
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
