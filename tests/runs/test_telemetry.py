"""Telemetry with a fake NVML: single figures that are refused, whose a process is, and the thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from core.runs.devices import gpus
from core.runs.telemetry import (
    Gpu,
    GpuProcess,
    Host,
    RunFigures,
    Sampler,
    Snapshot,
    Telemetry,
)

GIB = 1 << 30
# A supervisor that starts one rank and lives until its input ends.
SUPERVISOR = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", "print('here', flush=True); input()"], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, text=True)
rank.stdout.readline()
print(rank.pid, flush=True)
sys.stdin.read()
rank.communicate("\\n")
"""


class FakeNvml:
    """NVML with GPUs whose every figure follows from their index. `refused` are the functions that raise NVMLError."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, number: int = 2, processes: dict[int, list[tuple[int, int | None]]] | None = None) -> None:
        self.number, self.processes = number, processes or {}
        self.refused: set[str] = set()
        self.lost: set[int] = set()
        self.inits = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in ANSWERS:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            if name in self.refused or (arguments and arguments[0] in self.lost):
                raise self.NVMLError(name)
            return ANSWERS[name](self, *arguments)

        return call


def init(nvml: FakeNvml) -> None:
    nvml.inits += 1


ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlInit": init,
    "nvmlDeviceGetCount": lambda nvml: nvml.number,
    "nvmlDeviceGetHandleByIndex": lambda nvml, index: index,
    "nvmlDeviceGetUUID": lambda nvml, index: f"GPU-{index}",
    "nvmlDeviceGetName": lambda nvml, index: "NVIDIA Fake",
    "nvmlDeviceGetUtilizationRates": lambda nvml, index: SimpleNamespace(gpu=25 * (index + 1), memory=1),
    "nvmlDeviceGetMemoryInfo": lambda nvml, index: SimpleNamespace(used=(index + 1) * GIB, total=80 * GIB, free=0),
    "nvmlDeviceGetTemperature": lambda nvml, index, sensor: 40 + index,
    "nvmlDeviceGetPowerUsage": lambda nvml, index: 300_500,
    "nvmlDeviceGetEnforcedPowerLimit": lambda nvml, index: 700_000,
    "nvmlDeviceGetComputeRunningProcesses": lambda nvml, index: [
        SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in nvml.processes.get(index, [])
    ],
}
FIRST = Gpu("GPU-0", "0", "NVIDIA Fake", 0.25, GIB, 80 * GIB, 40.0, 300.5, 700.0, ())


def sampler(folder: Path, nvml: FakeNvml, supervisors: dict[int, Path] | None = None) -> Sampler:
    return Sampler(lambda: supervisors or {}, folder, nvml=nvml, clock=lambda: 12.5)


def test_a_snapshot_holds_the_figures_of_every_gpu_in_their_units(tmp_path: Path) -> None:
    nvml = FakeNvml(processes={1: [(4_000_000, 5 * GIB)]})
    sample = sampler(tmp_path, nvml)
    snapshot = sample()
    second = Gpu(
        "GPU-1", "1", "NVIDIA Fake", 0.5, 2 * GIB, 80 * GIB, 41.0, 300.5, 700.0, (GpuProcess(4_000_000, 5 * GIB, None),)
    )
    assert snapshot.gpus == (FIRST, second)
    assert (snapshot.time, snapshot.runs) == (12.5, {})
    sample()
    assert nvml.inits == 1


@pytest.mark.parametrize(
    ("function", "figures"),
    [
        ("nvmlDeviceGetUUID", ["key"]),
        ("nvmlDeviceGetName", ["name"]),
        ("nvmlDeviceGetUtilizationRates", ["utilisation"]),
        ("nvmlDeviceGetMemoryInfo", ["memory_used", "memory_total"]),
        ("nvmlDeviceGetTemperature", ["temperature"]),
        ("nvmlDeviceGetPowerUsage", ["power"]),
        ("nvmlDeviceGetEnforcedPowerLimit", ["power_limit"]),
        ("nvmlDeviceGetComputeRunningProcesses", ["processes"]),
        ("nvmlDeviceGetHandleByIndex", [field for field in Gpu._fields if field != "label"]),
    ],
)
def test_a_figure_that_is_refused_is_not_available_and_the_others_stand(
    tmp_path: Path, function: str, figures: list[str]
) -> None:
    nvml = FakeNvml(number=1)
    nvml.refused.add(function)
    assert sampler(tmp_path, nvml)().gpus == (FIRST._replace(**dict.fromkeys(figures)),)


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount"])
def test_without_a_driver_gpus_are_not_available_until_there_is_one(tmp_path: Path, function: str) -> None:
    nvml = FakeNvml(number=1)
    nvml.refused.add(function)
    sample = sampler(tmp_path, nvml)
    snapshot = sample()
    assert snapshot.gpus is None
    assert snapshot.host.memory_total == psutil.virtual_memory().total
    nvml.refused.clear()
    assert sample().gpus == (FIRST,)


def test_a_gpu_that_is_lost_leaves_the_others(tmp_path: Path) -> None:
    nvml = FakeNvml()
    sample = sampler(tmp_path, nvml)
    assert sample().gpus is not None
    nvml.lost.add(1)
    first, second = sample().gpus or ()
    assert first == FIRST
    assert second == Gpu(None, "1", *(None,) * 8)


@pytest.mark.skipif(bool(gpus()), reason="this machine has a GPU")
def test_the_real_nvml_without_a_driver_is_a_value(tmp_path: Path) -> None:
    assert Sampler(dict, tmp_path)().gpus is None


@pytest.mark.skipif(not gpus(), reason="needs an NVIDIA GPU")
def test_the_real_nvml_tells_of_real_gpus(tmp_path: Path) -> None:
    found = Sampler(dict, tmp_path)().gpus
    assert found
    assert {device.key for device in gpus()} <= {gpu.key for gpu in found}
    for gpu in found:
        assert gpu.utilisation is None or 0 <= gpu.utilisation <= 1
        assert gpu.memory_total is None or 0 <= (gpu.memory_used or 0) <= gpu.memory_total
        assert gpu.temperature is None or 0 < gpu.temperature < 150
        assert gpu.power is None or 0 < gpu.power < 3000


def test_the_host_is_memory_disk_and_the_cpu_since_the_sample_before(tmp_path: Path) -> None:
    sample = sampler(tmp_path, FakeNvml())
    first, second = sample().host, sample().host
    assert first.cpu is None, "a first look has nothing to compare with"
    assert second.cpu is not None
    assert 0 <= second.cpu <= 1
    assert second.memory_total == psutil.virtual_memory().total
    assert second.disk_total == psutil.disk_usage(str(tmp_path)).total
    assert second.memory_used is not None
    assert 0 < second.memory_used < second.memory_total


def test_a_figure_of_the_host_that_cannot_be_had_is_not_available(tmp_path: Path) -> None:
    host = sampler(tmp_path / "nowhere", FakeNvml())().host
    assert (host.disk_used, host.disk_total) == (None, None)
    assert host.memory_total is not None


class Started:
    """A supervisor with one rank, both real processes."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SUPERVISOR]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.pid, self.rank = self.process.pid, int(self.process.stdout.readline())


