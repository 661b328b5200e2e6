"""What Muon and the model are worth: validation loss on the bundled novels after equal tokens.

    python -m benchmarks.bench_learning [--vocabulary bytes|demo] [--tokens 1640000]

Three systems of 4 layers on the same batches of 4,096 tokens in sequences of 1,024: DaisyCore with Muon, the same
model with AdamW alone, and GPT-2 (Hugging Face) with its usual recipe: AdamW (0.9, 0.95), weight decay 0.1 on
matrices, clipping at 1, linear warm-up and cosine decay. They are 192 wide on bytes, where nearly all parameters are
matrices of the blocks; or 128 wide on the demo's 4,096 tokens, where most are embedding and head, which AdamW trains
with Muon as without. Each tries three learning rates, of which the best counts.
Exit code 1 says that DaisyCore with Muon is not 3% below AdamW alone, or not 5% below GPT-2's recipe.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.models import gpt2 as build_gpt2
from core.config.compose import compose
from core.config.train_config import TrainConfig
from core.config.windows import windows_at
from core.data.demo import VAL_FRACTION, demo_documents
from core.data.documents import TextSource
from core.data.prepare import PrepareOptions, prepare
from core.data.stream import TokenStream
from core.data.tokenizers import ByteTokenizer, demo_tokenizer
from core.model.daisy_core import DaisyCore, initialize
from core.training.distributed import Ranks
from core.training.evaluate import evaluate
from core.training.optimizers import build_optimizers
from core.training.step import Stepper

LENGTH, PER_STEP = 1024, 4
VALIDATION_SEQUENCES = 48
SHAPES = {
    "bytes": ["model_dim=192", "num_heads=3", "vocab_size=257", "eos_token_id=256", "attention_window_len=1024"],
    "demo": [],
}
LIMITS = {"DaisyCore + AdamW": 0.97, "GPT-2": 0.95}
ALONE = Ranks(0, 1, torch.device("cpu"))
ADAMW_ALONE = (
    "[{type: AdamW, params: [{group: hidden_matrix_params, lr: %g}, {group: embed_params, lr: 0.3}, "
    "{group: head_params, lr: 0.02}, {group: scalar_params, lr: 0.005}]}]"
)


@dataclass(frozen=True)
class Task:
    """What every system is given: a shape (overrides of the demo's config), tokens to train on, and the streams."""

    shape: list[str]
    tokens: int
    train: TokenStream
    val: TokenStream


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", choices=SHAPES, default="bytes")
    parser.add_argument("--tokens", type=int, default=1_640_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = ByteTokenizer() if arguments.vocabulary == "bytes" else demo_tokenizer()
        source = TextSource("novels", demo_documents())
        prepare(source, tokenizer, Path(folder), PrepareOptions("novels", val_fraction=VAL_FRACTION))
        train = TokenStream(sorted(Path(folder).glob("*train*.bin")), LENGTH, seed=1)
        val = TokenStream(sorted(Path(folder).glob("*val*.bin")), LENGTH, shuffle=False)
        task = Task(SHAPES[arguments.vocabulary], arguments.tokens, train, val)
        results = {
            "DaisyCore + Muon": _best("DaisyCore + Muon", (0.04, 0.02, 0.08), lambda lr: muon(lr, task)),
            "DaisyCore + AdamW": _best("DaisyCore + AdamW", (0.003, 0.001, 0.01), lambda lr: adamw(lr, task)),
            "GPT-2": _best("GPT-2", (0.003, 0.001, 0.01), lambda lr: gpt2(lr, task)),
        }
    ours = results["DaisyCore + Muon"]
    missed = False
    for name, limit in LIMITS.items():
        ratio = ours / results[name]
        missed |= ratio > limit
        print(f"DaisyCore + Muon over {name}: {ratio:.3f}, limit {limit}")
    return int(missed)


def _best(name: str, rates: tuple[float, ...], run: Callable[[float], float]) -> float:
    losses = []
    for rate in rates:
        losses.append(run(rate))
        print(f"{name}, rate {rate:g}: {losses[-1]:.4f} nats a token", flush=True)
    return min(losses)


def muon(lr: float, task: Task) -> float:
    """Validation loss of the demo's own recipe with this rate for the matrices."""
    return _daisy([f"optimizers.Muon.hidden_matrix_params.lr={lr}"], task)


def adamw(lr: float, task: Task) -> float:
    """Validation loss of the same model without Muon."""
    return _daisy([f"optimizers={ADAMW_ALONE % lr}"], task)


def _config(task: Task, overrides: Sequence[str] = ()) -> TrainConfig:
    lengths = [f"training_sequence_length={LENGTH}", f"val_seq_len={LENGTH}", f"target_tokens={task.tokens}"]
    validation = f"tot_val_tokens={VALIDATION_SEQUENCES * LENGTH}"
    return compose("demo", [*task.shape, *lengths, validation, *overrides]).config


def _daisy(overrides: list[str], task: Task) -> float:
    config, tokens, train, val = _config(task, overrides), task.tokens, task.train, task.val
    model = DaisyCore(config.spec)
    initialize(model, 1)
    stepper = Stepper(model, build_optimizers(model, config), config, ALONE)
    for step in range(_steps(tokens)):
        batch = train.read(range(step * PER_STEP, (step + 1) * PER_STEP))
        stepper.step(batch, step / _steps(tokens))
    no_bytes = torch.zeros(config.vocab_size, dtype=torch.int64)
    return evaluate(model, val, config, windows_at(config, 1.0), no_bytes, ALONE).loss


def gpt2(lr: float, task: Task) -> float:
    """Validation loss of GPT-2 of the same size with its usual recipe."""
    torch.manual_seed(1)
    model = build_gpt2(_config(task).spec, LENGTH)
    tokens, train, val = task.tokens, task.train, task.val
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
