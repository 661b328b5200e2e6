"""What a draft comes to: sources, problems beside their fields, figures that are measured or none, and differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_checkpoints import SPEC, write_checkpoint

from core.config.compose import compose
from core.runs.devices import Device
from daisy_tui.composing import effects
from daisy_tui.composing.composition import Composition, compose_draft
from daisy_tui.composing.drafts import Draft
from daisy_tui.composing.form_rows import Row, form_rows
from daisy_tui.composing.targets import Machine
from daisy_tui.composing.throughput import note

CPU = Machine(memory={"cpu": 8 << 30})
TWO_GPUS = Machine(
    gpus=(Device("GPU-a", "0", "H100"), Device("GPU-b", "1", "H100")),
    memory={"cpu": 8 << 30, "GPU-a": 80 << 30, "GPU-b": 40 << 30},
)


def composed(*overrides: str, config: str = "tiny.yml", parent: str | None = None, **options: str) -> Composition:
    draft = Draft.of(config, overrides, parent)
    for key, text in options.items():
        draft = draft.having(key, text)
    return compose_draft(draft, CPU)


def rows(composition: Composition) -> dict[str, Row]:
    return {row.key: row for row in form_rows(composition)}


def test_a_good_draft_has_figures_and_no_problem(training_folder: Callable[..., Path]) -> None:
    training_folder(target_tokens=12_800)
    made = composed("batch_tokens=128")
    assert made.problems == made.warnings == ()
    assert made.figures is not None
    assert (made.figures.tokens_per_step, made.figures.steps) == (128, 100)
    assert made.figures.epochs == pytest.approx(12_800 / made.figures.train_tokens)
    assert made.figures.precision == "fp32"
    assert made.target is not None
    assert made.target.memory == 8 << 30


def test_an_eta_is_what_was_measured_here_or_nothing(training_folder: Callable[..., Path]) -> None:
    folder = training_folder(target_tokens=12_800)
    assert composed().measured is None
    note(compose("tiny.yml").config, "cpu", folder, 640.0)
    made = composed()
    assert made.measured is not None
    assert made.measured.source == "preflight"
    assert "ETA 0:20" in effects.summary(made)
    assert composed("num_layers=3").measured is None, "another shape was never measured"
    assert composed(nproc="2").measured is None, "nor as many ranks"


def test_every_value_says_where_it_comes_from(workspace: Path) -> None:
    found = rows(composed("seed=3", "optimizers[1].eps=1e-8", config="small"))
    assert (found["model_dim"].value, found["model_dim"].source) == ("16", "model_specs/tiny.yml:5")
    assert (found["target_tokens"].value, found["target_tokens"].source) == ("10000", "configs/small.yml:4")
    assert found["target_tokens"].note == "10k"
    assert (found["lr_scale"].source, found["lr_scale"].touched) == ("default", ())
    assert (found["seed"].value, found["seed"].source, found["seed"].touched) == ("3", "typed", ("seed",))
    named = found["optimizers.AdamW.eps"]
    assert (named.value, named.touched) == ("1e-08", ("optimizers[1].eps",)), "however it was spelt"
    assert found["optimizers.AdamW.betas"].source == "default"
    assert [*found][:5] == ["config", "devices", "nproc", "name", "model_spec"]


def test_groups_stay_together(workspace: Path) -> None:
    groups = [row.group for row in form_rows(composed(config="small"))]
    assert groups == sorted(groups, key=groups.index)
    assert [*dict.fromkeys(groups)][:2] == ["Launch", "Model"]


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("lr_scale=x", "lr_scale", "expected a number"),
        ("num_heads=3", "num_heads", "would fit"),
        ("optimizers.Muon.momentum=2", "optimizers.Muon.momentum", "must be less than 1"),
        ("optimizers[1].params[0].lr=-1", "optimizers.AdamW.embed_params.lr", "must be at least 0"),
        ("optimizers.Muon.head_params.lr=1", "optimizers", "has no group"),
        ("optimizers.AdamW.betas=[0.9, 1]", "optimizers.AdamW.betas", "a decay rate lies in"),
        ("model_spec=nobody", "model_spec", "model spec 'nobody' does not exist"),
        ("val_shards={9: x}", "val_shards", "cannot name a validation set"),
        ("tags=[a", "tags", "not valid YAML"),
        ("window_pattern=LX", "window_pattern", "must match"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(workspace: Path, override: str, key: str, said: str) -> None:
    made = composed(override, config="small")
    row = rows(made)[key]
    assert any(said in problem for problem in row.problems), made.problems
    assert made.figures is made.composed is None
    if key != "optimizers":
        assert row.value == override.partition("=")[2]
    assert row.touched == (override.partition("=")[0],)


def test_beside_a_wrong_value_the_others_stay_in_force(workspace: Path) -> None:
    found = rows(composed("lr_scale=x", "seed=5", "batch_tokens=y", config="small"))
    assert found["seed"].value == "5"
    assert (found["lr_scale"].value, found["batch_tokens"].value) == ("x", "y")
    assert found["num_layers"].value == "2"


def test_beside_a_wrong_value_broken_rules_are_told_too(workspace: Path) -> None:
    found = rows(composed("lr_scale=x", "num_heads=3", "batch_tokens=1000", config="small"))
    assert [key for key, row in found.items() if row.problems] == ["num_heads", "batch_tokens", "lr_scale"]
    assert found["num_heads"].value == "3"


def test_a_rule_between_fields_is_told_once_and_by_the_layer_to_blame(workspace: Path) -> None:
    made = composed("batch_tokens=1000", config="small")
    assert [problem.key for problem in made.problems] == ["batch_tokens"]
    assert made.problems[0].message.startswith("override 'batch_tokens=1000'")


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"nproc": "0"}, "nproc", "a whole number from 1 to 1024"),
        ({"nproc": "two"}, "nproc", "a whole number from 1 to 1024"),
        ({"devices": "0"}, "devices", "no GPU that can be used"),
        ({"name": "n" * 101}, "name", "at most 100 letters"),
    ],
)
def test_how_it_is_launched_is_checked_too(workspace: Path, options: dict[str, str], key: str, said: str) -> None:
    made = composed(config="small", **options)
    assert [problem.key for problem in made.problems] == [key]
    assert said in rows(made)[key].problems[0]


def test_gpus_change_precision_ranks_and_the_memory_there_is(workspace: Path) -> None:
    made = compose_draft(Draft("small").having("devices", "0,1"), TWO_GPUS)
    assert made.problems == ()
    assert made.target is not None
    assert (made.target.world_size, made.target.name, made.target.memory) == (2, "H100", 40 << 30)
    assert made.figures is not None
    assert made.figures.precision == "bf16"
    assert made.memory_needed == made.figures.memory.total
    assert rows(made)["devices"].note == "2 x H100"
    three = compose_draft(Draft("small").having("nproc", "3"), TWO_GPUS)
    assert [problem.key for problem in three.problems] == ["nproc"]


def test_ranks_on_a_cpu_share_its_memory(workspace: Path) -> None:
    one, two = composed(config="small"), composed(config="small", nproc="2")
    assert one.memory_needed is not None
    assert two.memory_needed is not None
    assert two.memory_needed == 2 * one.memory_needed


def test_missing_shards_are_a_warning_and_figures_stand(workspace: Path) -> None:
    made = composed(config="small")
    assert made.problems == ()
    assert "no shard matches" in rows(made)["train_shards"].warnings[0]
    assert made.figures is not None
    assert made.figures.epochs is None


def test_a_damaged_shard_is_a_problem_of_the_shards(training_folder: Callable[..., Path]) -> None:
    folder = training_folder(target_tokens=12_800)
    next(folder.glob("shards/*_train_*.bin")).write_bytes(b"torn")
    made = composed()
    assert [problem.key for problem in made.problems] == ["train_shards"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("colour: red\n", "unknown key 'colour'"),
        ("seed: 1\n", "required and given nowhere"),
        ("", "holds no keys"),
    ],
)
def test_a_broken_file_is_a_problem_and_the_form_stays(workspace: Path, text: str, said: str) -> None:
    (workspace / "configs/broken.yml").write_text(text)
    made = composed("lr_scale=2", config="broken")
    assert said in made.problems[0].message
    found = rows(made)
    assert made.shown is None
    assert found["lr_scale"].value == "2"
    assert made.differences == []


def test_a_config_that_does_not_exist_says_which_do(workspace: Path) -> None:
    made = composed(config="nobody")
    assert "known: debug, demo" in rows(made)["config"].problems[0]


def test_a_broken_spec_is_told_at_the_spec(workspace: Path) -> None:
    (workspace / "model_specs/broken.yml").write_text("a: [")
    assert "not valid YAML" in rows(composed("model_spec=broken", config="small"))["model_spec"].problems[0]


def test_differences_are_against_the_file_alone(workspace: Path) -> None:
    made = composed("seed=3", "optimizers.Muon.momentum=0.9", "target_tokens=10k", config="small")
    pairs = {d.key: (d.left and d.left.value, d.right and d.right.value) for d in made.differences}
    assert pairs == {"seed": (1337, 3), "optimizers.Muon.momentum": (0.95, 0.9)}, "10k is what the file says"


def test_other_groups_differ_as_one_value(workspace: Path) -> None:
    made = composed(
        "optimizers[1].params[0].group=scalar_params", "optimizers[1].params[3].group=embed_params", config="small"
    )
    assert made.problems == ()
    assert [d.key for d in made.differences] == ["optimizers"]


def _with_shards(folder: Path) -> Path:
    """The training folder's config with the architecture of made-up checkpoints."""
    values = yaml.safe_load((folder / "tiny.yml").read_text())
    (folder / "tiny.yml").write_text(yaml.safe_dump(values | {"num_layers": 4, "target_tokens": 12_800}))
    return write_checkpoint(folder / "there/step_000000007", tokenizer=None)


