"""Rebuild a model from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.checkpoint.format import CheckpointError, read_meta
from core.checkpoint.save import load_tensors
from core.config.model_spec import ModelSpec
from core.model.daisy_core import DaisyCore


def model_from_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[DaisyCore, dict[str, Any]]:
    """The model of a checkpoint on a device, with the windows it was trained with, and its hparams.

    The model is in evaluation mode; it computes in bf16 on CUDA and in fp32 elsewhere.
    Raises CheckpointError where the checkpoint is incomplete, damaged, or of another model.
    """
    folder = Path(path)
    meta = read_meta(folder)
    try:
        hparams: dict[str, Any] = meta["hparams"]
        spec = ModelSpec.of(hparams)
        windows = [int(window) for window in meta["windows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: its meta.json describes no DaisyCore: {error}") from error
    target = torch.device(device)
    model = DaisyCore(spec, compute_dtype=torch.bfloat16 if target.type == "cuda" else torch.float32)
    try:
        model.load_state_dict(load_tensors(folder))
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: its weights are not those of its spec: {' '.join(str(error).split())}"
        ) from error
    model.windows = windows
    return model.to(target).eval(), hparams
