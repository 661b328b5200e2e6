"""Which devices `--devices` and `-n` mean, on machines that the test makes up."""

from __future__ import annotations

import pytest

from core.runs.devices import CPU, Device, DeviceError, choose, gpus
from core.runs.leases import Wanted

FOUR = [Device(f"GPU-{letter}", str(index), "H100") for index, letter in enumerate("abcd")]


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that shows four GPUs, to a process that nothing hides them from."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, answer in (
        ("nvmlInit", lambda: None),
        ("nvmlDeviceGetCount", lambda: 4),
        ("nvmlDeviceGetHandleByIndex", lambda index: index),
        ("nvmlDeviceGetUUID", lambda index: FOUR[index].key),
        ("nvmlDeviceGetName", lambda index: "H100"),
    ):
        monkeypatch.setattr(f"pynvml.{name}", answer)


@pytest.mark.parametrize(
    ("asked", "nproc", "have", "ranks", "among", "number"),
    [
        (None, None, 0, 1, "cpu", 1),
        (None, 2, 0, 2, "cpu", 1),
        ("cpu", None, 4, 1, "cpu", 1),
        ("cpu", 3, 4, 3, "cpu", 1),
        (None, None, 4, 1, "a", 1),
        (None, 3, 4, 3, "abc", 3),
        ("0,1", None, 4, 2, "ab", 2),
        ("3, 1", None, 4, 2, "db", 2),
        ("2", 1, 4, 1, "c", 1),
        ("any:2", None, 4, 2, "abcd", 2),
        ("any:2", 2, 4, 2, "abcd", 2),
        ("any", 3, 4, 3, "abcd", 3),
        ("any", None, 4, 1, "abcd", 1),
    ],
)
def test_devices_as_they_are_asked_for(
    asked: str | None, nproc: int | None, have: int, ranks: int, among: str, number: int
) -> None:
    keys = (CPU,) if among == CPU else tuple(f"GPU-{letter}" for letter in among)
    assert choose(asked, nproc, FOUR[:have]) == (ranks, Wanted(keys, number))


@pytest.mark.parametrize(
    ("asked", "nproc", "have", "said"),
    [
        ("0", None, 0, "--devices 0: this machine has no GPU that can be used; it has cpu"),
        ("any:1", None, 0, "this machine has no GPU"),
        (None, 5, 4, r"-n 5: this machine has 4 GPUs \(0, 1, 2, 3\); --devices cpu takes none"),
        ("4", None, 4, r"--devices 4: not among this machine's GPUs \(0, 1, 2, 3\); also any:K, cpu"),
        ("0,0", None, 4, "not among this machine's GPUs"),
        ("0,", None, 4, "not among this machine's GPUs"),
        ("", None, 4, "not among this machine's GPUs"),
        ("cuda:0", None, 4, "not among this machine's GPUs"),
        ("0,cpu", None, 4, "not among this machine's GPUs"),
        ("any:5", None, 4, "--devices any:5: any:K takes K of this machine's 4 GPUs"),
        ("any:0", None, 4, "any:K takes K"),
        ("any:two", None, 4, "any:K takes K"),
        ("any:²", None, 4, "any:K takes K"),
        ("0,1", 3, 4, "-n 3 ranks need as many GPUs; --devices 0,1 names 2"),
        ("any:2", 1, 4, "-n 1 ranks need as many GPUs; --devices any:2 names 2"),
    ],
)
def test_devices_that_cannot_be_had_are_one_line(asked: str | None, nproc: int | None, have: int, said: str) -> None:
    with pytest.raises(DeviceError, match=said) as caught:
        choose(asked, nproc, FOUR[:have])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("visible", "keys"),
    [
        (None, "abcd"),
        ("", ""),
        ("2", "c"),
        ("3,0", "da"),
        ("GPU-b, 0", "ba"),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("1,9,2", "b"),
        ("0,-1,1", "a"),
        ("²", ""),
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_gpus_are_those_that_cuda_would_show_in_its_order(
    visible: str | None, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    expected = [Device(f"GPU-{letter}", str(index), "H100") for index, letter in enumerate(keys)]
    assert gpus() == expected, "behind an item that names none, CUDA shows no more"


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr("pynvml.nvmlInit", missing)
    assert gpus() == []
