"""Folders for work that leaves nothing, whoever kills it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.runs.scratch import scratch_folder

HOLDER = """
import sys, tempfile
from core.runs.scratch import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder("work-") as folder:
    (folder / "inside").mkdir()
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_when_its_work_ends_or_fails(temporary: Path) -> None:
    with scratch_folder("work-") as folder:
        (folder / "file").touch()
        assert folder.parent == temporary
    with pytest.raises(KeyError), scratch_folder("work-"):
        raise KeyError
    assert not [*temporary.iterdir()]


def test_what_a_killed_one_left_is_removed_by_the_next_and_what_lives_stays(temporary: Path) -> None:
    (temporary / "working").mkdir()
    command = [sys.executable, "-c", HOLDER, str(temporary)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with scratch_folder("work-") as mine:
            assert theirs.is_dir(), "its owner lives"
            other.kill()
            other.wait()
            assert theirs.is_dir(), "as a kill leaves it"
            with scratch_folder("work-"):
                assert mine.is_dir()
                assert not theirs.exists()
    assert [path.name for path in temporary.iterdir()] == ["working"], "nothing of another name is touched"


def test_a_folder_that_was_taken_for_one_left_before_it_was_held_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls = tempfile.mkdtemp, []

    def taken_away(prefix: str) -> str:
        path = made(prefix=prefix)
        calls.append(path)
        if len(calls) == 1:
            Path(path).rmdir()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", taken_away)
    with scratch_folder("work-") as folder:
        assert str(folder) == calls[1]
        assert folder.is_dir()
