"""What the pane says of a checkpoint, and the reading of its weights: without a screen."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoint, write_checkpoints
from made_runs import write_run

from core.checkpoint.compare import compare
from core.checkpoint.format import CheckpointError
from core.checkpoint.inspect import Inspection, inspect_checkpoint
from core.checkpoint.statistics import Histogram
from daisy_tui.checkpoints import checkpoint_lines as make
from daisy_tui.checkpoints.catalog import Catalog, Found, Listed
from daisy_tui.checkpoints.checkpoint_look import Look, look, said, total
from daisy_tui.checkpoints.checkpoint_rows import ORDERS, Line, arranged
from daisy_tui.checkpoints.checkpoint_text import bar, chart, columns
from daisy_tui.checkpoints.lineage import Row
from daisy_tui.checkpoints.weights import Reading, ReadingStoppedError, Weights, job_for, weight_bytes

NAN = float("nan")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _text(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def _parts(lines: list[Line], beginning: str) -> list[str]:
    """The parts of the first line whose text begins so."""
    return next([part for _, part in line] for line, text in zip(lines, _text(lines), strict=True) if beginning in text)


def _read(weights: Weights, of: Inspection) -> None:
    weights.read_statistics(of, Reading("x"))


def test_about_says_what_it_is_and_what_can_be_done_in_any_width(folder: Path) -> None:
    write_checkpoint(folder / "checkpoints" / ("long" * 20), best_val=4.25)
    shown = inspect_checkpoint(folder / "checkpoints" / ("long" * 20))
    for width in (30, 60, 100):
        lines = make.about(shown, width)
        assert max(map(len, _text(lines))) <= width
        whole = "".join(text.strip() for text in _text(lines))
        assert f"checkpoints/{'long' * 20}" in whole
    lines = make.about(shown, 100)
    assert _parts(lines, "  warm start  yes") == ["good"]
    assert _parts(lines, "  resume      no") == ["muted"]
    assert "  validation loss  4.2500 at best" in _text(lines)
    assert _text(lines)[-1] == "  not verified since this was opened: v checks every hash"
    assert make.about(shown, 100, "x: it is damaged")[-1][0][1] == "error"
    assert make.about(shown, 100, "all 3 files match their hashes")[-1][0][1] == "good"


def test_a_spec_that_the_tensors_are_not_is_a_problem_said_first(folder: Path) -> None:
    write_checkpoint(folder / "c", hparams={"num_layers": 3})
    shown = inspect_checkpoint(folder / "c")
    assert _parts(make.about(shown, 90), "Problems") == ["error"]
    assert "no gates: " in _text(make.layers(shown, None, 90))[0]


def test_tensors_have_their_figures_once_the_weights_were_read(folder: Path) -> None:
    shown = inspect_checkpoint(write_checkpoint(folder / "c", bad=["gates.x0"]))
    before = make.tensors(shown, None, 78)
    names = [line.name for line in before if line.name is not None]
    assert names == [tensor.name for tensor in shown.tensors]
    assert "157" not in before[2].line[0][0]
    weights = Weights()
    _read(weights, shown)
    after = {line.name: line.line for line in make.tensors(shown, weights.statistics(shown), 78)}
    assert after["gates.x0"][0][1] == "error"
    assert after["gates.x0"][0][0].endswith("! 1")
    assert after["head.weight"][0][1] == ""
    group = next(line for line in make.tensors(shown, weights.statistics(shown), 78) if "scalar" in line.line[0][0])
    assert (group.name, group.line[0][1]) == (None, "error")


@pytest.mark.parametrize("width", [44, 60, 78, 100, 140])
def test_the_tensors_fit_their_width(folder: Path, width: int) -> None:
    shown = inspect_checkpoint(write_checkpoint(folder / "c"))
    weights = Weights()
    _read(weights, shown)
    lines = make.tensors(shown, weights.statistics(shown), width)
    assert {len(text) for text in _text([line.line for line in lines])} == {width}
    assert any("feedforward.down" in line.line[0][0] for line in lines)


def test_layers_show_gates_at_once_and_norms_when_they_are_known(folder: Path) -> None:
    shown = inspect_checkpoint(write_checkpoint(folder / "c", bad=["gates.residual"]))
    lines = make.layers(shown, None, 60)
    text = _text(lines)
    assert text[0] == "gate residual  layers 0-5"
    assert text[3].rstrip().endswith("▁▁ ██") or "!!" in text[3]
    assert "1 value not finite (!)" in text[4]
    assert "gate skip  layers 5-3" in text
    assert text[-1] == "norms by layer: s reads the weights"
    weights = Weights()
    _read(weights, shown)
    assert "norm of blocks.*.attention.qkvo  layers 0-5" in _text(make.layers(shown, weights.statistics(shown), 60))


def test_settings_are_named_as_overrides_name_them(folder: Path) -> None:
    optimizers = [{"type": "Muon", "momentum": 0.95, "params": [{"group": "hidden_matrix_params", "lr": 0.02}]}]
    lines = _text(make.settings({"model_dim": 16, "optimizers": optimizers, "evil\x1b": "a\nb"}, 60))
    assert "optimizers.Muon.hidden_matrix_params.lr  0.02" in lines
    assert any(line.startswith("model_dim ") for line in lines)
    assert all(line.isprintable() for line in lines)
    assert _text(make.settings({}, 60)) == ["its meta.json holds no hparams"]
    assert max(map(len, _text(make.settings({"train_shards": ["x" * 90] * 5}, 40)))) <= 40


def test_a_difference_says_what_differs_and_then_what_moved_most(folder: Path) -> None:
    left, right = (
        inspect_checkpoint(write_checkpoint(folder / name, step, scale=step, bad=bad))
        for name, step, bad in (("a", 1, []), ("b", 2, ["head.weight"]))
    )
    found = compare(left, right)
    text = _text(make.difference(left, right, found, None, 78))
    assert text[:2] == ["A  a", "B  b"]
    assert "  step    1 → 2" in text
    assert "hparams: no difference" in text
    assert text[-1] == "what moved most: s reads both weights"
    weights = Weights()
    weights.read_movements(left, right, Reading("x"))
    lines = make.difference(left, right, found, weights.movements(left, right), 78)
    assert _parts(lines, "NOT FINITE in A or B") == ["error"]
    moved_lines = [line for line in _text(lines) if "█" in line]
    assert len(moved_lines) == len(left.tensors)
    assert all("100%" in line for line in moved_lines)
    assert max(map(len, _text(lines))) <= 78
    same = make.difference(left, left, compare(left, left), None, 78)
    assert _text(same)[-2:] == ["Weights: the same, bit for bit", ""]


def test_a_difference_of_shapes_names_the_tensors(folder: Path) -> None:
    left = inspect_checkpoint(write_checkpoint(folder / "a"))
    right = inspect_checkpoint(_without(write_checkpoint(folder / "b"), "gates.skip"))
    text = _text(make.difference(left, right, compare(left, right), None, 78))
    assert "Tensors: 1 difference" in text
    assert "  only in A: gates.skip" in text


def _without(folder: Path, name: str) -> Path:
    """The checkpoint without one of its tensors."""
    import hashlib

    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    del header[name]
    text = json.dumps(header).encode().ljust(length)
    path.write_bytes(raw[:8] + text + raw[8 + length :])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_histogram_has_its_ends_and_zero_below_it() -> None:
    lines = make.histogram(Histogram("a.b", -1.0, 3.0, (1, 4, 2, 0) * 12, 2), 78)
    text = _text(lines)
    assert text[0] == "Histogram of a.b  at most 4 in a bin  2 not finite, and left out"
    assert text[-1].split() == ["-1", "0", "3"]
    assert text[-1].index("0") == 1 + 12
    assert len(lines) == 7
    assert _text(make.histogram(Histogram("a", None, None, (0, 0), 5), 78))[1] == "no finite value"
    assert "0" not in _text(make.histogram(Histogram("a", 1.0, 3.0, (1,) * 48, 0), 78))[-1]


def test_columns_and_bars_stand_for_their_values() -> None:
    assert chart([0.0, 4.0, 8.0, NAN], 1) == ["▁▄█!"]
    assert chart([0.0, 8.0], 2, 2) == ["  ██", "▁▁██"]
    assert chart([0.0, 8.0], 1, 3, apart=True) == ["▁▁ ██ "]
    assert chart([0.0, 1.0, 1000.0], 1, from_zero=True) == [" ▁█"]
    assert chart([5.0, 5.0], 2) == ["  ", "██"]
    assert chart([NAN], 2) == [" ", "!"]
    assert chart([], 2) == ["", ""]
    assert columns([1.0, 2.0, NAN]) == "▁█!"
    assert [bar(share, 2) for share in (0.0, 0.001, 0.5, 0.75, 1.0)] == ["", "▏", "█", "█▌", "██"]


def test_long_lines_go_on_below_and_lose_nothing() -> None:
    lines: list[Line] = [[("  key  ", "muted"), ("a/very/long/path" * 4, "good")], [("short", "")]]
    made = make.folded(lines, 30)
    assert max(map(len, _text(made))) <= 30
    assert "".join(text.strip() for text in _text(made)) == "key  " + "a/very/long/path" * 4 + "short"
    assert {part for line in made for text, part in line if text.strip()} == {"muted", "good", ""}
    assert make.folded(lines, 3) == lines


def test_a_look_says_what_cannot_be_inspected(folder: Path) -> None:
    whole, broken = write_checkpoint(folder / "a"), write_checkpoint(folder / "b")
    (broken / "manifest.json").unlink()
    assert look(Row(broken, "checkpoint"), None).problem.endswith(
        "manifest.json: missing; the checkpoint is incomplete"
    )
    assert look(Row(folder / "none", "elsewhere"), None).problem == "no such checkpoint"
    assert look(Row(folder, "run"), None) == Look(folder)
    assert look(None, None) == Look(Path())
    both = look(Row(whole, "checkpoint"), broken)
    assert both.inspection is not None
    assert (both.comparison, both.other_problem.split()[-1]) == (None, "incomplete")
    assert look(Row(whole, "checkpoint"), whole).other is None


def test_a_look_at_what_vanishes_is_a_problem_and_no_defect(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(write_checkpoint(folder / "a"), "checkpoint")

    def vanished(path: Path) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("daisy_tui.checkpoints.checkpoint_look.inspect_checkpoint", vanished)
    assert look(row, None).problem == "cannot be read: No such file or directory"


def test_what_is_said_of_runs_and_of_what_is_no_checkpoint(folder: Path) -> None:
    base, _ = write_run(folder / "runs", "base", steps=0)
    _, second = write_checkpoints(base, 10, 20)
    tuned, _ = write_run(folder / "runs", "tuned", steps=0, day=2, parent=str(folder / "gone/step_1"))
    (second / "manifest.json").unlink()
    found = Catalog(folder).look()
    rows = {row.path: row for row in arranged(found, folder, ORDERS[0])}
    text = "\n".join(_text(said(rows[base], found, 80)))
    assert "checkpoints  1 complete, 1 incomplete, " in text
    assert "latest       step 10, 2,560 tokens" in text
    assert "best         step 10, validation loss 4.0000" in text
    assert "nothing: it was trained anew" in text
    assert "latest       none yet" in "\n".join(_text(said(rows[tuned], found, 80)))
    gone = "\n".join(_text(said(rows[folder / "gone/step_1"], found, 80)))
    assert "It is not there any more; 20260302-110000-tuned began from it." in gone
    broken = said(rows[second], found, 80)
    assert "✗ manifest.json: missing; the checkpoint is incomplete" in _text(broken)
    assert _text(said(None, found, 80)) == ["nothing is chosen"]
    assert total(found).startswith("1 checkpoint, ")
    assert total(found).endswith(", 1 incomplete")


def test_a_circle_is_said_of_the_run_that_cannot_have_begun_so(folder: Path) -> None:
    run, _ = write_run(folder / "runs", "a", steps=0)
    (saved,) = write_checkpoints(run, 1)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "parent": str(saved)}))
    found = Catalog(folder).look()
    (row, _) = arranged(found, folder, ORDERS[0])
    assert any("cannot have begun from step_000000001" in text for text in _text(said(row, found, 80)))


def test_figures_are_kept_by_the_weights_hash(folder: Path) -> None:
    one = write_checkpoint(folder / "a")
    shutil.copytree(one, folder / "copy")
    weights, shown, copy = Weights(), inspect_checkpoint(one), inspect_checkpoint(folder / "copy")
    assert weights.statistics(shown) is None
    _read(weights, shown)
    assert weights.statistics(copy) is not None
    shutil.rmtree(one)
    anew = inspect_checkpoint(write_checkpoint(one, scale=2.0))
    assert weights.statistics(anew) is None


def test_a_reading_tells_how_far_it_is_and_ends_when_it_is_stopped(folder: Path) -> None:
    shown, weights = inspect_checkpoint(write_checkpoint(folder / "a")), Weights()
    reading = Reading("reading a")
    weights.read_statistics(shown, reading)
    assert reading.done == reading.total > 0
    stopped = Reading("reading a")
    stopped.stop()
    with pytest.raises(ReadingStoppedError, match="reading a: stopped"):
        weights.read_histogram(shown, "head.weight", stopped)
    assert weights.histogram(shown, "head.weight") is None


def test_reading_what_is_damaged_is_an_error_with_a_name(folder: Path) -> None:
    shown = inspect_checkpoint(write_checkpoint(folder / "a"))
    (folder / "a/model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="it is damaged"):
        _read(Weights(), shown)


def test_old_figures_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daisy_tui.checkpoints.weights._KEPT", 2)
    shown, weights = inspect_checkpoint(write_checkpoint(folder / "a")), Weights()
    for tensor in ("head.weight", "gates.x0", "gates.skip"):
        weights.read_histogram(shown, tensor, Reading("x"))
    known = [weights.histogram(shown, tensor) is not None for tensor in ("head.weight", "gates.x0", "gates.skip")]
    assert known == [False, True, True]


def test_a_job_is_what_is_in_sight_and_not_known(folder: Path) -> None:
    a, b = (inspect_checkpoint(write_checkpoint(folder / name, scale=scale)) for name, scale in (("a", 1), ("b", 2)))
    weights, alone = Weights(), Look(folder / "a", a)
    both = Look(folder / "a", a, "", b, compare(b, a))
    assert job_for(weights, alone, "about", None) is None
    assert job_for(weights, alone, "difference", None) is None
    assert job_for(weights, Look(folder / "x"), "tensors", None) is None
    job = job_for(weights, alone, "layers", None)
    assert job is not None
    assert (job.what, job.bytes) == ("reading a", weight_bytes(a))
    job.read(Reading("x"))
    assert job_for(weights, alone, "tensors", None) is None
    job = job_for(weights, alone, "tensors", "gates.x0")
    assert job is not None
    assert (job.what, job.bytes) == ("reading gates.x0 of a", 24)
    job = job_for(weights, both, "difference", None)
    assert job is not None
    assert (job.what, job.bytes) == ("comparing b and a", weight_bytes(a, b))
    same = Look(folder / "a", a, "", a, compare(a, a))
    assert job_for(weights, same, "difference", None) is None


def test_the_total_counts_what_there_is() -> None:
    entry = Listed(Path("/x"), None, True, bytes=1024)
    assert total(Found((), (entry, entry))) == "2 checkpoints, 2.00 KiB"
