"""A run in words: figures, events and checkpoints, whatever their files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import NOW

from core.runs.directory import RunDirectory, write_object
from core.runs.lines import step_line
from core.text import percent
from daisy_tui.checkpoints.catalog import Listed
from daisy_tui.cli.showing import of_target
from daisy_tui.runs.event_text import event_row
from daisy_tui.runs.run_look import RunLook, RunReader, View
from daisy_tui.runs.run_text import checkpoint_cells, figures, progress
from daisy_tui.runs.runs_cells import cells, fitting
from daisy_tui.runs.watching import RunsWatch
from daisy_tui.widgets.run_header import header

MakeRun = Callable[..., Path]


def look_at(path: Path) -> RunLook:
    look = RunReader(RunDirectory(path), path.parents[1]).look(NOW, View())
    assert look is not None
    return look


def test_figures_are_those_that_are_known(make_run: MakeRun) -> None:
    path = make_run("x", "running", target_steps=80)
    write_object(path / "peaks.json", {"host_memory": {"value": 1 << 30, "time": NOW}})
    found = dict(figures(look_at(path)))
    assert found["step"] == "40"
    assert found["ETA"] == "1:20"
    assert found["MFU"] == "41%"
    assert found["process RAM"] == "300.0 MiB"
    assert found["host RAM peak"] == "1.00 GiB"
    assert found["tokens/s"] == "512"
    assert "memory" not in found
    assert "GPU peak" not in found
    assert progress(look_at(path)) == (0.5, "41k of 81.9k tokens")


def test_on_gpus_the_memory_of_a_log_point_is_that_of_tensors(make_run: MakeRun) -> None:
    path = make_run("x", "running", devices=("GPU-0", "GPU-1"))
    write_object(path / "peaks.json", {"gpu_memory": {"value": 2 << 30, "time": NOW}})
    found = dict(figures(look_at(path)))
    assert found["GPU tensors"] == "300.0 MiB"
    assert found["GPU peak"] == "2.00 GiB"
    assert "process RAM" not in found


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "lost"])
def test_the_speed_of_a_run_that_ended_is_said_to_be_its_last(make_run: MakeRun, state: str) -> None:
    found = dict(figures(look_at(make_run("x", state))))
    assert found["last tokens/s"] == "512"
    assert "tokens/s" not in found


def test_the_speed_of_a_stalled_run_is_its_last_and_it_has_no_eta(make_run: MakeRun) -> None:
    path = make_run("x", "running", target_steps=80, stalled_s=95.0)
    found = dict(figures(look_at(path)))
    assert found["last tokens/s"] == "512"
    assert {"tokens/s", "ETA"}.isdisjoint(found)
    (row,) = RunsWatch(path.parent, lambda: NOW).look()
    shown = {
        column.key: cell.text.strip()
        for column, cell in zip(fitting(250), cells(row, False, fitting(250), {}), strict=True)
    }
    assert (shown["state"], shown["tokens_per_s"], shown["eta_s"], shown["mfu"]) == ("! stalled", "", "", "")


def test_a_start_after_the_first_is_said_to_be_the_last(make_run: MakeRun) -> None:
    path = make_run("x", "finished")
    assert "started" in dict(figures(look_at(path)))
    for name in ("launch.json", "supervisor.json", "exit.json"):
        write_object(path / name, json.loads((path / name).read_text()) | {"attempt": 2})
    assert "last started" in dict(figures(look_at(path)))
    assert "started" not in dict(figures(look_at(path)))


@pytest.mark.parametrize(("width", "rows"), [(80, 3), (120, 3), (200, 2)])
def test_figures_keep_their_places_in_the_header_while_they_change(make_run: MakeRun, width: int, rows: int) -> None:
    look, widths = look_at(make_run("x", "running", target_steps=80)), dict[str, int]()

    def places(**point: float) -> dict[str, tuple[int, int]]:
        lines = header(look._replace(point=look.point | point), width, rows, widths).plain.split("\n")
        names = ("step", "train", "val", "ETA", "tokens/s", "MFU", "process RAM", "on cpu", "grad")
        found = {name: (row, line.find(f" {name}")) for row, line in enumerate(lines) for name in names if name in line}
        assert max(map(len, lines)) <= width
        return found

    longest = places(tokens_per_s=123_456.0, grad_norm=1.234e-5, memory=1000 << 20, mfu=0.4)
    assert places(tokens_per_s=1.0, grad_norm=1.0, memory=3 << 30, mfu=0.04) == longest
    assert places(tokens_per_s=99_000.0, grad_norm=0.12, memory=300 << 20, mfu=0.4) == longest
    assert len(longest) >= 7


def test_of_a_run_that_has_not_begun_nothing_is_made_up(make_run: MakeRun) -> None:
    look = look_at(make_run("x", "queued", steps=0))
    assert {"step", "train", "ETA", "memory", "process RAM"}.isdisjoint(dict(figures(look)))
    assert progress(look) is None


@pytest.mark.parametrize("value", ['"nan"', "NaN", "null", '"\\u001b[31m"', "[1]", "true"])
def test_figures_that_are_no_numbers_break_nothing(make_run: MakeRun, value: str) -> None:
    path = make_run("x", "running")
    line = json.dumps({"time": NOW, "step": 41, "tokens": 1, "train_loss": 3.0}).removesuffix("}")
    keys = ("mfu", "memory", "tokens_per_s", "eta_s", "target_tokens", "grad_norm")
    with (path / "metrics.jsonl").open("a") as file:
        file.write(line + "".join(f', "{key}": {value}' for key in keys) + "}\n")
    said = figures(look_at(path))
    assert all("\x1b" not in figure for _, figure in said)
    assert {"memory", "process RAM"}.isdisjoint(dict(said))


@pytest.mark.parametrize(
    ("event", "text", "level"),
    [
        ({"event": "checkpoint", "path": "step_000000030"}, "step_000000030", "good"),
        ({"event": "eval", "val": {"val": 3.25, "books": "nan"}}, "val 3.2500, books nan", ""),
        ({"event": "request", "what": "save", "answer": "begun"}, "save: begun", ""),
        ({"event": "request", "what": "eval", "answer": "refused: none"}, "eval: refused: none", "warning"),
        ({"event": "request", "what": "set", "answer": "lr_scale=0.5"}, "set lr_scale=0.5", ""),
        ({"event": "warning", "message": "disk\nfull"}, "disk full", "warning"),
        ({"event": "failed", "rank": 1, "message": "boom"}, "boom", "error"),
        ({"event": "started", "devices": 2}, "on 2 devices", ""),
        ({"event": "resumed", "tokens": 1024}, "at step 30, 1,024 tokens", ""),
        ({"event": "finished", "tokens": 2048}, "after 2,048 tokens", "good"),
        ({"event": "not_finite", "loss": "nan", "grad_norm": "inf"}, "loss nan, gradient inf", "error"),
        (
            {"event": "memory", "peak": 300 << 20, "before": 100 << 20, "estimated": 150 << 20, "checkpoint": 1},
            "200.0 MiB of memory at the first step's peak; 150.0 MiB estimated for tensors",
            "",
        ),
        ({"event": "checkpoint"}, "", "good"),
        ({"event": "new\x1b[1m", "what": "ever\x07"}, "what ever\\x07", ""),
    ],
)
def test_an_event_reads_as_words(event: dict[str, Any], text: str, level: str) -> None:
    row = event_row({"time": NOW, "step": 30, **event}, NOW)
    assert (row.text, row.level, row.step) == (text, level, "30")
    assert "\x1b" not in row.kind


def test_an_event_of_another_day_has_its_date_and_one_without_time_none() -> None:
    assert "-" in event_row({"time": NOW - 200_000, "event": "started"}, NOW).clock
    assert "-" not in event_row({"time": NOW, "event": "started"}, NOW).clock
    assert event_row({"time": 1e300, "event": "started"}, NOW).clock == ""
    assert event_row({}, NOW)[:3] == ("", "", "?")


def test_a_checkpoint_is_a_row_with_its_links_or_its_problem() -> None:
    whole = Listed(Path("step_000000030"), None, True, step=30, tokens=30_720, val_loss=2.5, bytes=1 << 20)
    assert checkpoint_cells(whole, NOW)[:4] == ("step_000000030", "30.7k", "2.5000", "1.00 MiB")
    assert checkpoint_cells(Listed(Path("x"), None, True, links=("latest", "best")), NOW)[-1] == "latest, best"
    assert checkpoint_cells(Listed(Path("x"), None, False, "incomplete"), NOW)[1:] == (
        "-",
        "-",
        "0 B",
        "-",
        "incomplete",
    )


def test_a_share_is_rounded_the_same_wherever_it_is_shown(make_run: MakeRun) -> None:
    path = make_run("x", "stopped", steps=529, target_steps=1000)
    look = look_at(path)
    done = progress(look)
    assert done is not None
    assert f"{done.share:.0%}" == "52%"
    (row,) = RunsWatch(path.parent).look()
    assert cells(row, False, fitting(200), {})[2].text.endswith(" 52%")
    assert " 52% " in step_line(look.point, 1000 * 1024)
    assert of_target(look.facts).endswith("(52%)")
    assert [percent(share) for share in (0.0, 0.29, 0.999, 1.0)] == ["0%", "29%", "99%", "100%"]
