"""`daisy preflight` around its steps, which a supervisor of the test's own takes: tests/e2e has the real one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.compose import compose
from core.data.survey import survey
from core.errors import StoppedError
from core.runs.control import stop_request
from core.runs.directory import RunDirectory, write_object
from core.runs.launch import Launch
from core.runs.leases import Leases, Wanted, lease_folder
from daisy_tui.composing.preflighting import Preflight, PreflightError, preflight
from daisy_tui.composing.throughput import RECORDS_FILE

CPU = Wanted(("cpu",), 1)


class Scripted:
    """A supervisor that has done its part before it is looked at for the first time."""

    def __init__(self, play: Callable[[RunDirectory], None], ends: bool = True) -> None:
        self.play, self.ends = play, ends
        self.run, self.how = RunDirectory(Path()), Launch(0)
        self.returncode: int | None = None

    def __call__(self, run: RunDirectory, how: Launch) -> Any:
        self.run, self.how = run, how
        run.logs.mkdir()
        write_object(run.supervisor, {"devices": ["cpu"], "started": 0.0, "attempt": 1})
        self.play(run)
        return self

    def poll(self) -> int | None:
        if self.ends or stop_request(self.run) is not None:
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.poll() is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("supervisor", timeout)
        return 0

    def kill(self) -> None:
        self.returncode = -9


def _steps(run: RunDirectory, seconds: list[float]) -> None:
    for step, taken in enumerate(seconds, 1):
        figures = {"train_loss": 4.0, "memory": 1_000 * step, "step_ms": {"p50": 1e3 * taken}}
        run.append(run.metrics, {"step": step, "tokens": 64 * step} | figures)
        if step == 1:
            run.append(run.events, {"event": "memory", "peak": 1_000, "before": 300, "checkpoint": 77})


def _end(run: RunDirectory, outcome: str, reason: str = "") -> None:
    write_object(run.exit, {"outcome": outcome, "reason": reason, "attempt": 1})


def _take(launch: Scripted, *overrides: str, stop: Callable[[], bool] = lambda: False) -> Preflight:
    composed = compose("tiny.yml", overrides, world_size=1)
    return preflight(composed, survey(composed), 1, CPU, launch=launch, stop=stop)


@pytest.fixture(autouse=True)
def folder(training_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    made = training_folder(val_shards="shards/x_val_*.bin", target_tokens=6400)
    (made / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made / "temporary"))
    return made


def _nothing_is_left(folder: Path) -> bool:
    return not any((folder / "temporary").iterdir()) and not (folder / "runs").exists()


def test_figures_are_those_of_the_steps_after_the_first(folder: Path) -> None:
    def play(run: RunDirectory) -> None:
        _steps(run, [9.0, 0.5, 1.5])
        _end(run, "finished")

    took = _take(Scripted(play))
    assert took.tokens_per_s == 64.0
    assert took.eta_s == 100.0
    assert took.step_s == [9.0, 0.5, 1.5]
    assert (took.peak_memory, took.memory_before, took.checkpoint_bytes) == (3_000, 300, 77)
    assert _nothing_is_left(folder)


def test_what_a_preflight_left_that_was_killed_is_removed_by_the_next(folder: Path) -> None:
    (folder / "temporary/daisy-preflight-left/20260301-110000-tiny").mkdir(parents=True)

    def play(run: RunDirectory) -> None:
        _steps(run, [1.0, 1.0, 1.0])
        _end(run, "finished")

    _take(Scripted(play))
    assert _nothing_is_left(folder)


def test_the_steps_are_the_configs_with_full_windows_and_nothing_around_them(folder: Path) -> None:
    seen: list[Any] = []

    def play(run: RunDirectory) -> None:
        seen.append(compose(run.config).config)
        _steps(run, [1.0, 1.0, 1.0])
        _end(run, "finished")

    launch = Scripted(play)
    _take(launch, "save_checkpoint=true", "max_restarts=3", "lr_scale=0.5", "log_every_steps=7")
    (config,) = seen
    assert (config.target_tokens, config.full_windows, config.log_every_steps) == (3 * 64, True, 1)
    assert (config.save_checkpoint, config.val_shards, config.max_restarts) == (False, {}, 0)
    assert (config.lr_scale, config.model_dim) == (0.5, 16)
    assert (launch.how.devices, launch.how.nproc, launch.how.queue) == (("cpu",), 1, False)
    assert launch.run.path.parent.parent == folder / "temporary"


def test_a_failure_is_one_line_that_names_no_file_of_the_folder_that_is_gone(folder: Path) -> None:
    def play(run: RunDirectory) -> None:
        _steps(run, [1.0])
        log = run.logs / "rank0.log"
        log.write_text("…")
        _end(run, "failed", f"OutOfMemoryError: CUDA out of memory; the traceback is in {log}: out of memory: fewer")

    with pytest.raises(PreflightError) as caught:
        _take(Scripted(play))
    assert str(caught.value) == "after 1 step: OutOfMemoryError: CUDA out of memory: out of memory: fewer"
    assert _nothing_is_left(folder)


def test_a_supervisor_that_was_killed_is_said_to_be(folder: Path) -> None:
    with pytest.raises(PreflightError, match="supervisor was killed"):
        _take(Scripted(lambda run: None))
    assert _nothing_is_left(folder)


def test_who_asks_to_stop_ends_the_run_at_once_and_keeps_nothing(folder: Path) -> None:
    launch = Scripted(lambda run: None, ends=False)
    with pytest.raises(StoppedError):
        _take(launch, stop=lambda: True)
    assert launch.returncode is not None
    assert _nothing_is_left(folder)


def test_a_supervisor_that_does_not_end_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daisy_tui.composing.preflighting.control.ask_stop", lambda run, now: None)
    monkeypatch.setattr("daisy_tui.composing.preflighting._ENDS_WITHIN_S", 0.0)
    launch = Scripted(lambda run: None, ends=False)
    launch.wait = lambda timeout=None: Scripted.wait(launch, timeout) if launch.returncode is None else -9  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        _take(launch, stop=lambda: True)
    assert launch.returncode == -9


def test_bad_configs_and_busy_devices_are_one_line_each_before_anything_starts(folder: Path, daisy: Any) -> None:
    for arguments, code, said in (
        (["none"], 2, "none"),
        (["tiny.yml", "model_dimm=3"], 2, "unknown key 'model_dimm'"),
        (["tiny.yml", "train_shards=x/*.bin"], 2, "no shard matches x/*.bin"),
        (["tiny.yml", "--devices", "7"], 2, "--devices 7"),
        (["tiny.yml", "-n", "2", "--devices", "cpu", "batch_tokens=64"], 2, "is not a multiple of"),
    ):
        ran = daisy("preflight", *arguments)
        assert ran.code == code, arguments
        assert said in ran.err
        assert len(ran.err.splitlines()) == 1
    leases = Leases(lease_folder())
    leases.take(CPU, {"run": "runs/other", "pid": 1, "user": "u"})
    ran = daisy("preflight", "tiny.yml", "--devices", "cpu")
    assert (ran.code, ran.err.startswith("error: cpu is in use by run runs/other")) == (1, True)
    leases.release()
    assert _nothing_is_left(folder)


def test_a_folder_that_cannot_be_written_costs_the_note_and_not_the_figures(
    folder: Path, daisy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = Preflight(2 << 30, 1 << 30, 1 << 20, 6_400.0, 125.0, 5 << 20, 4 << 20, 3, [9.0, 1.0, 1.0], "cpu", 1)
    monkeypatch.setattr("daisy_tui.cli.preflight.preflight", lambda *args, **more: took)
    (folder / "runs").write_text("in the way")
    ran = daisy("preflight", "tiny.yml", "--devices", "cpu")
    assert ran.code == 0
    assert ran.err.startswith("warning: the speed is not kept for later estimates: ")
    rows = {line.split("  ")[1].strip(): line for line in ran.out.splitlines()[2:]}
    assert rows["peak memory"].split("  ")[2:4] == ["2.00 GiB", "1.00 GiB"]
    assert "6,400" in rows["tokens/s"]
    assert "2:05" in rows["ETA"]
    assert "none was written" in rows["checkpoint"]
    (folder / "runs").unlink()
    assert daisy("preflight", "tiny.yml", "--devices", "cpu", "--json").code == 0
    assert (folder / "runs" / RECORDS_FILE).exists()
