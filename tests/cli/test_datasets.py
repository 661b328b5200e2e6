"""The datasets of a folder, their lengths, and what commands say of them."""

from __future__ import annotations

import fcntl
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.dataset import DATASET_FILE, STAGING
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.shards import write_shard
from core.data.tokenizers import ByteTokenizer
from core.data.verify import verify
from core.errors import DaisyError, StoppedError
from daisy_tui.cli.progress import _json_lines
from daisy_tui.data.datasets import DatasetFound, datasets, is_being_prepared
from daisy_tui.data.lengths import length_histogram

TEXTS = ["a" * n for n in (1, 2, 3, 5, 31, 32, 7, 200)]


def _prepare(folder: Path, name: str = "x", **options: Any) -> None:
    prepare(TextSource("t", TEXTS), ByteTokenizer(), folder, PrepareOptions(name, val_fraction=0.1, **options))


def _one(folder: Path) -> DatasetFound:
    (found,) = datasets(folder)
    return found


def test_a_folder_without_data_has_none(workspace: Path, daisy: Any) -> None:
    (workspace / "data/notes").mkdir(parents=True)
    (workspace / "data/notes/a.txt").write_text("no shard")
    assert datasets(workspace) == []
    assert daisy("data", "list").out == "none yet in ./data; `daisy data demo` prepares the bundled novels\n"
    assert json.loads(daisy("data", "list", "--json").out) == []


def test_a_dataset_is_found_with_its_counts_and_who_reads_it(workspace: Path, daisy: Any) -> None:
    _prepare(workspace / "data/mine", shard_tokens=100)
    (workspace / "configs/small.yml").write_text(
        (workspace / "configs/small.yml").read_text().replace("shards/*", "data/mine/x")
    )
    found = _one(workspace)
    report = verify(workspace / "data/mine")
    assert (found.state, found.problem, found.name, found.tokenizer, found.vocab_size) == (
        *("whole", None, "x", "bytes", 257),
    )
    for name, split in report.splits.items():
        mine = found.splits[name]
        assert (mine.tokens, mine.shards, mine.documents) == (split.tokens, split.shards, split.documents)
    assert found.size == sum(path.stat().st_size for path in (workspace / "data/mine").glob("*.bin"))
    assert found.configs == ("small",)
    (entry,) = json.loads(daisy("data", "list", "--json").out)
    assert (entry["path"], entry["splits"]["val"]["documents"]) == ("data/mine", report.splits["val"].documents)
    rows = daisy("data", "list").out.splitlines()
    assert rows[1].split("  ")[0] == "data/mine"
    assert rows[1].endswith("small")


def test_shards_that_only_a_config_names_are_found_too(workspace: Path) -> None:
    _prepare(workspace / "shards")
    found = _one(workspace)
    assert (found.path, found.configs) == (workspace / "shards", ("small",))


def test_community_shards_are_gpt2s_and_their_documents_uncounted(workspace: Path, daisy: Any) -> None:
    (workspace / "data/fineweb").mkdir(parents=True)
    write_shard(workspace / "data/fineweb/f_val_000000.bin", np.array([50256, 1, 2], np.uint32), 50257)
    found = _one(workspace)
    assert (found.state, found.tokenizer, found.splits["val"].tokens) == ("whole", "gpt2", 3)
    assert found.splits["val"].documents is None
    assert daisy("data", "list").out.splitlines()[1].split() == ["data/fineweb", "3", "val", "-", "gpt2", "-"]


def _truncate(folder: Path) -> None:
    shard = folder / "x_train_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])


def _stray(folder: Path) -> None:
    write_shard(folder / "y_train_000000.bin", np.array([256, 1], np.uint32), 257)


def _tear(folder: Path) -> None:
    (folder / DATASET_FILE).write_text("{")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncate, "truncated"),
        (_stray, "y_train_000000.bin: not listed"),
        (_tear, "damaged"),
        (lambda folder: (folder / "x_train_000000.bin").unlink(), "listed in dataset.json, but missing"),
    ],
)
def test_a_damaged_dataset_is_listed_with_what_is_wrong(workspace: Path, daisy: Any, damage: Any, said: str) -> None:
    _prepare(workspace / "data/good")
    _prepare(workspace / "data/mine")
    damage(workspace / "data/mine")
    good, bad = datasets(workspace)
    assert (good.state, bad.state) == ("whole", "damaged")
    assert bad.problem is not None
    assert said in bad.problem
    ran = daisy("data", "list")
    assert ran.code == 0
    assert said in ran.out


