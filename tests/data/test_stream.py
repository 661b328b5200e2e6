from pathlib import Path

import numpy as np
import pytest

from core.data.errors import ShardError
from core.data.shards import write_shard
from core.data.stream import Prefetch, TokenStream, document_ids, step_cursors

GOLDEN = [20, 0, 10, 30, 51, 41, 91, 111, 71, 121, 81, 101]


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards whose tokens count on, of 41, 30 and 65 tokens: 4, 2 and 6 sequences of 10."""
    paths, first = [], 0
    for number, length in enumerate((41, 30, 65)):
        paths.append(tmp_path / f"x_train_{number:06d}.bin")
        write_shard(paths[-1], np.arange(first, first + length), 1000)
        first += length
    return paths


def _firsts(stream: TokenStream, cursors: range) -> list[int]:
    return stream.read(cursors)[:, 0].tolist()


def test_a_sequence_is_consecutive_tokens_and_its_last_target(shards: list[Path]) -> None:
    batch = TokenStream(shards, 10, seed=1).read(range(12))
    assert batch.shape == (12, 11)
    assert batch.dtype == np.int64
    assert (np.diff(batch, axis=1) == 1).all()


def test_an_epoch_reads_every_sequence_once_and_the_next_one_in_another_order(shards: list[Path]) -> None:
    stream = TokenStream(shards, 10, seed=1)
    assert stream.sequences_per_epoch == 12
    starts = [0, 10, 20, 30, 41, 51, 71, 81, 91, 101, 111, 121]
    epochs = [_firsts(stream, range(12 * epoch, 12 * epoch + 12)) for epoch in range(4)]
    assert all(sorted(epoch) == starts for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_the_seeds_alone(shards: list[Path]) -> None:
    one = _firsts(TokenStream(shards, 10, seed=1), range(40))
    assert _firsts(TokenStream(shards, 10, seed=1), range(40)) == one
    assert _firsts(TokenStream(shards, 10, seed=2), range(40)) != one
    # Written down, so that no version of numpy changes what a resume reads.
    assert one[:12] == GOLDEN


def test_any_batch_can_be_read_from_anywhere(shards: list[Path]) -> None:
    whole = TokenStream(shards, 10, seed=1).read(range(40))
    again = TokenStream(shards, 10, seed=1)
    assert (again.read([37, 5, 20]) == whole[[37, 5, 20]]).all()


def test_the_first_epoch_may_begin_at_a_later_shard(shards: list[Path]) -> None:
    stream = TokenStream(shards, 10, seed=1, begin_shard=1)
    assert sorted(_firsts(stream, range(8))) == [41, 51, 71, 81, 91, 101, 111, 121]
    assert stream.position(7) == (0, 7)
    assert stream.position(8) == (1, 0)
    assert len(set(_firsts(stream, range(8, 20)))) == 12


def test_without_shuffling_every_epoch_reads_in_order(shards: list[Path]) -> None:
    stream = TokenStream(shards, 10, shuffle=False)
    assert _firsts(stream, range(12)) == _firsts(stream, range(12, 24)) == sorted(_firsts(stream, range(12)))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_a_step_holds_the_same_sequences_on_any_number_of_ranks(world_size: int) -> None:
    ranks = [step_cursors(5, 12, rank, world_size) for rank in range(world_size)]
    for step in range(3):
        parts = [next(rank) for rank in ranks]
        assert {behind for behind, _ in parts} == {5 + 12 * (step + 1)}
        assert sorted(n for _, numbers in parts for n in numbers) == list(range(5 + 12 * step, 17 + 12 * step))


def test_documents_begin_at_their_end_of_text() -> None:
    sequences = np.array([[7, 7, 0, 1, 1, 0, 2], [0, 1, 0, 0, 1, 1, 0]])
    assert document_ids(sequences, 0).tolist() == [[0, 0, 1, 1, 1, 2], [1, 1, 2, 3, 3, 3]]


def test_prefetching_changes_nothing_and_leaves_no_thread(shards: list[Path]) -> None:
    stream = TokenStream(shards, 10, seed=1)
    cursors = step_cursors(3, 4, 0, 1)
    expected = [(behind, stream.read(numbers).tolist()) for behind, numbers in (next(cursors) for _ in range(6))]
    with Prefetch(stream, step_cursors(3, 4, 0, 1)) as batches:
        taken = [(behind, batch.tolist()) for (behind, batch), _ in zip(batches, range(6), strict=False)]
    assert taken == expected
    assert not batches._thread.is_alive()


def test_a_failure_while_reading_ahead_is_raised_where_batches_are_taken(shards: list[Path]) -> None:
    def failing() -> object:
        yield 1, [0]
        raise OSError("the disk is gone")

    with Prefetch(TokenStream(shards, 10), failing()) as batches, pytest.raises(OSError, match="the disk is gone"):  # type: ignore[arg-type]
        list(batches)


def test_the_fingerprint_tells_datasets_apart(shards: list[Path], tmp_path: Path) -> None:
    one = TokenStream(shards, 10, seed=1).fingerprint()
    assert TokenStream(shards, 10, seed=2).fingerprint() == one
    assert TokenStream(shards, 8).fingerprint() != one
    assert TokenStream(shards[:2], 10).fingerprint() != one
    tokens = np.arange(41)
    tokens[0] = 5
    write_shard(shards[0], tokens, 1000)
    assert TokenStream(shards, 10).fingerprint() != one


def test_shards_without_one_sequence_are_refused(shards: list[Path]) -> None:
    with pytest.raises(ShardError, match="not one sequence of 100 tokens"):
        TokenStream(shards, 100)
    with pytest.raises(ShardError, match="no shards: not one sequence"):
        TokenStream([], 10)
