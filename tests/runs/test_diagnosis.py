"""Why a run failed, from texts as torch, NCCL, Python and torchrun write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.runs.diagnosis import failure_reason
from core.runs.directory import RunDirectory

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"
FULL = "OSError: [Errno 28] No space left on device: 'runs/x/checkpoints/.step_000000010.tmp'"
TORCHRUN = """\
E1123 14:02:27.000000 4000 torch/distributed/elastic/multiprocessing/api.py:984] failed (exitcode: {code}) local_rank
============================================================
core.training.main FAILED
------------------------------------------------------------
Failures:
{others}
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-23_14:02:27
  host      : here
  rank      : {rank} (local_rank: {local_rank})
  exitcode  : {code} (pid: 4242)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 4242
============================================================
"""
OTHER = """\
[{rank}]:
  time      : 2026-11-23_14:02:27
  host      : here
  rank      : {rank} (local_rank: {rank})
  exitcode  : {code} (pid: {pid})
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "logs").mkdir()
    return RunDirectory(tmp_path)


def _log(run: RunDirectory, name: str, text: str) -> None:
    (run.logs / f"{name}.log").write_text(text)


def _torchrun(run: RunDirectory, code: int, rank: int = 1, local_rank: int = 1, other: str = "") -> None:
    others = other or "  <NO_OTHER_FAILURES>"
    _log(run, "torchrun", TORCHRUN.format(code=code, rank=rank, local_rank=local_rank, others=others))


def _failed(message: str, **more: Any) -> dict[str, Any]:
    return {"event": "failed", "message": message, **more}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OOM, "out of memory: fewer tokens at once help"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", "out of memory"),
        (FULL, "the disk is full: make room and resume"),
        ("OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        (
            "[rank1]:[E1123] [PG ID 0 Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=41, "
            "OpType=ALLREDUCE, NumelIn=1, Timeout(ms)=600000) ran for 600029 milliseconds before timing out.",
            "a collective timed out",
        ),
        ("RuntimeError: [gloo/transport/tcp] Timed out waiting 1800000ms for recv operation", "a collective timed out"),
        ("ModuleNotFoundError: No module named 'triton'", "`daisy doctor` looks for what is needed"),
        ("ImportError: libcudart.so.13: cannot open shared object file", "a package is missing or broken"),
        ("CUDA error: no kernel image is available for execution on the device", "does not fit the GPU"),
        ("RuntimeError: The server socket has failed to bind: EADDRINUSE", "--rdzv-endpoint"),
    ],
)
def test_what_a_log_says_is_told_in_words_with_what_to_do(run: RunDirectory, text: str, said: str) -> None:
    _log(run, "rank1", f"step 3\nTraceback (most recent call last):\n{text}\n")
    _torchrun(run, 1)
    reason, explained = failure_reason(run, [], 1)
    assert said in reason
    assert reason.startswith("rank 1 (process 4242) ended with exit code 1; ")
    assert "\n" not in reason
    assert not explained, "another try may help"


def test_pruning_is_advised_where_there_is_more_than_the_last_and_the_best_checkpoint(run: RunDirectory) -> None:
    _log(run, "rank0", FULL)
    for step, is_said in ((1, False), (2, False), (3, True)):
        saved = run.checkpoints / f"step_{step:09}"
        saved.mkdir(parents=True)
        (saved / "manifest.json").touch()
        if step == 1:
            (run.checkpoints / "best").symlink_to(saved.name)
        assert ("daisy runs prune" in failure_reason(run, [], 1)[0]) is is_said, step


def test_what_a_rank_noted_comes_first_and_is_put_in_words(run: RunDirectory) -> None:
    _torchrun(run, 1)
    reason, explained = failure_reason(run, [{"event": "started"}, _failed("OutOfMemoryError: Tried to allocate")], 1)
    assert reason.startswith("OutOfMemoryError: Tried to allocate: out of memory: ")
    assert not explained
    assert failure_reason(run, [_failed("ValueError: nobody knows")], 1)[0] == "ValueError: nobody knows"


def test_what_a_rank_explained_is_the_reason_and_is_not_tried_again(run: RunDirectory) -> None:
    _log(run, "rank0", OOM)
    events = [_failed("RuntimeError: Connection closed by peer"), _failed("the loss is nan", explained=True)]
    assert failure_reason(run, events, 1) == ("the loss is nan", True)


def test_a_rank_that_was_killed_is_named_with_the_signal(run: RunDirectory) -> None:
    _torchrun(run, -9, rank=0, local_rank=0)
    reason, explained = failure_reason(run, [], 1)
    assert reason.startswith(
        "rank 0 (process 4242) was killed by signal 9: by somebody, or by Linux for want of memory"
    )
    assert not explained
    _torchrun(run, -11)
    assert failure_reason(run, [], 1)[0] == "rank 1 (process 4242) was ended by signal 11"


def test_a_rank_is_named_by_its_number_in_the_run_and_not_on_its_machine(run: RunDirectory) -> None:
    _torchrun(run, -9, rank=13, local_rank=5)
    assert failure_reason(run, [], 1)[0].startswith("rank 13 (process 4242)")


def test_a_torchrun_that_ended_without_a_word_is_said_to_have(run: RunDirectory) -> None:
    reason, explained = failure_reason(run, [], -9)
    assert reason == f"torchrun ended with -9 before any rank said why; its log is in {run.logs}"
    assert not explained


def test_bytes_that_are_no_text_and_long_logs_are_read(run: RunDirectory) -> None:
    (run.logs / "rank0.log").write_bytes(b"\xff\xfe step\n" * 100_000 + FULL.encode())
    assert failure_reason(run, [], 1)[0].startswith("the disk is full")


def test_a_rank_that_was_killed_comes_before_what_the_others_noted_when_they_lost_it(run: RunDirectory) -> None:
    _torchrun(run, -9)
    events = [_failed("RuntimeError: Connection closed by peer [127.0.0.1]:5777; the traceback is in logs/rank0.log")]
    assert failure_reason(run, events, 1)[0].startswith("rank 1 (process 4242) was killed by signal 9")


def test_a_killed_rank_is_found_where_torchrun_noticed_two_at_once_and_takes_the_other_for_the_root(
    run: RunDirectory,
) -> None:
    _torchrun(run, 1, rank=0, local_rank=0, other=OTHER.format(rank=1, code=-9, pid=77))
    events = [_failed("RuntimeError: Connection closed by peer [127.0.0.1]:5777; the traceback is in logs/rank0.log")]
    assert failure_reason(run, events, 1)[0].startswith("rank 1 (process 77) was killed by signal 9")
    assert failure_reason(run, [], 1)[0].startswith("rank 1 (process 77) was killed by signal 9")


def test_a_rank_that_torchrun_ended_for_the_sake_of_another_is_not_the_reason(run: RunDirectory) -> None:
    _torchrun(run, 1, rank=1, local_rank=1, other=OTHER.format(rank=0, code=-15, pid=77))
    assert failure_reason(run, [_failed("ValueError: boom")], 1)[0] == "ValueError: boom"
    assert failure_reason(run, [], 1)[0] == "rank 1 (process 4242) ended with exit code 1"
