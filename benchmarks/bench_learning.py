"""What Muon and the model are worth: validation loss on the bundled novels after equal tokens.

    python -m benchmarks.bench_learning [--tokens 800000]

Three systems of 4 layers x 128 on the same batches of 4,096 tokens in sequences of 1,024: DaisyCore with Muon, the same
model with AdamW alone, and GPT-2 (Hugging Face) with its usual recipe: AdamW (0.9, 0.95), weight decay 0.1 on
matrices, clipping at 1, linear warm-up and cosine decay. Each tries three learning rates, of which the best counts.
Exit code 1 says that DaisyCore with Muon is not 3% below AdamW alone, or not 5% below GPT-2's recipe.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.models import gpt2 as build_gpt2
from core.config.compose import compose
from core.config.train_config import TrainConfig
from core.config.windows import windows_at
from core.data.demo import prepare_demo
from core.data.stream import TokenStream
from core.model.daisy_core import DaisyCore, initialize
from core.training.distributed import Ranks
from core.training.evaluate import evaluate
from core.training.optimizers import build_optimizers
from core.training.step import Stepper

LENGTH, PER_STEP = 1024, 4
VALIDATION_SEQUENCES = 48
LIMITS = {"DaisyCore + AdamW": 0.97, "GPT-2": 0.95}
ALONE = Ranks(0, 1, torch.device("cpu"))
ADAMW_ALONE = (
    "[{type: AdamW, params: [{group: hidden_matrix_params, lr: %g}, {group: embed_params, lr: 0.3}, "
    "{group: head_params, lr: 0.02}, {group: scalar_params, lr: 0.005}]}]"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=800_000)
    tokens = parser.parse_args().tokens
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        prepare_demo(Path(folder))
        train = TokenStream(sorted(Path(folder).glob("*train*.bin")), LENGTH, seed=1)
        val = TokenStream(sorted(Path(folder).glob("*val*.bin")), LENGTH, shuffle=False)
        results = {
            "DaisyCore + Muon": _best("DaisyCore + Muon", (0.02, 0.04, 0.08), lambda lr: muon(lr, tokens, train, val)),
            "DaisyCore + AdamW": _best(
                "DaisyCore + AdamW", (0.001, 0.003, 0.01), lambda lr: adamw(lr, tokens, train, val)
            ),
            "GPT-2": _best("GPT-2", (0.001, 0.003, 0.01), lambda lr: gpt2(lr, tokens, train, val)),
        }
    ours = results["DaisyCore + Muon"]
    missed = False
    for name, limit in LIMITS.items():
        ratio = ours / results[name]
        missed |= ratio > limit
        print(f"DaisyCore + Muon over {name}: {ratio:.3f}, limit {limit}")
    return int(missed)


def _best(name: str, rates: tuple[float, ...], run: object) -> float:
    assert callable(run)
    losses = {rate: float(run(rate)) for rate in rates}
    shown = ", ".join(f"{rate:g}: {loss:.4f}" for rate, loss in losses.items())
    print(f"{name}: nats a token by learning rate {shown}", flush=True)
    return min(losses.values())


def muon(lr: float, tokens: int, train: TokenStream, val: TokenStream) -> float:
    """Validation loss of the demo's own recipe with this rate for the matrices."""
    return _daisy([f"optimizers.Muon.hidden_matrix_params.lr={lr}"], tokens, train, val)


def adamw(lr: float, tokens: int, train: TokenStream, val: TokenStream) -> float:
    """Validation loss of the same model without Muon."""
    return _daisy([f"optimizers={ADAMW_ALONE % lr}"], tokens, train, val)


def _daisy(overrides: list[str], tokens: int, train: TokenStream, val: TokenStream) -> float:
    shape = [f"training_sequence_length={LENGTH}", f"val_seq_len={LENGTH}", f"target_tokens={tokens}"]
    config: TrainConfig = compose(
        "demo", [*shape, f"tot_val_tokens={VALIDATION_SEQUENCES * LENGTH}", *overrides]
    ).config
    model = DaisyCore(config.spec)
    initialize(model, 1)
    stepper = Stepper(model, build_optimizers(model, config), config, ALONE)
    for step in range(_steps(tokens)):
        batch = train.read(range(step * PER_STEP, (step + 1) * PER_STEP))
        stepper.step(batch, step / _steps(tokens))
    no_bytes = torch.zeros(config.vocab_size, dtype=torch.int64)
    return evaluate(model, val, config, windows_at(config, 1.0), no_bytes, ALONE).loss


def gpt2(lr: float, tokens: int, train: TokenStream, val: TokenStream) -> float:
    """Validation loss of GPT-2 of the same size with its usual recipe."""
    torch.manual_seed(1)
    model = build_gpt2(compose("demo").config.spec, LENGTH)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    steps = _steps(tokens)
    warmup = max(1, steps // 20)
    for step in range(steps):
        cosine = 0.55 + 0.45 * math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / warmup) * cosine
        batch = torch.from_numpy(train.read(range(step * PER_STEP, (step + 1) * PER_STEP)))
        torch.autograd.backward(_summed(model, batch) / batch[:, 1:].numel())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    count = min(VALIDATION_SEQUENCES, val.sequences_per_epoch)
    with torch.no_grad():
        total = sum(_summed(model, torch.from_numpy(val.read([n]))).item() for n in range(count))
    return total / (count * LENGTH)


def _summed(model: nn.Module, sequences: Tensor) -> Tensor:
    """Sum of the cross-entropy over the targets of (count, LENGTH + 1) tokens."""
    logits = model(input_ids=sequences[:, :-1]).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten(), reduction="sum")


def _steps(tokens: int) -> int:
    return tokens // (LENGTH * PER_STEP)


if __name__ == "__main__":
    sys.exit(main())