def test_with_a_parent_the_architecture_follows_it(training_folder: Callable[..., Path]) -> None:
    checkpoint = _with_shards(training_folder())
    made = composed(parent=str(checkpoint))
    assert made.problems == ()
    assert made.composed is not None
    assert made.composed.config.num_layers == SPEC["num_layers"]
    assert made.composed.config.init_checkpoint == str(checkpoint.resolve())
    found = rows(made)
    assert (found["num_layers"].source, found["num_layers"].touched) == ("checkpoint", ())
    assert found["init_checkpoint"].value == str(checkpoint)
    assert "force" in found
    assert "force" not in rows(composed())
    assert made.draft.train_arguments() == ["train", "tiny.yml", "-p", str(checkpoint)]


def test_what_contradicts_the_parent_is_said_at_it(training_folder: Callable[..., Path]) -> None:
    checkpoint = _with_shards(training_folder())
    made = composed("num_layers=8", parent=str(checkpoint))
    assert "its weights do not fit: num_layers is 6 there and 8 here" in rows(made)["init_checkpoint"].problems[0]


@pytest.mark.parametrize(("parent", "said"), [("nowhere", "names no run"), ("there", "a folder of checkpoints")])
def test_a_parent_that_is_none_is_said(training_folder: Callable[..., Path], parent: str, said: str) -> None:
    _with_shards(training_folder())
    assert said in rows(composed(parent=parent))["init_checkpoint"].problems[0]


def test_another_tokenizer_needs_force(training_folder: Callable[..., Path]) -> None:
    folder = training_folder()
    _with_shards(folder)
    other: dict[str, Any] = {"name": "other", "fingerprint": "else"}
    checkpoint = str(write_checkpoint(folder / "other/step_000000007", tokenizer=other))
    assert "--force takes it all the same" in composed(parent=checkpoint).problems[0].message
    assert composed(parent=checkpoint, force="true").problems == ()


def test_search_looks_into_keys_groups_and_help(workspace: Path) -> None:
    found = [row.key for row in form_rows(composed(config="small")) if row.fits("Window BLOCK")]
    assert "window_block_size" in found
    assert "full_windows" in found, "its help speaks of blocks"
    assert "seed" not in found
