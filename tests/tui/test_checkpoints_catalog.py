"""What checkpoints there are, and which run began from which: without a screen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoint, write_checkpoints
from made_runs import write_run

from core.checkpoint.exporting import export_checkpoint
from core.runs.directory import RunDirectory
from daisy_tui.checkpoints import catalog as module
from daisy_tui.checkpoints.catalog import Catalog, Found, Listed, ListedRun
from daisy_tui.checkpoints.lineage import Row, guides, lineage, listing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(folder: Path, name: str, *steps: int, day: int = 1, parent: Path | str | None = None) -> Path:
    run, _ = write_run(folder / "runs", name, day=day, steps=0, parent=str(parent) if parent is not None else None)
    if steps:
        write_checkpoints(run, *steps)
    return run


def _shown(rows: list[Row]) -> list[str]:
    kinds = {"gone": " (gone)", "elsewhere": " (elsewhere)"}
    leads = guides([row.depth for row in rows])
    return [f"{lead}{row.path.name}{kinds.get(row.kind, '')}" for row, lead in zip(rows, leads, strict=True)]


def _tree(folder: Path) -> list[str]:
    return _shown(lineage(Catalog(folder).look(), folder))


def test_every_checkpoint_of_every_run_is_listed_with_what_its_small_files_say(folder: Path) -> None:
    run = _run(folder, "a", 10, 20)
    write_checkpoint(folder / "checkpoints/old", 7, state=False, parent="/old.pt", imported={"layout": "daisy-wee"})
    found = Catalog(folder).look()
    assert [run.id for run in found.runs] == ["20260301-110000-a"]
    first, last, old = found.checkpoints
    assert (first.name, first.run, first.step, first.tokens, first.val_loss) == ("step_000000010", run, 10, 2560, 4.0)
    assert (first.complete, first.problem, first.links, first.optimizer) == (True, "", (), True)
    assert first.bytes == sum(path.stat().st_size for path in first.path.iterdir())
    assert (last.links, last.val_loss) == (("latest", "best"), 3.5)
    assert (old.run, old.optimizer, old.parent, old.origin) == (None, False, "/old.pt", "imported")


def test_steps_are_in_the_order_of_numbers_whatever_their_names_length(folder: Path) -> None:
    run = _run(folder, "a")
    for step in (100, 20, 3):
        write_checkpoint(run / f"checkpoints/step_{step}", step)
    assert [entry.step for entry in Catalog(folder).look().checkpoints] == [3, 20, 100]


def test_what_is_no_complete_checkpoint_says_why(folder: Path) -> None:
    run = _run(folder, "a", 1, 2, 3, 4, 5)
    names = [f"step_{step:09d}" for step in range(1, 6)]
    base = run / "checkpoints"
    (base / names[0] / "manifest.json").unlink()
    (base / names[1] / "manifest.json").write_text("[1, 2")
    (base / names[2] / "model.safetensors").write_bytes(b"short")
    (base / names[3] / "meta.json").write_bytes((base / names[3] / "meta.json").read_bytes().replace(b"256", b"257"))
    (base / names[4]).rename(base / f"{names[4]}.damaged")
    (base / ".step_000000006.partial").mkdir()
    (base / ".step_000000006.partial/model.safetensors").write_bytes(bytes(500))
    (base / "notes").mkdir()
    (base / "step_000000009").touch()
    entries = {entry.name: entry for entry in Catalog(folder).look().checkpoints}
    assert not any(entry.complete for entry in entries.values())
    assert [(name, entry.problem) for name, entry in entries.items()] == [
        (names[0], "manifest.json: missing; the checkpoint is incomplete"),
        (names[1], "manifest.json: cannot be read; the checkpoint is incomplete"),
        (names[2], f"model.safetensors: 5 bytes instead of {_weight_bytes(base)}; it is damaged"),
        (names[3], "meta.json: its content differs from the manifest's hash; it is damaged"),
        (f"{names[4]}.damaged", "put aside (damaged), so no run goes on from it"),
        (".step_000000006.partial", "being written, or left behind by what was killed"),
    ]
    assert entries[".step_000000006.partial"].bytes == 500
    assert entries[f"{names[4]}.damaged"].step == 5


def _weight_bytes(base: Path) -> int:
    entry: int = json.loads((base / "step_000000003/manifest.json").read_text())["model.safetensors"]["bytes"]
    return entry


@pytest.mark.parametrize("value", ["seven", None, [7], True, 1e999, {"a": 1}])
def test_a_strangers_meta_makes_nothing_of_what_is_no_number(folder: Path, value: Any) -> None:
    write_checkpoint(folder / "checkpoints/odd", meta_extra=1, step_=1, tokens=value, val_loss=value)
    (entry,) = Catalog(folder).look().checkpoints
    assert (entry.complete, entry.tokens, entry.val_loss) == (True, None, None)


def test_folders_of_other_programs_are_passed_over(folder: Path) -> None:
    for name in ("wandb", ".cache"):
        (folder / "checkpoints" / name).mkdir(parents=True)
    (folder / "checkpoints/readme.txt").touch()
    theirs = folder / "checkpoints/theirs"
    theirs.mkdir()
    (theirs / "model.safetensors").write_bytes(b"x")
    (entry,) = Catalog(folder).look().checkpoints
    assert (entry.name, entry.problem) == ("theirs", "manifest.json: missing; the checkpoint is incomplete")


def test_nothing_at_all_is_an_empty_list(folder: Path) -> None:
    assert Catalog(folder).look() == Found((), ())
    assert lineage(Found((), ()), folder) == []


def test_small_files_are_read_again_only_where_something_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(folder, "a", 1, 2)
    read: list[str] = []
    real = module.read_meta

    def counted(path: Path) -> Any:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "read_meta", counted)
    catalog = Catalog(folder)
    assert catalog.look() == catalog.look()
    assert sorted(read) == ["step_000000001", "step_000000002"]
    (run / "checkpoints/step_000000001/state-rank0.safetensors").unlink()
    write_checkpoint(run / "checkpoints/step_000000003", 3)
    found = catalog.look().checkpoints
    assert sorted(read[2:]) == ["step_000000001", "step_000000003"]
    assert [entry.complete for entry in found] == [False, True, True]
    shutil.rmtree(run / "checkpoints/step_000000001")
    assert [entry.step for entry in catalog.look().checkpoints] == [2, 3]


def test_links_and_parents_that_change_are_seen_at_the_next_look(folder: Path) -> None:
    run = _run(folder, "a", 1, 2)
    catalog = Catalog(folder)
    assert [entry.links for entry in catalog.look().checkpoints] == [(), ("latest", "best")]
    (run / "checkpoints/best").unlink()
    (run / "checkpoints/best").symlink_to(run / "checkpoints/step_000000001")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "parent": "/elsewhere/step_1"}))
    found = catalog.look()
    assert [entry.links for entry in found.checkpoints] == [("best",), ("latest",)]
    assert found.runs[0].parent == "/elsewhere/step_1"
    (run / "run.json").unlink()
    assert catalog.look().runs[0].parent is None


def test_what_vanishes_while_it_is_looked_at_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(folder, "a", 1, 2)
    real = module._files

    def vanishing(path: Path) -> Any:
        if path.name == "step_000000001":
            shutil.rmtree(path, ignore_errors=True)
        return real(path)

    monkeypatch.setattr(module, "_files", vanishing)
    assert [entry.step for entry in Catalog(folder).look().checkpoints] == [2]
    assert run.is_dir()


def test_a_folder_that_may_not_be_read_is_said_and_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(folder, "a", 1, 2)
    real = module._files

    def refused(path: Path) -> Any:
        if path.name == "step_000000001":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(module, "_files", refused)
    first, second = Catalog(folder).look().checkpoints
    assert (first.complete, first.problem) == (False, "cannot be read: Permission denied")
    assert second.complete


def test_one_run_may_be_looked_at_wherever_it_lies(folder: Path) -> None:
    run, _ = write_run(folder / "archive", "b", steps=0)
    write_checkpoints(run, 5)
    found = Catalog(folder).look_at(RunDirectory(run))
    assert [entry.step for entry in found.checkpoints] == [5]
    assert Catalog(folder).look() == Found((), ())


def test_runs_stand_below_the_checkpoints_that_they_began_from(folder: Path) -> None:
    base = _run(folder, "base", 1, 2)
    _run(folder, "tuned", 5, day=2, parent=base / "checkpoints/step_000000001")
    _run(folder, "again", day=3, parent=base / "checkpoints/latest")
    _run(folder, "other", day=4)
    assert _tree(folder) == [
        "20260304-110000-other",
        "20260301-110000-base",
        "├─ step_000000001",
        "│  └─ 20260302-110000-tuned",
        "│     └─ step_000000005",
        "└─ step_000000002",
        "   └─ 20260303-110000-again",
    ]


def test_a_copy_stands_below_what_it_was_exported_from(folder: Path) -> None:
    base = _run(folder, "base", 1)
    export_checkpoint(base / "checkpoints/step_000000001", folder / "checkpoints/copy")
    _run(folder, "tuned", day=2, parent=folder / "checkpoints/copy")
    write_checkpoint(folder / "checkpoints/old", parent=str(folder / "old.pt"), imported={"layout": "daisy-wee"})
    assert _tree(folder) == [
        "20260301-110000-base",
        "└─ step_000000001",
        "   └─ copy",
        "      └─ 20260302-110000-tuned",
        "old",
    ]


def test_what_a_run_began_from_and_is_not_there_any_more_is_said_to_be_gone(folder: Path) -> None:
    base = _run(folder, "base", 2)
    _run(folder, "tuned", day=2, parent=base / "checkpoints/step_000000001")
    _run(folder, "twin", day=3, parent=base / "checkpoints/step_000000001")
    _run(folder, "orphan", day=4, parent="/nowhere/runs/x/checkpoints/step_000000009")
    write_checkpoint(folder / "models/big")
    _run(folder, "other", day=5, parent="models/big")
    assert _tree(folder) == [
        "20260301-110000-base",
        "├─ step_000000002",
        "└─ step_000000001 (gone)",
        "   ├─ 20260303-110000-twin",
        "   └─ 20260302-110000-tuned",
        "big (elsewhere)",
        "└─ 20260305-110000-other",
        "step_000000009 (gone)",
        "└─ 20260304-110000-orphan",
    ]


def test_runs_that_descend_from_each_other_are_a_tree_all_the_same(folder: Path) -> None:
    a, b = (folder / f"runs/2026030{day}-110000-{name}" for day, name in ((1, "a"), (2, "b")))
    _run(folder, "a", 1, parent=b / "checkpoints/step_000000001")
    _run(folder, "b", 1, day=2, parent=a / "checkpoints/step_000000001")
    _run(folder, "self", 1, day=3, parent=folder / "runs/20260303-110000-self/checkpoints/step_000000001")
    rows = lineage(Catalog(folder).look(), folder)
    assert _shown(rows) == [
        "20260303-110000-self",
        "└─ step_000000001",
        "20260301-110000-a",
        "└─ step_000000001",
        "   └─ 20260302-110000-b",
        "      └─ step_000000001",
    ]
    assert [row.note for row in rows if row.note] == [
        "cannot have begun from step_000000001, which descends from it"
    ] * 2


def test_a_chain_of_two_thousand_runs_is_no_matter() -> None:
    runs, found = [], []
    for number in range(2000):
        parent = f"/x/runs/{number - 1:06d}/checkpoints/step_1" if number else None
        runs.append(ListedRun(Path(f"/x/runs/{number:06d}"), parent))
        found.append(Listed(Path(f"/x/runs/{number:06d}/checkpoints/step_1"), runs[-1].path, True))
    rows = lineage(Found(tuple(reversed(runs)), tuple(found)), Path("/x"))
    assert len(rows) == 4000
    assert [row.depth for row in rows] == list(range(4000))
    lead = guides([row.depth for row in rows])
    assert (lead[0], lead[2], lead[-1]) == ("", "   └─ ", f"…3999 {'   ' * 7}└─ ")


@pytest.mark.parametrize("parent", ["\0", "\ud800", "", "x" * 5000, 7, ["a"], "\x1b[2J\n"])
def test_a_beginning_that_no_file_can_have_breaks_nothing(folder: Path, parent: Any) -> None:
    run = _run(folder, "a", 1)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "parent": parent}))
    write_checkpoint(folder / "checkpoints/copy", exported={"from": parent}, parent=parent)
    rows = lineage(Catalog(folder).look(), folder)
    assert {"20260301-110000-a", "step_000000001", "copy"} <= {row.path.name for row in rows}


def test_a_folder_of_runs_behind_a_link_is_one_tree(folder: Path) -> None:
    base = _run(folder, "base", 1)
    _run(folder, "tuned", day=2, parent=base / "checkpoints/step_000000001")
    (folder / "disk").mkdir()
    (folder / "runs").rename(folder / "disk/runs")
    (folder / "runs").symlink_to("disk/runs")
    assert _tree(folder)[1:] == ["└─ step_000000001", "   └─ 20260302-110000-tuned"]


def test_the_plain_list_has_no_descent_and_no_run_without_checkpoints(folder: Path) -> None:
    base = _run(folder, "base", 1)
    _run(folder, "tuned", 5, day=2, parent=base / "checkpoints/step_000000001")
    _run(folder, "empty", day=3)
    write_checkpoint(folder / "checkpoints/old")
    assert _shown(listing(Catalog(folder).look())) == [
        "20260302-110000-tuned",
        "└─ step_000000005",
        "20260301-110000-base",
        "└─ step_000000001",
        "old",
    ]
