"""What is wrong with a run, in words with what to do: from statuses and events as runs leave them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from core.runs.diagnosis import failure_reason
from core.runs.directory import RunDirectory
from core.runs.heartbeat import Stall
from core.runs.status import Status
from daisy_tui.runs.advice import ERROR, WARNING, Advice, Spike, advice, find_spikes

RUNNING = Status("running", True, None, {"started": 1000.0})
GIB = 1 << 30


def failed(reason: str) -> Status:
    return Status("failed", False, reason, {"started": 1000.0})


def warning(message: str, time: float = 2000.0) -> dict[str, Any]:
    return {"time": time, "event": "warning", "message": message}


def only(found: list[Advice]) -> Advice:
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    "status",
    [
        RUNNING,
        Status("queued", True),
        Status("finished", False, "reached its target"),
        Status("stopped", False, "stopped on request, after a checkpoint"),
    ],
)
def test_of_a_run_that_is_well_nothing_is_said(status: Status) -> None:
    point = {"data_wait": 0.01, "train_loss": 3.0}
    assert advice(status, [{"time": 1.0, "event": "started"}], point=point, disk_free=100 * GIB) == []


def test_a_stalled_rank_is_named_with_its_phase_and_what_is_lost_by_killing_it() -> None:
    status = RUNNING._replace(stalls=(Stall(3, "step", 95.4, False),))
    said = only(advice(status, last_checkpoint="step_000000040"))
    assert said.severity == ERROR
    assert said.what == "rank 3 makes no progress in phase step for 95 s"
    assert "its stacks tell where" in said.do
    assert said.do.endswith("it goes on from step_000000040")
    assert said.action == "stacks"


def test_the_silent_rank_is_the_one_that_is_named_and_the_others_wait() -> None:
    status = RUNNING._replace(stalls=(Stall(3, "step", 95.0, True), Stall(0, "step", 95.0, False)))
    said = only(advice(status))
    assert said.what.startswith("rank 3 is silent")
    assert said.what.endswith("; 1 other rank waits too")
    assert said.do.startswith("Its process is stopped or its machine hangs")
    assert said.do.endswith("begins anew, for it has no checkpoint")


@pytest.mark.parametrize(("phase", "word"), [("save", "disk"), ("start", "not met"), ("evaluate", "collective")])
def test_what_a_stall_means_depends_on_the_phase(phase: str, word: str) -> None:
    assert word in only(advice(RUNNING._replace(stalls=(Stall(0, phase, 2000.0, False),)))).do


@pytest.mark.parametrize(
    ("log", "what", "do", "action"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", ": out of memory", "activation_checkpointing=true", "resume"),
        ("OSError: [Errno 28] No space left on device", ": the disk is full", "no checkpoint to spare", "resume"),
        ("ValueError: nobody knows", "ValueError: nobody knows", "Its log says more", "log"),
    ],
)
def test_a_failure_as_the_supervisor_words_it_comes_with_what_to_do(
    tmp_path: Path, log: str, what: str, do: str, action: str
) -> None:
    run = RunDirectory(tmp_path)
    run.logs.mkdir()
    (run.logs / "rank0.log").write_text(log)
    reason = failure_reason(run, [{"event": "failed", "message": log}], 1)[0]
    said = only(advice(failed(reason), last_checkpoint="step_000000040"))
    assert (said.severity, said.action) == (ERROR, action)
    assert said.what.startswith("Failed: ")
    assert said.what.endswith(what)
    assert do in said.do
    assert "step_000000040" in said.do


def test_pruning_is_advised_only_where_it_frees_something() -> None:
    status = failed("the last checkpoint could not be saved: No space left on device")
    for found in (advice(status, spare_checkpoints=2), advice(RUNNING, disk_free=0, spare_checkpoints=2)):
        assert ("`daisy runs prune`" in only(found).do, only(found).action) == (True, "checkpoints")
    for found in (advice(status), advice(RUNNING, disk_free=0)):
        assert "prune" not in only(found).do
        assert "room" in only(found).do


def test_ranks_that_have_ended_while_nobody_says_how_are_told_with_what_holds_it_up() -> None:
    stall = Stall(0, "step", 58.0, silent=True, ended=True)
    status = RUNNING._replace(stalls=(stall,), supervisor={"started": 1000.0, "pid": 77})
    said = only(advice(status, last_checkpoint="step_000000040"))
    assert said.what == f"I{str(stall)[1:]}"
    assert said.severity == ERROR
    assert "If its disk is full, make room" in said.do
    assert "`kill -CONT 77`" in said.do
    assert said.do.endswith("it goes on from step_000000040")
    event = {"time": 2000.0, "event": "failed", "message": "the last checkpoint could not be saved"}
    assert only(advice(status, [event])).do.startswith("It failed: the last checkpoint could not be saved. If")


def test_a_killed_rank_and_a_busy_device_come_with_what_to_do() -> None:
    assert "ran out of memory" in only(advice(failed("rank 0 (process 7) was killed by signal 9: by somebody"))).do
    assert "--queue" in only(advice(failed("GPU 0 is in use by run runs/x; --queue waits for it"))).do


def test_a_loss_that_is_no_number_is_told_with_the_batch_and_the_parameters() -> None:
    event = {
        "time": 2000.0,
        "event": "not_finite",
        "cursor": 812,
        "text": "once upon a time",
        "parameters": ["blocks.0.mlp.up", "head.weight"],
    }
    said = only(advice(failed("loss nan and gradient norm nan at step 12: training stopped"), [event]))
    assert "lr_scale=0.5" in said.do
    assert "cursor was 812" in said.do
    assert "blocks.0.mlp.up and 1 more" in said.do
    assert "'once upon a time'" in said.do
    other = only(
        advice(failed("the weights are not finite"), [{"time": 2000.0, "event": "not_finite", "weights": True}])
    )
    assert other.do.endswith("meets the same batches")


def test_a_lost_run_and_one_that_waits_no_more_are_to_be_resumed() -> None:
    lost = Status("lost", False, "its supervisor was killed, or its machine went down", {"started": 1000.0})
    assert only(advice(lost, last_checkpoint="step_000000040")).do == "Resume it: it goes on from step_000000040"
    never = only(advice(Status("lost", False, "its supervisor did not begin; logs/supervisor.log may say why")))
    assert "supervisor" in never.what
    assert "--queue" in only(advice(Status("queued", False, "not waiting", {}))).do


def test_a_checkpoint_that_was_not_saved_counts_until_one_was() -> None:
    full = warning("checkpoint of step 40 not saved: No space left on device")
    said = only(advice(RUNNING, [full, full | {"time": 2001.0}]))
    assert said.severity == ERROR
    assert (said.action, "no checkpoint to spare" in said.do) == ("", True)
    assert only(advice(RUNNING, [full], spare_checkpoints=1)).action == "checkpoints"
    assert advice(RUNNING, [full, {"time": 2002.0, "event": "checkpoint", "path": "step_000000050"}]) == []


def test_warnings_of_earlier_starts_are_not_told_again_and_one_is_told_once() -> None:
    events = [warning("old", time=10.0), warning("new"), warning("new", time=2001.0)]
    assert [one.what for one in advice(RUNNING, events)] == ["new"]


def test_a_restart_is_told_with_its_reason() -> None:
    event = {"time": 2000.0, "event": "restarted", "number": 1, "of": 3, "reason": "rank 1 was killed"}
    assert only(advice(RUNNING, [event])).what == "Restarted, 1 of 3: rank 1 was killed"


def test_a_disk_is_told_of_before_the_next_checkpoint_fills_it() -> None:
    assert advice(RUNNING, disk_free=5 * GIB, checkpoint_bytes=2 * GIB) == []
    close = only(advice(RUNNING, disk_free=3 * GIB, checkpoint_bytes=2 * GIB))
    assert close.severity == WARNING
    assert "3.00 GiB left, and a checkpoint takes 2.00 GiB" in close.what
    none = only(advice(RUNNING, disk_free=1 * GIB, checkpoint_bytes=2 * GIB))
    assert none.severity == ERROR
    assert "less than the 2.00 GiB" in none.what
    assert only(advice(RUNNING, disk_free=GIB // 2)).severity == ERROR
    assert advice(Status("finished", False, "reached its target"), disk_free=0) == []


def test_waiting_for_data_is_told_where_it_costs() -> None:
    assert "in 45% of the time" in only(advice(RUNNING, point={"data_wait": 0.45})).what
    assert advice(RUNNING, point={"data_wait": 0.01}) == advice(RUNNING, point={}) == []


def test_the_worst_comes_first() -> None:
    status = RUNNING._replace(stalls=(Stall(0, "step", 95.0, False),))
    found = advice(status, [warning("something")], point={"data_wait": 0.9}, disk_free=0, checkpoint_bytes=GIB)
    assert [one.severity for one in found] == [ERROR, ERROR, WARNING, WARNING]
    assert found[0].what.startswith("rank 0")


def falling(number: int, noise: float = 0.05, seed: int = 0) -> list[tuple[float, float]]:
    draw = random.Random(seed)
    return [(10.0 * n, 3.0 + 8.0 * math.exp(-n / 15) + draw.gauss(0, noise)) for n in range(number)]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_a_loss_that_falls_and_rustles_has_no_spikes(noise: float) -> None:
    for seed in range(20):
        assert find_spikes(falling(400, noise, seed)) == []


def test_a_spike_is_found_at_its_step_and_is_over_when_the_loss_is_back() -> None:
    points = falling(200)
    points[150:154] = [(1500.0, 4.5), (1510.0, 5.5), (1520.0, 5.0), (1530.0, 4.0)]
    found = find_spikes(points[:152])
    assert [(spike.step, spike.loss, spike.is_over) for spike in found] == [(1500, 5.5, False)]
    assert found[0].before == pytest.approx(3.0, abs=0.1)
    assert [spike.is_over for spike in find_spikes(points)] == [True]
    said = only(advice(RUNNING, spikes=found))
    assert said.what == f"The loss jumped to 5.5 after step 1,500; it had been about {found[0].before:.4g}"
    assert "lr_scale=0.5" in said.do
    assert advice(RUNNING, spikes=find_spikes(points)) == []


def test_losses_that_are_no_numbers_neither_are_spikes_nor_hide_them() -> None:
    points = falling(100)
    points[50] = (500.0, math.nan)
    points[90] = (900.0, math.inf)
    points[95] = (950.0, 9.0)
    assert [spike.step for spike in find_spikes(points)] == [950]


def test_the_beginning_of_a_run_has_no_spikes_for_nothing_is_usual_yet() -> None:
    assert find_spikes([(1.0, 3.0), (2.0, 30.0), (3.0, 3.0)]) == []


def test_a_spike_that_is_told_is_the_last_one() -> None:
    spikes = [Spike(10, 5.0, 3.0, True), Spike(20, 6.0, 3.0, False)]
    assert "after step 20" in only(advice(RUNNING, spikes=spikes)).what