@pytest.fixture
def started() -> Iterator[Started]:
    supervisor = Started()
    yield supervisor
    supervisor.process.communicate()


def test_a_process_is_the_runs_whose_supervisor_it_descends_from(tmp_path: Path, started: Started) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    stranger = os.getpid()
    processes = {0: [(started.rank, 3 * GIB), (stranger, GIB)], 1: [(started.rank, 4 * GIB), (started.pid, None)]}
    nvml = FakeNvml(number=3, processes={**processes, 2: [(stranger, GIB)]})
    snapshot = sampler(tmp_path, nvml, {started.pid: run, 1 << 22: other})()
    assert snapshot.gpus is not None
    owners = [{process.pid: process.run for process in gpu.processes or ()} for gpu in snapshot.gpus]
    assert owners == [{started.rank: run, stranger: None}, {started.rank: run, started.pid: run}, {stranger: None}]
    figures = snapshot.runs[run]
    assert (figures.processes, figures.gpus) == (2, ("GPU-0", "GPU-1"))
    assert figures.gpu_memory == 4 * GIB, "where it has most"
    assert figures.gpu_utilisation == 0.5, "of the busiest of its own"
    assert figures.host_memory is not None
    assert psutil.Process(started.rank).memory_info().rss < figures.host_memory
    assert snapshot.runs[other] == RunFigures(0, None, (), None, None), "it has just ended"


