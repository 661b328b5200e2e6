from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from core.inference.request import SamplingError, SamplingParams
from core.inference.sampler import LogitsError, Row, choose, logprobs


def _choose(logits: Tensor, params: SamplingParams, history: list[int], step: int) -> int:
    return choose(logits[None], [Row(params, step=step, prompt=frozenset(history))])[0]


LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])


def _many(params: SamplingParams, draws: int = 4000, history: list[int] | None = None) -> Counter[int]:
    rows = [Row(params, step=step, prompt=frozenset(history or [])) for step in range(draws)]
    return Counter(choose(LOGITS.expand(draws, -1), rows))


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
    drawn = Counter(_choose(alike, SamplingParams(temperature=temperature), [], step) for step in range(4000))
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
    assert _choose(largest, params, [0, 1], 0) == 0
    said = _choose(LOGITS, SamplingParams(temperature=0.0, repetition_penalty=penalty), [2], 0)
    assert said == (2 if penalty < 1 else 0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_refused(wrong: float, temperature: float) -> None:
    logits = LOGITS.clone()
    logits[3] = wrong
    with pytest.raises(LogitsError, match=r"1 of the model's 5 logits are not finite: .*; name"):
        _choose(logits, SamplingParams(temperature=temperature), [], 0)


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
        return [_choose(LOGITS, SamplingParams(temperature=2.0, seed=seed), [], step) for step in range(50)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_bf16_logits_are_sampled_in_fp32() -> None:
    logits = torch.linspace(-1, 1, 5000).to(torch.bfloat16)
    drawn = {_choose(logits, SamplingParams(temperature=1.0, top_k=0), [], step) for step in range(500)}
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


# Vocabularies narrower and wider than the candidates that are looked at first.
@pytest.mark.parametrize("vocabulary", [5, 100, 3000])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.7, top_k=50),
        SamplingParams(temperature=1.3, top_k=3, top_p=0.8),
        SamplingParams(temperature=1.0, top_k=0, top_p=0.5),
        SamplingParams(temperature=3.0, top_k=0, top_p=0.99),
        SamplingParams(temperature=1.0, top_k=0, min_p=0.2),
        SamplingParams(temperature=1.0, top_k=900, min_p=0.01, top_p=0.9),
    ],
    ids=str,
)
def test_what_may_come_and_how_often_is_as_defined(vocabulary: int, params: SamplingParams) -> None:
    logits = 3 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(1))
    expected = _defined(logits, params)
    drawn = choose(logits.expand(4000, -1), [Row(params, step=step) for step in range(4000)])
    assert {token for token in drawn if expected[token] == 0} == set()
    often = torch.bincount(torch.tensor(drawn), minlength=vocabulary) / 4000
    assert (often - expected).abs().max() < 0.04


def _defined(logits: Tensor, params: SamplingParams) -> Tensor:
    """The probabilities by the definition, in fp64, one after the other."""
    chances = (logits.double() / params.temperature).softmax(0)
    order = chances.argsort(descending=True).tolist()
    kept = order[: params.top_k or None]
    kept = [token for token in kept if chances[token] >= params.min_p * chances[order[0]]]
    whole, so_far, left = sum(chances[token].item() for token in kept), 0.0, []
    for token in kept:
        if so_far < params.top_p * whole:
            left.append(token)
        so_far += chances[token].item()
    result = torch.zeros_like(chances)
    result[left] = chances[left] / chances[left].sum()
    return result


def test_a_row_does_not_know_of_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(7, 3000, generator=generator)
    kinds = [
        SamplingParams(temperature=0.0),
        SamplingParams(seed=3),
        SamplingParams(top_k=0, temperature=1.0, seed=4),
        SamplingParams(top_k=0, top_p=0.9, seed=5),
        SamplingParams(top_k=0, top_p=0.999, temperature=9.0, seed=5),
        SamplingParams(top_k=700, seed=6, frequency_penalty=1.0, logit_bias=((7, 3.0),)),
        SamplingParams(repetition_penalty=1.3, min_p=0.1, seed=7),
    ]
    for step in range(30):
        rows = [Row(params, step=step, prompt=frozenset({1, 2}), said=Counter({5: 2})) for params in kinds]
        together = choose(logits, rows)
        assert together == [choose(logits[index : index + 1], [row])[0] for index, row in enumerate(rows)]


@pytest.mark.parametrize("top_p", [1e-300, 1e-45, 5e-324])
def test_the_smallest_share_keeps_the_likeliest(top_p: float) -> None:
    assert _many(SamplingParams(temperature=1.0, top_k=0, top_p=top_p), 20) == {0: 20}


def test_every_seed_is_another_one() -> None:
    seeds = [0, 1, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 2, 2**64 - 1]
    draws = {
        tuple(_choose(LOGITS, SamplingParams(temperature=5.0, seed=seed), [], s) for s in range(40)) for seed in seeds
    }
    assert len(draws) == len(seeds)


def test_choices_of_one_seed_differ_and_repeat() -> None:
    params = SamplingParams(temperature=2.0, seed=5)
    first, second = (
        [choose(LOGITS[None], [Row(params, choice=choice, step=step)])[0] for step in range(40)] for choice in (0, 1)
    )
    assert first != second
    assert first == [_choose(LOGITS, params, [], step) for step in range(40)]


def test_presence_and_frequency_are_taken_from_what_the_answer_holds_and_not_the_prompt() -> None:
    greedy = SamplingParams(temperature=0.0)
    said = Counter({0: 3, 1: 1})
    for params, expected in [
        (greedy, 0),
        (SamplingParams(temperature=0.0, presence_penalty=1.1), 0),  # 2 - 1.1, 1 - 1.1, 0.5
        (SamplingParams(temperature=0.0, frequency_penalty=0.4), 0),  # 2 - 1.2, 1 - 0.4, 0.5
        (SamplingParams(temperature=0.0, frequency_penalty=0.45), 0),
        (SamplingParams(temperature=0.0, frequency_penalty=0.48), 0),
        (SamplingParams(temperature=0.0, frequency_penalty=0.52), 2),
        (SamplingParams(temperature=0.0, presence_penalty=1.6), 2),
        (SamplingParams(temperature=0.0, presence_penalty=-2.0), 0),
    ]:
        assert choose(LOGITS[None], [Row(params, said=said)]) == [expected], params
    prompt = Row(SamplingParams(temperature=0.0, presence_penalty=2.0), prompt=frozenset({0}))
    assert choose(LOGITS[None], [prompt]) == [0]


def test_a_bias_is_added_and_what_may_not_come_yet_does_not() -> None:
    params = SamplingParams(temperature=0.0, logit_bias=((4, 100.0), (3, 90.0)), min_tokens=2)
    assert choose(LOGITS[None], [Row(params)]) == [4]
    rows = [Row(params, step=step, never=(4,)) for step in range(4)]
    assert choose(LOGITS.expand(4, -1), rows) == [3, 3, 4, 4]


def test_logprobs_are_those_of_the_model() -> None:
    logits = torch.stack((LOGITS, LOGITS.flip(0)))
    expected = logits.log_softmax(-1)
    (first, best), (second, _) = logprobs(logits, [1, 0], 2)
    assert (first, second) == pytest.approx((expected[0, 1].item(), expected[1, 0].item()))
    assert [token for token, _ in best] == [0, 1]
    assert [value for _, value in best] == pytest.approx(expected[0, :2].tolist())
    assert logprobs(logits, [1, 0], 0) == [(first, ()), (second, ())]
    assert len(logprobs(logits, [1, 0], 20)[0][1]) == 5
