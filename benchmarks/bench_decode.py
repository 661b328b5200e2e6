"""Decoding on a CPU beside Hugging Face's GPT-2, as ratios in one run and as shares of the read bandwidth.

    python -m benchmarks.bench_decode [--cases 12x768 6x384] [--checkpoint CKPT]

Random weights, GPT-2's vocabulary, a prompt of 256 tokens, all threads. The systems take turns, so that a machine that
slows down slows all; figures are the best of the rounds, for what else a machine does only ever takes time. Each rate
stands beside the weights that it streams, as a share of what the machine reads in the same run. Plain torch and Hugging
Face read every matrix once a token; the compiled step skips rows of `down` whose squared ReLU is zero, about half of
them with random weights and one row (eight to nine in ten once trained), and only what it reads counts. With a
checkpoint: the loss of each form of its weights on the bundled novels.
Exit code 1 says that a figure missed its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import daisy_config, gpt2, novel_tokens
from core.config.model_spec import ModelSpec
from core.inference.loaded import load
from core.inference.loss import compared as loss_compared
from core.inference.native import NativeStep, Weights, load_library
from core.model.cache import Rows
from core.model.daisy_core import DaisyCore, initialize

CASES = ("12x768", "6x384")
PROMPT, NEW, BATCH, ROUNDS = 256, 8, 8, 9
SIZES: dict[Weights, int] = {"float32": 4, "bfloat16": 2, "int8": 1}
LIMITS = (
    ("compiled float32 / Hugging Face generate", 2.0),
    ("compiled int8 / compiled float32", 1.8),
    ("batch 8: compiled float32 / plain torch", 1.6),
    ("compiled float32: batch 8 / batch 1", 3.0),
    ("prefill / Hugging Face", 1.0),
)

Steps = Callable[[list[int], list[int], list[int]], Tensor]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES, metavar="LAYERSxDIM")
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    with torch.no_grad():
        missed = [limit for case in arguments.cases for limit in compare(case)]
        if arguments.checkpoint:
            losses(arguments.checkpoint)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def compare(case: str) -> list[str]:
    """Print one case, and return the limits that it missed."""
    layers, dim = (int(number) for number in case.split("x"))
    model = random_model(daisy_config(layers, dim, 1024))
    peer = gpt2(model.spec, 1024).eval()
    prompts = novel_tokens(PROMPT, BATCH)
    plain = PlainStep(model, prompts)
    forms = {weights: NativeStep(model, plain.cache, weights=weights) for weights in SIZES}
    steps: dict[str, Steps] = {"plain torch": plain} | {f"compiled {name}": form for name, form in forms.items()}
    reads: list[float] = []
    taken: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        seen = {f"{name}, batch {rows}": decode(step, rows) for rows in (1, BATCH) for name, step in steps.items()}
        seen["prefill"] = seconds(lambda: model.logits(plain.prefill(prompts[:1])[:, -1]))
        for name, time_taken in (seen | peer_times(peer, prompts[:1])).items():
            taken.setdefault(name, []).append(time_taken)
        reads.append(read_bandwidth())
    read, least = max(reads), {name: min(values) for name, values in taken.items()}
    rates = {
        name: (PROMPT if "prefill" in name else BATCH * NEW if name.endswith(f"batch {BATCH}") else NEW) / time_taken
        for name, time_taken in least.items()
        if "generate" not in name
    }
    rates["Hugging Face generate"] = NEW / (least[f"generate {NEW + 1}"] - least["generate 1"])
    print(f"{case}: reads {read / 1e9:.1f} GB/s with {torch.get_num_threads()} threads")
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if "embed" not in name)
    unused = {rows: unused_weights(model, prompts[:rows]) for rows in (1, BATCH)}
    for name, rate in rates.items():
        if "prefill" in name:
            print(f"  {name:30} {rate:7.1f} tokens/s")
            continue
        rows = BATCH if name.endswith(f"batch {BATCH}") else 1
        count = weights - unused[rows] if name.startswith("compiled") else weights
        size = next((size for form, size in SIZES.items() if form in name), 4)
        streamed = rate / rows * count * size
        print(
            f"  {name:30} {rate:7.1f} tokens/s  {streamed / 1e9:5.1f} GB/s of weights, {streamed / read:.0%} of reading"
        )
    missed = []
    for (what, limit), (over, under) in zip(LIMITS, compared(), strict=True):
        ratio = rates[over] / rates[under]
        print(f"  {what}: {ratio:.2f}, limit {limit}", flush=True)
        if ratio < limit:
            missed.append(f"{case}: {what} {ratio:.2f} of {limit}")
    return missed


def compared() -> list[tuple[str, str]]:
    """Names of the rates that each of LIMITS compares."""
    alone, together = "compiled float32, batch 1", f"compiled float32, batch {BATCH}"
    return [
        (alone, "Hugging Face generate"),
        ("compiled int8, batch 1", alone),
        (together, f"plain torch, batch {BATCH}"),
        (together, alone),
        ("prefill", "Hugging Face prefill"),
    ]


def random_model(spec: ModelSpec) -> DaisyCore:
    """A model none of whose matrices is zero."""
    model = DaisyCore(ModelSpec.of(spec.model_dump()))
    initialize(model, 1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name:
            parameter.normal_(std=0.5 * spec.model_dim**-0.5, generator=generator)
    return model.eval()


class PlainStep:
    """The plain model's steps over a cache that has the prompts behind it, one a slot."""

    def __init__(self, model: DaisyCore, prompts: Tensor) -> None:
        self.model, self.cache = model, model.new_cache(slots=len(prompts))
        for slot in range(len(prompts)):
            self.prefill(prompts[slot : slot + 1], slot)

    def prefill(self, prompt: Tensor, slot: int = 0) -> Tensor:
        """The last hidden state of a prompt (1, time), which a slot now holds."""
        rows = Rows(torch.tensor([0]), torch.tensor([slot]))
        return self.model.hidden(prompt, cache=self.cache, rows=rows, last_only=True)

    def __call__(self, tokens: list[int], slots: list[int], positions: list[int]) -> Tensor:
        # Row i in slot i: nothing is copied out of the cache.
        rows = Rows(torch.tensor(positions))
        return self.model.logits(self.model.hidden(torch.tensor(tokens)[:, None], cache=self.cache, rows=rows)[:, 0])


