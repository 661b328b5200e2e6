"""`daisy preflight` with real ranks: what it measures, and that nothing of it is left however it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support import processes, run_daisy, start_daisy, until

from core.config.compose import compose
from core.runs.leases import Leases, lease_folder
from daisy_tui.composing.throughput import measured

SHAPE = ("batch_tokens=256", "target_tokens=1M")


@pytest.fixture
def folder(training_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = training_folder()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return made


def _is_clean(folder: Path) -> bool:
    return not processes(folder) and Leases(lease_folder()).owners() == {}


def _kept(folder: Path) -> list[Path]:
    """What is left of its own temporary folders; torch leaves some, too, wherever it runs."""
    return list((folder / "temporary").glob("daisy*"))


def test_two_ranks_take_three_steps_and_leave_their_speed_and_nothing_else(folder: Path) -> None:
    out, err = run_daisy(folder, "preflight", "tiny.yml", "-n", "2", "--devices", "cpu", *SHAPE, "--json")
    took = json.loads(out)
    assert (took["steps"], len(took["step_s"]), took["device"], took["devices"]) == (3, 3, "cpu", 2)
    assert "step 3 of 3" in err
    median = sum(took["step_s"][1:]) / 2
    assert took["tokens_per_s"] == pytest.approx(256 / median)
    assert took["eta_s"] == pytest.approx(1e6 / took["tokens_per_s"])
    assert took["peak_memory"] > took["memory_before"] > 1 << 20
    assert took["checkpoint_bytes"] == pytest.approx(took["checkpoint_bytes_estimate"], rel=0.01)

    config = compose("tiny.yml", SHAPE).config
    assert measured(config, "cpu", folder, devices=2) == took["tokens_per_s"]
    assert [path.name for path in (folder / "runs").iterdir()] == [".preflight.jsonl"]
    assert _kept(folder) == []
    assert _is_clean(folder)


def test_ctrl_c_ends_it_and_a_killed_one_takes_its_ranks_with_it(folder: Path) -> None:
    process = start_daisy(folder, "preflight", "tiny.yml", "--devices", "cpu", *SHAPE)
    until(lambda: processes(folder, "core.training.main"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err.splitlines()[-1]) == (3, "stopped; a preflight keeps nothing")
    assert _is_clean(folder), "at once: it has waited for them"
    assert _kept(folder) == []

    process = start_daisy(folder, "preflight", "tiny.yml", "--devices", "cpu", *SHAPE)
    until(lambda: processes(folder, "core.training.main"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: _is_clean(folder))
    assert not (folder / "runs").exists()
