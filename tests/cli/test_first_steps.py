"""How far a folder has come from nothing to a model that chats: always as its files say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import write_run

from core.data.demo import prepare_demo
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
from core.errors import StoppedError
from core.runs.directory import RunDirectory, write_object
from daisy_tui.first_steps import Step, first_steps

SaveModel = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., RunDirectory]]:
    """Make a run, of the demo's config unless another is named; living ones end with the test."""
    locks: list[int] = []

    def make(state: str, *, config: str = "configs/demo.yml", **facts: Any) -> RunDirectory:
        path, lock = write_run(tmp_path / "runs", "demo", state, **facts)
        locks.extend([lock] if lock is not None else [])
        run = RunDirectory(path)
        write_object(run.run, run.facts() | {"config": config})
        return run

    yield make
    for lock in locks:
        os.close(lock)


def _novels(folder: Path) -> None:
    prepare(TextSource("t", ["a", "b"]), ByteTokenizer(), folder / "data/demo", PrepareOptions("demo", val_fraction=0))


def _states(folder: Path) -> list[str]:
    return [step.state for step in first_steps(folder)]


def test_in_an_empty_folder_everything_is_to_do_in_order(tmp_path: Path) -> None:
    data, training, chat = first_steps(tmp_path)
    assert (data.state, data.waits_for, data.command) == ("todo", None, ("data", "demo"))
    assert (training.state, training.waits_for) == ("todo", "the novels come first")
    assert (chat.state, chat.waits_for) == ("todo", "a trained model comes first")


def test_prepared_novels_are_done_and_training_comes_next(tmp_path: Path) -> None:
    prepare_demo(tmp_path / "data/demo", 1)
    data, training, _ = first_steps(tmp_path)
    assert (data.state, data.words) == ("done", "1.04M tokens in 270 documents")
    assert (training.state, training.waits_for, training.command) == ("todo", None, ("train", "demo"))


def test_a_preparation_under_way_is_running_and_one_that_was_stopped_goes_on(tmp_path: Path) -> None:
    seen: list[Step] = []

    def stop() -> bool:
        seen.append(first_steps(tmp_path)[0])
        return True

    with pytest.raises(StoppedError):
        prepare(
            *(TextSource("t", ["a", "b"]), ByteTokenizer(), tmp_path / "data/demo"),
            PrepareOptions("demo", val_fraction=0),
            stop=stop,
        )
    assert seen[0].state == "running"
    data = first_steps(tmp_path)[0]
    assert (data.state, data.words) == ("todo", "begun, and goes on where it was")


def test_damaged_novels_are_to_do_over(tmp_path: Path) -> None:
    _novels(tmp_path)
    (tmp_path / "data/demo/demo_train_000000.bin").write_bytes(b"")
    data = first_steps(tmp_path)[0]
    assert (data.state, data.command) == ("todo", ("data", "demo", "--overwrite"))
    assert "the file is empty" in data.words


def test_a_run_is_followed_from_its_start_to_its_end(tmp_path: Path, train: Any, save_model: SaveModel) -> None:
    _novels(tmp_path)
    run = train("running", steps=10, target_steps=40)
    training, chat = first_steps(tmp_path)[1:]
    assert (training.state, training.run) == ("running", run.path)
    assert training.words.startswith("running: 25%, loss ")
    assert chat.waits_for == "a trained model comes first"
    save_model(run.checkpoints / "step_000000010")
    assert first_steps(tmp_path)[2].waits_for is None, "one that still trains can chat from its checkpoint"


def test_a_finished_run_is_done_and_chats(tmp_path: Path, train: Any, save_model: SaveModel) -> None:
    _novels(tmp_path)
    run = train("finished")
    save_model(run.checkpoints / "step_000000040")
    training, chat = first_steps(tmp_path)[1:]
    assert training.state == "done"
    assert training.words.startswith("validation loss ")
    assert (chat.state, chat.waits_for, chat.command) == ("todo", None, ("chat", "latest"))
    other = train("finished", config="configs/other.yml", day=2)
    os.utime(other.launch)
    assert first_steps(tmp_path)[2].command == ("chat", run.path.name), "latest is another's now"
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats/a.jsonl").write_text("{}\n")
    assert _states(tmp_path) == ["done", "done", "done"]


def test_a_run_that_was_stopped_or_failed_says_how_it_goes_on(
    tmp_path: Path, train: Any, save_model: SaveModel
) -> None:
    _novels(tmp_path)
    failed = train("failed", reason="out of memory", steps=7, target_steps=11)
    training = first_steps(tmp_path)[1]
    assert (training.state, training.words, training.command) == ("todo", "failed: out of memory", ("train", "demo"))
    save_model(failed.checkpoints / "step_000000005")
    training = first_steps(tmp_path)[1]
    assert training.command == ("train", "--resume", failed.path.name)
    assert training.words == "failed at 63%; goes on from its checkpoint"


def test_runs_of_other_configs_are_not_the_demos(tmp_path: Path, train: Any) -> None:
    _novels(tmp_path)
    train("finished", config="configs/mine.yml")
    assert first_steps(tmp_path)[1].state == "todo"


def test_whatever_lies_there_is_a_state_and_nothing_is_raised(tmp_path: Path, train: Any) -> None:
    _novels(tmp_path)
    run = train("finished")
    for path in (run.run, run.metrics, run.exit, run.launch, tmp_path / "data/demo/dataset.json"):
        path.write_bytes(b"\xff\x00")
        assert len(_states(tmp_path)) == 3
    run.run.write_text(json.dumps({"config": None}))
    (tmp_path / "data/demo/dataset.json").unlink()
    (tmp_path / "data/demo/demo_train_000000.bin").chmod(0)
    assert len(_states(tmp_path)) == 3
