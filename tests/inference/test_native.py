"""The compiled step against the plain model, over the same caches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.config.model_spec import ModelSpec
from core.inference import native
from core.inference.native import NativeError, NativeStep, Weights
from core.model.cache import KVCache, Rows
from core.model.daisy_core import DaisyCore, initialize

PLAIN = ModelSpec(
    num_layers=4,
    num_heads=2,
    head_dim=8,
    model_dim=16,
    vocab_size=101,
    eos_token_id=99,
    max_seq_len=256,
    attention_window_len=16,
    x0_mixing=False,
)
# As large as kernels need to be to take every path: several vectors a row, and what is left of one.
WIDE = PLAIN.model_copy(update={"head_dim": 82, "model_dim": 164, "mlp_ratio": 3, "num_layers": 3})
SPECS = {
    "plain": PLAIN,
    "x0 mixing": PLAIN.model_copy(update={"x0_mixing": True}),
    "depth skips": PLAIN.model_copy(update={"depth_skips": True}),
    "depth skips, odd": PLAIN.model_copy(update={"depth_skips": True, "num_layers": 5}),
    "value embeddings": PLAIN.model_copy(update={"value_embeddings": 2}),
    "one layer": PLAIN.model_copy(update={"num_layers": 1, "depth_skips": True, "logit_softcap": 3.0}),
    "wide": WIDE,
    "every option": WIDE.model_copy(
        update={"x0_mixing": True, "depth_skips": True, "value_embeddings": 1, "num_layers": 5, "rope_theta": 500.0}
    ),
}
# Of the logits of these models, which reach 10 and more. fp32 differs by the order of sums.
TOLERANCES: dict[Weights, float] = {"float32": 1e-4, "bfloat16": 0.25, "int8": 0.5}


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native")


@pytest.fixture
def compiled(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of this session; nothing is left in the user's cache."""
    monkeypatch.setenv("DAISY_CACHE", str(cache_folder))
    if not any(True for _ in native._ways()):
        pytest.skip("there is no C compiler on this machine")
    native.load_library()


def _model(spec: ModelSpec) -> DaisyCore:
    """A model whose every parameter counts: what is initialised to zero is set to something."""
    model = DaisyCore(spec)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            size = 0.2 if parameter.ndim == 1 else 0.8 * spec.model_dim**-0.5
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _tokens(rows: int, time: int) -> Tensor:
    return torch.randint(0, 100, (rows, time), generator=torch.Generator().manual_seed(time))


