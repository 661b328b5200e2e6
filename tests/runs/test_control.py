"""Requests to a run as files: from asking to the answer, and what nobody could have meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs import control
from core.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_requests_wait_in_the_order_in_which_they_came_until_they_are_answered(run: RunDirectory) -> None:
    assert not control.is_pending(run)
    assert list(control.pending(run)) == []
    first = control.ask(run, "save")
    second = control.ask(run, "set", {"lr_scale": "0.5"})
    third = control.ask(run, "eval")
    assert list(control.pending(run)) == [first, second, third]
    assert (second.what, second.values) == ("set", {"lr_scale": "0.5"})
    control.answered(run, second)
    control.answered(run, second)
    assert list(control.pending(run)) == [first, third]
    assert control.is_pending(run)
    for request in (first, third):
        control.answered(run, request)
    assert not control.is_pending(run)


def test_a_request_to_stop_is_one_however_often_it_is_made_and_is_none_of_the_others(run: RunDirectory) -> None:
    assert control.stop_request(run) is None
    control.ask_stop(run, grace_s=7.0)
    asked = control.stop_request(run)
    assert asked is not None
    assert (asked["now"], asked["grace_s"]) == (False, 7.0)
    assert not control.is_pending(run)
    control.ask_stop(run, now=True)
    asked = control.stop_request(run)
    assert asked is not None
    assert asked["now"] is True
    assert "grace_s" not in asked
    assert len(list(run.control.iterdir())) == 1


def test_a_request_to_stop_counts_however_it_was_written(run: RunDirectory) -> None:
    run.control.mkdir()
    (run.control / "stop.json").touch()
    assert control.stop_request(run) == {}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"no json", b"\xff\xfe", b"[]", b"3", b"{}", b'{"values": {}}'),
        b'{"what": "set", "values": ["lr_scale"]}',
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_what_is_no_request_is_removed_and_is_in_nobodys_way(run: RunDirectory, content: bytes) -> None:
    run.control.mkdir()
    garbage = run.control / "1-1.json"
    garbage.write_bytes(content)
    request = control.ask(run, "save")
    assert list(control.pending(run)) == [request]
    assert not garbage.exists()


def test_other_files_in_the_folder_are_no_requests_and_stay(run: RunDirectory) -> None:
    run.control.mkdir()
    others = [run.control / name for name in (".1-1.json.tmp", "notes.txt", "7", "save.json")]
    for path in others:
        path.write_text("{}")
    assert list(control.pending(run)) == []
    assert all(path.exists() for path in others)


def test_values_are_words_however_they_were_written(run: RunDirectory) -> None:
    run.control.mkdir()
    (run.control / "1-1.json").write_text('{"what": "set", "values": {"lr_scale": 0.5, "log_every_steps": 2}}')
    (request,) = control.pending(run)
    assert request.values == {"lr_scale": "0.5", "log_every_steps": "2"}


def test_a_new_start_forgets_what_was_asked_of_the_one_before(run: RunDirectory) -> None:
    control.clear(run)
    control.ask(run, "save")
    control.ask_stop(run)
    control.clear(run)
    assert control.stop_request(run) is None
    assert not control.is_pending(run)
