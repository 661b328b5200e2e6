"""The dashboard in words: columns and cells, orders, whose a device is, the panels, and one run in detail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import write_checkpoints
from made_runs import NOW
from rich.cells import cell_len

from core.errors import DaisyError
from core.runs.leases import Leases, Wanted, lease_folder
from core.runs.telemetry import Gpu, GpuProcess, Host, Snapshot
from daisy_tui.chatting.serving import ServerStatus
from daisy_tui.runs.overview import Overview, ServerLine, Waiting, label, look_around, owner_of, short_name
from daisy_tui.runs.run_details import DetailReader, Details
from daisy_tui.runs.runs_cells import COLUMNS, cells, fitting, titles
from daisy_tui.runs.runs_order import FIELDS, NEWEST, Order, counts, ordered
from daisy_tui.runs.watching import UNREADABLE, RunRow, RunsWatch
from daisy_tui.widgets.dashboard_text import (
    counts_line,
    details_lines,
    devices_lines,
    machine_line,
    queue_entry,
    queue_line,
    servers_lines,
)

MakeRun = Callable[..., Path]
GIB = 1 << 30
A, B = "20260301-110000-first", "20260302-110000-second"
HOST = Host(0.25, 6 * GIB, 24 * GIB, 1 * GIB, 9 * GIB)


def _row(name: str = "demo", state: str = "running", **more: Any) -> RunRow:
    return RunRow(f"20260301-110000-{name}", name, Path("runs") / name, state, **{"alive": True, **more})


def _gpu(label: str = "0", **more: Any) -> Gpu:
    known: dict[str, Any] = {
        "key": f"GPU-{label}",
        "label": label,
        "name": "H100",
        "utilisation": 0.97,
        "memory_used": 62 * GIB,
        "memory_total": 80 * GIB,
        "temperature": 71.0,
        "power": 412.0,
        "power_limit": 700.0,
        "processes": (),
    }
    return Gpu(**(known | more))


def _said(row: RunRow, width: int = 200, **more: Any) -> dict[str, str]:
    columns = fitting(width)
    return {
        column.key: cell.text.strip()
        for column, cell in zip(columns, cells(row, False, columns, {}, **more), strict=True)
    }


# Columns and cells


@pytest.mark.parametrize("width", [30, 40, 55, 60, 66, 80, 100, 120, 147, 200, 400])
def test_columns_fill_a_width_and_never_more(width: int) -> None:
    columns = fitting(width)
    assert min(width, 170) - 16 < sum(column.width + 2 for column in columns) <= width
    essential = {"state", "name", "progress", "train_loss", "val_loss", "eta_s"}
    assert essential <= {column.key for column in columns} or width < 62
    assert {"state", "name"} <= {column.key for column in columns}


def test_a_wide_table_has_every_column() -> None:
    assert [column.key for column in fitting(160)] == [column.key for column in COLUMNS]


@pytest.mark.parametrize("name", ["demo", "x" * 300, "名前" * 40, "\x1b[31mred\n", "\udcff", ""])
@pytest.mark.parametrize("width", [80, 160])
def test_every_cell_is_as_wide_as_its_column(name: str, width: int) -> None:
    row = _row(name, step=10**12, tokens=10**18, train_loss=1e30, val_loss=-1e30, tokens_per_s=1e20, eta_s=1e12)
    columns = fitting(width)
    for column, cell in zip(columns, cells(row, True, columns, {}), strict=True):
        assert cell_len(cell.text) == column.width, column
        assert cell.text.isprintable(), column


def test_a_running_run_in_words() -> None:
    more = {"step": 1200, "tokens": 4_920_000, "target_tokens": 12_000_000, "train_loss": 3.21, "val_loss": 12.3456}
    more |= {"tokens_per_s": 2646.8, "mfu": 0.41, "eta_s": 3661.0, "devices": ("cpu",), "sparkline": (3.0, 2.0)}
    said = _said(_row(**more))
    assert said["state"] == "● running"
    assert said["progress"].endswith(" 41%")
    assert (said["step"], said["tokens"], said["train_loss"], said["val_loss"]) == (
        "1,200",
        "4.92M",
        "3.2100",
        "12.346",
    )
    assert (said["tokens_per_s"], said["mfu"], said["eta_s"]) == ("2,647", "41%", "1:01:01")
    assert (said["devices"], said["sparkline"]) == ("cpu", "█▁")


def test_what_is_not_known_is_blank() -> None:
    said = _said(_row(state="queued"))
    assert {key for key, text in said.items() if text} == {"state", "name"}


def test_hundred_percent_is_said_of_what_is_done_alone() -> None:
    assert _said(_row(tokens=9_999, target_tokens=10_000))["progress"].endswith("99%")
    assert _said(_row(tokens=10_000, target_tokens=10_000))["progress"] == "█████ 100%"
    assert _said(_row(tokens=0, target_tokens=10_000))["progress"] == "·····   0%"


def test_a_state_is_told_by_its_sign_and_its_word() -> None:
    assert _said(_row(stalls=("rank 0 makes no progress",)))["state"] == "! stalled"
    assert _said(_row(state="queued", alive=False))["state"] == "! not queued"
    assert _said(_row(state=UNREADABLE, alive=False))["state"] == "· unreadable"
    signs = {_said(_row(state=state))["state"][0] for state in ("queued", "running", "finished", "stopped", "failed")}
    assert len(signs) == 5


def test_a_device_is_called_by_its_index_or_the_beginning_of_its_key() -> None:
    columns = fitting(200)
    row = _row(devices=("GPU-0", "GPU-11111111-2222"))
    found = cells(row, False, columns, {"GPU-0": "0", "GPU-11111111-2222": "1"})
    assert found[-1].text.strip() == "0,1"
    assert label("GPU-11111111-2222", {}) == "11111111…"


def test_the_head_of_the_column_that_is_sorted_by_says_so() -> None:
    columns = fitting(100)
    heads = titles(columns, "val_loss", False)
    assert [head.strip() for head in heads if "▲" in head] == ["val▲"]
    assert all(cell_len(head) == column.width for head, column in zip(heads, columns, strict=True))
    assert titles(columns, "val_loss", True) != heads


# Orders


def test_the_newest_come_first_and_turned_round_last() -> None:
    rows = [_row("c"), _row("b"), _row("a")]
    assert [row.name for row in ordered(rows, Order())] == ["c", "b", "a"]
    assert [row.name for row in ordered(rows, Order(NEWEST, True))] == ["a", "b", "c"]


def test_unknown_values_are_last_whichever_way_it_is_sorted() -> None:
    rows = [_row("none"), _row("high", val_loss=4.0), _row("low", val_loss=2.0)]
    assert [row.name for row in ordered(rows, Order("val_loss"))] == ["low", "high", "none"]
    assert [row.name for row in ordered(rows, Order("val_loss", True))] == ["high", "low", "none"]


@pytest.mark.parametrize("by", FIELDS)
def test_runs_of_which_nothing_is_known_can_be_sorted_by_everything(by: str) -> None:
    rows = [_row("b", "finished", alive=False), _row("a", "running"), _row("c", UNREADABLE, alive=False)]
    for is_reversed in (False, True):
        assert {row.name for row in ordered(rows, Order(by, is_reversed))} == {"a", "b", "c"}


def test_states_are_sorted_by_how_much_they_concern_people() -> None:
    rows = [_row("a", "finished"), _row("b", "failed"), _row("c", "running")]
    assert [row.name for row in ordered(rows, Order("state"))] == ["c", "b", "a"]
    assert counts(rows) == {"running": 1, "failed": 1, "finished": 1}


def test_the_orders_go_round_in_a_circle() -> None:
    order, seen = Order(), list[str]()
    for _ in range(len(FIELDS) + 1):
        seen.append(order.by)
        order = order.next
    assert sorted(seen) == sorted([NEWEST, *FIELDS])
    assert order == Order()


# Leases, queue and servers


def test_owners_queue_and_servers_come_from_the_leases() -> None:
    leases = Leases(lease_folder())
    leases.take(Wanted(("cpu",), 1), {"run": f"/elsewhere/runs/{A}", "pid": 1})
    leases.wait("one", Wanted(("GPU-0", "GPU-1"), 1), {"run": f"/elsewhere/runs/{B}"})
    leases.serve({"server": "http://127.0.0.1:1", "model": "demo", "device": "cpu", "user": "ada"})
    own = [
        ServerStatus("demo step 3", "http://127.0.0.1:1", "ready", "", True, 4, 1),
        ServerStatus("other", None, "ended", "", True),
    ]
    found = look_around(own)
    leases.release()
    assert found.owners == {"cpu": A}
    assert found.queue == (Waiting(Path(f"/elsewhere/runs/{B}"), 1, ("GPU-0", "GPU-1"), True),)
    assert found.servers == (ServerLine("demo step 3", "http://127.0.0.1:1", "1 of 4 busy", "", True),)
    assert look_around().owners == {}
    assert not look_around().queue[0].is_waiting, "whoever waited is gone"


def test_a_server_of_another_terminal_is_told() -> None:
    leases = Leases(lease_folder())
    leases.serve({"server": "http://127.0.0.1:1", "model": "demo", "device": "cpu", "user": "ada"})
    assert look_around().servers == (ServerLine("demo", "http://127.0.0.1:1", "serving", "cpu, ada", False),)
    leases.release()


def test_leases_that_cannot_be_asked_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAISY_LEASES", str(tmp_path / "file"))
    found = look_around()
    assert "is no folder" in str(found.problem)
    assert "is no folder" in queue_line(found).plain


def test_a_gpu_belongs_to_its_lease_or_else_to_whose_processes_are_on_it() -> None:
    on_it = (GpuProcess(1, GIB, Path(f"runs/{A}")), GpuProcess(2, GIB, None), GpuProcess(3, GIB, None))
    assert owner_of(_gpu(processes=on_it), Overview({"GPU-0": B})) == "second"
    assert owner_of(_gpu(processes=on_it), Overview()) == "first, 2 other processes"
    assert owner_of(_gpu(processes=None, key=None), Overview({"GPU-0": B})) == ""
    assert short_name("not-made-by-daisy-at-all") == "not-made-by-daisy-at-all"


def test_a_place_in_the_queue_in_words() -> None:
    some = queue_entry(1, Waiting(Path(f"runs/{A}"), 1, ("GPU-0", "GPU-1"), True), {"GPU-0": "0", "GPU-1": "1"})
    assert some.plain == "1 first  wants 1 of 0,1"
    gone = queue_entry(2, Waiting(Path(f"runs/{A}"), 1, ("cpu",), False), {})
    assert gone.plain == "2 first  wants cpu  ! its process is gone"


def test_queue_and_servers_in_a_line() -> None:
    assert queue_line(Overview()).plain == "queue empty  server none"
    server = ServerLine("demo", "http://127.0.0.1:1", "serving", "", False)
    found = Overview({}, (Waiting(Path(A), 1, ("cpu",), True),), (server,))
    assert queue_line(found).plain == "queue 1 waiting, next first  server demo serving http://127.0.0.1:1"


def test_a_server_that_failed_says_why() -> None:
    failed = ServerLine("demo", "", "failed", "the model [b]does not fit[/b]", True)
    assert "failed  the model [b]does not fit[/b]" in servers_lines(Overview(servers=(failed,))).plain


# Devices


def test_a_machine_without_gpus_says_so() -> None:
    lines = devices_lines([Snapshot(NOW, None, HOST, {})], Overview({"cpu": A}), None, 60).plain.splitlines()
    assert lines[0] == "GPU   not available: no NVIDIA driver answers"
    assert lines[1].endswith("25%  first")
    assert lines[2].endswith("25%  6.00 GiB of 24.00 GiB")
    assert lines[3].endswith("11%  1.00 GiB of 9.00 GiB")


def test_a_gpu_in_a_line() -> None:
    history = [Snapshot(NOW, (_gpu(utilisation=share),), HOST, {}) for share in (0.0, 0.5, 1.0, None, 0.97)]
    line = devices_lines(history, Overview({"GPU-0": A}), None, 60).plain.splitlines()[0]
    assert line == "GPU 0    ▁▅█·█  97%    62.0/80 GiB  71 °C  412/700 W  first"


def test_figures_that_a_machine_does_not_tell_are_not_available() -> None:
    nothing = _gpu(
        utilisation=None, memory_used=None, temperature=None, power=None, processes=None, key=None, name=None
    )
    host = Host(None, None, None, None, None)
    lines = devices_lines([Snapshot(NOW, (nothing,), host, {})], Overview(), None, 200).plain.splitlines()
    assert lines[0].count("n/a") == 4
    assert [line.count("n/a") for line in lines[1:]] == [1, 2, 2]
    assert machine_line(Snapshot(NOW, (nothing,), host, {}), Overview(), None).plain.count("n/a") == 4


def test_a_gpu_that_came_or_went_leaves_a_gap() -> None:
    history = [
        Snapshot(NOW, None, HOST, {}),
        Snapshot(NOW, (_gpu(),), HOST, {}),
        Snapshot(NOW, (_gpu(), _gpu("1")), HOST, {}),
    ]
    lines = devices_lines(history, Overview(), None, 60).plain.splitlines()
    assert "·██" in lines[0]
    assert "··█" in lines[1]


def test_samples_that_fail_are_told_and_the_last_one_stays() -> None:
    lines = devices_lines([Snapshot(NOW, None, HOST, {})], Overview(), "NVMLError: [gone]", 60).plain
    assert lines.startswith("not sampled: NVMLError: [gone]\n")
    assert "6.00 GiB" in lines
    assert devices_lines([], Overview(), "OSError: no", 60).plain == "not available: OSError: no"
    assert machine_line(None, Overview(), "OSError: no").plain == "machine not available: OSError: no"


def test_the_machine_in_a_line() -> None:
    one = machine_line(Snapshot(NOW, (_gpu(),), HOST, {}), Overview({"GPU-0": A, "cpu": B}), None)
    assert one.plain == "GPU 97% 71 °C 62/80 GiB first  CPU 25% second  RAM 6.0/24 GiB  disk 11%"
    two = machine_line(
        Snapshot(NOW, (_gpu(), _gpu("1", utilisation=None, temperature=80.0)), HOST, {}), Overview(), None
    )
    assert two.plain.startswith("2 GPUs 97% n/a 80 °C 124/160 GiB")


def test_the_runs_are_counted_and_what_is_picked() -> None:
    states = {"running": 2, "finished": 9}
    assert counts_line(states, 11, Order(), 200).plain == "11 runs  ● 2 running  ✓ 9 finished"
    by_loss = Order("val_loss", True)
    whole = "11 runs  3 picked  ● 2 running  ✓ 9 finished  sorted by val_loss reversed"
    assert counts_line(states, 3, by_loss, len(whole)).plain == whole
    assert counts_line(states, 3, by_loss, len(whole) - 1).plain == whole.replace(" finished", "")


# One run


@pytest.fixture
def detail(tmp_path: Path) -> Callable[[Path], Details]:
    def of(run: Path) -> Details:
        watch = RunsWatch(tmp_path / "runs", lambda: NOW)
        row = next(row for row in watch.look() if row.id == run.name)
        return DetailReader().look(row, NOW)

    return of


def test_a_run_in_detail_says_what_is_wrong_what_it_is_and_what_it_did(
    make_run: MakeRun, detail: Callable[[Path], Details]
) -> None:
    rates = [{"type": "Muon", "params": [{"group": "hidden_matrix_params", "lr": 0.02}]}]
    run = make_run("demo", "failed", reason="the disk is full: make room", tags=["a b"], optimizers=rates)
    write_checkpoints(run, 20, 40)
    with (run / "events.jsonl").open("a") as file:
        for loss in (2.5, 1.5, 2.0):
            file.write(json.dumps({"time": NOW, "event": "eval", "step": 1, "tokens": 1, "val": {"val": loss}}) + "\n")
        file.write(json.dumps({"time": NOW, "event": "warning", "step": 1, "message": "[red]odd[/red]\x1b"}) + "\n")
    found = detail(run)
    text = details_lines(found, {}).plain
    assert "✗ Failed: the disk is full" in text
    assert "Make room" in text
    settings = dict(found.settings)
    assert settings["model"] == "2 layers × 16, 2 heads"
    assert settings["rates"] == "hidden_matrix 0.02"
    assert settings["tags"] == "a b"
    assert settings["best val"] == "1.5000"
    assert found.saved.startswith("2 checkpoints")
    assert "last step_000000040" in found.saved
    assert "warning: [red]odd[/red]\\x1b" in text


def test_checkpoints_are_read_again_when_their_folder_changes(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("demo", "stopped")
    (row,) = RunsWatch(tmp_path / "runs", lambda: NOW).look()
    reader = DetailReader()
    assert reader.look(row, NOW).saved == "none yet"
    write_checkpoints(run, 20)
    assert "1 checkpoint" in reader.look(row, NOW).saved


def test_what_is_no_run_has_its_reason_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "runs/photos").mkdir(parents=True)
    (row,) = RunsWatch(tmp_path / "runs", lambda: NOW).look()
    text = details_lines(DetailReader().look(row, NOW), {}).plain
    assert text == "photos\n· unreadable  no run: there is no config.yaml in it"


@pytest.mark.parametrize(
    "content", ["", "[1]", "optimizers: 3", "optimizers: [{params: [3, {lr: x}]}, 4]", "tags: {a: 1}"]
)
@pytest.mark.parametrize("state", ["running", "failed", "queued"])
def test_a_config_that_somebody_else_wrote_can_be_shown(
    make_run: MakeRun, detail: Callable[[Path], Details], content: str, state: str
) -> None:
    run = make_run("demo", state)
    (run / "config.yaml").write_text(content)
    try:
        details_lines(detail(run), {})
    except DaisyError as error:  # which the bar above shows
        pytest.fail(str(error))
