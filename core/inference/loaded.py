"""A checkpoint made ready to be talked to: its model, its tokenizer, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError

from core.checkpoint.format import CheckpointError, check_hash, read_manifest, read_meta
from core.checkpoint.load import model_from_checkpoint
from core.config.sources import display_path
from core.data.dataset import TokenizerInfo, dataset_tokenizer
from core.data.tokenizers import Tokenizer
from core.model.daisy_core import DaisyCore


class Loaded(NamedTuple):
    """`folder` is the checkpoint's own, no link; `meta` is its meta.json (step, tokens, best_val, ...)."""

    model: DaisyCore
    tokenizer: Tokenizer
    meta: dict[str, Any]
    folder: Path


def load(folder: Path, device: str = "cpu") -> Loaded:
    """Load a checkpoint; its tokenizer lies inside, so nothing else is needed.

    A link such as `latest` is followed once: it may point elsewhere before all is read.
    Raises CheckpointError or ShardError where checkpoint or tokenizer cannot be used.
    """
    own = folder.resolve() if folder.exists() else folder
    folder = Path(display_path(own))
    tokenizer = _tokenizer(folder)
    model, _ = model_from_checkpoint(folder, device)
    if tokenizer.vocab_size > model.spec.vocab_size:
        raise CheckpointError(
            f"{folder}: its tokenizer '{tokenizer.name}' has {tokenizer.vocab_size} ids and its model "
            f"{model.spec.vocab_size}: they do not belong together"
        )
    return Loaded(model, tokenizer, read_meta(folder), own)


def check_finite(loaded: Loaded) -> None:
    """Raise CheckpointError where a weight is no number: nothing that the model says would be one."""
    for name, parameter in loaded.model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointError(f"{loaded.folder}: {name} holds what is no number; name an earlier checkpoint")


def _tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a checkpoint, its file as the manifest has it."""
    try:
        info = TypeAdapter(TokenizerInfo).validate_python(read_meta(folder).get("tokenizer"))
    except ValidationError as error:
        raise CheckpointError(f"{folder}: its meta.json names no tokenizer") from error
    if info.file is not None:
        entry = read_manifest(folder).get(info.file)
        if entry is None:
            raise CheckpointError(f"{folder}: its tokenizer's file {info.file} is missing")
        check_hash(folder / info.file, entry["sha256"])
    try:
        return dataset_tokenizer(folder, info)
    except (ValueError, KeyError, OverflowError) as error:  # what tiktoken raises
        raise CheckpointError(
            f"{folder}: its meta.json describes no tokenizer: {' '.join(str(error).split())}"
        ) from error
