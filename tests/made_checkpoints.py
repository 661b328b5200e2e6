"""Checkpoints made up on disk, complete as far as anybody can tell who loads nothing, in a millisecond each."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.config.model_spec import ModelSpec
from core.config.parameters import parameters
from core.config.windows import layer_windows

SPEC = {
    "num_layers": 6,
    "num_heads": 2,
    "head_dim": 8,
    "model_dim": 16,
    "vocab_size": 257,
    "eos_token_id": 256,
    "max_seq_len": 128,
    "attention_window_len": 32,
    "depth_skips": True,
    "value_embeddings": 2,
}


def write_checkpoint(
    folder: Path, step: int = 7, *, scale: float = 1.0, state: bool = True, bad: Sequence[str] = (), **meta: Any
) -> Path:
    """A checkpoint of a small DaisyCore, whose weights grow with `scale`; the first one is NaN in tensors `bad`."""
    spec = ModelSpec(**SPEC)
    folder.mkdir(parents=True)
    header: dict[str, Any] = {}
    data = b""
    for parameter in parameters(spec):
        count = parameter.count
        values = [scale * ((number * 37) % 101 - 50) / 500 for number in range(count)]
        if parameter.name in bad:
            values[0] = float("nan")
        begin, data = len(data), data + struct.pack(f"<{count}f", *values)
        header[parameter.name] = {"dtype": "F32", "shape": list(parameter.shape), "data_offsets": [begin, len(data)]}
    (folder / "model.safetensors").write_bytes(_safetensors(header, data))
    if state:
        one = {"Muon.head.weight.momentum_buffer": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
        (folder / "state-rank0.safetensors").write_bytes(_safetensors(one, bytes(12)))
    facts = {"step": step, "tokens": 256 * step, "best_val": None, "val_loss": None, "tokens_per_step": 256}
    facts |= {"progress": 0.5, "state": {"cursor": step}, "windows": layer_windows(spec, 16), "parent": None}
    hparams = {**spec.model_dump(), "target_tokens": 3584, "init_checkpoint": None}
    tokenizer = {"name": "bytes", "vocab_size": 257, "eot_token_id": 256, "fingerprint": "f", "file": None}
    facts |= {"hparams": hparams, "tokenizer": tokenizer, "versions": {"daisy-tui": "0.1.0", "torch": "2.13.0"}}
    (folder / "meta.json").write_text(json.dumps({**facts, **meta}))
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    entries = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in contents.items()}
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


def write_checkpoints(run: Path, *steps: int, **meta: Any) -> list[Path]:
    """Checkpoints of a run, whose last one is `latest` and `best`; their validation losses fall."""
    made = []
    for number, step in enumerate(steps):
        facts = {"val_loss": 4.0 - 0.5 * number, **meta}
        made.append(write_checkpoint(run / f"checkpoints/step_{step:09d}", step, scale=1 + number, **facts))
    for link in ("latest", "best"):
        (run / "checkpoints" / link).symlink_to(made[-1].name)
    return made


def _safetensors(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
