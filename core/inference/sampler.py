"""Choose the next token of every row from its logits, on the device where they lie.

Scores and probabilities are fp32, sums of probabilities fp64. What is drawn for a row is a function of its logits and
its (seed, choice, step) alone: rows are worked on in groups of one width, so that neighbours change no sum's order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from core.errors import DaisyError
from core.inference.request import SamplingParams

# Candidates that are looked at for top_k, or for top_p where they suffice: sorting a whole vocabulary takes longer than
# many a model's step. 0: all of them, in the order of their ids.
_WIDTHS = (64, 1024)
_COLDEST, _HOTTEST = 1e-30, 1e30  # a temperature beyond is no other; fp32 has no quotients by those


_LARGEST = torch.finfo(torch.float32).max


class LogitsError(DaisyError):
    """Logits that are no numbers to choose by."""


@dataclass
class Row:
    """What choosing for one answer needs: its parameters, and what has been said. `never` are ids that cannot come."""

    params: SamplingParams
    choice: int = 0
    step: int = 0
    prompt: frozenset[int] = frozenset()
    said: Counter[int] = field(default_factory=Counter)
    never: tuple[int, ...] = ()


def choose(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    """The next token of each row, from logits (rows, vocabulary). Raises LogitsError where one is not finite."""
    check(logits)
    scores = logits.float()
    adjusted = [_adjusted(logits[index], row) for index, row in enumerate(rows)]
    if any(changed is not None for changed in adjusted):
        scores = torch.stack([scores[i] if changed is None else changed for i, changed in enumerate(adjusted)])
    chosen = scores.argmax(-1)
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if row.params.temperature > 0:
            groups.setdefault(_width(row.params, logits.shape[1]), []).append(index)
    for width, members in groups.items():
        among = torch.tensor(members, device=logits.device)
        chosen[among] = _draw(scores[among], [rows[index] for index in members], width)
    return [int(token) for token in chosen.tolist()]


def check(logits: Tensor) -> None:
    """Raise LogitsError where a logit is not finite."""
    if not torch.isfinite(logits).all():
        bad = int((~logits.isfinite()).sum())
        raise LogitsError(
            f"{bad:,} of the model's {logits.numel():,} logits are not finite: its weights are damaged, or its "
            "training went wrong; name an earlier checkpoint (`daisy inspect CKPT --stats` counts what is not finite)"
        )


def probabilities(scores: Tensor, params: Sequence[SamplingParams], width: int) -> tuple[Tensor | None, Tensor]:
    """Candidates and their probabilities, not normed, for scores (rows, vocabulary) after penalties.

    Both (rows, width), the likeliest first; with width 0 there are no candidates but all ids, in their order.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=scores.device)[:, None]

    ids = None
    if width:
        scores, ids = scores.topk(width, dim=-1)
        # top_k keeps whatever equals the last that it keeps, as a threshold would.
        place = torch.tensor([min(p.top_k or width, width) - 1 for p in params], device=scores.device)
        scores = scores.masked_fill(scores < scores.gather(1, place[:, None]), float("-inf"))
    # The likeliest stays 0 at every temperature, so that no quotient is infinite but those of what never comes.
    heat = column(_heat(params))
    weights = ((scores - scores.amax(-1, keepdim=True)) / heat).softmax(-1)
    if any(p.min_p > 0 for p in params):
        floor = column([p.min_p for p in params]) * weights.amax(-1, keepdim=True)
        weights = weights.masked_fill(weights < floor, 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
    if ids is not None and any(p.top_p < 1 for p in params):
        before = weights.double().cumsum(-1) - weights
        # A token stays while those before it have not reached top_p: the one that crosses it is kept.
        weights = weights.masked_fill(before >= column([max(p.top_p, _COLDEST) for p in params]), 0.0)
    return ids, weights


def logprobs(logits: Tensor, chosen: Sequence[int], top: int) -> list[tuple[float, tuple[tuple[int, float], ...]]]:
    """For each row of logits (rows, vocabulary): the logprob of what was chosen, and the `top` likeliest."""
    every = logits.float().log_softmax(-1)
    own = every.gather(1, torch.tensor(chosen, device=logits.device)[:, None])[:, 0].tolist()
    if not top:
        return [(value, ()) for value in own]
    values, ids = every.topk(min(top, every.shape[1]), dim=-1)
    best = [tuple(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
    return list(zip(own, best, strict=True))


def _heat(params: Sequence[SamplingParams]) -> list[float]:
    return [min(max(p.temperature, _COLDEST), _HOTTEST) for p in params]


def _adjusted(logits: Tensor, row: Row) -> Tensor | None:
    """A row's scores (vocabulary,) with penalties, biases, and without what cannot come; None where there are none."""
    params = row.params
    never = row.never if row.step < params.min_tokens else ()
    spoken = params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty
    if not (spoken or params.logit_bias or never):
        return None
    scores = logits.float().clone()
    device = logits.device
    if params.repetition_penalty != 1 and (known := row.prompt | row.said.keys()):
        ids = torch.tensor(sorted(known), device=device)
        before = scores[ids]
        factor = params.repetition_penalty
        scores[ids] = torch.where(before > 0, before / factor, before * factor)
    if (params.presence_penalty or params.frequency_penalty) and row.said:
        ids = torch.tensor(list(row.said), device=device)
        times = torch.tensor(list(row.said.values()), dtype=torch.float32, device=device)
        scores[ids] -= params.presence_penalty + params.frequency_penalty * times
    if params.logit_bias:
        biases = dict(params.logit_bias)
        scores[torch.tensor(list(biases), device=device)] += torch.tensor(list(biases.values()), device=device)
    scores = scores.nan_to_num(posinf=_LARGEST, neginf=-_LARGEST)
    if never:
        scores[torch.tensor(never, device=device)] = float("-inf")
    return scores


def _width(params: SamplingParams, vocabulary: int) -> int:
    """How many candidates a row needs at first; 0 for all of them in the order of their ids."""
    if not params.top_k and params.top_p == 1:
        return 0
    wanted = params.top_k or _WIDTHS[-1]
    return next((width for width in _WIDTHS if wanted <= width < vocabulary), vocabulary)


def _draw(scores: Tensor, rows: Sequence[Row], width: int) -> Tensor:
    """One token of each row: (rows,) int64."""
    params = [row.params for row in rows]
    vocabulary = scores.shape[1]
    if width in _WIDTHS:
        enough = _suffice(scores, params, width)
        if not all(enough):
            # Those rows are looked at whole; the others as if they were alone.
            chosen = torch.empty(len(rows), dtype=torch.int64, device=scores.device)
            for wide, fits in ((width, True), (vocabulary, False)):
                members = [index for index, is_enough in enumerate(enough) if is_enough == fits]
                if members:
                    among = torch.tensor(members, device=scores.device)
                    chosen[among] = _pick(scores[among], [rows[index] for index in members], wide)
            return chosen
    return _pick(scores, rows, width)


def _suffice(scores: Tensor, params: Sequence[SamplingParams], width: int) -> list[bool]:
    """Whether the `width` likeliest hold top_p of all that is likely, for rows that have no top_k."""
    if all(p.top_k for p in params):
        return [True] * len(params)
    heat = torch.tensor(_heat(params), device=scores.device)[:, None]
    every = (scores - scores.amax(-1, keepdim=True)) / heat
    share = (every.topk(width, dim=-1).values.logsumexp(-1) - every.logsumexp(-1)).exp().tolist()
    return [bool(p.top_k) or held * (1 - 1e-4) > p.top_p for p, held in zip(params, share, strict=True)]


def _pick(scores: Tensor, rows: Sequence[Row], width: int) -> Tensor:
    ids, weights = probabilities(scores, [row.params for row in rows], width)
    sums = weights.double().cumsum(-1)
    share = torch.tensor([[_uniform(r.params.seed, r.choice, r.step)] for r in rows], device=scores.device)
    whole = sums[:, -1:]
    # Below the sum of all, whatever is rounded: the first sum that is above is that of a token that may come.
    place = torch.searchsorted(sums, torch.minimum(share * whole, whole.nextafter(torch.zeros_like(whole))), right=True)
    return (place if ids is None else ids.gather(1, place))[:, 0]


def _uniform(seed: int, choice: int, step: int) -> float:
    """A number in [0, 1) for every (seed, choice, step): 53 bits of Philox, whose stream numpy guarantees."""
    raw = int(np.random.Philox(key=np.array([seed, choice], dtype=np.uint64), counter=step).random_raw())
    return (raw >> 11) * 2.0**-53
