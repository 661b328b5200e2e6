"""What can be asked of a run: when it makes sense, by which command, and what is said before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_checkpoints import write_checkpoint, write_checkpoints
from made_runs import NOW, STEP_TOKENS

from core.runs.changes import Change, record_change
from core.runs.directory import RunDirectory
from daisy_tui.runs.run_look import RunLook, RunReader, View
from daisy_tui.runs.run_requests import (
    LIVING,
    arguments,
    lost_by_killing,
    question,
    refusal,
    set_problems,
    settings_in_force,
)

MakeRun = Callable[..., Path]


def look_at(path: Path) -> RunLook:
    look = RunReader(RunDirectory(path), path.parents[1]).look(NOW, View())
    assert look is not None
    return look


@pytest.mark.parametrize("state", ["running", "stopping", "starting"])
def test_a_living_run_takes_every_request_and_cannot_be_resumed(make_run: MakeRun, state: str) -> None:
    look = look_at(make_run("x", state))
    assert [refusal(what, look) for what in sorted(LIVING)] == [None] * len(LIVING)
    assert "already" in (refusal("resume", look) or "")


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "lost"])
def test_a_run_that_ended_takes_none_and_is_to_be_resumed(make_run: MakeRun, state: str) -> None:
    look = look_at(make_run("x", state))
    assert all(f"is {state}, so nobody answers; resume it" in (refusal(what, look) or "") for what in LIVING)
    assert refusal("resume", look) is None
    assert refusal("export", look) is None


def test_a_queued_run_can_be_stopped_and_nothing_else(make_run: MakeRun) -> None:
    look = look_at(make_run("x", "queued", steps=0))
    assert refusal("stop", look) is None
    assert refusal("kill", look) is None
    assert "has not begun" in (refusal("save", look) or "")
    assert "out of the queue" in question("stop", look).title


def test_a_new_run_begins_from_a_checkpoint_that_is_there(make_run: MakeRun) -> None:
    path = make_run("x")
    assert "no whole checkpoint" in (refusal("warm_start", look_at(path)) or "")
    write_checkpoints(path, 30)
    assert refusal("warm_start", look_at(path)) is None


def test_commands_are_those_of_the_command_line() -> None:
    assert arguments("stop", "x") == ["runs", "stop", "x", "--no-wait", "--json"]
    assert arguments("kill", "x") == ["runs", "stop", "x", "--now", "--no-wait", "--json"]
    assert arguments("save", "x") == ["runs", "save", "x"]
    assert arguments("evaluate", "x") == ["runs", "eval", "x"]
    assert arguments("stacks", "x") == ["runs", "show", "x", "--stacks", "--json"]
    assert arguments("set", "x") is None


def test_killing_is_dangerous_and_says_what_is_lost(make_run: MakeRun) -> None:
    path = make_run("x", "running")
    look = look_at(path)
    assert question("kill", look).danger
    assert not question("stop", look).danger
    assert lost_by_killing(look) == "40 steps would be lost, for it would go on from the beginning."
    write_checkpoints(path, 39)
    assert lost_by_killing(look_at(path)) == "1 step would be lost, for it would go on from step_000000039."
    write_checkpoint(path / "checkpoints/step_000000040", 40)
    assert lost_by_killing(look_at(path)) == "it would go on from step_000000040."


def test_the_form_begins_with_what_is_in_force(make_run: MakeRun) -> None:
    run = RunDirectory(make_run("x", "running", log_every_steps=3))
    assert settings_in_force(run)["log_every_steps"] == "3"
    record_change(run, Change(20, {"log_every_steps": "7"}))
    assert settings_in_force(run)["log_every_steps"] == "7"


def test_what_the_run_would_refuse_is_said_before_it_is_asked(make_run: MakeRun) -> None:
    run = RunDirectory(make_run("x", "running", target_steps=80, cooldown_frac=0.4))
    done = 40 * STEP_TOKENS
    assert set_problems(run, {"lr_scale": "0.5", "cooldown": "now"}, done) == []
    assert "lr_scale" in set_problems(run, {"lr_scale": "half"}, done)[0]
    assert "are trained already" in set_problems(run, {"target_tokens": "1k"}, done)[0]
    assert set_problems(run, {"cooldown": "now"}, 79 * STEP_TOKENS) == ["the cooldown has begun already"]
    assert set_problems(run, {"target_tokens": "1M"}, None) == []
