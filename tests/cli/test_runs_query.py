"""`daisy runs list QUERY` picks what the dashboard's filter picks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import write_run

Daisy = Callable[..., Any]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", "small", "finished", day=1, model_dim=128, tags=["baseline"])
    write_run(tmp_path / "runs", "large-debug", "failed", day=2, model_dim=768)


def _names(daisy: Daisy, *query: str) -> list[str]:
    return [run["name"] for run in json.loads(daisy("runs", "list", "--json", *query).out)]


def test_a_query_picks_runs(daisy: Daisy) -> None:
    assert _names(daisy) == ["large-debug", "small"]
    assert _names(daisy, "state:failed") == ["large-debug"]
    assert _names(daisy, "cfg.model_dim>=768", "large") == ["large-debug"]
    assert _names(daisy, "tag:baseline state:finished") == ["small"]
    assert _names(daisy, "progress=100%", "step>39") == ["large-debug", "small"]


@pytest.mark.parametrize("word", ["-debug", "-large", "-h", "-j", "-hidden"])
def test_a_word_that_begins_with_a_dash_is_no_option_unless_it_is_one(daisy: Daisy, word: str) -> None:
    ran = daisy("runs", "list", word)
    assert ran.code == 0
    assert ("Usage" in ran.out) == (word == "-h")
    assert ("large-debug" in ran.out) == (word in ("-j", "-hidden"))


def test_a_query_that_picks_nothing_says_so(daisy: Daisy) -> None:
    assert daisy("runs", "list", "state:queued").out == "none of 2 runs is picked by: state:queued\n"
    assert json.loads(daisy("runs", "list", "state:queued", "--json").out) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [("stat:failed", "did you mean state?"), ("cfg.modeldim>1", "did you mean cfg.model_dim?")],
)
def test_a_query_that_means_nothing_is_bad_usage(daisy: Daisy, query: str, said: str) -> None:
    ran = daisy("runs", "list", query)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_an_unknown_option_is_still_one(daisy: Daisy) -> None:
    ran = daisy("runs", "list", "--jsn")
    assert ran.code == 2
    assert "No such option" in ran.err