def decode(step: Steps, rows: int) -> float:
    """Seconds of NEW steps of greedy decoding after the prompts."""
    slots, tokens = list(range(rows)), [1] * rows
    began = time.perf_counter()
    for position in range(PROMPT, PROMPT + NEW):
        tokens = step(tokens, slots, [position] * rows).argmax(-1).tolist()
    return time.perf_counter() - began


def peer_times(peer: nn.Module, prompt: Tensor) -> dict[str, float]:
    """Seconds of Hugging Face's prefill, and of its own generate with one token and with NEW more."""
    mask = torch.ones_like(prompt)

    def generate(count: int) -> float:
        wanted = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "use_cache": True}
        return seconds(lambda: peer.generate(prompt, attention_mask=mask, pad_token_id=0, **wanted))  # type: ignore[operator]

    prefill = seconds(lambda: peer(input_ids=prompt, use_cache=True, logits_to_keep=1))
    return {"Hugging Face prefill": prefill} | {f"generate {count}": generate(count) for count in (1, NEW + 1)}


def unused_weights(model: DaisyCore, prompts: Tensor) -> int:
    """Weights of `down` that the step after the prompts' first token need not read: no row's inputs to them count."""
    unused: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        needed = (F.linear(inputs[0], module.up) > 0).flatten(0, 1).any(0)  # type: ignore[arg-type]
        unused.append(int((~needed).sum()) * output.shape[-1])

    hooks = [block.feedforward.register_forward_hook(count) for block in model.blocks]  # type: ignore[union-attr]
    model(prompts[:, :1])
    for hook in hooks:
        hook.remove()
    return sum(unused)


def read_bandwidth() -> float:
    """Bytes a second that all threads read of more than any cache holds: the best of a few times."""
    buffer, library = torch.ones(64 * 2**20), load_library()
    read = partial(library.daisy_read, buffer.data_ptr(), buffer.numel(), torch.get_num_threads())
    return buffer.numel() * 4 / min(seconds(read) for _ in range(4))


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def losses(checkpoint: Path) -> None:
    """Print the loss of each form of a checkpoint's weights on its own validation shards."""
    loaded = load(checkpoint)
    for weights in SIZES:
        found = loss_compared(loaded, weights)
        print(f"{checkpoint.name}, {weights}: {found or 'its validation shards are not here'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
