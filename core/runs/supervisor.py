"""The supervisor of a run: `python -m core.runs.supervisor RUN_DIR LOCK [PARENT]`, in a session of its own.

LOCK is the descriptor of the run's lock, which `core.runs.launch.start` hands over. A run belongs to nobody but its
supervisor; with PARENT, the id of the process that started it, it ends when that one does.

It waits for the run's devices, starts torchrun, passes requests to stop on, starts ranks that died again if the run
asks for it, and in the end writes exit.json: how it ended is proved by whoever saw it. Before that it has killed and
reaped every process of the run and let its devices go. If it is killed itself, the kernel kills torchrun and the
ranks and frees the devices, and the missing exit.json tells.

Small on purpose (neither pydantic nor click nor torch): a queued run is this process, waiting.
"""

from __future__ import annotations

import os
import platform
import pwd
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import DaisyError
from core.runs import control
from core.runs.devices import CPU, DEVICES
from core.runs.diagnosis import failure_reason, log_sizes
from core.runs.directory import RunDirectory, write_object
from core.runs.follow import RecordTail
from core.runs.launch import Launch, read_launch, torchrun_arguments
from core.runs.leases import Leases, busy_line, lease_folder
from core.runs.processes import become_subreaper, descendants, die_with_parent, end_descendants, identity
from core.runs.status import AFTER_CHECKPOINT, KILLED_AT_ONCE
from core.runs.summary import last_place
from core.runs.torchrun import PARENT

_LOOK_EVERY_S = 0.5
_TELL_TRIES, _TELL_EVERY_S = 120, 5.0
_SHUTDOWN_S = 60.0
_CODES = {"finished": 0, "failed": 1, "stopped": 3}


