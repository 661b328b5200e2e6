"""How a model takes one step of decoding: the same function in several forms, chosen by device and by what is there.

A step is called with the tokens of a batch, their slots and positions, and gives the soft-capped logits of what
follows. Plain torch is the definition. On a CPU compiled code reads the weights at more than its rate; on CUDA the step
is replayed from a graph, for launching its kernels one by one takes longer than they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from core.errors import DaisyError
from core.model.cache import KVCache, Rows
from core.model.daisy_core import DaisyCore

if TYPE_CHECKING:
    from core.inference.native import Weights

WEIGHTS = ("auto", "float32", "bfloat16", "int8")
_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class StepError(DaisyError):
    """A form of decoding that this device does not have."""

    exit_code = 2


class Step(Protocol):
    """One step of decoding."""

    def __call__(self, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
        """Logits (rows, vocabulary) fp32 of what follows each row's token, whose keys and values are stored."""

    def refresh(self) -> None:
        """The model's weights or the cache's windows were changed in place."""


class TorchStep:
    """The definition: the model as it is. With `one_by_one` rows are computed alone, whatever neighbours they have."""

    def __init__(self, model: DaisyCore, cache: KVCache, *, one_by_one: bool = False) -> None:
        self._model, self._cache, self._one_by_one = model, cache, one_by_one

    def __call__(self, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
        if self._one_by_one and len(tokens) > 1:
            each = zip(tokens, slots, positions, strict=True)
            return torch.cat([self([token], [slot], [position]) for token, slot, position in each])
        device = self._model.embed.weight.device
        ids, places, where = (torch.tensor(values, device=device) for values in (tokens, positions, slots))
        rows = Rows(places, None if slots == [*range(len(slots))] else where)
        return self._model.logits(self._model.hidden(ids[:, None], cache=self._cache, rows=rows)[:, 0])

    def refresh(self) -> None:
        """Nothing is kept."""


class GraphStep:
    """CUDA graphs, one for each size of batch, captured when it is first met, in the thread that replays them.

    A graph works on the slots from 0 on; rows that nobody asked for compute what is thrown away, and store nothing.
    """

    def __init__(self, model: DaisyCore, cache: KVCache) -> None:
        self._model, self._cache = model, cache
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
        wanted = max(slots) + 1
        size = min(next((bucket for bucket in _BUCKETS if bucket >= wanted), wanted), self._cache.slots)
        graph, inputs, logits = self._graphs.get(size) or self._capture(size)
        filled = torch.zeros(3, size, dtype=torch.int64)  # tokens, positions, whether they count
        filled[:, list(slots)] = torch.tensor([list(tokens), list(positions), [1] * len(slots)])
        inputs.copy_(filled)
        graph.replay()
        return logits[torch.tensor(slots, device=logits.device)]

    def refresh(self) -> None:
        """Windows are constants of a graph."""
        self._graphs.clear()

    def _capture(self, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        device = self._model.embed.weight.device
        inputs = torch.zeros(3, size, dtype=torch.int64, device=device)

        def step() -> Tensor:
            tokens, positions, active = inputs
            rows = Rows(positions, active=active.bool())
            return self._model.logits(self._model.hidden(tokens[:, None], cache=self._cache, rows=rows)[:, 0])

        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):  # what libraries allocate at their first call must not be part of a graph
            for _ in range(2):
                step()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A checkpoint that is loaded meanwhile, in another thread, uses the device too.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = step()
        self._graphs[size] = graph, inputs, logits
        return self._graphs[size]


def best_step(model: DaisyCore, cache: KVCache, weights: str = "auto", *, deterministic: bool = False) -> Step:
    """The fastest form that this machine has; weights are fp32 on a CPU and bf16 on CUDA where they are "auto".

    Raises StepError where the weights asked for cannot be had here.
    """
    if weights not in WEIGHTS:
        raise StepError(f"weights {weights}: there are {', '.join(WEIGHTS)}")
    if model.embed.weight.is_cuda:
        if weights not in ("auto", "bfloat16"):
            raise StepError(f"weights {weights}: on CUDA a model decodes in bfloat16")
        return TorchStep(model, cache, one_by_one=True) if deterministic else GraphStep(model, cache)
    from core.inference.native import NativeError, NativeStep

    kept: Weights = "int8" if weights == "int8" else "bfloat16" if weights == "bfloat16" else "float32"
    try:
        return NativeStep(model, cache, weights=kept)
    except NativeError as error:
        if weights not in ("auto", "float32"):
            raise StepError(f"weights {weights}: needs compiled code: {error}") from error
        return TorchStep(model, cache, one_by_one=deterministic)
