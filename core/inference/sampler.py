"""Choose the next token from logits: in fp64, and with randomness that is a function of (seed, step).

fp64, because fp32 has no temperature below 1e-45: what is divided by it becomes 0 / 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.errors import DaisyError
from core.inference.request import SamplingParams


class LogitsError(DaisyError):
    """Logits that are no numbers to choose by."""


def choose(logits: Tensor, params: SamplingParams, history: Sequence[int], step: int) -> int:
    """The next token, from logits (vocabulary,) and the tokens so far; `step` counts what was chosen before.

    Raises LogitsError where a logit is not finite.
    """
    logits = logits.double()
    if bad := int((~logits.isfinite()).sum()):
        raise LogitsError(
            f"{bad:,} of the model's {len(logits):,} logits are not finite: its weights are damaged, or its training "
            "went wrong; name an earlier checkpoint (`daisy inspect CKPT --stats` counts what is not finite)"
        )
    if params.repetition_penalty != 1.0 and history:
        # Keskar et al. 2019: what has been said becomes less likely, whatever the sign of its logit.
        said = torch.tensor(sorted(set(history)), device=logits.device)
        scores = logits[said]
        penalised = torch.where(scores > 0, scores / params.repetition_penalty, scores * params.repetition_penalty)
        logits = logits.scatter(0, said, penalised)
    if params.temperature == 0:
        return int(logits.argmax())
    if 0 < params.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(params.top_k).values[-1], float("-inf"))
    # The likeliest stays 0 at every temperature, so that no quotient is infinite but those of what never comes.
    probabilities = ((logits - logits.max()) / params.temperature).softmax(0)
    if params.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        # A token stays while those before it have not reached top_p: the one that crosses it is kept.
        kept = ordered.cumsum(0) - ordered < params.top_p
        probabilities = torch.zeros_like(probabilities).scatter(0, order[kept], ordered[kept])
    cumulative = probabilities.cumsum(0)
    threshold = _uniform(params.seed, step) * cumulative[-1]
    chosen = int(torch.searchsorted(cumulative, threshold, right=True))
    likely = probabilities.nonzero().flatten()
    return min(chosen, int(likely[-1]))


def _uniform(seed: int, step: int) -> float:
    """A number in [0, 1) for every (seed, step): 53 bits of Philox, whose stream numpy guarantees."""
    raw = int(np.random.Philox(key=seed, counter=step).random_raw())
    return (raw >> 11) * 2.0**-53
