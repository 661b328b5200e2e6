import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.compose import compose
from core.config.scalars import format_value
from daisy_tui.cli.config import typed_key


def test_show_json_is_the_contract(workspace: Path, daisy: Any) -> None:
    ran = daisy("config", "show", "small", "seed=3", "--json")
    data = json.loads(ran.out)
    assert ran.code == 0
    assert data["values"]["seed"] == {"value": 3, "layer": "override", "file": None, "line": None}
    assert data["values"]["model_dim"] == {"value": 16, "layer": "spec", "file": "model_specs/tiny.yml", "line": 5}
    assert data["values"]["target_tokens"] == {
        "value": 10_000,
        "layer": "config",
        "file": "configs/small.yml",
        "line": 4,
    }
    assert data["values"]["optimizers[0].momentum"]["layer"] == "default"
    assert data["estimates"]["steps"] == 40
    assert data["estimates"]["memory"]["total"] > 0


def test_show_warns_of_missing_shards_and_strict_refuses(workspace: Path, daisy: Any) -> None:
    ran = daisy("config", "show", "small")
    assert ran.code == 0
    assert ran.err.startswith("warning: configs/small.yml:2: train_shards: no shard matches shards/*_train_*.bin")
    strict = daisy("config", "show", "small", "--strict")
    assert strict.code == 2
    assert "error: configs/small.yml:2: train_shards: no shard matches" in strict.err


@pytest.mark.parametrize("spelling", ["--full_windows", "--full-windows", "full_windows=true", "--full_windows=true"])
def test_overrides_may_be_spelt_as_options(workspace: Path, daisy: Any, spelling: str) -> None:
    assert "full_windows=true" in daisy("config", "show", "small", spelling).out


def test_the_number_of_devices_enters_the_estimate(workspace: Path, daisy: Any) -> None:
    data = json.loads(daisy("config", "show", "small", "-n", "4", "--json").out)
    assert data["estimates"]["tokens_per_step"] == 4 * 256


def test_the_device_decides_the_precision(workspace: Path, daisy: Any) -> None:
    def activations(device: str) -> int:
        shown = daisy("config", "show", "small", "--json", "--device", device).out
        return int(json.loads(shown)["estimates"]["memory"]["activations"])

    assert activations("cpu") == 2 * activations("cuda")


def test_diff_shows_only_what_differs(workspace: Path, daisy: Any) -> None:
    ran = daisy("config", "show", "small", "seed=3", "--diff", "small", "--json")
    assert list(json.loads(ran.out)["diff"]) == ["seed"]
    assert daisy("config", "show", "small", "--diff", "small").out == "no difference\n"


def test_a_broken_config_does_not_hide_the_others(workspace: Path, daisy: Any) -> None:
    (workspace / "configs/broken.yml").write_text("colour: red\n")
    (workspace / "model_specs/broken.yml").write_text("colour: red\n")
    ran = daisy("config", "list")
    assert ran.code == 0
    assert "broken: configs/broken.yml:1: unknown key 'colour'" in ran.out
    assert "small" in ran.out
    listed = {entry["name"]: entry for entry in json.loads(daisy("config", "list", "--json").out)["configs"]}
    assert "error" in listed["broken"]
    assert listed["demo"]["model_spec"] == "daisy_pico"


def test_schema_prints_json(daisy: Any) -> None:
    assert "target_tokens" in json.loads(daisy("config", "schema").out)["properties"]
    assert "target_tokens" not in json.loads(daisy("config", "schema", "spec").out)["properties"]


def test_bad_input_is_one_line_and_exit_code_2(workspace: Path, daisy: Any) -> None:
    for arguments in (["show", "small", "colour=red"], ["show", "nope"], ["show", "small", "seed"], ["show"], ["shwo"]):
        ran = daisy("config", *arguments)
        assert ran.code == 2, arguments
        assert ran.out == ""
        assert sum(line.startswith("error: ") for line in ran.err.splitlines()) == 1, ran.err


def test_control_characters_in_input_do_not_reach_the_terminal(workspace: Path, daisy: Any) -> None:
    ran = daisy("config", "show", "small", "seed=\x1b[2J")
    assert ran.code == 2
    assert "\x1b" not in ran.err


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
rates = st.floats(1e-9, 10, allow_nan=False)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 10**17),
        "lr_scale": rates,
        "cooldown_frac": st.floats(0, 1),
        "full_windows": st.booleans(),
        "grad_acc_steps": st.one_of(st.none(), st.integers(1, 99)),
        "wandb_run_name": st.one_of(st.none(), words),
        "tags": st.lists(words, max_size=3),
        "train_shards": st.one_of(words, st.lists(words, min_size=1, max_size=3)),
        "val_shards": st.one_of(
            st.none(), words, st.dictionaries(st.sampled_from(["web", "books"]), words, min_size=1)
        ),
        "num_layers": st.integers(1, 12),
        "optimizers.Muon.hidden_matrix_params.lr": rates,
        "optimizers.AdamW.betas": st.lists(st.floats(0, 0.999), min_size=2, max_size=2),
        "optimizers[1].params[0].lr": rates,
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(OVERRIDES)
def test_whatever_show_prints_can_be_typed_back(workspace: Path, daisy: Any, chosen: dict[str, Any]) -> None:
    typed = [f"{key}={format_value(value)}" for key, value in chosen.items()]
    composed = compose("small", typed)

    by_position = [f"{key}={format_value(value.value)}" for key, value in composed.values.items()]
    assert compose("small", by_position).config == composed.config

    shown = [
        shlex.quote(f"{name}={format_value(value.value)}")
        for key, value in composed.values.items()
        if (name := typed_key(key, composed)) is not None
    ]
    assert compose("small", shlex.split(" ".join(shown))).config == composed.config


def test_the_printed_lines_are_what_is_typed_back(workspace: Path, daisy: Any) -> None:
    overrides = [
        "tags=[a, 'b c']",
        "wandb_run_name=it's",
        "optimizers.Muon.momentum=0.9",
        "val_shards={web: 'x y.bin'}",
    ]
    printed = daisy("config", "show", "small", *overrides).out.split("Estimates")[0]
    columns = [line.strip().split("  ")[0] for line in printed.splitlines() if line.startswith("  ")]
    typed = [shlex.split(column)[0] for column in columns]
    assert len(typed) > 40
    assert compose("small", typed).config == compose("small", overrides).config
