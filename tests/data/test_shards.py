import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.errors import ShardError
from core.data.shards import HEADER_BYTES, MAGIC, ShardWriter, open_shard, read_header, version_for, write_shard


@given(st.lists(st.integers(0, 2**16 - 1)))
def test_uint16_shards_give_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    path = tmp_path_factory.mktemp("s") / "x.bin"
    write_shard(path, np.array(ids, dtype=np.uint32), 2**16)
    tokens = open_shard(path)
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == ids


def test_larger_vocabularies_are_uint32(tmp_path: Path) -> None:
    ids = np.array([0, 2**16, 200_000], dtype=np.uint32)
    write_shard(tmp_path / "x.bin", ids, 200_001)
    assert read_header(tmp_path / "x.bin").version == 2
    assert open_shard(tmp_path / "x.bin").tolist() == ids.tolist()
    assert (version_for(2**16), version_for(2**16 + 1)) == (1, 2)


def test_the_bytes_are_those_of_the_speed_run_community(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.bin", np.array([50256, 1, 2]), 50257)
    raw = (tmp_path / "x.bin").read_bytes()
    header = np.frombuffer(raw[:1024], dtype="<i4")
    assert header[:3].tolist() == [20240520, 1, 3]
    assert not header[3:].any()
    assert np.frombuffer(raw[1024:], dtype="<u2").tolist() == [50256, 1, 2]


def test_tokens_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.bin", np.arange(5), 10)
    with pytest.raises(ValueError, match="read-only"):
        open_shard(tmp_path / "x.bin")[0] = 1


def _header(magic: int = MAGIC, version: int = 1, tokens: int = 4) -> bytes:
    return struct.pack("<3i", magic, version, tokens).ljust(HEADER_BYTES, b"\0")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (_header()[:100], "truncated: 100 bytes, but the header alone has 1024"),
        (_header(magic=1) + bytes(8), "not a token shard: it begins with 1"),
        (_header(version=3) + bytes(8), "shard version 3 is unknown"),
        (_header(tokens=-1) + bytes(8), "the header claims -1 tokens"),
        (_header() + bytes(7), "truncated: the header says 4 tokens (1032 bytes), but the file has 1031"),
        (_header() + bytes(10), "too long: the header says 4 tokens"),
        (_header(version=2) + bytes(8), "truncated"),
        (bytes(2048), "not a token shard: it begins with 0"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(ShardError) as caught:
        open_shard(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="No such file"):
        open_shard(tmp_path / "x.bin")


def test_an_unfinished_file_is_never_a_shard(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.bin", version=1)
    writer.append(np.arange(10))
    writer.sync()
    with pytest.raises(ShardError, match="not a token shard"):
        open_shard(tmp_path / "x.bin")
    writer.finish()
    assert open_shard(tmp_path / "x.bin").tolist() == list(range(10))


def test_a_continued_file_drops_what_was_not_noted(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.bin", version=1)
    writer.append(np.arange(10))
    writer.close()
    again = ShardWriter(tmp_path / "x.bin", version=1, tokens=4)
    again.append(np.array([99]))
    again.finish()
    assert open_shard(tmp_path / "x.bin").tolist() == [0, 1, 2, 3, 99]


def test_a_continued_file_that_lost_tokens_is_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.bin", version=1)
    writer.append(np.arange(3))
    writer.close()
    with pytest.raises(ShardError, match="holds fewer than the 4 tokens"):
        ShardWriter(tmp_path / "x.bin", version=1, tokens=4)
