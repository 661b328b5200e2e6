"""What the machine does, and what of it each run does: an API without a screen.

A sample is a value: GPUs through NVML (the `pynvml` module or one that answers like it), host and processes through
psutil, and processes told to be a run's when they are its supervisor or descend from it. `Telemetry` takes one after
another in a thread of its own and swaps the newest in under a lock, so that nobody who draws waits for a driver, and
keeps ten minutes of them. The idea is nvitop's. What a run took at most is kept by `core.runs.peaks`.

What cannot be known is NOT_AVAILABLE, which is None, figure by figure: NVML may refuse any single one (a GPU that has
its memory in common with the host has none to tell of), and the others stand. Rejected: exceptions, which every reader
of every figure would have to catch; and asking the leases alone whose a GPU is, for they know nothing of processes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import psutil

from core.runs.processes import descendants

NOT_AVAILABLE: Final = None
EVERY_S, HISTORY_S = 1.0, 600.0
_JOIN_S = 5.0

T = TypeVar("T")


class GpuProcess(NamedTuple):
    """A process on a GPU: `memory` in bytes there, `run` the directory of the run that it belongs to."""

    pid: int
    memory: int | None
    run: Path | None


class Gpu(NamedTuple):
    """A GPU. `key` is what leases call it, its UUID; `label` its index in the driver's order.

    `utilisation` is the share of the time in which it ran anything, from 0 to 1, memory in bytes, `temperature` in
    degrees Celsius, `power` in watts.
    """

    key: str | None
    label: str
    name: str | None
    utilisation: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    power: float | None
    power_limit: float | None
    processes: tuple[GpuProcess, ...] | None


class Host(NamedTuple):
    """The machine: `cpu` is the share of all cores' time that was worked in since the last sample, the rest bytes.

    `disk_*` are of the file system that holds the runs. Used memory is what a new process could not have.
    """

    cpu: float | None
    memory_used: int | None
    memory_total: int | None
    disk_used: int | None
    disk_total: int | None


class RunFigures(NamedTuple):
    """What the processes of a run take: `host_memory` is their resident bytes (shared pages count in each of them).

    Of its GPUs (`gpus`, by key or else label) `gpu_memory` is the run's own on the one where it has most, in bytes,
    and `gpu_utilisation` that of the busiest.
    """

    processes: int
    host_memory: int | None
    gpus: tuple[str, ...]
    gpu_memory: int | None
    gpu_utilisation: float | None


class Snapshot(NamedTuple):
    """One sample at `time`, in seconds of the time of day. `gpus` is NOT_AVAILABLE where there is no NVIDIA driver."""

    time: float
    gpus: tuple[Gpu, ...] | None
    host: Host
    runs: dict[Path, RunFigures]


class Telemetry:
    """Samples every `every_s` seconds between `start` and `stop`, and what they were in the last `history_s`.

    A sample that fails is told by `failure` until one succeeds, and ends nothing.
    """

    def __init__(
        self,
        sample: Callable[[], Snapshot],
        *,
        every_s: float = EVERY_S,
        history_s: float = HISTORY_S,
    ) -> None:
        self._sample = sample
        self._every_s, self._history_s = every_s, history_s
        self._lock = threading.Lock()
        self._history: deque[Snapshot] = deque()
        self._failure: str | None = None
        self._thread: tuple[threading.Thread, threading.Event] | None = None

    def start(self) -> None:
        """Sample from now on, in a thread."""
        if self._thread is None:
            ended = threading.Event()
            thread = threading.Thread(target=self._run, args=(ended,), name="telemetry", daemon=True)
            self._thread = thread, ended
            thread.start()

    def stop(self) -> None:
        """Sample no more; what there is stays. A thread that hangs in a driver is not waited for."""
        if self._thread is not None:
            thread, ended = self._thread
            self._thread = None
            ended.set()
            thread.join(_JOIN_S)

    def tick(self) -> None:
        """Take one sample."""
        try:
            snapshot = self._sample()
            with self._lock:
                self._history.append(snapshot)
                while self._history[0].time < snapshot.time - self._history_s:
                    self._history.popleft()
            failure = None
        except Exception as error:  # noqa: BLE001 - whatever fails in a driver, the next sample may succeed; it is told
            failure = f"{type(error).__name__}: {error}"
        with self._lock:
            self._failure = failure

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest sample; None before the first."""
        with self._lock:
            return self._history[-1] if self._history else None

    @property
    def failure(self) -> str | None:
        """Why the last sample could not be taken; None where it was."""
        with self._lock:
            return self._failure

    def history(self) -> list[Snapshot]:
        """The samples that are kept, the oldest first."""
        with self._lock:
            return list(self._history)

    def _run(self, ended: threading.Event) -> None:
        self.tick()
        while not ended.wait(self._every_s):
            self.tick()


