"""`daisy runs compare`: only what differs is told, figures are those of the runs, and what cannot be read is said."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import NOW, loss, write_run

from core.runs.directory import RunDirectory
from daisy_tui.runs.comparing import ABSENT, ComparedRun, compare, differences, leaves

Make = Callable[..., RunDirectory]
MUON = {"type": "Muon", "momentum": 0.95, "params": [{"group": "hidden_matrix_params", "lr": 0.02}]}
ADAM = {"type": "AdamW", "betas": [0.8, 0.95], "params": [{"group": "head_params", "lr": 0.004}]}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.chdir(tmp_path)
    locks: list[int] = []

    def made(name: str, state: str = "finished", **facts: Any) -> RunDirectory:
        path, lock = write_run(tmp_path / "runs", name, state, **facts)
        locks.extend([lock] if lock is not None else [])
        return RunDirectory(path)

    yield made
    for lock in locks:
        os.close(lock)


def _compared(*runs: RunDirectory) -> Any:
    read = [ComparedRun(run) for run in runs]
    for one in read:
        one.refresh()
    return compare(read, NOW)


def _append(file_path: Path, /, **record: Any) -> None:
    with file_path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_only_what_differs_is_told_and_the_rest_is_counted(make: Make, daisy: Any) -> None:
    make("a", model_dim=16, tags=["x"], optimizers=[MUON, ADAM])
    make("b", model_dim=32, tags=["x"], optimizers=[MUON, {**ADAM, "betas": [0.9, 0.95]}], day=2)
    ran = daisy("runs", "compare", "a", "b")
    assert ran.code == 0
    rows = {line.split("  ")[0]: line.split() for line in ran.out.splitlines() if line}
    assert rows["model_dim"] == ["model_dim", "16", "32"]
    assert rows["optimizers.AdamW.betas"][1:] == ["[0.8,", "0.95]", "[0.9,", "0.95]"]
    assert "tags" not in ran.out
    assert "momentum" not in ran.out
    assert "values of their configs are the same" in ran.out


def test_figures_are_those_of_the_runs(make: Make, daisy: Any) -> None:
    make("a", "stopped", steps=40)
    make("b", steps=25, day=2)
    figures = {one["name"]: one for one in json.loads(daisy("runs", "compare", "b", "a", "--json").out)["runs"]}
    a, b = figures["a"], figures["b"]
    assert list(figures) == ["b", "a"], "in the order of their names as given"
    assert (a["state"], a["step"], a["tokens"], b["step"]) == ("stopped", 40, 40_960, 25)
    assert a["train_loss"] == pytest.approx(loss(40))
    assert a["val_loss"] == pytest.approx(loss(40) + 0.1)
    best = min((10, 20, 30, 40), key=loss)
    assert (a["best_val"], a["best_val_step"]) == (pytest.approx(loss(best) + 0.1), best)
    assert a["best_val_tokens"] == best * 1024
    assert (b["best_val_step"], b["best_val_tokens"]) == (20, 20_480)
    assert (a["tokens_per_s"], a["seconds"], b["seconds"]) == (512, 80, 50)


def test_the_best_of_a_row_has_a_star(make: Make, daisy: Any) -> None:
    make("short", steps=10)
    make("long", steps=40, day=2)
    out = daisy("runs", "compare", "short", "long").out
    line = next(line for line in out.splitlines() if line.startswith("best val loss"))
    assert line.endswith(f"{loss(40) + 0.1:.4f} *")
    assert line.count("*") == 1
    equal = next(line for line in out.splitlines() if line.startswith("tokens/s"))
    assert "*" not in equal, "none is better than its equal"


def test_the_best_evaluation_need_not_be_the_last_and_losses_of_datasets_are_averaged(make: Make) -> None:
    run = make("a", steps=5)
    for step, losses in ((6, (3.0, 5.0)), (7, (1.0, 2.0)), (8, (4.0, 4.0)), (9, (math.nan, 1.0))):
        scores = {name: {"loss": value} for name, value in zip("xy", losses, strict=True)}
        record = {"time": NOW + step, "step": step, "tokens": step * 100, "val": scores}
        _append(run.metrics, **json.loads(json.dumps(record).replace("NaN", '"nan"')))
    figures = _compared(run, run).figures[0]
    assert (figures.best_val, figures.best_val_step, figures.best_val_tokens) == (1.5, 7, 700)
    assert math.isnan(figures.val_loss)
    assert figures.to_json()["val_loss"] is None


def test_an_evaluation_that_a_resume_overtook_does_not_count(make: Make) -> None:
    run = make("a", steps=5)
    for step, value in ((6, 1.0), (5, 2.5), (6, 2.0)):
        _append(run.metrics, time=NOW, step=step, tokens=step, train_loss=3.0, val={"val": {"loss": value}})
    figures = _compared(run, run).figures[0]
    assert (figures.best_val, figures.best_val_step) == (2.0, 6)


def test_the_time_trained_leaves_out_the_pauses(make: Make) -> None:
    run = make("a", "stopped", steps=40)
    _append(run.events, time=NOW + 1000, event="resumed", step=40, tokens=40_960)
    _append(run.metrics, time=NOW + 1010, step=41, tokens=41_984, train_loss=2.0)
    _append(run.events, time=NOW + 1030, event="checkpoint", step=41, path="step_41")
    _append(run.events, time=NOW + 9000, event="restarted", number=1, of=2, reason="x")
    assert _compared(run, run).figures[0].seconds == 80 + 30


def test_what_has_not_begun_has_no_figures(make: Make, daisy: Any) -> None:
    make("a", "queued", steps=0)
    make("b", "running", day=2)
    ran = daisy("runs", "compare", "a", "b")
    assert ran.code == 0
    assert next(line for line in ran.out.splitlines() if line.startswith("best val loss")).split()[3] == "-"


def test_a_diverged_run_is_told_so_and_is_never_the_best(make: Make, daisy: Any) -> None:
    make("a", "failed", steps=10, nan_at=10)
    make("b", steps=10, day=2)
    ran = daisy("runs", "compare", "a", "b")
    line = next(line for line in ran.out.splitlines() if line.startswith("final train loss"))
    assert "nan" in line
    assert "*" not in line
    assert json.loads(daisy("runs", "compare", "a", "b", "--json").out)["runs"][0]["train_loss"] is None


def test_what_was_set_in_flight_and_what_run_it_differ_too(make: Make, daisy: Any) -> None:
    a = make("a", parent="runs/x/checkpoints/step_5")
    make("b", day=2, devices=("0", "1"))
    _append(a.changes, step=3, values={"lr_scale": "0.5"})
    rows = json.loads(daisy("runs", "compare", "a", "b", "--json").out)["differences"]
    assert rows["set in flight"] == {a.path.name: "lr_scale=0.5"}
    assert rows["run.parent"][a.path.name] == "runs/x/checkpoints/step_5"
    assert list(rows["run.devices"].values()) == [1, 2]


def test_runs_without_differences_are_told_so(make: Make, daisy: Any) -> None:
    make("a")
    make("b", day=2)
    assert "\nall " in daisy("runs", "compare", "a", "b").out
    assert json.loads(daisy("runs", "compare", "a", "b", "--json").out)["differences"] == {}


def test_names_that_two_runs_share_give_way_to_ids(make: Make, daisy: Any) -> None:
    first, second = make("a"), make("a", day=2)
    head = daisy("runs", "compare", first.path.name, second.path.name).out.splitlines()[0]
    assert head.split() == [first.path.name, second.path.name]


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["a"], 2, "name two runs or more to compare; a is 20260301-110000-a alone"),
        (["a", "20260301"], 2, "alone"),
        (["a", "nobody"], 1, "'nobody' names no run in runs"),
        ([], 2, "Missing argument 'RUN RUN…'"),
    ],
)
def test_who_names_no_two_runs_is_told_what_would_work(
    make: Make, daisy: Any, names: list[str], code: int, said: str
) -> None:
    make("a")
    ran = daisy("runs", "compare", *names)
    assert ran.code == code
    assert said in ran.err
    assert ran.out == ""


def test_a_config_that_cannot_be_read_is_warned_of_and_the_rest_is_compared(make: Make, daisy: Any) -> None:
    a = make("a")
    make("b", day=2)
    a.config.write_text("a: [")
    ran = daisy("runs", "compare", "a", "b")
    assert ran.code == 0
    assert "final train loss" in ran.out
    assert "runs/20260301-110000-a/config.yaml:2:1: not valid YAML" in ran.err


def test_control_characters_of_a_config_do_not_act(make: Make, daisy: Any) -> None:
    make("a", tags=["\x1b[2J"])
    make("b", day=2)
    assert "\x1b" not in daisy("runs", "compare", "a", "b").out


def test_groups_are_compared_by_name_wherever_they_stand() -> None:
    one, other = dict(leaves({"optimizers": [MUON, ADAM]})), dict(leaves({"optimizers": [ADAM, MUON]}))
    assert one == other
    assert one["optimizers.Muon.hidden_matrix_params.lr"] == 0.02
    assert one["optimizers.AdamW.betas"] == [0.8, 0.95]


def test_groups_of_the_same_name_are_told_apart_by_place() -> None:
    found = dict(leaves({"optimizers": [ADAM, {**ADAM, "betas": [0.9, 0.9]}]}))
    assert found["optimizers[0].betas"] == [0.8, 0.95]
    assert found["optimizers[1].betas"] == [0.9, 0.9]
    assert found["optimizers[0].type"] == "AdamW"


def test_a_key_that_only_one_has_is_a_difference() -> None:
    every, found = differences([{"a": 1, "b": None}, {"a": 1.0}])
    assert every == 2
    assert [(row.key, row.values) for row in found] == [("b", (None, ABSENT))]


def test_true_is_not_one_and_nothing_that_is_no_number_differs_from_itself() -> None:
    _, found = differences([{"a": True, "b": math.nan}, {"a": 1, "b": math.nan}])
    assert [row.key for row in found] == ["a"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=12,
    )
)
def test_whatever_yaml_holds_can_be_compared_and_is_the_same_as_itself(value: Any) -> None:
    config = {"a": value, "optimizers": value}
    assert differences([dict(leaves(config)), dict(leaves(config))])[1] == ()
