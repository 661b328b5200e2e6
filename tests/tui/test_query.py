"""Queries that pick runs: what each form means, and what is said of those that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DaisyError
from daisy_tui.runs.query import FIELDS, STATES, QueryError, config_values, missing_key, parse_query

CONFIG = {
    "model_dim": 768,
    "compile_blocks": True,
    "train_shards": "data/fineweb/*.bin",
    "tags": ["baseline", "long run"],
    "init_checkpoint": None,
    "optimizers": [
        {"type": "Muon", "momentum": 0.95, "params": [{"group": "hidden_matrix_params", "lr": 0.02}]},
        {"type": "AdamW", "params": [{"group": "head_params", "lr": 0.004}, {"group": "embed_params", "lr": 0.3}]},
    ],
}
FACTS: Mapping[str, Any] = {
    "id": "20260101-120000-demo",
    "name": "demo",
    "state": "running",
    "alive": True,
    "step": 1200,
    "tokens": 3_000_000_000,
    "val_loss": 3.25,
    "train_loss": 3.5,
    "mfu": 0.41,
    "progress": 0.5,
    "eta_s": 5400.0,
    "devices": ("0", "1"),
    "stalls": (),
    "started": datetime(2026, 1, 1, 12).timestamp(),
}


def _value(key: str) -> Any:
    if key == "tags" or key.startswith("cfg."):
        return config_values(CONFIG, key.removeprefix("cfg."))
    return FACTS.get(key)


def _picks(text: str) -> bool:
    return parse_query(text).matches(_value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "DEMO",
        "20260101",
        "state:running",
        "state:run",
        "state:queued,running",
        "-state:failed",
        "-debug",
        "name:em",
        "name=demo",
        'name="demo"',
        "name!=dem",
        "step>1k",
        "step>=1200 step<=1_200",
        "tokens=3B",
        "val<3.5",
        "val_loss<3.5 loss>3",
        "mfu>40%",
        "progress=50%",
        "eta<2h eta>80m eta>1h eta<1d",
        "started>2026-01-01 started<2026-01-02",
        "device:0",
        "devices=1",
        "stalls:none",
        "parent:none",
        "alive:yes",
        "tag:baseline",
        'tag="long run"',
        "tag='long run' -tag:debug",
        "cfg.model_dim>=768",
        "cfg.model_dim=768 cfg.model_dim!=512",
        "cfg.compile_blocks:true",
        "cfg.train_shards:fineweb",
        "cfg.init_checkpoint:none",
        "cfg.optimizers[0].momentum=0.95",
        "cfg.optimizers.Muon.momentum>0.9",
        "cfg.optimizers.AdamW.embed_params.lr=0.3",
        "  state:running   demo ",
        "demo -cfg.model_dim<512",
    ],
)
def test_a_run_is_picked_by(text: str) -> None:
    assert _picks(text)


@pytest.mark.parametrize(
    "text",
    [
        "other",
        "-demo",
        "state:failed",
        "state:queued,failed",
        "-state:running",
        "state!=running",
        "name=dem",
        "step>1.2k",
        "tokens<3B",
        "best<9",
        "best:3",
        "stalls:rank",
        "alive:no",
        "tag=base",
        "-tag:baseline",
        "cfg.model_dim<768",
        "cfg.compile_blocks:false",
        "cfg.no_such=1",
        "cfg.optimizers[7].momentum>0",
        "cfg.model_dim.deeper=1",
        "cfg.train_shards>3",
        "state:running other",
    ],
)
def test_a_run_is_not_picked_by(text: str) -> None:
    assert not _picks(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat:running", "'stat' is no field of a run; did you mean state?"),
        ("model_dim>=768", "config keys are written cfg.model_dim"),
        ("state:", "'state:' wants something behind it, such as state:running"),
        ("val<", "such as val_loss<3.5"),
        ("-", "'-' wants something behind it, such as -debug"),
        ("val<abc", "'abc' is no number; write for example val_loss<3.5"),
        ("tokens>3m", "'3m' is no number"),
        ("state>running", "state is text, and > compares numbers; write state:running"),
        ("state:runing", "'runing' is no state of a run; states: queued, starting"),
        ('name:"demo', "is not closed"),
        ("cfg.model_dim>big", "'big' is no number"),
        ("http://x", "'http' is no field of a run"),
    ],
)
def test_a_query_that_means_nothing_says_what_would(text: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_no_config_has_is_named_with_the_nearest() -> None:
    assert missing_key(parse_query("cfg.model_dim>1 cfg.modeldim>1"), [CONFIG]) == (
        "'cfg.modeldim': no run's config.yaml has this key; did you mean cfg.model_dim?"
    )
    assert missing_key(parse_query("cfg.model_dim>1"), [{}, CONFIG]) is None
    assert missing_key(parse_query("cfg.anything>1"), []) is None


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_is_refused_in_one_line(text: str) -> None:
    try:
        parse_query(text).matches(_value)
    except DaisyError as error:
        assert len(error.lines) == 1


@given(st.sampled_from(FIELDS), st.sampled_from([":", "=", "!=", "<", ">", "<=", ">="]), st.sampled_from(STATES))
def test_every_field_can_be_asked_for_where_nothing_is_known(field: str, sign: str, word: str) -> None:
    try:
        query = parse_query(f"{field}{sign}{word}")
    except QueryError:
        return
    assert query.matches(lambda key: None) == (sign == "!=")
