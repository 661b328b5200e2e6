"""Training speed against Hugging Face's GPT-2 of equal matmul parameters, as ratios in one run.

    python -m benchmarks.bench_train [--cases 6x384@1024 12x768@4096 …]     on a CPU: two threads, fp32
    python -m benchmarks.bench_train --cuda [daisy_150m daisy_450m]         on a GPU: tokens/s and MFU

On a CPU both train on the same sequences of the bundled novels, 16,384 tokens an optimizer step by accumulation,
each with its own optimizer (Muon and AdamW; AdamW). They take turns sequence by sequence, so that a machine that
slows down slows both. Shares are of the machine's own fp32 matrix product, measured in the same run. Then: memory
at two lengths, and how long a save keeps training waiting beside a bare copy of the state. Exit code 1 says
that a figure missed its limit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import daisy_config, gpt2, novel_tokens
from core.checkpoint.retention import Retention
from core.checkpoint.save import optimizer_tensors
from core.checkpoint.writer import CheckpointWriter
from core.config.compose import compose
from core.config.estimate import flops_per_token
from core.config.train_config import TrainConfig
from core.config.windows import windows_at
from core.model.daisy_core import DaisyCore, initialize
from core.training.device_peak import device_peak, matrix_product_rate
from core.training.distributed import Ranks
from core.training.metrics import peak_memory
from core.training.optimizers import build_optimizers
from core.training.step import Stepper, SummedLoss

STEP_TOKENS = 16_384
LIMITS = {1024: 1.15, 4096: 1.25, 16_384: 2.0}
CASES = ("6x384@1024", "6x384@4096", "6x384@16384", "12x768@1024", "12x768@4096")
SAVE_LIMIT = 1.10
LENGTHS = (2048, 4096, 16_384)
# A token of a long sequence may take so much more memory than one of a short sequence.
LINEAR_LIMIT = 1.15


@dataclass
class Times:
    """Seconds of one optimizer step, by part."""

    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimizer


class System(ABC):
    """A model that is trained sequence by sequence, and the time that each part of a step takes."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.times = Times()
        self.optimizers: list[torch.optim.Optimizer] = []

    @abstractmethod
    def loss(self, tokens: Tensor) -> Tensor:
        """Sum of the loss over (1, length + 1) tokens, divided by those of a step."""

    def sequence(self, tokens: Tensor) -> None:
        """Forward and backward over (1, length + 1) tokens."""
        began = time.perf_counter()
        loss = self.loss(tokens)
        between = time.perf_counter()
        torch.autograd.backward(loss)
        self.times.forward += between - began
        self.times.backward += time.perf_counter() - between

    def step(self) -> None:
        """The optimizer step."""
        began = time.perf_counter()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.times.optimizer += time.perf_counter() - began


