"""The whole story in a real terminal, nothing faked: from an empty folder to a chat with a model that was composed,
launched, watched, abandoned, found again, stopped, resumed and inspected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from browser_terminal import CHROMIUM, BrowserTerminal, PageServer
from playwright.sync_api import sync_playwright
from real_terminal import RealTerminal, open_terminal
from support import processes, run_named, until

from core.checkpoint.format import complete_checkpoints
from core.runs.directory import read_records
from core.runs.status import AFTER_CHECKPOINT, run_status

Opened = Callable[..., RealTerminal]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, whose processes end with the test."""
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    yield made
    for process in processes(made):
        process.kill()


@pytest.fixture(params=["terminal", "browser"])
def opened(folder: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Open terminals in the folder, or pages of `daisy tui --web`, which close with the test."""
    with ExitStack() as stack:
        open_any: Opened = partial(open_terminal, folder)
        if request.param == "browser":
            if CHROMIUM is None:
                pytest.skip("no Chromium here: install Debian's package chromium")
            server = PageServer(folder)
            stack.callback(server.close)
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            stack.callback(browser.close)
            open_any = partial(BrowserTerminal, browser, server)

        def open_one(size: tuple[int, int] = (80, 24)) -> RealTerminal:
            terminal = open_any(size=size)
            stack.callback(terminal.close)
            return terminal

        yield open_one


def test_from_an_empty_folder_to_a_chat(folder: Path, opened: Opened) -> None:
    first = opened()
    first.until("Three steps", "○ 1  Prepare six novels")
    first.press("enter")
    first.until("✓ 1  Prepare six novels")

    # Compose: the demo, a little longer, so that it outlives this story.
    first.press("2")
    first.until("nothing touched", "parameters")
    first.press("/")
    first.until("words")
    first.press(*"target_tok")
    first.until("target_tokens = 800000")
    first.press("enter")
    first.until("l Launch")
    first.press("enter")
    first.until("target_tokens = 800000", lambda shown: "⏎ edits" not in shown)
    first.press("ctrl+a", "ctrl+k", *"8M", "enter")
    first.until("1 touched", "8000000")
    first.press("l")
    first.until("$ daisy train demo target_tokens=8M --detach --json")
    first.press("y")
    begun = _loss(first.until("● running", _loss))
    first.until(lambda shown: (now := _loss(shown)) is not None and begun is not None and now < begun - 0.5)

    # Another terminal shows the same truth; the first one's sudden end ends nothing.
    second = opened(size=(200, 60))
    second.until("● running", "demo")
    first.kill()
    until(lambda: not [process for process in processes(folder) if process.pid == first.pid])
    step = _last_step()
    until(lambda: _last_step() > step)
    again = opened()
    again.until("● running", "demo")

    # Stop with a checkpoint, and go on.
    again.press("x")
    again.until("$ daisy runs stop")
    again.press("y")
    again.until("■ stopped")
    second.until("■ stopped")
    assert run_status(run_named("demo")).reason == AFTER_CHECKPOINT
    stopped_at = [_step_of(path) for path in complete_checkpoints(run_named("demo").checkpoints)][-1]
    again.press("r")
    again.until("$ daisy runs resume")
    again.press("y")
    again.until("● running")
    second.until("● running")
    until(lambda: _last_step() > stopped_at)
    resumed = [event for event in read_records(run_named("demo").events) if event["event"] == "resumed"]
    assert [event["step"] for event in resumed] == [stopped_at]

    # Chat with what it is by now, while it trains, and inspect the checkpoint.
    again.press("t")
    again.until("● demo step", "no chat template")
    again.press(*"Emma Woodhouse")
    again.until("Emma Woodhouse")
    again.press("ctrl+g")
    again.until(re.compile(r"\d+ tokens, .*first after").search)
    second.press("5")
    second.until(f"step {stopped_at} ", "began from")
    second.press("down")
    second.until("What can be done with it", "Files:", "model.safetensors")

    # Closing terminals ends their servers, and no run.
    again.press("ctrl+q")
    until(lambda: not processes(folder, "server.main"))
    assert run_status(run_named("demo")).state == "running"
    second.press("1")
    second.until("● running")
    second.press("x")
    second.until("$ daisy runs stop")
    second.press("y")
    second.until("■ stopped")
    until(lambda: not processes(folder, "core.training"))


def _loss(shown: str) -> float | None:
    """The training loss on the screen."""
    found = re.search(r"train (\d+\.\d+)", shown)
    return float(found[1]) if found else None


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def _last_step() -> int:
    return max((int(record["step"]) for record in read_records(run_named("demo").metrics)), default=0)