def test_what_a_run_has_on_gpus_that_do_not_tell_is_not_available(tmp_path: Path, started: Started) -> None:
    nvml = FakeNvml(number=1, processes={0: [(started.rank, None)]})
    nvml.refused.add("nvmlDeviceGetUtilizationRates")
    figures = sampler(tmp_path, nvml, {started.pid: tmp_path})().runs[tmp_path]
    assert (figures.gpus, figures.gpu_memory, figures.gpu_utilisation) == (("GPU-0",), None, None)


def snapshot_at(time: float, runs: dict[Path, RunFigures] | None = None) -> Snapshot:
    return Snapshot(time, (), Host(*(None,) * 5), runs or {})


def test_the_history_is_ten_minutes_long() -> None:
    times = iter([0.0, 1.0, 600.0, 600.5, 601.5])
    told = Telemetry(lambda: snapshot_at(next(times)))
    assert (told.snapshot, told.history()) == (None, [])
    for _ in range(4):
        told.tick()
    assert [snapshot.time for snapshot in told.history()] == [1.0, 600.0, 600.5]
    told.tick()
    assert [snapshot.time for snapshot in told.history()] == [600.0, 600.5, 601.5]
    assert told.snapshot == snapshot_at(601.5)


def test_a_sample_that_fails_is_told_and_leaves_the_one_before() -> None:
    outcomes: list[Any] = [snapshot_at(1.0), ValueError("the driver is odd"), snapshot_at(3.0)]

    def sample() -> Snapshot:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    told = Telemetry(sample)
    told.tick()
    assert told.failure is None
    told.tick()
    assert (told.failure, told.snapshot) == ("ValueError: the driver is odd", snapshot_at(1.0))
    told.tick()
    assert (told.failure, told.snapshot) == (None, snapshot_at(3.0))


def test_the_thread_outlives_failures_and_ends_when_it_is_told_to() -> None:
    count, reached = 0, threading.Event()

    def sample() -> Snapshot:
        nonlocal count
        count += 1
        if count >= 7:
            reached.set()
        if count % 2:
            raise OSError("not now")
        return snapshot_at(float(count))

    told = Telemetry(sample, every_s=0.0)
    told.stop()  # which was never started
    for _ in range(2):
        reached.clear()
        told.start()
        told.start()  # no second thread
        assert [thread.name for thread in threading.enumerate()].count("telemetry") == 1
        assert reached.wait(60)
        told.stop()
        assert "telemetry" not in [thread.name for thread in threading.enumerate()]
    assert told.snapshot is not None
    assert told.snapshot.time >= 6


def test_nobody_who_reads_waits_for_a_sample() -> None:
    begun, may_end, count = threading.Event(), threading.Event(), 0

    def sample() -> Snapshot:
        nonlocal count
        count += 1
        if count == 2:
            begun.set()
            assert may_end.wait(60)
        return snapshot_at(float(count))

    told = Telemetry(sample, every_s=0.0)
    told.start()
    assert begun.wait(60)
    assert told.snapshot == snapshot_at(1.0)
    assert told.history() == [snapshot_at(1.0)]
    may_end.set()
    told.stop()
    assert told.snapshot != snapshot_at(1.0)
