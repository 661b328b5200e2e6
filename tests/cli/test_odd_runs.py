"""A run whose files hold anything: commands and screens leave out what is odd or name it, and all other runs stay."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import NOW, write_run

from core.runs.directory import RunDirectory, write_object
from daisy_tui.cli.main import main
from daisy_tui.runs.compare_look import CompareReader, Wanted
from daisy_tui.runs.run_charts import CHART_IDS
from daisy_tui.runs.run_details import DetailReader
from daisy_tui.runs.run_look import RunReader, View
from daisy_tui.runs.run_text import figures, progress
from daisy_tui.runs.runs_cells import cells, fitting
from daisy_tui.runs.watching import UNREADABLE, RunsWatch

Daisy = Callable[..., Any]
FILES = (
    *("run.json", "launch.json", "supervisor.json", "exit.json", "heartbeat-0.json", "peaks.json"),
    *("metrics.jsonl", "events.jsonl", "changes.jsonl"),
)
DEEP: Any = []
for _ in range(30):
    DEEP = [DEEP]
BEYOND = "1e999"  # JSON for what Python reads as infinity, and no constant of its own
ODD: tuple[Any, ...] = (
    *(None, True, -1e18, 10**40, 4e12, float("nan"), "@beyond", "x\n\x1b[31m\x07\ud800", ["x", 1]),
    *({"a": {"b": 1}, "loss": "x", "value": []}, DEEP),
)


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run with all files that there are, beside a usual one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path, lock = write_run(Path("runs"), "odd", "running", steps=12, day=2)
    assert lock is not None
    run = RunDirectory(path)
    write_object(run.exit, {"attempt": 0, "outcome": "stopped", "code": 3, "reason": "asked", "step": 3, "time": NOW})
    write_object(run.peaks, {name: {"value": 0.5, "time": NOW} for name in ("host_memory", "gpu_memory")})
    run.append(run.changes, {"step": 3, "values": {"lr_scale": "0.5"}})
    stamp = {"time": NOW - 1, "step": 5, "tokens": 5120}
    events: list[dict[str, Any]] = [
        {"event": "memory", "peak": 900, "before": 300, "estimated": 500, "checkpoint": 77},
        {"event": "checkpoint", "path": "step_000000005", "removed": ["step_000000001"]},
        {"event": "eval", "val": {"val": 3.5}},
        {"event": "request", "id": "1-1", "what": "set", "values": {}, "answer": "lr_scale=0.5"},
        {"event": "not_finite", "cursor": 7, "text": "it was", "parameters": ["head"], "loss": "nan"},
        {"event": "restarted", "number": 1, "of": 3, "reason": "rank 0 was killed"},
        {"event": "resumed", "devices": 1, "peak_flops": 1e12, "peak_device": "box cpu"},
        {"event": "warning", "message": "slow"},
    ]
    for event in events:
        run.append(run.events, stamp | event)
    write_run(Path("runs"), "usual", steps=12, day=1)
    yield path
    os.close(lock)


def _text(value: Any) -> str:
    return json.dumps(value).replace('"@beyond"', BEYOND)


def _places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place in an object, and the object itself."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from _places(inner, (*path, key))


def _with(value: Any, path: tuple[str, ...], odd_one: Any) -> Any:
    if not path:
        return odd_one
    return {**value, path[0]: _with(value[path[0]], path[1:], odd_one)}


def _mutants(path: Path) -> Iterator[tuple[str, str]]:
    """What was changed, and the text of the file with one odd value in one place: of all lines, if there are several.

    A file of lines with one that is odd, at its end, is what its readers meet first; with all of them nothing is left.
    """
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else []
    whole = records or [json.loads(path.read_text())]
    for place in dict.fromkeys(place for record in whole for place in _places(record)):
        for value in ODD:
            changed = [_with(r, place, value) if place in [*_places(r)] else r for r in whole]
            yield f"{'.'.join(place)}={_text(value)[:30]}", "\n".join(map(_text, changed)) + "\n" * bool(records)


def _asked(run: Path, mutated: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Ask the commands that read runs, and that file of them; they end as commands do, whatever is in the way."""
    out = Path("out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for command in (
        ["list", "--json", "val<9"],
        ["show", run.name],
        ["show", "--json", run.name],
        ["compare", run.name, "usual"],
        *(["export", run.name, "--out", str(out / name)] for name in ("x.csv", "x.jsonl") if "metrics" in mutated),
    ):
        main(["runs", *command])
    main(["runs", "list"])
    said, failed = capfd.readouterr()
    assert "usual" in said[said.rindex("run  ") :], "the other run is listed"
    assert not {c for c in said + failed if not c.isprintable()} - {"\n"}


