"""What there is to talk to, and how a model is to choose: without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoint

from core.runs.leases import Leases, lease_folder
from daisy_tui.chatting import sampling
from daisy_tui.chatting.sampling import ALTERNATIVES, BY_NAME, SamplingValueError
from daisy_tui.chatting.sources import source_named, sources
from daisy_tui.checkpoints.catalog import Catalog


def test_runs_that_train_come_first_then_the_newest_checkpoints_then_servers(tmp_path: Path, make_run: Any) -> None:
    old, live = make_run("old", day=1), make_run("live", "running", day=2)
    for run, step in ((old, 5), (old, 10), (live, 7)):
        write_checkpoint(run / f"checkpoints/step_{step:09d}", step, val_loss=3.25)
    write_checkpoint(tmp_path / "checkpoints/imported", 3)
    (old / "checkpoints/step_000000011").mkdir()
    (old / "checkpoints/best").symlink_to("step_000000005")
    leases = Leases(lease_folder())
    leases.serve({"server": "http://127.0.0.1:4", "model": "other", "user": "ann"})
    found = sources(tmp_path, Catalog(tmp_path))
    leases.release()
    assert [(source.kind, source.name, source.about, source.where) for source in found] == [
        ("run", "live", "running: each newer checkpoint", live.name),
        ("checkpoint", "live", "step 7 · val 3.250", f"runs/{live.name}/checkpoints/step_000000007"),
        ("checkpoint", "old", "step 10 · val 3.250", f"runs/{old.name}/checkpoints/step_000000010"),
        ("checkpoint", "old", "step 5 · val 3.250 · best", f"runs/{old.name}/checkpoints/step_000000005"),
        ("checkpoint", "checkpoints", "step 3", "checkpoints/imported"),
        ("server", "other", "by ann", "http://127.0.0.1:4"),
    ]


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert sources(tmp_path, Catalog(tmp_path)) == []


def test_a_source_by_its_name_on_the_command_line(tmp_path: Path, make_run: Any) -> None:
    run, live = make_run("emma"), make_run("live", "running")
    assert source_named(tmp_path, f"runs/{run.name}")[:2] == ("run", "emma")
    assert not source_named(tmp_path, run.name).follow
    assert source_named(tmp_path, live.name).follow, "one that trains is followed"
    assert source_named(tmp_path, f"runs/{run.name}/checkpoints/step_7").name == "emma step_7"
    assert source_named(tmp_path, "elsewhere/ck").where == "elsewhere/ck"


WRONG = {
    "temperature": ("2.1", "temperature: a number from 0 to 2; got 2.1"),
    "top_k": ("1.5", "top k: a whole number from 0 on; got 1.5"),
    "top_p": ("0", "top p: a number above 0, to 1; got 0"),
    "min_p": ("nan", "min p: a number from 0 to 1; got nan"),
    "repetition_penalty": ("x", "repetition: a number from 0.001 to 1000; got x"),
    "max_tokens": ("0", "max tokens: a whole number from 1 on; got 0"),
    "seed": ("-1", "seed: a whole number from 0 on; got -1"),
    "stop": ("|".join("abcdefghijklmnopq"), "stop: at most 16 texts of 1,024 characters; got a|b|c"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_says_what_would_be_accepted(name: str) -> None:
    typed, said = WRONG[name]
    with pytest.raises(SamplingValueError) as raised:
        BY_NAME[name].parse(typed)
    assert str(raised.value).startswith(said)


def test_only_what_leaves_something_out_is_sent() -> None:
    typed = {name: parameter.parse(parameter.default) for name, parameter in BY_NAME.items()}
    assert sampling.sampling(typed) == {"temperature": 0.7, "top_k": 50}
    assert sampling.sampling({"temperature": 1.0, "top_k": 0, "seed": 0}) == {"seed": 0}
    assert BY_NAME["stop"].parse(" END|a\\nb") == [" END", "a\nb"]
    assert ALTERNATIVES.parse("") is None


def test_the_options_of_the_command_are_those_that_are_not_its_defaults() -> None:
    assert sampling.options({"temperature": 0.7, "top_k": 50}) == []
    assert sampling.options({"temperature": 0.2, "seed": 3}) == ["--temperature=0.2", "--top_k=0", "--seed=3"]
