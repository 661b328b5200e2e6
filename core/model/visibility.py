"""The one mask of the model: which keys a query may see."""

from __future__ import annotations

import torch
from torch import Tensor


def visible(query: Tensor, key: Tensor, start: Tensor, window: int | Tensor) -> Tensor:
    """A key is visible that is not later, less than `window` positions back, and in the same document.

    Positions of queries and keys, and the first position of each query's document; they broadcast.
    """
    return (key <= query) & (query - key < window) & (key >= start)


def document_starts(documents: Tensor) -> Tensor:
    """First position of the document that each position belongs to: (batch, time) int64 from ids.

    Documents are contiguous: an id that comes back after another one begins a new document.
    """
    positions = torch.arange(documents.shape[1], device=documents.device)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return torch.where(begins, positions, 0).cummax(dim=1).values
