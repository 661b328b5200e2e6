from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.checkpoint.format import CheckpointError
from core.checkpoint.statistics import Movement, TensorStatistics, histogram, movements, statistics

NAN, INF = float("nan"), float("inf")
FLOATS = torch.float64, torch.float32, torch.float16, torch.bfloat16
WHOLE = torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool


@pytest.fixture(params=[7, 1 << 19], ids=["small chunks", "one chunk"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checkpoint.statistics.CHUNK_VALUES", request.param)


def _checkpoint(folder: Path, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "meta.json").write_text("{}")
    names = ("model.safetensors", "meta.json")
    entries = {name: {"bytes": (folder / name).stat().st_size, "sha256": ""} for name in names}
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


def _one(folder: Path, tensor: Tensor) -> TensorStatistics:
    (found,) = statistics(_checkpoint(folder, {"a": tensor}))
    return found


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE], ids=str)
def test_statistics_are_those_of_the_whole_tensor_in_float64(tmp_path: Path, dtype: torch.dtype) -> None:
    values = _random(5, 11) * 30
    tensor = (
        values.abs().to(dtype) if dtype == torch.uint8 else (values > 0) if dtype == torch.bool else values.to(dtype)
    )
    exact = tensor.double().numpy()
    found = _one(tmp_path / "c", tensor)
    assert found.shape == (5, 11)
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-12)
    assert found.mean == pytest.approx(exact.mean(), rel=1e-11)
    assert found.std == pytest.approx(exact.std(), rel=1e-12)
    assert (found.min, found.max) == (exact.min(), exact.max())
    limit = 1e-3 * np.sqrt((exact**2).mean())
    assert found.near_zero == pytest.approx((np.abs(exact) <= limit).mean())
    assert (found.nan, found.infinite) == (0, 0)


@pytest.mark.usefixtures("chunks")
def test_deviations_keep_their_digits_beside_a_large_mean(tmp_path: Path) -> None:
    tensor = 1e6 + 1e-3 * _random(1000)  # a sum of squares less the squared mean would leave 2 digits of 16
    found = _one(tmp_path / "c", tensor)
    assert found.std == pytest.approx(tensor.numpy().std(), rel=1e-6)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_what_is_not_finite_is_counted_and_leaves_the_rest_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    rest = _random(60).to(dtype)
    bad = torch.tensor([NAN, INF, -INF, NAN, NAN], dtype=dtype)
    found = _one(tmp_path / "c", torch.cat([rest[:20], bad[:2], rest[20:], bad[2:]]))
    alone = _one(tmp_path / "d", rest)
    assert (found.nan, found.infinite) == (3, 2)
    for name in ("norm", "mean", "std", "min", "max", "near_zero"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=1e-12), name


def test_a_tensor_without_any_finite_value_has_no_figures(tmp_path: Path) -> None:
    for number, tensor in enumerate((torch.tensor([NAN, INF]), torch.zeros(0, 3))):
        found = _one(tmp_path / str(number), tensor)
        assert {found.norm, found.mean, found.std, found.min, found.max, found.near_zero} == {None}
        assert found.nan == found.infinite == (1 if tensor.numel() else 0)


@pytest.mark.usefixtures("chunks")
def test_near_zero_is_measured_by_the_root_mean_square_of_the_tensor(tmp_path: Path) -> None:
    assert _one(tmp_path / "zeros", torch.zeros(20)).near_zero == 1
    assert _one(tmp_path / "same", torch.full((20,), 1e-9)).near_zero == 0
    # The rms of these is close to 0.5: the limit lies at 0.0005.
    mixed = torch.tensor([1.0] * 5 + [0.00051] * 5 + [0.00049] * 6 + [0.0] * 4)
    assert _one(tmp_path / "mixed", mixed).near_zero == 0.5


def test_numbers_that_no_square_holds_do_not_end_it(tmp_path: Path) -> None:
    found = _one(tmp_path / "c", torch.tensor([1e300, -1e300, 1e308, 1e308], dtype=torch.float64))
    assert (found.min, found.max, found.nan, found.infinite) == (-1e300, 1e308, 0, 0)


