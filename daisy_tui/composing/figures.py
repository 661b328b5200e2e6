"""The estimates of a configuration in words, and for which precision they are made: the same in a terminal's lines
and on a screen."""

from __future__ import annotations

from typing import Literal

from core.config.estimate import Estimate, Precision
from core.data.survey import Survey
from core.text import count, size

Device = Literal["auto", "cpu", "cuda"]


def precision_for(device: Device) -> tuple[Precision, str]:
    """bf16 on CUDA, fp32 on CPU, and why; `auto` asks the NVIDIA driver, without loading CUDA."""
    if device != "auto":
        return ("bf16", "on CUDA") if device == "cuda" else ("fp32", "on CPU")
    import pynvml

    try:
        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount():
            return "bf16", "on CUDA"
    except pynvml.NVMLError:
        pass
    return "fp32", "no NVIDIA device here; see --device"


def estimate_rows(e: Estimate, found: Survey, target_tokens: int) -> list[tuple[str, str]]:
    """Estimates as rows of a name and what there is to say; a row that goes on has an empty name."""
    memory = e.memory
    documents = "no shards: one document a sequence"
    if found.document_tokens:
        documents = f"cut to a sequence; {count(found.document_tokens)} in the shards"
    epochs = "unknown without shards"
    if e.epochs is not None and e.train_tokens is not None:
        epochs = f"{e.epochs:,.2f} over {count(e.train_tokens)} tokens"
    groups = [f"{group} {count(n)}" for group, n in e.parameters_by_group.items()]
    return [
        ("parameters", f"{count(e.parameters)} in all, {count(e.parameters_streamed)} streamed per token"),
        *(("by group" if not at else "", ", ".join(groups[at : at + 2])) for at in range(0, len(groups), 2)),
        (
            "FLOPs per token",
            f"{count(e.flops_per_token)} full windows, {count(e.flops_per_token_mean)} mean of the run",
        ),
        ("document", f"{count(e.document_tokens)} tokens on average ({documents})"),
        ("tokens per step", f"{e.tokens_per_step:,}"),
        ("steps", f"{e.steps:,} to {count(target_tokens)} tokens"),
        ("epochs", epochs),
        ("memory per device", f"{size(memory.total)}, without fragmentation and the runtime"),
        ("", f"parameters {size(memory.parameters)}, gradients {size(memory.gradients)},"),
        ("", f"optimizer {size(sum(memory.optimizer.values()))}, activations {size(memory.activations)},"),
        ("", f"logits {size(memory.logits)}"),
        ("checkpoint", size(e.checkpoint_bytes)),
    ]
