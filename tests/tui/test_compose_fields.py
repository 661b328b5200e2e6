"""Fields of the form: everything is from the configuration models, and what a field says can be typed."""

from __future__ import annotations

from typing import get_args

import pytest

from core.config.compose import compose
from core.config.errors import ConfigError
from core.config.train_config import ScheduleName, TrainConfig
from daisy_tui.composing.form_fields import Field, config_fields, launch_fields, optimizer_fields, param_group_fields

ALL = [*config_fields().values(), *launch_fields().values(), *param_group_fields().values()] + [
    field for kind in ("Muon", "AdamW") for field in optimizer_fields(kind).values()
]


def test_every_key_of_the_models_is_a_field_in_order() -> None:
    assert list(config_fields()) == list(TrainConfig.model_fields)


@pytest.mark.parametrize("field", ALL, ids=lambda field: f"{field.group}-{field.name}")
def test_every_field_has_a_group_a_help_and_says_what_can_be_typed(field: Field) -> None:
    assert field.group
    assert len(field.help) > 10 or field.help == "The optimizer."
    assert field.what


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("full_windows", "flag"),
        ("num_layers", "whole"),
        ("target_tokens", "count"),
        ("cooldown_frac", "real"),
        ("learning_rate_schedule", "choice"),
        ("wandb_project", "text"),
        ("train_shards", "globs"),
        ("val_shards", "sets"),
        ("tags", "words"),
        ("optimizers", "optimizers"),
        ("model_spec", "spec"),
        ("init_checkpoint", "checkpoint"),
    ],
)
def test_the_kind_follows_from_the_schema(name: str, kind: str) -> None:
    assert config_fields()[name].kind == kind


def test_units_bounds_choices_and_defaults_are_the_models() -> None:
    fields = config_fields()
    assert (fields["head_dim"].at_least, fields["head_dim"].at_most, fields["head_dim"].multiple_of) == (2, 1024, 2)
    assert fields["head_dim"].unit == "channels"
    assert (fields["lr_scale"].above, fields["lr_scale"].default) == (0, "1.0")
    assert fields["learning_rate_schedule"].choices == get_args(ScheduleName)
    assert fields["target_tokens"].default is None, "it is required"
    assert fields["batch_tokens"].nullable
    assert not fields["seed"].nullable
    assert fields["window_pattern"].pattern == "^[LS]+$"
    assert fields["num_layers"].pattern is None, "the pattern of numbers in text is not for people"
    assert optimizer_fields("Muon")["momentum"].below == 1
    assert optimizer_fields("AdamW")["betas"].kind == "numbers"


def test_what_can_be_typed_is_said_in_words() -> None:
    said = config_fields()["grad_clip_norm"].what
    assert said == "a number, such as 0.02 or 1e-3, greater than 0, or null"
    assert config_fields()["learning_rate_schedule"].what.startswith("one of linear_decay, ")


@pytest.mark.parametrize("field", config_fields().values(), ids=lambda field: field.name)
def test_the_default_of_a_field_can_be_typed(field: Field) -> None:
    if field.default is not None and field.kind != "optimizers":
        compose("demo", [f"{field.name}={field.default}", *_also(field.name)])


def _also(name: str) -> list[str]:
    return {"model_spec": [f"{key}={value}" for key, value in _SPEC.items()]}.get(name, [])


_SPEC = {
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 8,
    "model_dim": 16,
    "vocab_size": 4096,
    "eos_token_id": 4095,
    "max_seq_len": 4096,
    "attention_window_len": 128,
}


@pytest.mark.parametrize("field", [f for f in config_fields().values() if f.at_least is not None], ids=lambda f: f.name)
def test_below_its_least_value_nothing_composes(field: Field) -> None:
    assert field.at_least is not None
    with pytest.raises(ConfigError, match=field.name):
        compose("demo", [f"{field.name}={field.at_least - 1:g}"])
