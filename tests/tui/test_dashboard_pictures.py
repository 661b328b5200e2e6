"""What the dashboard looks like: empty, busy and failing, narrow and wide, dark, light and without colours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from made_checkpoints import write_checkpoints
from made_runs import NOW
from snapshots import check_picture
from terminal import app_of, drive, finish, settle
from textual.pilot import Pilot

from core.runs.leases import Leases, Wanted, lease_folder
from core.runs.telemetry import Gpu, Host, Snapshot, Telemetry
from daisy_tui.services import Services

MakeRun = Callable[..., Path]
GIB = 1 << 30
KEYS = tuple(f"GPU-{number:08x}-0000" for number in range(4))
OUT_OF_MEMORY = (
    "rank 1 (process 4242) ended with exit code 1; out of memory: fewer tokens at once help "
    "(training_sequence_length, loss_chunk_tokens), so does activation_checkpointing=true"
)


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks on pictures are those of one place."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def leases() -> Iterator[Leases]:
    held = Leases(lease_folder())
    yield held
    held.release()


@pytest.fixture
def made(services: Services, make_run: MakeRun, leases: Leases) -> Callable[[str], None]:
    """Make the machine and the runs of a picture."""

    def make(what: str) -> None:
        if what == "busy":
            _busy(services, make_run, leases)
        elif what == "failing":
            _failing(services, make_run)
        else:
            _stand_still(services.telemetry, 12)

    return make


def _stand_still(telemetry: Telemetry, ticks: int) -> None:
    """Sample so often, and then no more, however often somebody looks."""
    for _ in range(ticks):
        telemetry.tick()
    telemetry.tick = lambda: None  # type: ignore[method-assign]


def _busy(services: Services, make_run: MakeRun, leases: Leases) -> None:
    write_checkpoints(make_run("baseline", day=1, tags=["baseline"]), 20, 40)
    make_run("wide-768", day=2)
    make_run("lr-0.5", "stopped", day=3, steps=25, target_steps=60)
    large = make_run("long-context-with-a-long-name", "running", day=4, steps=480, target_steps=4000, devices=KEYS[:2])
    make_run("novels", "running", day=5, steps=44, target_steps=60)
    waiting = [make_run(f"grid-{number}", "queued", day=5 + number, steps=0) for number in (1, 2)]
    make_run("ending", "stopping", day=8, steps=40, target_steps=60)
    make_run("beginning", "starting", day=9, steps=0)
    leases.take(Wanted(KEYS[:2], 2), {"run": str(large), "pid": 1})
    leases.take(Wanted(("cpu",), 1), {"run": "/elsewhere/20260301-080000-another", "pid": 1})
    for number, run in enumerate(waiting):
        leases.wait(f"ticket{number}", Wanted(KEYS, 2), {"run": str(run)})
    leases.serve({"server": "http://127.0.0.1:8000", "model": "baseline", "device": "cuda:2", "user": "ada"})
    ticks = count()

    def sample() -> Snapshot:
        tick = next(ticks)
        gpus = tuple(_gpu(number, tick) for number in range(4))
        cpu = 0.25 + 0.2 * math.sin(tick / 2)
        return Snapshot(NOW + tick, gpus, Host(cpu, (6 * GIB) + tick * GIB // 8, 24 * GIB, 100 * GIB, 900 * GIB), {})

    services.__dict__["telemetry"] = telemetry = Telemetry(sample)
    _stand_still(telemetry, 24)


def _gpu(number: int, tick: int) -> Gpu:
    used = 0.9 + 0.1 * math.sin(tick + number) if number < 2 else 0.0
    power = 640.0 if number < 2 else 72.0
    name, memory = "NVIDIA H100 80GB HBM3", (62 if number < 2 else 1) * GIB
    if number == 3:
        return Gpu(KEYS[3], "3", name, None, memory, 80 * GIB, None, None, None, ())
    return Gpu(KEYS[number], str(number), name, used, memory, 80 * GIB, 64.0 + number, power, 700.0, ())


def _failing(services: Services, make_run: MakeRun) -> None:
    make_run("[red]markup", "failed", day=1, steps=12, target_steps=60, reason="the disk is full: make room")
    make_run("gone", "lost", day=2, steps=30, target_steps=60)
    make_run("stuck", "running", day=3, steps=44, target_steps=60, stalled_s=300.0)
    make_run("too-large", "failed", day=4, steps=1, target_steps=60, reason=OUT_OF_MEMORY)
    (services.runs / "photos").mkdir()

    def broken() -> Snapshot:
        raise RuntimeError("the driver is gone")

    services.__dict__["telemetry"] = Telemetry(broken)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=["80x24", "120x40", "200x60"])
@pytest.mark.parametrize("what", ["empty", "busy", "failing"])
def test_the_dashboard_looks_as_it_did(
    services: Services, made: Callable[[str], None], what: str, size: tuple[int, int]
) -> None:
    _check(services, made, f"dashboard-{what}-{size[0]}x{size[1]}", what, (), size)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
@pytest.mark.parametrize("what", ["busy", "failing"])
def test_the_dashboard_looks_as_it_did_in_other_themes(
    services: Services, made: Callable[[str], None], what: str, theme: str
) -> None:
    _check(services, made, f"dashboard-{what}-{theme}", what, (), (120, 40), theme)


@pytest.mark.parametrize(
    ("name", "what", "keys"),
    [
        ("unfolded", "busy", ("b",)),
        ("marked", "busy", ("down", "down", "space", "space")),
        ("filtered", "busy", ("slash", *"state:queued,running")),
        ("bad-query", "failing", ("slash", *"stat:lost")),
        ("stop", "busy", ("down", "x")),
    ],
)
def test_the_dashboard_looks_as_it_did_while_it_is_used(
    services: Services, made: Callable[[str], None], name: str, what: str, keys: tuple[str, ...]
) -> None:
    _check(services, made, f"dashboard-{name}-80x24", what, keys, (80, 24))


@pytest.mark.parametrize(("what", "keys"), [("busy", ("space",)), ("failing", ())])
def test_the_dashboard_looks_as_it_did_without_colours(
    services: Services,
    made: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    keys: tuple[str, ...],
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    _check(services, made, f"dashboard-{what}-no-colour", what, keys, (120, 40))


def _check(
    services: Services,
    made: Callable[[str], None],
    name: str,
    what: str,
    keys: tuple[str, ...],
    size: tuple[int, int],
    theme: str = "textual-dark",
) -> None:
    made(what)
    app = app_of(services)

    async def story(pilot: Pilot[None]) -> None:
        app.theme = theme
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await finish(pilot)
        await finish(pilot)
        check_picture(app, name)

    drive(app, story, size)
