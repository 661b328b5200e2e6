"""How a run is started: what its launch.json says, the command line that it becomes, and the supervisor's start.

Standard library only: the supervisor reads it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from core.runs.control import clear
from core.runs.directory import RunDirectory, RunError, read_object, write_object
from core.runs.leases import Wanted
from core.runs.lock import hold, is_held
from core.runs.opening import open_regular
from core.runs.status import run_status

GRACE_S = 300.0


class Machines(NamedTuple):
    """The machines of a run: how many, which one this is, and HOST:PORT of the first."""

    number: int = 1
    rank: int = 0
    endpoint: str | None = None


class Launch(NamedTuple):
    """How a run is started on this machine.

    `nproc` ranks on `devices` (UUIDs of GPUs, or "cpu"), of which `number` are wanted; `queue` waits for them.
    `grace_s` is the time to end in once somebody asked to stop; `max_restarts` of ranks that died. `attempt` counts
    the starts of a run.
    """

    nproc: int
    devices: tuple[str, ...] = ("cpu",)
    number: int = 1
    machines: Machines = Machines()
    resume: bool = False
    accept_new_data: bool = False
    queue: bool = False
    grace_s: float = GRACE_S
    max_restarts: int = 0
    attempt: int = 1

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.devices, self.number)


def torchrun_arguments(run: RunDirectory, how: Launch) -> list[str]:
    """What torchrun is given to train a run on this machine's devices."""
    m = how.machines
    where = ["--standalone"]
    if m.number > 1:
        where = [f"--nnodes={m.number}", f"--node-rank={m.rank}"]
        where += ["--rdzv-backend=static", f"--rdzv-endpoint={m.endpoint}"]
    return [
        *(*where, f"--nproc_per_node={how.nproc}", "--max-restarts=0"),
        *("-m", "core.training.main", "--run-dir", str(run.path)),
        *(["--resume"] if how.resume else []),
        *(["--accept-new-data"] if how.accept_new_data else []),
    ]


def read_launch(run: RunDirectory) -> Launch:
    """How a run was last started. Raises RunError where that cannot be read."""
    values: dict[str, Any] = read_object(run.launch)
    try:
        machines = Machines(**values.pop("machines"))
        return Launch(**{**values, "devices": tuple(values["devices"]), "machines": machines})
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.launch}: says not how to start the run: {error}") from error


def start(
    run: RunDirectory, how: Launch, prepare: Callable[[], None] = lambda: None, *, parent: int | None = None
) -> subprocess.Popen[bytes]:
    """Start the supervisor of a run, which belongs to no terminal, and hand it the run's lock. Returns its process.

    `prepare` is called once nobody else can start the run. With `parent`, this process's id, the run belongs to this
    process after all, and is killed when it ends. Raises RunError where the run has a supervisor already.
    """
    lock = hold(run)
    try:
        # Whoever has the lock is the only one, but where there are no locks.
        if lock is None or (is_held(run) is None and run_status(run).alive):
            raise RunError(f"{run.path}: is {run_status(run).state} already")
        prepare()
        how = how._replace(attempt=_attempts(run) + 1)
        clear(run)
        run.logs.mkdir(exist_ok=True)
        write_object(run.launch, {**how._asdict(), "machines": how.machines._asdict()})
        with (run.logs / "supervisor.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "core.runs.supervisor", str(run.path), str(lock)),
                    *([str(parent)] if parent is not None else []),
                ],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(),
                pass_fds=[lock],
            )
    finally:
        if lock is not None:
            os.close(lock)


def _attempts(run: RunDirectory) -> int:
    """How often a run was started; a file that was damaged says nothing, and the other one does."""
    found = [0]
    for path in (run.launch, run.supervisor):
        with suppress(RunError):
            found.append(read_object(path).get("attempt", 0))
    return max(found)


def child_environment() -> dict[str, str]:
    """The environment of Daisy's own child processes, which find its modules, and none of the current folder's."""
    own = str(Path(__file__).parents[2])
    path = [own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)), "PYTHONSAFEPATH": "1"}
    environment.pop("PYTHONOPTIMIZE", None)  # it breaks torch.compile
    return environment


def last_log_lines(run: RunDirectory, count: int) -> list[str]:
    """The end of the first log that says something: rank 0's, another rank's, torchrun's, the supervisor's."""
    for path in [*sorted(run.logs.glob("rank*.log")), run.logs / "torchrun.log", run.logs / "supervisor.log"]:
        with suppress(OSError), open_regular(path) as file:
            if lines := file.read().decode(errors="replace").strip().splitlines():
                return lines[-count:]
    return []
