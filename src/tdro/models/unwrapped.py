"""The sentence-transformers model inside the wrappers that trainers put around it (DDP, torch.compile)."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from torch import nn


def unwrapped(model: nn.Module) -> SentenceTransformer:
    """The sentence-transformers model itself. Raises :class:`TypeError` if there is none inside."""
    while not isinstance(model, SentenceTransformer):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            raise TypeError(f"no SentenceTransformer inside {type(model).__name__}")
        model = inner
    return model
