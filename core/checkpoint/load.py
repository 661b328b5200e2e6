"""Rebuild a model from its checkpoint.

Nothing is built before meta.json and the weights' header agree: a model is as large as its hparams say, and those of
a stranger may say anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.checkpoint.format import MODEL_FILE, CheckpointError, read_tensor_infos
from core.checkpoint.inspect import mismatches, read_described
from core.checkpoint.save import load_tensors
from core.config.parameters import parameters
from core.model.daisy_core import DaisyCore

_SHOWN_MISMATCHES = 3


def model_from_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[DaisyCore, dict[str, Any]]:
    """The model of a checkpoint on a device, with the windows it was trained with, and its hparams.

    The model is in evaluation mode; it computes in bf16 on CUDA and in fp32 elsewhere.
    Raises CheckpointError where the checkpoint is incomplete, damaged, or of another model.
    """
    folder = Path(path)
    meta, spec = read_described(folder)
    if meta.windows is None:
        raise CheckpointError(f"{folder}: its meta.json has no windows")
    infos = {info.name: info for info in read_tensor_infos(folder / MODEL_FILE)}
    if wrong := mismatches(list(parameters(spec)), infos):
        more = f" and {len(wrong) - _SHOWN_MISMATCHES:,} more" if len(wrong) > _SHOWN_MISMATCHES else ""
        shown = "; ".join(wrong[:_SHOWN_MISMATCHES])
        raise CheckpointError(f"{folder}: its weights are not those of its spec: {shown}{more}")
    target = torch.device(device)
    model = DaisyCore(spec, compute_dtype=torch.bfloat16 if target.type == "cuda" else torch.float32)
    model.load_state_dict(load_tensors(folder))
    model.windows = list(meta.windows)
    return model.to(target).eval(), dict(meta.hparams)
