"""Saving a draft as a config: it comes to the same, keeps comments, and overwrites nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.compose import compose
from core.config.errors import ConfigError
from core.config.scalars import format_value
from daisy_tui.composing.saving import save_config

FILE = """\
# What this is for.
model_spec: tiny   # the small one
train_shards: shards/*_train_*.bin

training_sequence_length: 256

# Until the loss is flat.
target_tokens: 1e4
tags:
  - one
  - two
# About the rates.
optimizers:
  - type: Muon
    momentum: 0.9
    params:
      - {group: hidden_matrix_params, lr: 0.04}  # tried 0.02 too
  - type: AdamW
    params:
      - group: embed_params
        lr: 0.3
      - {group: head_params, lr: 0.02}
      - {group: scalar_params, lr: 0.005}
# The end.
wandb_run_name:
"""


@pytest.fixture
def commented(workspace: Path) -> Path:
    path = workspace / "configs/small.yml"
    path.write_text(FILE)
    return path


def saved(name: str, *overrides: str) -> str:
    return save_config(name, compose("small", overrides)).read_text()


def test_nothing_touched_saves_the_file_as_it_is(commented: Path) -> None:
    assert saved("copy") == FILE


def test_a_value_is_changed_where_it_stands_and_comments_stay(commented: Path) -> None:
    text = saved("other", "target_tokens=65k", "optimizers.AdamW.embed_params.lr=0.2", "optimizers.Muon.momentum=0.8")
    assert text == FILE.replace("1e4", "65000").replace("lr: 0.3", "lr: 0.2").replace("0.9", "0.8")


def test_what_the_file_does_not_say_comes_to_the_end(commented: Path) -> None:
    assert saved("other", "lr_scale=2", "seed=1337") == FILE + "\nlr_scale: 2.0\n", "1337 is the seed without a word"


def test_lists_and_empty_values_are_replaced_whole(commented: Path) -> None:
    text = saved("other", "tags=[x]", "wandb_run_name=r 1")
    assert "tags:\n  [x]\n# About the rates." in text
    assert text.endswith('# The end.\nwandb_run_name: "r 1"\n')


def test_other_optimizers_take_the_place_of_the_block_and_nothing_else(commented: Path) -> None:
    text = saved("other", "optimizers.Muon.weight_decay=0.1")
    assert text.startswith(FILE[: FILE.index("optimizers:")])
    assert text.endswith("# The end.\nwandb_run_name:\n")
    assert "    weight_decay: 0.1\n" in text


def test_a_file_of_one_flow_mapping_is_saved_as_plain_keys(workspace: Path) -> None:
    (workspace / "configs/small.yml").write_text(
        "{model_spec: tiny, train_shards: a_*.bin, training_sequence_length: 256, target_tokens: 1e4}"
    )
    text = saved("other", "seed=3")
    assert "seed: 3\n" in text
    assert compose("other").config == compose("small", ["seed=3"]).config


def test_a_schema_line_goes_where_it_leads_nowhere(commented: Path) -> None:
    line = "# yaml-language-server: $schema=train_config.schema.json\n"
    commented.write_text(line + FILE)
    assert saved("without") == FILE
    (commented.parent / "train_config.schema.json").write_text("{}")
    assert saved("with") == line + FILE


@pytest.mark.parametrize("name", ["small", "small.yml", "demo"])
def test_a_name_that_means_a_config_is_refused(commented: Path, name: str) -> None:
    before = {path: path.read_bytes() for path in commented.parent.iterdir()}
    with pytest.raises(ConfigError, match="names a config already"):
        saved(name, "seed=3")
    assert {path: path.read_bytes() for path in commented.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 101])
def test_what_cannot_be_a_name_is_refused(commented: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a config"):
        saved(name)


def test_a_file_that_appears_meanwhile_is_not_overwritten(commented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def beaten(source: Path, target: Path) -> None:
        target.write_text("somebody else's")
        link(source, target)

    monkeypatch.setattr(os, "link", beaten)
    with pytest.raises(ConfigError, match="exists already"):
        saved("new")
    assert (commented.parent / "new.yml").read_text() == "somebody else's"
    assert [path.name for path in commented.parent.iterdir() if path.name.startswith(".")] == []


def test_without_links_it_is_written_all_the_same_and_overwrites_nothing(
    commented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    assert saved("new") == FILE


def test_a_folder_that_cannot_be_written_is_said(commented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"configs/new\.yml: cannot be written: No space left on device"):
        saved("new")
    assert [path.name for path in commented.parent.iterdir()] == ["small.yml"]


def test_a_folder_is_made_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert save_config("mine", compose("demo", ["seed=3"])) == Path("configs/mine.yml")
    assert compose("mine").config == compose("demo", ["seed=3"]).config


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 10**17),
        "lr_scale": st.floats(1e-9, 10),
        "full_windows": st.booleans(),
        "wandb_run_name": st.one_of(st.none(), words),
        "wandb_project": words,
        "tags": st.lists(words, max_size=3),
        "train_shards": st.one_of(words, st.lists(words, min_size=1, max_size=3)),
        "val_shards": st.one_of(words, st.dictionaries(st.sampled_from(["web", "books"]), words, min_size=1)),
        "optimizers.Muon.hidden_matrix_params.lr": st.floats(0, 10),
        "optimizers.AdamW.betas": st.lists(st.floats(0, 0.999), min_size=2, max_size=2),
        "optimizers[1].params[0].lr": st.floats(0, 10),
        "optimizers[0].cautious": st.booleans(),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(OVERRIDES)
def test_whatever_is_saved_comes_to_the_same(commented: Path, chosen: dict[str, Any]) -> None:
    (commented.parent / "other.yml").unlink(missing_ok=True)
    composed = compose("small", [f"{key}={format_value(value)}" for key, value in chosen.items()])
    assert compose(save_config("other", composed)).config == composed.config
