"""Where the values of a run's config come from: from what is recorded, and nothing guessed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.config.compose import compose
from core.config.errors import ConfigError
from core.runs.changes import Change, record_change
from core.runs.create import create_run
from core.runs.directory import RunDirectory
from daisy_tui.runs.provenance import Setting, provenance


def started(folder: Path, *overrides: str, extra: tuple[str, ...] = (), **facts: Any) -> RunDirectory:
    """A run as `daisy train small` makes it; `extra` overrides come from options and are not noted as typed."""
    config = compose("small", [*extra, *overrides]).config
    known = {"config": "configs/small.yml", "spec": "tiny", "parent": None, "argv": ["daisy", "train", "small"]}
    return create_run(folder / "runs", "x", config, known | facts, datetime(2026, 11, 23), overrides)


def of(run: RunDirectory, folder: Path, key: str) -> Setting:
    return next(setting for setting in provenance(run, folder).settings if setting.key == key)


def test_a_value_has_the_layer_file_and_line_that_it_was_started_with(workspace: Path) -> None:
    run = started(workspace, "target_tokens=20k")
    assert of(run, workspace, "target_tokens") == Setting(
        "target_tokens", "20000", "override", "override 'target_tokens=20k'"
    )
    assert of(run, workspace, "training_sequence_length")[2:] == ("config", "configs/small.yml:3")
    assert of(run, workspace, "head_dim")[2:] == ("spec", "model_specs/tiny.yml:4")
    assert of(run, workspace, "seed")[2:] == ("default", "default")
    assert of(run, workspace, "model_spec") == Setting("model_spec", "tiny", "config", "configs/small.yml:1")
    assert provenance(run, workspace).note == ""


def test_a_file_that_was_edited_since_is_not_named_as_the_source(workspace: Path) -> None:
    run = started(workspace)
    path = workspace / "configs/small.yml"
    path.write_text(path.read_text().replace("1e4", "9e4"))
    assert of(run, workspace, "target_tokens") == Setting(
        "target_tokens", "10000", "other", "configs/small.yml:4 says 90000 now"
    )
    path.write_text(path.read_text() + "seed: 7\n")
    assert of(run, workspace, "seed")[2:] == ("other", "configs/small.yml:5 says 7 now")


def test_the_spec_that_was_chosen_is_told_where_the_run_knows_it(workspace: Path) -> None:
    (workspace / "model_specs/other.yml").write_text((workspace / "model_specs/tiny.yml").read_text())
    typed = started(workspace, "model_spec=other", spec="other")
    assert of(typed, workspace, "model_spec")[1:] == ("other", "override", "override 'model_spec=other'")
    (workspace / "configs/small.yml").unlink()
    assert of(typed, workspace, "model_spec")[1:] == ("other", "other", "run.json")


def test_a_run_that_knows_no_spec_has_no_line_for_one(workspace: Path) -> None:
    assert "model_spec" not in [one.key for one in provenance(started(workspace, spec=None), workspace).settings]


def test_a_file_that_is_gone_leaves_the_values_and_says_so(workspace: Path) -> None:
    run = started(workspace)
    (workspace / "configs/small.yml").unlink()
    found = provenance(run, workspace)
    assert found.note == "configs/small.yml is not there any more, so that sources are unknown"
    assert of(run, workspace, "target_tokens").value == "10000"
    assert of(run, workspace, "target_tokens").source.startswith("config.yaml:")


def test_a_file_that_is_no_config_any_more_leaves_the_values_and_says_so(workspace: Path) -> None:
    run = started(workspace)
    (workspace / "configs/small.yml").write_text("unknown: 1\n")
    found = provenance(run, workspace)
    assert found.note.startswith("sources are unknown: configs/small.yml:1: unknown key 'unknown'")
    assert of(run, workspace, "target_tokens").value == "10000"


def test_what_was_set_in_flight_is_told_with_its_step_and_what_it_was(workspace: Path) -> None:
    run = started(workspace)
    record_change(run, Change(1200, {"lr_scale": "0.5"}))
    assert of(run, workspace, "lr_scale") == Setting("lr_scale", "0.5", "set", "set after step 1,200; it was 1.0")


def test_a_warm_start_is_told_where_the_architecture_is_the_checkpoints(workspace: Path) -> None:
    extra = ("init_checkpoint=/there/step_000000040", "rope_theta=500")
    argv = ["daisy", "train", "small", "-p", "there"]
    run = started(workspace, extra=extra, parent="/there/step_000000040", argv=argv)
    assert of(run, workspace, "init_checkpoint").source == "option -p of its command"
    assert of(run, workspace, "rope_theta").source == "the checkpoint that it began from"


def test_a_config_that_cannot_be_read_is_refused_in_words(workspace: Path) -> None:
    run = started(workspace)
    run.config.write_text("target_tokens: [\n")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        provenance(run, workspace)


def test_a_run_whose_facts_are_lost_still_shows_its_values(workspace: Path) -> None:
    run = started(workspace)
    run.run.write_text("{")
    assert "names no config" in provenance(run, workspace).note
