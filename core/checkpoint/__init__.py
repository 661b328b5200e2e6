"""Checkpoints. `model_from_checkpoint` loads torch when it is first used; listing and inspecting need none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.checkpoint.load import model_from_checkpoint

__all__ = ["model_from_checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "model_from_checkpoint":
        from core.checkpoint.load import model_from_checkpoint

        return model_from_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