@torch.no_grad()
def _plain(model: DaisyCore, cache: KVCache, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
    rows = Rows(torch.tensor(positions), torch.tensor(slots))
    return model.logits(model.hidden(torch.tensor(tokens)[:, None], cache=cache, rows=rows)[:, 0])


def _filled(model: DaisyCore, slots: int, lengths: list[int], **sizes: Any) -> KVCache:
    """A cache whose slot i has a sequence of its length behind it, and whatever was there before beyond."""
    cache = model.new_cache(slots, **sizes)
    for layer in cache.layers:
        layer.keys.fill_(3.0)
        layer.values.fill_(50.0)
    with torch.no_grad():
        for slot, length in enumerate(lengths):
            if length:
                model.hidden(_tokens(1, length), cache=cache, rows=Rows(torch.tensor([0]), torch.tensor([slot])))
    return cache


def _close_caches(one: KVCache, other: KVCache) -> None:
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        torch.testing.assert_close(mine.keys, theirs.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.values, theirs.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", TOLERANCES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_step_is_the_plain_models_beyond_several_wraps_of_every_ring(
    spec: ModelSpec, weights: Weights, compiled: None
) -> None:
    model = _model(spec)
    slots, lengths = [3, 0, 2], [0, 7, 40, 90]
    theirs, ours = _filled(model, 4, lengths), _filled(model, 4, lengths)
    step = NativeStep(model, ours, weights=weights)
    tokens, worst, largest = _tokens(3, 40), 0.0, 0.0
    for time in range(40):
        chosen, positions = tokens[:, time].tolist(), [lengths[slot] + time for slot in slots]
        expected = _plain(model, theirs, chosen, slots, positions)
        got = step(chosen, slots, positions)
        assert got.shape == (3, spec.vocab_size)
        worst = max(worst, (got - expected).abs().max().item())
        largest = max(largest, expected.abs().max().item())
    assert worst < TOLERANCES[weights]
    assert largest > 2  # logits that say something
    if weights == "float32":
        _close_caches(ours, theirs)


@pytest.mark.parametrize("weights", TOLERANCES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_does_not_depend_on_its_neighbours_nor_on_threads_bit_for_bit(
    weights: Weights, threads: int, compiled: None
) -> None:
    model, lengths = _model(SPECS["every option"]), [5, 30, 0, 17, 90, 1, 16, 15, 33]
    tokens = _tokens(9, 3)[:, 0].tolist()
    alone = NativeStep(model, _filled(model, 9, lengths), weights=weights)
    rows = [alone([tokens[slot]], [slot], [lengths[slot]])[0] for slot in range(9)]
    together = NativeStep(model, _filled(model, 9, lengths), weights=weights)
    torch.set_num_threads(threads)
    for count in range(1, 10):
        slots = [(7 * place + count) % 9 for place in range(count)]
        got = together([tokens[slot] for slot in slots], slots, [lengths[slot] for slot in slots])
        for row, slot in zip(got, slots, strict=True):
            assert torch.equal(row, rows[slot])


def test_what_torch_has_stored_the_step_reads_and_the_other_way_round(compiled: None) -> None:
    model, tokens = _model(SPECS["every option"]), _tokens(1, 60)
    cache = model.new_cache()
    step = NativeStep(model, cache)
    with torch.no_grad():
        whole = model(tokens)[0]
        for begin, end, by_step in ((0, 9, True), (9, 33, False), (33, 50, True), (50, 60, False)):
            if by_step:
                got = torch.cat([step([int(tokens[0, at])], [0], [at]) for at in range(begin, end)])
            else:
                got = model(tokens[:, begin:end], cache=cache, rows=Rows(torch.tensor([begin])))[0]
            torch.testing.assert_close(got, whole[begin:end], atol=1e-4, rtol=0)


def test_a_window_may_be_smaller_than_its_ring_and_change(compiled: None) -> None:
    model = _model(PLAIN)
    sizes = {"windows": [3, 5, 1, 8], "rings": [8, 8, 8, 16]}
    theirs, ours = (_filled(model, 1, [20], **sizes) for _ in range(2))
    step = NativeStep(model, ours)
    for time in range(20, 60):
        if time == 40:
            for cache in (theirs, ours):
                cache.set_windows([8, 2, 8, 1000])
            step.refresh()
        got = step([time], [0], [time])
        torch.testing.assert_close(got, _plain(model, theirs, [time], [0], [time]), atol=1e-4, rtol=0)
    _close_caches(ours, theirs)


@pytest.mark.parametrize("weights", TOLERANCES)
def test_weights_changed_in_place_count_after_refresh(weights: Weights, compiled: None) -> None:
    model = _model(SPECS["every option"])
    theirs, ours = model.new_cache(), model.new_cache()
    step = NativeStep(model, ours, weights=weights)
    before = step([5], [0], [0])
    other = {name: value.flip(0) for name, value in model.state_dict().items()}
    model.load_state_dict(other)
    step.refresh()
    expected = _plain(model, theirs, [5], [0], [0])
    assert (step([5], [0], [0]) - expected).abs().max() < TOLERANCES[weights]
    assert (before - expected).abs().max() > 2 * TOLERANCES[weights]


def test_logits_are_capped_to_the_last_digit_and_what_is_no_number_shows(compiled: None) -> None:
    model = _model(WIDE)
    generator = torch.Generator().manual_seed(3)
    for size in (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e4):
        with torch.no_grad():
            model.head.weight.copy_(size * torch.randn(model.head.weight.shape, generator=generator))
            expected = model(torch.tensor([[7]]))[0]
        got = NativeStep(model, model.new_cache())([7], [0], [0])
        assert got.abs().max() <= WIDE.logit_softcap
        if size < 1e3:  # a sum is as exact as its terms are, which are as large as the head's weights
            torch.testing.assert_close(got, expected, atol=1e-6 * size * 164, rtol=1e-5)
    with torch.no_grad():
        dict(model.named_parameters())["blocks.0.feedforward.up"][3, 5] = float("nan")
    assert NativeStep(model, model.new_cache())([7], [0], [0]).isnan().all()


def test_padding_of_the_vocabulary_is_never_read(compiled: None) -> None:
    model = _model(PLAIN)
    with torch.no_grad():
        model.head.weight[101:] = float("nan")
        model.embed.weight[101:] = float("nan")
    for weights in TOLERANCES:
        assert NativeStep(model, model.new_cache(), weights=weights)([100], [0], [0]).isfinite().all()


@pytest.mark.parametrize(
    ("tokens", "slots", "positions", "said"),
    [
        ([101], [0], [0], "each token must be from 0 to 100"),
        ([-1], [0], [0], "each token must be from 0 to 100"),
        ([1], [2], [0], "each slot must be from 0 to 1"),
        ([1], [0], [-1], "each position must be"),
        ([1, 2], [0], [0, 0], "2 tokens need as many slots; got 1"),
        ([1, 2], [1, 1], [0, 0], "two rows have the same slot"),
    ],
)
def test_what_is_out_of_range_is_refused_before_memory_is_touched(
    tokens: list[int], slots: list[int], positions: list[int], said: str, compiled: None
) -> None:
    model = _model(PLAIN)
    step = NativeStep(model, model.new_cache(2))
    with pytest.raises(IndexError, match=said):
        step(tokens, slots, positions)
    assert step([], [], []).shape == (0, 101)


def test_a_model_of_another_dtype_is_refused(compiled: None) -> None:
    model = DaisyCore(PLAIN, compute_dtype=torch.bfloat16)
    with pytest.raises(NativeError, match="float32 on a CPU"):
        NativeStep(model, model.new_cache())


def test_without_a_compiler_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    model = _model(PLAIN)
    with pytest.raises(NativeError) as raised:
        NativeStep(model, model.new_cache())
    assert str(raised.value) == "no C compiler was found (looked for gcc, cc, clang)"


def test_a_compiler_that_fails_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "gcc"
    fake.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho 'fatal error: omp.h: No such file' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DAISY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NativeError) as raised:
        native.load_library()
    assert str(raised.value) == f"{fake.resolve()}: fatal error: omp.h: No such file"


def test_a_folder_that_cannot_be_written_is_named(
    compiled: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAISY_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(NativeError, match=r"no library can be kept there .* DAISY_CACHE names another"):
        native.load_library()


def test_a_damaged_library_is_built_again(compiled: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAISY_CACHE", str(tmp_path))
    native.load_library()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:5000], whole[:-1], whole[:9000] + b"\0" * 99 + whole[9099:]):
        path.unlink()  # not written over: this process has it mapped
        path.write_bytes(damaged)
        assert not native._is_whole(path)
    native.load_library()
    assert native._is_whole(path)


def test_two_processes_that_build_at_once_both_have_a_library_and_torchs_threads(
    compiled: None, tmp_path: Path
) -> None:
    code = (
        "import torch; from core.inference.native import load_library; load_library();"
        "import pathlib; maps = pathlib.Path('/proc/self/maps'); lines = maps.open() if maps.exists() else [];"
        "print(len({line.split()[-1] for line in lines if 'libgomp' in line}))"
    )
    environment = {**os.environ, "DAISY_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    builders = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [builder.communicate()[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]
    if Path(torch.__file__).with_name("lib").joinpath("libgomp.so.1").exists():
        assert outputs == ["1\n", "1\n"]  # torch's own, which has this name only in some of its builds