def test_a_preparation_that_was_stopped_is_unfinished(workspace: Path) -> None:
    with pytest.raises(StoppedError):
        options = PrepareOptions("x", val_fraction=0)
        prepare(TextSource("t", TEXTS), ByteTokenizer(), workspace / "data/mine", options, stop=lambda: True)
    found = _one(workspace)
    assert (found.state, found.is_busy, found.splits) == ("unfinished", False, {})
    assert found.problem is not None
    assert found.problem.endswith("repeat its command to finish it")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_a_preparation_under_way_is_seen_and_not_disturbed(workspace: Path) -> None:
    seen: list[bool] = []
    mine = workspace / "data/mine"

    def look(_progress: object) -> None:
        found = _one(workspace)
        seen.append(found.is_busy and found.state == "unfinished")

    prepare(TextSource("t", TEXTS), ByteTokenizer(), mine, PrepareOptions("x", val_fraction=0), report=look)
    assert seen
    assert all(seen)
    assert not is_being_prepared(mine)
    (mine / STAGING).mkdir()
    with (mine / STAGING / "lock").open("w") as file:
        assert not is_being_prepared(mine), "a lock that nobody holds"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_being_prepared(mine)
        assert _one(workspace).state == "whole", "the dataset that gives way stays until the new one is whole"


def test_a_broken_config_hides_no_dataset(workspace: Path) -> None:
    _prepare(workspace / "data/mine")
    (workspace / "configs/broken.yml").write_text("model_specc: tiny\n")
    assert _one(workspace).state == "whole"


def test_lengths_are_those_of_whole_documents_over_shards(tmp_path: Path) -> None:
    prepare(TextSource("t", TEXTS), ByteTokenizer(), tmp_path, PrepareOptions("x", val_fraction=0, shard_tokens=20))
    done: list[tuple[int, int]] = []
    found = length_histogram(tmp_path, report=lambda *at: done.append(at))
    assert found is not None
    assert (found.documents, found.longest, found.median) == (len(TEXTS), 200, 6.0)
    assert found.mean == pytest.approx(sum(map(len, TEXTS)) / len(TEXTS))
    bars = {(bar.low, bar.high): (bar.documents, bar.tokens) for bar in found.bars}
    assert bars[1, 1] == (1, 1)
    assert bars[2, 3] == (2, 5)
    assert bars[4, 7] == (2, 12)
    assert bars[8, 15] == (0, 0), "an empty one in between has its place"
    assert bars[16, 31] == (1, 31)
    assert bars[32, 63] == (1, 32)
    assert (found.bars[-1].low, found.bars[-1].high) == (128, 255)
    assert done[-1] == (len(done), len(done))


def test_lengths_can_be_stopped_and_of_nothing_are_an_error(tmp_path: Path) -> None:
    _prepare(tmp_path, shard_tokens=20)
    assert length_histogram(tmp_path, stop=lambda: True) is None
    with pytest.raises(DaisyError, match="no shards of split 'test'"):
        length_histogram(tmp_path, "test")


def test_empty_documents_and_none_have_their_histograms(tmp_path: Path) -> None:
    write_shard(tmp_path / "e_train_000000.bin", np.array([50256, 50256, 7], np.uint32), 50257)
    found = length_histogram(tmp_path)
    assert found is not None
    assert [(bar.low, bar.high, bar.documents) for bar in found.bars] == [(0, 0, 1), (1, 1, 1)]
    write_shard(tmp_path / "e_train_000000.bin", np.array([7], np.uint32), 50257)
    assert length_histogram(tmp_path) == (0, 0.0, 0.0, 0, ())


def test_progress_for_programs_is_a_json_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    update = _json_lines("preparing", lambda: now[0])
    update(100, 1000, "1M tokens")  # an earlier run had come so far, and no line is due yet
    now[0] = 2.0
    update(300, 1000, "2M tokens")
    now[0] = 2.1
    update(310, 1000, "2M tokens")
    update(1000, 1000, "3M tokens")
    first, last = (json.loads(line)["progress"] for line in capsys.readouterr().err.splitlines())
    assert first == {
        "what": "preparing", "done": 300, "total": 1000, "detail": "2M tokens", "rate": 100.0, "eta_s": 7.0
    }  # fmt: skip
    assert (last["done"], last["eta_s"]) == (1000, 0.0), "the end is always told"


def test_commands_tell_their_progress_to_programs_beside_their_result(workspace: Path, daisy: Any) -> None:
    (workspace / "t").mkdir()
    for n in range(3):
        (workspace / f"t/{n}.txt").write_text("some text")
    ran = daisy("data", "prepare", "t", "--out", "d", "--val-fraction", "0.3", "--progress-json")
    assert json.loads(ran.err.splitlines()[-1])["progress"]["done"] == 27
    ran = daisy("data", "verify", "d", "--json", "--progress-json")
    assert json.loads(ran.out)["ok"]
    assert json.loads(ran.err.splitlines()[-1])["progress"]["what"] == "verifying"
