from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.checkpoint.retention import Retention, Saved, best, superfluous


def _run(*losses: float | None, tokens: int = 100) -> list[Saved]:
    """Checkpoints of the steps 1, 2, ... with these validation losses, `tokens` apart."""
    return [Saved(Path(f"step_{n}"), n, n * tokens, loss) for n, loss in enumerate(losses, 1)]


def _kept(checkpoints: list[Saved], **policy: int | None) -> list[int]:
    gone = superfluous(checkpoints, Retention(**policy))  # type: ignore[arg-type]
    return [saved.step for saved in checkpoints if saved not in gone]


def test_without_a_number_of_last_ones_everything_stays() -> None:
    assert _kept(_run(3, 2, 1, 4), keep_best=0, keep_every=0) == [1, 2, 3, 4]


def test_the_last_ones_and_the_best_one_stay() -> None:
    assert _kept(_run(3, 1, 2, 4, 5), keep_last=2) == [2, 4, 5]
    assert _kept(_run(3, 1, 2, 4, 5), keep_last=2, keep_best=0) == [4, 5]
    assert _kept(_run(3, 1, 2, 4, 5), keep_last=1, keep_best=3) == [1, 2, 3, 5]


def test_one_in_so_many_tokens_stays_the_first_of_each_span() -> None:
    assert _kept(_run(*[None] * 9), keep_last=1, keep_every=300) == [3, 6, 9]
    assert _kept(_run(*[None] * 8), keep_last=2, keep_every=250) == [3, 5, 7, 8]


def test_what_was_not_evaluated_is_no_best_one() -> None:
    assert best(_run(None, None)) is None
    lowest = best(_run(None, 2.0, 2.0, 3.0))
    assert lowest is not None
    assert lowest.step == 2
    assert _kept(_run(None, 2.0, None), keep_last=1) == [2, 3]


@given(st.lists(st.none() | st.floats(0, 9), max_size=12), st.integers(1, 4), st.integers(0, 3), st.integers(0, 500))
def test_removing_one_after_the_other_keeps_what_one_look_at_the_end_would(
    losses: list[float | None], last: int, top: int, every: int
) -> None:
    # Retention acts after every save; a span's first one is not lost because later ones of its span were removed.
    policy = Retention(last, top, every)
    left: list[Saved] = []
    for saved in _run(*losses):
        left.append(saved)
        gone = superfluous(left, policy)
        left = [s for s in left if s not in gone]
    everything = _run(*losses)
    assert left == [s for s in everything if s not in superfluous(everything, policy)]


@pytest.mark.parametrize("keep_last", [1, 3])
def test_the_newest_one_is_never_removed(keep_last: int) -> None:
    for count in range(1, 6):
        assert _kept(_run(*range(count)), keep_last=keep_last)[-1] == count