def _looked_at(run: Path) -> None:
    """The same run as the dashboard, the Run screen and the Compare screen see it."""
    watch = RunsWatch(Path("runs"), lambda: NOW)
    rows = {row.path.name: row for row in watch.look((run.name,))}
    row = rows[run.name]
    assert row.state != UNREADABLE, row.reason
    cells(row, False, fitting(200), {})
    DetailReader().look(row, NOW)
    look = RunReader(RunDirectory(run), Path()).look(NOW, View("time", 0.5, CHART_IDS))
    assert look is not None
    assert (look.status.state, look.facts["step"], look.facts["name"]) == (row.state, row.step, row.name)
    figures(look), progress(look)
    CompareReader(watch).look(Wanted((run, run.with_name(next(name for name in rows if name != run.name)))), NOW)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_no_value_in_no_place_of_a_file_ends_a_command_or_a_look(
    odd: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = odd / name
    assert path.exists()
    for what, text in [*_mutants(path)]:
        path.write_text(text)
        try:
            _looked_at(odd)
            _asked(odd, name, capfd)
        except Exception as error:
            raise AssertionError(f"{name} with {what}") from error


@pytest.mark.parametrize("content", ["[" * 100_000, "- " * 100_000, "a: &x [1]\nb: [*x]", "a: !!set {b}", "\x00", "3"])
def test_a_config_that_cannot_be_built_is_named_where_it_is_wanted(odd: Path, daisy: Daisy, content: str) -> None:
    (odd / "config.yaml").write_text(content)
    for query in ("val<9", "cfg.model_dim>=1", "tag:x"):
        assert daisy("runs", "list", query).code == 0
    assert odd.name in daisy("runs", "list").out
    ran = daisy("runs", "compare", "odd", "usual")
    assert (ran.code, "final train loss" in ran.out) == (0, True)
    assert f"warning: {odd / 'config.yaml'}" in ran.err
    assert "so it is not compared" in ran.err
    assert not main(["runs", "show", odd.name])


@pytest.mark.parametrize("name", [*FILES, "config.yaml", "overrides.txt", "logs/rank0.log"])
def test_a_pipe_in_the_place_of_a_file_is_waited_for_by_nobody(odd: Path, daisy: Daisy, name: str) -> None:
    (odd / name).unlink(missing_ok=True)
    os.mkfifo(odd / name)
    assert all(one in daisy("runs", "list", "val<9").out + daisy("runs", "list").out for one in ("usual", odd.name))
    for command in (["show", odd.name], ["compare", "odd", "usual"], ["logs", odd.name]):
        ran = daisy("runs", *command)
        assert ran.code == 0 or ran.err.startswith(f"error: {odd}/"), "it names the file"
    assert RunsWatch(Path("runs"), lambda: NOW).look((odd.name,))[0].state != UNREADABLE
    DetailReader().look(RunsWatch(Path("runs"), lambda: NOW).look()[0], NOW)


def test_a_record_without_a_step_takes_no_other_one_out_of_a_table(odd: Path, daisy: Daisy) -> None:
    points = (odd / "metrics.jsonl").read_text().splitlines()
    points.insert(5, '{"step": "soon", "note": "\\ud800"}')
    (odd / "metrics.jsonl").write_text("\n".join(points) + "\n")
    assert daisy("runs", "export", "odd", "--out", "odd.csv").code == 0
    lines = Path("odd.csv").read_text().splitlines()
    assert len(lines) == 1 + 13
    assert any("\\ud800" in line for line in lines)
