from __future__ import annotations

from collections import Counter

import pytest
import torch

from core.inference.request import SamplingError, SamplingParams
from core.inference.sampler import LogitsError, choose

LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])


def _many(params: SamplingParams, draws: int = 4000, history: list[int] | None = None) -> Counter[int]:
    return Counter(choose(LOGITS, params, history or [], step) for step in range(draws))


def test_temperature_zero_takes_the_likeliest() -> None:
    assert _many(SamplingParams(temperature=0.0), 20) == {0: 20}


def test_frequencies_are_the_softmax() -> None:
    counts = _many(SamplingParams(temperature=1.0, top_k=0), 20_000)
    for token, probability in enumerate(LOGITS.softmax(0).tolist()):
        assert counts[token] / 20_000 == pytest.approx(probability, abs=0.01)


def test_temperature_sharpens() -> None:
    counts = _many(SamplingParams(temperature=0.5, top_k=0), 20_000)
    assert counts[0] / 20_000 == pytest.approx((LOGITS / 0.5).softmax(0)[0].item(), abs=0.01)


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-6])
def test_a_temperature_next_to_zero_takes_the_likeliest(temperature: float) -> None:
    assert _many(SamplingParams(temperature=temperature), 20) == {0: 20}
    assert _many(SamplingParams(temperature=temperature, top_k=0, top_p=0.5), 20) == {0: 20}
    alike = torch.tensor([-3.0, 1.0, 1.0])
    drawn = Counter(choose(alike, SamplingParams(temperature=temperature), [], step) for step in range(4000))
    assert drawn.keys() == {1, 2}
    assert drawn[1] == pytest.approx(2000, abs=150)


def test_a_temperature_beyond_all_logits_draws_from_what_top_k_leaves() -> None:
    counts = _many(SamplingParams(temperature=1e308, top_k=2))
    assert counts.keys() == {0, 1}
    assert counts[0] == pytest.approx(2000, abs=150)


@pytest.mark.parametrize("penalty", [1e-3, 1e3])
def test_the_ends_of_the_penalty_leave_numbers(penalty: float) -> None:
    largest = torch.tensor([3e38, -3e38, 1.0])
    params = SamplingParams(temperature=1e-45, repetition_penalty=penalty)
    assert choose(largest, params, [0, 1], 0) == 0
    said = choose(LOGITS, SamplingParams(temperature=0.0, repetition_penalty=penalty), [2], 0)
    assert said == (2 if penalty < 1 else 0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused(wrong: float, temperature: float) -> None:
    logits = LOGITS.clone()
    logits[3] = wrong
    with pytest.raises(LogitsError, match=r"1 of the model's 5 logits are not finite: .*; name"):
        choose(logits, SamplingParams(temperature=temperature), [], 0)


def test_top_k_leaves_k_tokens() -> None:
    assert set(_many(SamplingParams(temperature=5.0, top_k=2))) == {0, 1}
    assert set(_many(SamplingParams(temperature=5.0, top_k=99))) == {0, 1, 2, 3, 4}


def test_top_p_keeps_the_token_that_crosses_it() -> None:
    probabilities = LOGITS.softmax(0)
    first = probabilities[0].item()
    params = {"temperature": 1.0, "top_k": 0}
    assert set(_many(SamplingParams(top_p=first - 0.01, **params))) == {0}
    assert set(_many(SamplingParams(top_p=first + 0.01, **params))) == {0, 1}
    assert set(_many(SamplingParams(top_p=1e-9, **params))) == {0}


def test_the_repetition_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    params = SamplingParams(temperature=1.0, top_k=0, repetition_penalty=2.0)
    expected = torch.tensor([1.0, 1.0, 0.5, -2.0, -3.0]).softmax(0)
    counts = _many(params, 20_000, history=[0, 3, 0])
    for token, probability in enumerate(expected.tolist()):
        assert counts[token] / 20_000 == pytest.approx(probability, abs=0.01)


def test_a_draw_is_a_function_of_seed_and_step() -> None:
    def draws(seed: int) -> list[int]:
        return [choose(LOGITS, SamplingParams(temperature=2.0, seed=seed), [], step) for step in range(50)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_bf16_logits_are_sampled_in_fp32() -> None:
    logits = torch.linspace(-1, 1, 5000).to(torch.bfloat16)
    drawn = {choose(logits, SamplingParams(temperature=1.0, top_k=0), [], step) for step in range(500)}
    assert len(drawn) > 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"temperature": float("inf")},
        {"repetition_penalty": 0},
        {"repetition_penalty": 1e-300},
        {"repetition_penalty": float("inf")},
        {"repetition_penalty": float("nan")},
        {"seed": -1},
        {"temperature": float("nan")},
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(SamplingError, match=name):
        SamplingParams(**wrong)  # type: ignore[arg-type]
