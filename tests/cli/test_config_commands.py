import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.compose import compose
from core.config.scalars import format_value


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
    assert json.loads(ran.out)["diff"] == {"seed": {"left": 3, "right": 1337}}
    assert daisy("config", "show", "small", "--diff", "small").out == "no difference\n"


def test_a_diff_of_other_groups_shows_both_lists(workspace: Path, daisy: Any) -> None:
    swapped = ("optimizers[1].params[0].group=scalar_params", "optimizers[1].params[3].group=embed_params")
    found = json.loads(daisy("config", "show", "small", *swapped, "--diff", "small", "--json").out)["diff"]
    assert list(found) == ["optimizers"]
    groups = {side: found["optimizers"][side][1]["params"][0]["group"] for side in ("left", "right")}
    assert groups == {"left": "scalar_params", "right": "embed_params"}


def test_save_makes_a_config_of_overrides_and_overwrites_none(workspace: Path, daisy: Any) -> None:
    ran = daisy("config", "save", "small", "mine", "seed=3")
    assert (ran.code, ran.out) == (0, "saved: configs/mine.yml; `daisy train mine` trains it\n")
    assert json.loads(daisy("config", "show", "mine", "--diff", "small", "--json").out)["diff"] == {
        "seed": {"left": 3, "right": 1337}
    }
    again = daisy("config", "save", "small", "mine")
    assert (again.code, again.err.count("error: ")) == (2, 1)
    assert json.loads(daisy("config", "save", "small", "more", "--json").out) == {"path": "configs/more.yml"}


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


GROUPS = ("embed_params", "head_params", "scalar_params", "hidden_matrix_params")
STRUCTURES = st.sampled_from(
    [
        [],
        ["optimizers[1].params=" + format_value([{"group": group, "lr": 1} for group in GROUPS[:3]])],
        ["optimizers=" + format_value([{"type": "AdamW", "params": [{"group": g, "lr": 0.1} for g in GROUPS]}])],
        ["optimizers[0].type=AdamW", "optimizers[0]={type: AdamW, params: [{group: hidden_matrix_params, lr: 1e-3}]}"],
        ["optimizers[1].params[1].group=head_params", "optimizers[1].params[2].group=value_embed_params"],
    ]
)


def _typed_back(printed: str) -> list[str]:
    """The first column of every value line, as a shell would read it."""
    page = printed.split("\nEstimates (")[0]
    return [shlex.split(line[: _end_of_word(line)])[0] for line in page.splitlines() if line.startswith("  ")]


def _end_of_word(line: str) -> int:
    """Where the shell word that begins at column 2 ends."""
    quote = ""
    for position, character in enumerate(line[2:], start=2):
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        if character == " " and not quote:
            return position
    return len(line)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(OVERRIDES, STRUCTURES)
def test_whatever_show_prints_can_be_typed_back(
    workspace: Path, daisy: Any, chosen: dict[str, Any], structure: list[str]
) -> None:
    typed = [
        f"{key}={format_value(value)}" for key, value in chosen.items() if not (structure and key.startswith("opt"))
    ]
    if any("\n" in text or not text.isprintable() for text in typed):
        return  # shown with escapes, so that they cannot act on a terminal; --json has them as they are
    ran = daisy("config", "show", "small", *typed, *structure)
    composed = compose("small", [*typed, *structure])
    assert ran.code == 0, ran.err
    assert compose("small", _typed_back(ran.out)).config == composed.config


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(OVERRIDES)
def test_every_key_of_the_json_can_be_typed_back(workspace: Path, chosen: dict[str, Any]) -> None:
    composed = compose("small", [f"{key}={format_value(value)}" for key, value in chosen.items()])
    typed = [f"{key}={format_value(value.value)}" for key, value in composed.values.items()]
    assert compose("small", typed).config == composed.config


def test_replaced_optimizers_are_shown_whole(workspace: Path, daisy: Any) -> None:
    groups = ", ".join(f"{{group: {group}, lr: 0.1}}" for group in GROUPS)
    shown = daisy("config", "show", "small", f"optimizers=[{{type: AdamW, params: [{groups}]}}]").out
    assert sum("optimizers" in line for line in shown.splitlines()) == 1
