"""A storm: terminal, supervisor, torchrun and ranks are killed at moments drawn by chance, and nothing is lost by it.

After every kill the state that is shown is the right one, no process is left, and the device is free. In the end the
run has the weights of one that nobody disturbed, bit for bit. A moment is something that the run has just done, and
not a time, so that a slow machine meets the same storm as a fast one.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support import processes, run_daisy, run_named, start_daisy, until, weights

from core.checkpoint.format import complete_checkpoints
from core.runs import control
from core.runs.directory import read_object
from core.runs.follow import RecordTail
from core.runs.heartbeat import heartbeats
from core.runs.leases import Leases, Wanted
from core.runs.status import AFTER_CHECKPOINT, run_status

KILLED = "its supervisor was killed, or its machine went down"
# The order in which the processes of a run come up: nobody is killed before there is somebody.
MOMENTS = ("supervisor", "torchrun", "ranks", "steps")
FACTS = {"supervisor": "pid", "torchrun": "torchrun"}  # where supervisor.json says whose pid
VICTIMS = ("terminal", "supervisor", "torchrun", "rank", "all")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")


@pytest.fixture
def folder(watched_folder: Callable[..., Path]) -> Path:
    return watched_folder(checkpoint_per_n_tokens=1280)


class Storm:
    """A run, and the terminal that it was started from last."""

    def __init__(self, folder: Path, ranks: int, chance: random.Random, *begin: str) -> None:
        self._folder, self._ranks, self._chance = folder, ranks, chance
        self._attempt = 0
        self._start("train", "tiny.yml", "-r", "cut", "-n", str(ranks), *begin)

    def strike(self, victim: str, moment: str) -> None:
        """Kill somebody at a moment, and see that the run is what it is said to be."""
        self._wait_for(moment)
        pids = self._pids()
        if victim == "rank":
            beat = self._chance.choice(heartbeats(self._run))
            os.kill(beat["pid"], signal.SIGKILL)
            self._ended("failed", f"(process {beat['pid']}) was killed by signal 9", 1)
        elif victim == "torchrun":
            os.kill(pids[victim], signal.SIGKILL)
            self._ended("failed", "", 1)
        elif victim == "supervisor":
            os.kill(pids[victim], signal.SIGKILL)
            self._ended("lost", KILLED, 1)
        elif victim == "all":
            beats = [beat["pid"] for beat in heartbeats(self._run)]
            everybody = sorted({*pids.values(), *beats})
            self._chance.shuffle(everybody)
            for pid in everybody:
                with suppress(ProcessLookupError):  # those who go with the ones before
                    os.kill(pid, signal.SIGKILL)
            self._ended("lost", KILLED, -signal.SIGKILL)
        else:
            self._terminal.kill()
            self._wait_for("steps")
            assert run_status(self._run).alive, "the run does not belong to its terminal"
            control.ask_stop(self._run)
            self._ended("stopped", AFTER_CHECKPOINT, -signal.SIGKILL)

    def resume(self) -> None:
        self._start("runs", "resume", "cut")

    def _start(self, *command: str) -> None:
        self._terminal = start_daisy(self._folder, *command)
        self._attempt += 1
        until(lambda: [*Path("runs").glob("*-cut/launch.json")])
        self._run = run_named("cut")
        until(lambda: read_object(self._run.launch)["attempt"] == self._attempt)

    def _supervisor(self, fact: str) -> int | None:
        found = read_object(self._run.supervisor) if self._run.supervisor.exists() else {}
        value: int | None = found[fact] if found.get("attempt") == self._attempt else None
        return value

    def _pids(self) -> dict[str, int]:
        found = {"terminal": self._terminal.pid, **{n: self._supervisor(f) for n, f in FACTS.items()}}
        return {name: pid for name, pid in found.items() if pid is not None}

    def _wait_for(self, moment: str) -> None:
        if moment in FACTS:
            until(lambda: self._supervisor(FACTS[moment]))
        else:
            until(lambda: self._supervisor("torchrun") and len(heartbeats(self._run)) == self._ranks)
        if moment == "steps":
            self._wait_for_steps(self._chance.randint(1, 20))

    def _wait_for_steps(self, number: int) -> None:
        news, seen = RecordTail(self._run.metrics), 0

        def enough() -> bool:
            nonlocal seen
            seen += len(news.new())
            return seen >= number

        until(enough)

    def _ended(self, state: str, reason: str, code: int) -> None:
        """The attempt is over, and that is said in the right words; nobody of it is left, and the device is free."""
        until(lambda: not run_status(self._run).alive)
        if state == "lost":  # whoever is killed at the same time takes no longer than the kernel does
            until(lambda: not processes(self._folder, "core."))
        else:
            assert processes(self._folder, "core.training.main") == [], "it says that it is over, and is not"
        status = run_status(self._run)
        assert (status.state, status.alive) == (state, False)
        assert reason in str(status.reason)
        written = read_object(self._run.exit)["attempt"] if self._run.exit.exists() else None
        assert (written == self._attempt) == (state != "lost"), "an outcome is written by who saw it, or not at all"
        _, err = self._terminal.communicate()
        assert self._terminal.returncode == code, err
        assert "Traceback" not in err
        until(lambda: not processes(self._folder))
        leases = Leases(Path(os.environ["DAISY_LEASES"]))
        until(lambda: not leases.owners())  # the kernel frees a lock a moment after nothing is seen of a process
        until(lambda: leases.take(Wanted(("cpu",), 1), {})[0] == ["cpu"])
        leases.release()


def test_a_run_that_is_killed_again_and_again_becomes_what_it_would_have_been(folder: Path) -> None:
    target = "target_tokens=51_200"
    assert "step 400  100%" in run_daisy(folder, "train", "tiny.yml", "-r", "whole", target)[0]
    chance = random.Random(20260101)
    victims = [*VICTIMS] * 4
    chance.shuffle(victims)
    storm = Storm(folder, 1, chance, target)
    for number, victim in enumerate(victims):
        if number:
            storm.resume()
        first = {"torchrun": 1, "rank": 2}.get(victim, 0)
        storm.strike(victim, chance.choice((*MOMENTS[first:], "steps")))
    assert "step 400  100%" in run_daisy(folder, "runs", "resume", "cut")[0]
    assert run_status(run_named("cut")).state == "finished"
    assert weights("cut") == weights("whole")
    latest = (run_named("cut").checkpoints / "latest").resolve()
    assert latest in [path.resolve() for path in complete_checkpoints(run_named("cut").checkpoints)]


def test_two_ranks_are_killed_one_by_one_and_become_what_they_would_have_been(folder: Path) -> None:
    target = "target_tokens=12_800"
    assert "step 100  100%" in run_daisy(folder, "train", "tiny.yml", "-n", "2", "-r", "whole", target)[0]
    storm = Storm(folder, 2, random.Random(20260101), target)
    storm.strike("rank", "steps")
    storm.resume()
    storm.strike("supervisor", "ranks")
    assert "step 100  100%" in run_daisy(folder, "runs", "resume", "cut")[0]
    assert weights("cut") == weights("whole")
