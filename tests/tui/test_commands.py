"""Commands as children: what they print, how they fail, and that nobody's leaving leaves one behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from support import processes

from daisy_tui.commands import CommandError, Commands, command_line


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_a_command_runs_in_the_folder_and_gives_what_it_printed(tmp_path: Path) -> None:
    done = _run(Commands(tmp_path).run("runs", "list", "--json"))
    assert (done.code, done.json) == (0, [])


def test_a_failing_command_is_an_error_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        _run(Commands(tmp_path).run("runs", "stop", "nobody"))
    assert raised.value.lines[0].startswith("'nobody' names no run in runs")
    assert raised.value.code == 1


def test_codes_that_are_expected_are_no_errors(tmp_path: Path) -> None:
    assert _run(Commands(tmp_path).run("train", "nothing", codes=(0, 2))).code == 2


def test_lines_come_one_by_one_and_a_bad_end_is_an_error(tmp_path: Path) -> None:
    async def read() -> list[str]:
        return [line async for line in Commands(tmp_path).lines("config", "list")]

    assert any("demo" in line for line in _run(read()))

    async def fail() -> None:
        async for _ in Commands(tmp_path).lines("data", "verify", "nowhere"):
            pass

    with pytest.raises(CommandError, match="nowhere"):
        _run(fail())


def test_who_stops_listening_ends_the_command(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run("long", "running")

    async def leave() -> str:
        async with aclosing(Commands(tmp_path).lines("runs", "logs", run.name, "-f")) as lines:
            return await anext(lines)

    assert _run(leave()).startswith("step 1 ")
    assert processes(tmp_path, "daisy_tui") == []


def test_a_line_to_copy_is_quoted_for_a_shell() -> None:
    assert command_line(["train", "demo", "tags=[a b]"]) == "daisy train demo 'tags=[a b]'"