def test_every_byte_is_reported_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checkpoint.statistics.CHUNK_VALUES", 10)
    tensors = {"a": torch.zeros(25), "b": torch.zeros(4, 4, dtype=torch.bfloat16)}
    left, right = (_checkpoint(tmp_path / name, tensors) for name in ("l", "r"))
    seen: list[tuple[int, int]] = []
    list(statistics(left, lambda done, total: seen.append((done, total))))
    assert seen == sorted(seen)
    assert seen[-1] == (132, 132)
    seen.clear()
    movements(left, right, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (264, 264)


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checkpoint.statistics.CHUNK_VALUES", 1 << 12)
    folder = _checkpoint(tmp_path / "c", {"a": torch.ones(1 << 21)})  # 8 MiB
    tracemalloc.start()
    try:
        list(statistics(folder))
        movements(folder, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_that_is_cut_while_it_is_read_is_one_line(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "c", {"a": torch.zeros(100_000), "b": torch.zeros(100_000)})
    entries = statistics(folder)
    next(entries)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(500_000)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: ends within tensor b; it is damaged"):
        next(entries)


@pytest.mark.usefixtures("chunks")
def test_movements_are_those_of_the_whole_tensors_the_largest_first(tmp_path: Path) -> None:
    left = {name: _random(4, 9, seed=seed) for seed, name in enumerate("abc")}
    right = {"a": left["a"] * 1.01, "b": left["b"] + 0.5 * _random(4, 9, seed=9), "c": left["c"].clone()}
    left["b"], right["a"] = left["b"].float(), right["a"].bfloat16()
    left["only"], right["shape"], left["shape"] = torch.ones(2), torch.ones(2), torch.ones(3)
    found = movements(_checkpoint(tmp_path / "l", left), _checkpoint(tmp_path / "r", right))
    assert [entry.name for entry in found] == ["b", "a", "c"]
    for entry in found:
        a, b = (side[entry.name].double().flatten().numpy() for side in (left, right))
        norm = np.linalg.norm
        assert entry.relative == pytest.approx(norm(a - b) / norm(a), rel=1e-12)
        assert entry.cosine == pytest.approx(a @ b / norm(a) / norm(b), rel=1e-12)
        expected = (norm(a), norm(b), norm(a - b))
        assert (entry.norm_left, entry.norm_right, entry.norm_difference) == pytest.approx(expected, rel=1e-12)
    assert found[-1].relative == 0


def test_a_tensor_that_left_zero_moved_most(tmp_path: Path) -> None:
    left: dict[str, Any] = {"grown": torch.zeros(4), "far": torch.full((4,), 1e-6), "still": torch.zeros(4)}
    right: dict[str, Any] = {"grown": torch.full((4,), 1e-6), "far": torch.ones(4), "still": torch.zeros(4)}
    found = movements(_checkpoint(tmp_path / "l", left), _checkpoint(tmp_path / "r", right))
    assert [(e.name, e.relative is None, e.cosine is None) for e in found] == [
        ("grown", True, True),
        ("far", False, False),
        ("still", False, True),
    ]
    assert found[-1].relative == 0


@pytest.mark.usefixtures("chunks")
def test_places_that_are_not_finite_are_left_out_of_a_movement(tmp_path: Path) -> None:
    left = _checkpoint(tmp_path / "l", {"a": torch.tensor([3.0, NAN, 4.0, 1.0]), "b": torch.tensor([NAN])})
    right = _checkpoint(tmp_path / "r", {"a": torch.tensor([3.0, 1.0, 9.0, INF]), "b": torch.tensor([0.0])})
    nothing, some = movements(left, right)
    assert some == Movement("a", 1.0, pytest.approx(45 / 5 / 90**0.5), 5.0, 90**0.5, 5.0, 2)
    assert (nothing.name, nothing.relative, nothing.cosine, nothing.left_out) == ("b", None, None, 1)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_histogram_counts_as_numpy_does(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = _random(37, 29).to(dtype)
    found = histogram(_checkpoint(tmp_path / "c", {"a": tensor, "b": torch.zeros(3)}), "a", bins=20)
    values = tensor.double().numpy().ravel()
    expected, edges = np.histogram(values, 20)
    assert (found.low, found.high, found.left_out) == (edges[0], edges[-1], 0)
    # A value at the edge of two bins may be in either: dividing rounds.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 1
    assert sum(found.counts) == values.size


@pytest.mark.usefixtures("chunks")
def test_a_histogram_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    folder = _checkpoint(
        tmp_path / "c", {"a": torch.tensor([NAN, 1.0, INF, 3.0, -INF, 1.0]), "b": torch.full((2,), NAN)}
    )
    found = histogram(folder, "a", bins=4)
    assert (found.low, found.high, found.counts, found.left_out) == (1.0, 3.0, (2, 0, 0, 1), 3)
    none = histogram(folder, "b", bins=2)
    assert (none.low, none.high, none.counts, none.left_out) == (None, None, (0, 0), 2)


@pytest.mark.parametrize(
    ("tensor", "counts"),
    [
        (torch.full((5,), 7.0), (0, 0, 5, 0)),
        (torch.zeros(0), (0, 0, 0, 0)),
        (torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64), (1, 0, 0, 1)),
        (torch.tensor([0.0, 5e-324], dtype=torch.float64), (0, 0, 2, 0)),
        (torch.tensor([1.0, 1.0 + 2**-23]), (1, 0, 0, 1)),
    ],
    ids=["one value", "no value", "wider than a float", "closer than a half", "neighbours"],
)
def test_a_histogram_of_odd_ranges(tmp_path: Path, tensor: Tensor, counts: tuple[int, ...]) -> None:
    assert histogram(_checkpoint(tmp_path / "c", {"a": tensor}), "a", bins=4).counts == counts


def test_a_histogram_tells_its_progress_and_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checkpoint.statistics.CHUNK_VALUES", 10)
    folder, told = _checkpoint(tmp_path / "c", {"a": _random(100).float()}), list[tuple[int, int]]()
    histogram(folder, "a", 4, lambda done, total: told.append((done, total)))
    assert told[-1] == (400, 400)
    assert len(told) == 20

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        histogram(folder, "a", 4, stop)


def test_a_histogram_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "c", {"a": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="has no tensor 'b'; `daisy inspect` names those that it has"):
        histogram(folder, "b")
