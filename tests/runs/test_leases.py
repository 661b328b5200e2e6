"""Leases between processes and within one: a lock belongs to an open file, so two objects are two owners."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import core.runs.leases
from core.runs.leases import Busy, LeaseError, Leases, Wanted

HOLDER = """
import sys
from pathlib import Path
from core.runs.leases import Leases, Wanted
leases = Leases(Path(sys.argv[1]))
for act in sys.argv[2:]:
    what, _, device = act.partition(":")
    if what == "take":
        print(leases.take(Wanted((device,), 1), {"run": "theirs"}))
    elif what == "join":
        leases.join(device)
    elif what == "wait":
        leases.wait("theirs", Wanted((device,), 1), {"run": "theirs"})
print("ready", flush=True)
input()
"""


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Start a process that holds what it is told."""
    started: list[subprocess.Popen[str]] = []

    def start(*acts: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path), *acts]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_device_has_one_owner_and_all_that_are_wanted_are_had_or_none(tmp_path: Path) -> None:
    one, two = Leases(tmp_path), Leases(tmp_path)
    assert one.take(Wanted(("1",), 1), {"run": "one"}) == (["1"], [])
    assert two.take(Wanted(("0", "1"), 2), {"run": "two"}) == ([], [Busy("1", {"run": "one"})])
    assert two.owners() == {"1": {"run": "one"}}, "device 0 was let go"
    assert two.take(Wanted(("0", "1"), 1), {"run": "two"}) == (["0"], []), "any one of them"
    one.release()
    assert one.owners() == {"0": {"run": "two"}}
    assert one.owner("1") is None


def test_a_killed_owner_frees_its_device_at_once(tmp_path: Path, other) -> None:  # type: ignore[no-untyped-def]
    process = other("take:cpu")
    leases = Leases(tmp_path)
    assert leases.take(Wanted(("cpu",), 1), {}) == ([], [Busy("cpu", {"run": "theirs"})])
    process.kill()
    process.wait()
    assert leases.owner("cpu") is None
    assert leases.take(Wanted(("cpu",), 1), {"run": "mine"}) == (["cpu"], [])


def test_an_orphan_that_still_uses_a_device_shares_it_with_no_new_owner(tmp_path: Path, other) -> None:  # type: ignore[no-untyped-def]
    orphan = other("join:cpu")
    leases = Leases(tmp_path)
    assert leases.take(Wanted(("cpu",), 1), {}) == ([], [Busy("cpu", {})])
    orphan.kill()
    orphan.wait()
    assert leases.take(Wanted(("cpu",), 1), {}) == (["cpu"], [])


def test_ranks_join_a_device_together_and_nobody_else_owns_it_then(tmp_path: Path) -> None:
    owner, ranks = Leases(tmp_path), [Leases(tmp_path), Leases(tmp_path)]
    owner.take(Wanted(("cpu",), 1), {})
    for rank in ranks:
        rank.join("cpu")
    owner.release()
    assert Leases(tmp_path).take(Wanted(("cpu",), 1), {})[0] == []
    for rank in ranks:
        rank.release()
    assert Leases(tmp_path).take(Wanted(("cpu",), 1), {})[0] == ["cpu"]


def test_who_waits_longest_is_next_and_only_for_the_devices_that_it_wants(tmp_path: Path) -> None:
    owner, first, second, third = (Leases(tmp_path) for _ in range(4))
    cpu, gpu = Wanted(("cpu",), 1), Wanted(("0",), 1)
    owner.take(cpu, {"run": "owner"})
    first.wait("first", cpu, {"run": "first"})
    second.wait("second", cpu, {"run": "second"})
    assert third.take(gpu, {"run": "third"}) == (["0"], []), "nobody waits for this one"
    owner.release()
    waiting = [Busy("cpu", {"run": "first"}, waiting=True)]
    assert third.take(cpu, {}) == ([], waiting), "without a place in the queue all others are before it"
    assert second.take(cpu, {}, key="second") == ([], waiting)
    assert first.take(cpu, {"run": "first"}, key="first") == (["cpu"], [])
    first.leave_queue("first")
    assert [ticket.key for ticket in second.tickets()] == ["second"]


