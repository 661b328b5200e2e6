"""Preparing at the machine's limits: a disk that is full, memory that is not to grow, a kill at any step."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.data.shards import open_shard

FULL = """
import resource, sys
from pathlib import Path
from core.data.documents import FileSource
from core.data.errors import ShardError
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
source, out, limit = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
try:
    options = PrepareOptions("x", val_fraction=0)
    prepare(FileSource([source]), ByteTokenizer(), Path(out), options, save_every_tokens=1 << 20)
except ShardError as error:
    print(error)
    sys.exit(1)
"""


def test_a_disk_that_fills_up_leaves_nothing_half_done(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a full disk: the same write fails the same way.
    source = tmp_path / "a.txt"
    source.write_text("some words in a row " * 400_000)
    command = [sys.executable, "-c", FULL, str(source), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    full = subprocess.run([*command, str(5 << 20)], capture_output=True, text=True, cwd=root, check=False)
    assert full.returncode == 1, full.stderr
    assert "the disk is full" in full.stdout
    assert len(full.stdout.splitlines()) == 1
    assert not list((tmp_path / "out").rglob("*.bin"))
    assert not (tmp_path / "out/dataset.json").exists()
    room = subprocess.run(
        [*command, str(resource.RLIM_INFINITY)], capture_output=True, text=True, cwd=root, check=False
    )
    assert room.returncode == 0, room.stdout
    tokens = np.concatenate([open_shard(path) for path in sorted((tmp_path / "out").glob("*.bin"))])
    assert bytes(tokens[1:].astype(np.uint8)) == source.read_bytes()


MEMORY = """
import resource, sys
from pathlib import Path
from core.data.documents import FileSource
from core.data.prepare import PrepareOptions, prepare
from core.data.tokenizers import ByteTokenizer
prepare(FileSource([sys.argv[1]]), ByteTokenizer(), Path(sys.argv[2]), PrepareOptions("x", val_fraction=0, workers=2))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_stays_flat_however_long_one_document_is(tmp_path: Path) -> None:
    def peak_mib(megabytes: int) -> int:
        source = tmp_path / f"{megabytes}.txt"
        line = b"It is a truth universally acknowledged, that a single man\n"
        source.write_bytes(line * (megabytes * 1_000_000 // len(line)))
        command = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / f"out{megabytes}")]
        root = Path(__file__).parents[2]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout)

    assert peak_mib(160) - peak_mib(20) < 20


@pytest.mark.long
def test_a_kill_at_any_step_on_the_file_system_is_followed_up_whole() -> None:
    program = [sys.executable, Path(__file__).with_name("crash_fuzz.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    for line in lines:
        assert re.fullmatch(r"[a-z ,]+: [3-9]\d kills", line), line


@pytest.mark.parametrize(
    "line", ["字。\n", "xxxxxxxxxx", "\n\n\n\n\n\n\n\n"], ids=["prose", "no blanks", "only blanks"]
)
def test_memory_stays_flat_without_letters_before_blanks(tmp_path: Path, line: str) -> None:
    def peak_mib(megabytes: int) -> int:
        source, out = tmp_path / f"{megabytes}.txt", tmp_path / f"out{megabytes}"
        source.write_text(line * (megabytes * 1_000_000 // len(line.encode())) + "x")
        command = [sys.executable, "-c", MEMORY, str(source), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        tokens = np.concatenate([open_shard(path) for path in sorted(out.glob("*.bin"))])
        assert bytes(tokens[1:].astype(np.uint8)) == source.read_bytes()
        return int(done.stdout)

    assert peak_mib(60) - peak_mib(30) < 30