class Supervisor:
    """One attempt at a run, with its restarts."""

    def __init__(self, run: RunDirectory, how: Launch) -> None:
        self.run = run
        self.how = how
        self._leases: Leases | None = None
        self._signals: list[int] = []
        self._stop: dict[str, Any] | None = None  # what signals have asked for
        self._wakeup, write_end = os.pipe()
        for end in (self._wakeup, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self._signals.append(received))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake up
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._facts: dict[str, Any] = {
            "attempt": how.attempt,
            "pid": os.getpid(),
            "identity": identity(os.getpid()),
            "host": platform.node(),
            "user": user_name(),
            "started": time.time(),
            "restarts": 0,
            "torchrun": None,
            "devices": [],
        }

    def supervise(self) -> int:
        """See the run to its end; returns the exit code."""
        self._note("starting")
        self.run.exit.unlink(missing_ok=True)
        outcome, reason = "failed", "the supervisor failed; logs/supervisor.log says why"
        try:
            self._leases = Leases(lease_folder())
            outcome, reason = self._attempt(self._leases)
        except DaisyError as error:
            outcome, reason = "failed", str(error)
        finally:
            end_descendants()
            if self._leases is not None:
                self._leases.release()
            self._end(outcome, reason)
        return _CODES[outcome]

    def _attempt(self, leases: Leases) -> tuple[str, str]:
        if (ended := self._take_devices(leases)) is not None:
            return ended
        how = self.how
        while True:
            outcome, reason, again = self._train(how)
            restarts = self._facts["restarts"]
            if not again or restarts >= how.max_restarts or control.stop_request(self.run) is not None:
                return outcome, reason
            self._facts["restarts"] = restarts + 1
            self._event("restarted", number=restarts + 1, of=how.max_restarts, reason=reason)
            how = how._replace(resume=True)  # from the last complete checkpoint, or anew where there is none

    def _take_devices(self, leases: Leases) -> tuple[str, str] | None:
        """Own the devices, waiting for them where the run may; the outcome where it comes to nothing."""
        key = f"{os.getpid()}-{self.run.path.name}"
        details = {"run": str(self.run.path.resolve()), "pid": os.getpid(), "user": self._facts["user"]}
        for ticket in leases.tickets():
            if ticket.details.get("run") == details["run"]:
                leases.leave_queue(ticket.key)  # of a supervisor that was killed: a run has one place
        devices, busy = leases.take(self.how.wanted, details)
        if not devices and not self.how.queue:
            return "failed", "; ".join(busy_line(item) for item in busy)
        if not devices:
            leases.wait(key, self.how.wanted, details)
            self._note("queued")
        while not devices:
            self._wait()
            if self._stop_asked() is not None or not self.run.launch.exists():
                leases.leave_queue(key)
                return "stopped", "cancelled while it waited for its devices"
            with suppress(OSError):
                os.utime(self.run.supervisor)  # by which other machines see that it waits
            devices, busy = leases.take(self.how.wanted, details, key=key)
        leases.leave_queue(key)
        self._facts["devices"] = devices
        return None

    def _train(self, how: Launch) -> tuple[str, str, bool]:
        """Run torchrun once; returns outcome, reason, and whether another try may help."""
        tail, before = RecordTail(self.run.events), log_sizes(self.run)
        process = self._start(how)
        killed: str | None = None
        grace: float | None = None
        deadline = float("inf")
        told = False
        while process.poll() is None:
            self._wait()
            if not self.run.config.exists() and not self.run.launch.exists():
                killed = "killed, for its directory was removed"
                break
            if (request := self._stop_asked()) is None:
                continue
            asked = request.get("grace_s")
            asked = asked if isinstance(asked, int | float) else grace or how.grace_s
            if asked != grace:  # the first request, or one that leaves less time, or more
                grace, deadline = asked, time.monotonic() + asked
                self._note("stopping")
            told = told or self._ask_ranks(process.pid)
            if request.get("now") or time.monotonic() >= deadline:
                killed = KILLED_AT_ONCE if request.get("now") else "killed after its grace time"
                break
        end_descendants()
        events = tail.new()
        said = [event.get("event") for event in events]
        if "finished" in said:
            return "finished", "reached its target", False
        if "stopped" in said and any(self.run.checkpoints.glob("step_*/manifest.json")):
            return "stopped", AFTER_CHECKPOINT, False
        if "stopped" in said:
            return "stopped", "stopped on request; the run saves no checkpoints", False
        if killed is not None:
            return "stopped", killed, False
        if control.stop_request(self.run) is not None and "failed" not in said:
            return "stopped", "stopped on request, before there was anything to save", False
        reason, explained = failure_reason(self.run, events, process.returncode, before)
        return "failed", reason, not explained

    def _start(self, how: Launch) -> subprocess.Popen[bytes]:
        devices = self._facts["devices"]
        threads = max(1, (os.cpu_count() or 1) // how.nproc)
        environment = {
            "OMP_NUM_THREADS": str(threads),  # torchrun would set 1
            **os.environ,
            PARENT: str(os.getpid()),
            DEVICES: ",".join(devices),
            "DAISY_LEASES": str(lease_folder()),
            "CUDA_VISIBLE_DEVICES": "" if devices == [CPU] else ",".join(devices),
            # The others' time to end in once a rank has died: without it they can only wait in a collective.
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(min(how.grace_s, _SHUTDOWN_S))),
            "PYTHONUNBUFFERED": "1",
        }
        for path in self.run.path.glob("heartbeat-*.json"):
            path.unlink()
        with (self.run.logs / "torchrun.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "core.runs.torchrun", *torchrun_arguments(self.run, how)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        with (self.run.logs / "supervisor.log").open("ab") as log:
            command = [sys.executable, "-m", "core.runs.peaks", str(self.run.path)]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self._facts["torchrun"] = process.pid
        self._note("running")
        return process

    def _stop_asked(self) -> dict[str, Any] | None:
        """The request to stop, to which a signal adds: the second one is immediate."""
        signals, self._signals = self._signals, []
        for _ in signals:
            self._stop = {"now": self._stop is not None or control.stop_request(self.run) is not None}
            with suppress(OSError):  # a full disk: then only this process knows, and tells the ranks
                control.ask_stop(self.run, now=self._stop["now"])
        written = control.stop_request(self.run)
        return written if written is not None else self._stop

    def _ask_ranks(self, torchrun: int) -> bool:
        """Tell the ranks to stop, also where no rank 0 is here to see the request; torchrun itself is left alone."""
        import psutil  # not while it only waits

        asked = 0
        for child in descendants(os.getpid()):
            with suppress(psutil.NoSuchProcess):  # one that has just ended needs no asking
                if child.ppid() == torchrun:
                    child.terminate()
                    asked += 1
        return asked > 0

    def _wait(self) -> None:
        """Until a signal comes or a child ends, and no longer than until the next look."""
        select.select([self._wakeup], [], [], _LOOK_EVERY_S)
        try:
            while os.read(self._wakeup, 512):
                pass
        except BlockingIOError:
            return

    def _note(self, phase: str) -> None:
        with suppress(OSError):  # a full disk: the phase is told late, and the run goes on
            write_object(self.run.supervisor, {**self._facts, "phase": phase})

    def _event(self, event: str, **details: Any) -> None:
        with suppress(OSError):
            self.run.append(self.run.events, {"time": time.time(), "event": event, **details})

    def _end(self, outcome: str, reason: str) -> None:
        last = last_place(self.run)
        values = {
            "attempt": self.how.attempt,
            "outcome": outcome,
            "code": _CODES[outcome],
            "reason": reason,
            "step": last.get("step"),
            "tokens": last.get("tokens"),
            "restarts": self._facts["restarts"],
            "time": time.time(),
        }
        for _ in range(_TELL_TRIES):
            try:
                write_object(self.run.exit, values)
                break
            except OSError as error:  # a full disk may have room again; without exit.json the run would be lost
                if not self.run.path.is_dir():
                    return
                with suppress(OSError):
                    sys.stderr.write(f"{self.run.exit}: cannot be written: {error.strerror}; trying again\n")
                time.sleep(_TELL_EVERY_S)
        self._note("ended")


def user_name() -> str:
    """Whose process this is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in containers
        return str(os.getuid())


def main() -> int:
    """Supervise the run that the command line names; returns the exit code."""
    run, lock = RunDirectory(Path(sys.argv[1])), int(sys.argv[2])
    if parent := sys.argv[3:]:
        die_with_parent(int(parent[0]))
    os.set_inheritable(lock, False)  # it is held for as long as this process lives, and by nobody else
    become_subreaper()
    return Supervisor(run, read_launch(run)).supervise()


if __name__ == "__main__":
    sys.exit(main())