class Sampler:
    """Takes samples of this machine: call it.

    `supervisors` gives the runs that live here by the pid of their supervisors, `folder` is where the runs are. `nvml`
    is NVML, imported when it is first needed where it is not given; `clock` gives the time of day in seconds.
    """

    def __init__(
        self,
        supervisors: Callable[[], Mapping[int, Path]],
        folder: Path,
        *,
        nvml: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._supervisors, self._folder, self._nvml, self._clock = supervisors, folder, nvml, clock
        self._begun = False
        self._has_cpu = False

    def __call__(self) -> Snapshot:
        trees = {run: _tree(pid) for pid, run in self._supervisors().items()}
        owners = {process.pid: run for run, tree in trees.items() for process in tree}
        gpus = self._gpus(owners)
        runs = {run: _figures(run, tree, gpus or ()) for run, tree in trees.items()}
        return Snapshot(self._clock(), gpus, self._host(), runs)

    def _gpus(self, owners: Mapping[int, Path]) -> tuple[Gpu, ...] | None:
        if not self._begin():
            return NOT_AVAILABLE
        number = self._asked(self._nvml.nvmlDeviceGetCount)
        return NOT_AVAILABLE if number is None else tuple(self._gpu(index, owners) for index in range(number))

    def _begin(self) -> bool:
        """Whether NVML answers. It is tried again with every sample: a driver may be loaded later."""
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml
        if not self._begun:
            try:
                self._nvml.nvmlInit()
            except self._nvml.NVMLError:
                return False
            self._begun = True
        return True

    def _gpu(self, index: int, owners: Mapping[int, Path]) -> Gpu:
        nvml = self._nvml
        handle = self._asked(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            return Gpu(None, str(index), *(NOT_AVAILABLE,) * 8)
        memory = self._asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        processes = self._asked(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        found = [GpuProcess(p.pid, p.usedGpuMemory, owners.get(p.pid)) for p in processes or ()]
        return Gpu(
            key=self._asked(lambda: str(nvml.nvmlDeviceGetUUID(handle))),
            label=str(index),
            name=self._asked(lambda: str(nvml.nvmlDeviceGetName(handle))),
            utilisation=self._asked(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100),
            memory_used=NOT_AVAILABLE if memory is None else int(memory.used),
            memory_total=NOT_AVAILABLE if memory is None else int(memory.total),
            temperature=self._asked(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            power=self._asked(lambda: float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1000),
            power_limit=self._asked(lambda: float(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000),
            processes=NOT_AVAILABLE if processes is None else tuple(found),
        )

    def _asked(self, figure: Callable[[], T]) -> T | None:
        """A figure of NVML's; NOT_AVAILABLE where it has none."""
        try:
            return figure()
        except self._nvml.NVMLError:
            return NOT_AVAILABLE

    def _host(self) -> Host:
        memory = _known(psutil.virtual_memory)
        disk = _known(lambda: psutil.disk_usage(str(self._folder)))
        cpu = _known(lambda: psutil.cpu_percent() / 100)
        had_cpu, self._has_cpu = self._has_cpu, cpu is not None
        return Host(
            cpu=cpu if had_cpu else NOT_AVAILABLE,  # psutil's first figure means nothing
            memory_used=NOT_AVAILABLE if memory is None else memory.total - memory.available,
            memory_total=NOT_AVAILABLE if memory is None else memory.total,
            disk_used=NOT_AVAILABLE if disk is None else disk.total - disk.free,  # with what is kept for root
            disk_total=NOT_AVAILABLE if disk is None else disk.total,
        )


def _tree(supervisor: int) -> list[psutil.Process]:
    """The processes of a run; none where it has just ended."""
    try:
        return [psutil.Process(supervisor), *descendants(supervisor)]
    except psutil.Error:
        return []


def _figures(run: Path, tree: list[psutil.Process], gpus: Iterable[Gpu]) -> RunFigures:
    mine = [(gpu, [p for p in gpu.processes or () if p.run == run]) for gpu in gpus]
    mine = [(gpu, processes) for gpu, processes in mine if processes]
    resident = [info.rss for process in tree if (info := _known(process.memory_info)) is not None]
    memories = [[p.memory for p in processes if p.memory is not None] for _, processes in mine]
    used = [gpu.utilisation for gpu, _ in mine if gpu.utilisation is not None]
    return RunFigures(
        processes=len(tree),
        host_memory=sum(resident) if resident else NOT_AVAILABLE,
        gpus=tuple(gpu.key or gpu.label for gpu, _ in mine),
        gpu_memory=max((sum(memory) for memory in memories if memory), default=NOT_AVAILABLE),
        gpu_utilisation=max(used, default=NOT_AVAILABLE),
    )


def _known(figure: Callable[[], T]) -> T | None:
    """A figure of psutil's; NOT_AVAILABLE where it has none."""
    try:
        return figure()
    except (psutil.Error, OSError):
        return NOT_AVAILABLE
