"""Looking again and again: never twice at once, later after failures, not at all where nobody sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from textual.timer import Timer

from daisy_tui.polling import Poll


class Wait:
    """A look that is due later."""

    def __init__(self, seconds: float, look: Callable[[], None]) -> None:
        self.seconds, self.look, self.is_stopped = seconds, look, False

    def stop(self) -> None:
        self.is_stopped = True


class Stage:
    """A screen of which the test says the time; its looks are begun by `end_looks`."""

    def __init__(self) -> None:
        self.time, self.has_attention = 100.0, True
        self.begun: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.waits: list[Wait] = []
        self.said: list[object] = []

    def monotonic(self) -> float:
        return self.time

    def look_now(self, name: str, look: Callable[[], object]) -> object:
        self.begun.append(cast("Callable[[], Coroutine[Any, Any, None]]", look))
        return None

    def look_later(self, seconds: float, look: Callable[[], None]) -> Timer:
        self.waits.append(Wait(seconds, look))
        return cast("Timer", self.waits[-1])

    def poll_failed(self, name: str, error: Exception, since: float) -> None:
        self.said.append((name, str(error), since))

    def poll_succeeded(self, name: str) -> None:
        self.said.append(name)

    def end_looks(self) -> None:
        """Have the looks end that have begun."""
        begun, self.begun = self.begun, []
        for look in begun:
            asyncio.run(look())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def poll_of(stage: Stage, work: Callable[[], str] = lambda: "seen", every_s: float = 2.0, **how: bool) -> Poll[str]:
    return Poll(stage, "disk", every_s, work, stage.said.append, **how)


def test_the_next_look_is_due_when_the_last_one_has_ended(stage: Stage) -> None:
    poll = poll_of(stage)
    poll.now()
    assert stage.waits == []
    stage.end_looks()
    assert stage.said == ["disk", "seen"]
    assert [wait.seconds for wait in stage.waits] == [2.0]
    stage.waits[0].look()
    stage.end_looks()
    assert len(stage.waits) == 2


def test_looks_never_overlap_and_many_wishes_are_one(stage: Stage) -> None:
    poll = poll_of(stage)
    for _ in range(5):
        poll.now()
    assert len(stage.begun) == 1
    stage.end_looks()
    assert len(stage.begun) == 1, "one more, behind it"
    assert stage.waits == []
    stage.end_looks()
    assert (len(stage.begun), len(stage.waits)) == (0, 1)
    assert stage.said == ["disk", "seen"] * 2


def test_a_look_at_once_takes_the_place_of_the_one_that_was_due(stage: Stage) -> None:
    poll = poll_of(stage)
    poll.now()
    stage.end_looks()
    poll.now()
    assert stage.waits[0].is_stopped


def test_failures_are_said_since_the_last_good_look_and_waited_out_for_longer(stage: Stage) -> None:
    fails = [True] * 6

    def work() -> str:
        if fails:
            raise OSError("gone")
        return "seen"

    poll = poll_of(stage, work)
    for _ in range(6):
        poll.now()
        stage.end_looks()
        stage.time += 10
    assert [wait.seconds for wait in stage.waits] == [4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert stage.said[0] == ("disk", "gone", 100.0), "there was none: since it began"
    fails.clear()
    poll.now()
    stage.end_looks()
    assert stage.waits[-1].seconds == 2.0
    good, stage.time = stage.time, stage.time + 50
    fails.append(True)
    poll.now()
    stage.end_looks()
    assert stage.said[-1] == ("disk", "gone", good)


def test_where_nobody_looks_it_looks_at_most_once_a_second(stage: Stage) -> None:
    stage.has_attention = False
    for every_s, waited in ((0.25, 1.0), (2.0, 2.0)):
        poll_of(stage, every_s=every_s).now()
        stage.end_looks()
        assert stage.waits[-1].seconds == waited


def test_paused_it_looks_no_more_until_it_goes_on(stage: Stage) -> None:
    poll = poll_of(stage)
    poll.now()
    stage.end_looks()
    poll.pause()
    assert stage.waits[0].is_stopped
    poll.resume()
    poll.pause()
    stage.end_looks()
    assert len(stage.waits) == 1, "the look under way plans none"
    poll.resume()
    stage.end_looks()
    assert len(stage.waits) == 2


def test_one_that_is_not_automatic_looks_when_told(stage: Stage) -> None:
    poll = poll_of(stage, is_automatic=False)
    poll.resume()
    assert stage.begun == []
    poll.now()
    stage.end_looks()
    assert (stage.said, stage.waits) == (["disk", "seen"], [])


@pytest.mark.parametrize(("every_s", "patience"), [(0.25, 5.0), (5.0, 15.0)])
def test_a_look_that_does_not_end_is_late_after_a_while(stage: Stage, every_s: float, patience: float) -> None:
    poll = poll_of(stage, every_s=every_s)
    assert poll.late_since(1e9) is None, "none is under way"
    poll.now()
    stage.end_looks()
    stage.time = 200.0
    poll.now()
    assert poll.late_since(200.0 + patience - 0.1) is None
    assert poll.late_since(200.0 + patience) == 100.0, "what is shown is of the last good look"
    stage.end_looks()
    assert poll.late_since(1e9) is None


def test_the_work_is_done_in_a_thread(stage: Stage) -> None:
    threads: list[int] = []

    def work() -> str:
        threads.append(threading.get_ident())
        return "seen"

    poll_of(stage, work).now()
    stage.end_looks()
    assert threads != [threading.get_ident()]
