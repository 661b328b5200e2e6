"""Processes told apart and ended, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from core.runs.processes import identity, is_alive

# A child that starts a grandchild in a session of its own, which ignores signals, and then goes away.
ORPHAN = """
import os, signal, subprocess, sys
code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
p = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, text=True)
p.stdout.readline()
print(p.pid, flush=True)
os._exit(0)
"""
REAPER = f"""
import os, signal, subprocess, sys
from core.runs.processes import become_subreaper, descendants, end_descendants
become_subreaper()
p = subprocess.run([sys.executable, "-c", {ORPHAN!r}], stdout=subprocess.PIPE, text=True)
orphan = int(p.stdout)
os.kill(orphan, signal.SIGSTOP)
print(orphan, [d.pid for d in descendants(os.getpid())] == [orphan], flush=True)
end_descendants()
print(descendants(os.getpid()), flush=True)
"""
DIES = """
import os, signal, sys
from core.runs.processes import die_with_parent
die_with_parent(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
print("here", flush=True)
signal.pause()
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {DIES!r}])
print(child.pid, flush=True)
child.wait()
"""


def test_a_process_is_known_by_more_than_its_pid() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = identity(child.pid)
    assert known is not None
    assert is_alive(child.pid, known)
    assert known != identity(os.getpid())
    assert not is_alive(os.getpid(), known), "the pid of another process that began at another time"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity(child.pid) is None, "a zombie is dead"
    child.communicate()
    assert identity(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
def test_no_descendant_gets_away() -> None:
    done = subprocess.run([sys.executable, "-c", REAPER], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    orphan, adopted = first.split()
    assert adopted == "True"
    assert second == "[]"
    assert not psutil.pid_exists(int(orphan))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_dies_with_its_parent_even_when_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    lines.remove("here")
    child = psutil.Process(int(lines.pop()))
    parent.kill()
    assert parent.communicate()[0] == "", "the child's end of the pipe is closed by its death"
    psutil.wait_procs([child], timeout=60)
    assert identity(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    done = subprocess.run([sys.executable, "-c", DIES, "1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, "")
