"""Windows per layer, in tokens: the one place that turns spec and progress into numbers.

Estimate, training, prefill and decode all ask here, so that no two of them can disagree.
"""

from __future__ import annotations

from math import ceil

from core.config.model_spec import ModelSpec
from core.config.train_config import TrainConfig


def layer_windows(spec: ModelSpec, long_window: int | None = None) -> list[int]:
    """Window of each layer in tokens, first layer first.

    `long_window` is the long window in force (default: the spec's full one). Short layers see half
    of it, at least one key; the last layer is always long.
    """
    long = spec.attention_window_len if long_window is None else long_window
    short = max(1, long // 2)
    pattern = spec.window_pattern
    windows = [long if pattern[layer % len(pattern)] == "L" else short for layer in range(spec.num_layers)]
    windows[-1] = long
    return windows


def long_window_at(progress: float, full: int, block: int, full_windows: bool = False) -> int:
    """The long window at `progress` in [0, 1]: linear growth in whole blocks, from one block to `full`.

    Source: window warm-up of the nanoGPT speed runs (records 13 and later).
    """
    if full_windows:
        return full
    blocks = max(1, ceil(progress * full / block))
    return min(full, block * blocks)


def long_window(config: TrainConfig, progress: float) -> int:
    """The long window that training has in force at `progress`, in tokens."""
    return long_window_at(progress, config.attention_window_len, config.window_block_size, config.full_windows)


def windows_at(config: TrainConfig, progress: float) -> list[int]:
    """The windows that training has in force at `progress`, in tokens, one a layer."""
    return layer_windows(config, long_window(config, progress))


def mean_visible_keys(window: int, document: float) -> float:
    """Mean number of keys a query sees, over the positions of one document of `document` tokens.

    Position i (from 0) of a document sees min(i + 1, window) keys.
    """
    if document <= window:
        return (document + 1) / 2
    return (window * (window + 1) / 2 + (document - window) * window) / document