def test_what_nobody_waits_for_can_be_had_by_who_takes_any(tmp_path: Path) -> None:
    owner, first, second = (Leases(tmp_path) for _ in range(3))
    owner.take(Wanted(("0",), 1), {"run": "owner"})
    first.wait("first", Wanted(("0", "1"), 2), {"run": "first"})
    every = ("0", "1", "2", "3")
    waiting = [Busy(device, {"run": "first"}, waiting=True) for device in ("0", "1")]
    assert second.take(Wanted(every, 3), {}) == ([], waiting), "or the first would wait for ever"
    assert second.take(Wanted(every, 2), {"run": "second"}) == (["2", "3"], [])
    owner.release()
    assert first.take(Wanted(("0", "1"), 2), {}, key="first") == (["0", "1"], [])


def test_a_place_whose_holder_is_gone_keeps_nobody_waiting(tmp_path: Path, other) -> None:  # type: ignore[no-untyped-def]
    process = other("wait:cpu")
    leases = Leases(tmp_path)
    (ticket,) = leases.tickets()
    assert (ticket.key, ticket.waiting, ticket.details) == ("theirs", True, {"run": "theirs"})
    process.kill()
    process.wait()
    assert not leases.tickets()[0].waiting
    assert leases.take(Wanted(("cpu",), 1), {}) == (["cpu"], [])
    leases.leave_queue("theirs")
    assert leases.tickets() == []


def test_the_queue_can_be_put_in_another_order(tmp_path: Path) -> None:
    waiting = [Leases(tmp_path) for _ in range(4)]
    for name, leases in zip("abcd", waiting, strict=True):
        leases.wait(name, Wanted(("cpu",), 1), {})
    view = Leases(tmp_path)

    def order() -> str:
        return "".join(ticket.key for ticket in view.tickets())

    view.move("d", 1)
    assert order() == "dabc"
    view.move("a", 3)
    assert order() == "dbac"
    view.move("d", 99)
    assert order() == "bacd"
    for _ in range(20):  # places between two others do not run out soon
        view.move("d", 2)
        view.move("c", 2)
    assert order() == "bcda"
    assert all(ticket.waiting for ticket in view.tickets())
    with pytest.raises(LeaseError, match="x: waits in no queue"):
        view.move("x", 1)


def test_servers_are_seen_and_block_nobody(tmp_path: Path) -> None:
    server, run = Leases(tmp_path), Leases(tmp_path)
    server.serve({"port": 8000})
    assert run.servers() == [{"port": 8000}]
    assert run.take(Wanted(("cpu",), 1), {})[0] == ["cpu"]
    server.release()
    assert run.servers() == []


def test_whoever_looks_removes_the_records_of_servers_that_are_gone(tmp_path: Path) -> None:
    server, view = Leases(tmp_path), Leases(tmp_path)
    server.serve({"port": 8000})
    (record,) = (tmp_path / "serve").iterdir()
    assert view.servers() == [{"port": 8000}]
    assert record.exists(), "it lives"
    (tmp_path / "serve/1.json").write_text("{")
    (tmp_path / "serve/2.json").mkdir()
    os.mkfifo(tmp_path / "serve/3.json")
    assert view.servers() == [{"port": 8000}]
    assert not (tmp_path / "serve/1.json").exists()
    server.release()  # as the kernel does for one that was killed
    assert view.servers() == []
    assert not record.exists()


def test_a_server_that_is_being_made_is_not_taken_for_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, seen = Leases(tmp_path), []
    make = core.runs.leases._locked_record

    def made(path: Path, record: dict[str, Any]) -> int:
        descriptor = os.open(tmp_path / "lock", os.O_RDWR)
        seen.append(core.runs.leases._lock(descriptor, fcntl.LOCK_SH))  # which whoever looks has to have
        os.close(descriptor)
        return make(path, record)

    monkeypatch.setattr(core.runs.leases, "_locked_record", made)
    server.serve({"port": 8000})
    assert seen == [False]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"among": 3, "number": "x", "run": []}', "3", "\ud800"])
def test_a_record_that_anybody_wrote_is_a_place_without_wishes(tmp_path: Path, content: str) -> None:
    leases = Leases(tmp_path)
    name = f"{1:040d}-x.json"
    (tmp_path / "queue" / name).write_bytes(content.encode(errors="surrogatepass"))
    (tmp_path / "queue/\u00b2-y.json").write_text("{}")
    (ticket,) = leases.tickets()
    assert (ticket.path.name, ticket.wanted, ticket.details, ticket.waiting) == (name, Wanted((), 0), {}, False)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(LeaseError, match="cannot be made"):
        Leases(tmp_path / "leases")


def test_leases_are_for_all_users(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    leases.take(Wanted(("cpu",), 1), {})
    assert (tmp_path / "leases").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "leases/cpu.owner").stat().st_mode & 0o777 == 0o666