class Daisy(System):
    """DaisyCore as it is trained."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.model = DaisyCore(config.spec)
        initialize(self.model, 1)
        self.optimizers = build_optimizers(self.model, config)
        self._summed = SummedLoss(self.model, config)

    def loss(self, tokens: Tensor) -> Tensor:
        loss: Tensor = self._summed(tokens, torch.zeros_like(tokens[:, :-1]), windows_at(self.config, 1.0))
        return loss / STEP_TOKENS


class Peer(System):
    """GPT2LMHeadModel with scaled-dot-product attention and torch's fused AdamW."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.model = gpt2(config.spec, config.training_sequence_length)
        self.optimizers = [torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)]

    def loss(self, tokens: Tensor) -> Tensor:
        inputs = tokens[:, :-1]  # the model shifts the labels itself
        loss: Tensor = self.model(input_ids=inputs, labels=inputs).loss
        return loss * (inputs.numel() / STEP_TOKENS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES, metavar="LAYERSxDIM@LENGTH")
    parser.add_argument("--cuda", nargs="*", metavar="SPEC")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cuda is not None:
        for spec in arguments.cuda or ["daisy_150m", "daisy_450m"]:
            cuda(spec)
        return 0
    torch.set_num_threads(2)
    if arguments.memory_of:
        print(memory_of(arguments.memory_of))
        return 0
    missed = [limit for case in arguments.cases for limit in compare(case)]
    missed += memory() + saving()
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def compare(case: str) -> list[str]:
    """Print one case, and return the limits that it missed."""
    shape, _, at = case.partition("@")
    layers, dim, length = (int(number) for number in (*shape.split("x"), at))
    tokens = novel_tokens(length + 1, STEP_TOKENS // length)
    config = daisy_config(layers, dim, length)
    ours, peer = Daisy(config), Peer(config)
    for system in (ours, peer):
        system.sequence(tokens[:1, : min(length, 1024) + 1])  # memory, threads and kernels are there
        system.step()
        system.times = Times()
    rates = []
    for number, sequence in enumerate(tokens.unsqueeze(1)):
        for system in (ours, peer) if number % 2 else (peer, ours):
            system.sequence(sequence)
        rates.append(matrix_product_rate(torch.device("cpu"), torch.float32, 2048))
    for system in (peer, ours):
        system.step()
    rate = median(rates)
    print(f"{case}: matrix product {rate / 1e9:.0f} GFLOP/s")
    full = flops_per_token(ours.config, length, ours.config.attention_window_len)
    dense = flops_per_token(
        ours.config.model_copy(update={"attention_window_len": length, "window_pattern": "L"}), length
    )
    for name, system, flops in (("Daisy", ours, full), ("HF GPT-2", peer, dense)):
        t = system.times
        speed = STEP_TOKENS / t.total
        parts = ", ".join(f"{part} {getattr(t, part) / t.total:.1%}" for part in ("forward", "backward", "optimizer"))
        print(
            f"  {name:9} {speed:7.1f} tokens/s  {speed * flops / rate:.0%} of the matrix product  ({parts})", flush=True
        )
    ratio, limit = peer.times.total / ours.times.total, LIMITS[length]
    print(f"  ratio {ratio:.2f}, limit {limit}", flush=True)
    return [f"{case}: {ratio:.2f} of {limit}"] if ratio < limit else []


def memory() -> list[str]:
    """Growth of peak memory with the length of a sequence, each length in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_train", "--memory-of"]
    short, middle, long = (
        int(subprocess.run([*command, str(length)], check=True, capture_output=True, text=True).stdout)
        for length in LENGTHS
    )
    per_token = [(middle - short) / (LENGTHS[1] - LENGTHS[0]), (long - middle) / (LENGTHS[2] - LENGTHS[1])]
    ratio = per_token[1] / per_token[0]
    shown = " and ".join(f"{size / 2**10:,.0f} KiB" for size in per_token)
    print(f"memory of 6x384: {shown} a token from {LENGTHS} on; ratio {ratio:.2f}, limit {LINEAR_LIMIT}", flush=True)
    return [f"memory: {ratio:.2f} of {LINEAR_LIMIT}"] if ratio > LINEAR_LIMIT else []


def memory_of(length: int) -> int:
    """Bytes at the peak of a process that takes one sequence forward and backward."""
    # Not the novels, whose tokenising takes more memory than the model.
    Daisy(daisy_config(6, 384, length)).sequence(torch.arange(length + 1)[None])
    return peak_memory(torch.device("cpu"))


def saving() -> list[str]:
    """How long a save keeps training waiting, beside a copy of the same tensors."""
    system = Daisy(daisy_config(12, 768, 1024))
    system.sequence(novel_tokens(129, 1))
    system.step()
    weights, state = system.model.state_dict(), optimizer_tensors(system.optimizers, system.model.named_parameters())
    tensors = [*weights.values(), *state.values()]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        writer = CheckpointWriter(Path(folder), Retention(keep_last=1))
        for step in range(1, 6):
            writer.outcomes(wait=True)
            began = time.perf_counter()
            copies = [tensor.detach().to("cpu", copy=True) for tensor in tensors]
            copied = time.perf_counter() - began
            del copies
            began = time.perf_counter()
            writer.write(weights, state, {"step": step, "tokens": step}, {})
            ratios.append((time.perf_counter() - began) / copied)
        writer.outcomes(wait=True)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    ratio = median(ratios)
    print(f"save of {size / 2**30:.2f} GiB: training waits {ratio:.2f} times a copy of the state, limit {SAVE_LIMIT}")
    return [f"save: {ratio:.2f} of {SAVE_LIMIT}"] if ratio > SAVE_LIMIT else []


def cuda(spec: str, steps: int = 12) -> None:
    """Print tokens/s and MFU of one GPU on a spec, in bf16 at the sequence length of its config."""
    device = torch.device("cuda")
    name = spec.replace("daisy_", "pretrain_")
    config = compose(name, ["batch_tokens=null", "grad_acc_steps=1", "full_windows=true"]).config
    model = DaisyCore(config.spec, compute_dtype=torch.bfloat16)
    initialize(model, 1)
    model.to(device)
    model.compile_blocks()
    stepper = Stepper(model, build_optimizers(model, config), config, Ranks(0, 1, device))
    length = config.training_sequence_length
    batch: Any = torch.randint(0, config.eos_token_id, (1, length + 1)).numpy()
    batch[:, ::1000] = config.eos_token_id
    seconds = []
    for _ in range(steps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        stepper.step(batch, 0.5)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    peak = device_peak(device)
    rate = length / median(seconds[steps // 2 :])
    share = rate * flops_per_token(config, 1000, config.attention_window_len) / peak.flops
    print(
        f"{spec}: {rate:,.0f} tokens/s, MFU {share:.1%} of {peak.flops / 1e12:.0f} TFLOP/s ({peak.source}), "
        f"first step {seconds[0]:.1f} s, peak memory {peak_memory(device) / 2**30:.1f} GiB "
        f"on {torch.cuda.get_device_name()}"
    )


if __name__ == "__main__":
    sys.exit(main())
