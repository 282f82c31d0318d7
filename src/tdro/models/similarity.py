"""How near a model says that two texts are: by its own function, whatever that is.

sentence-transformers keeps it with the model (``similarity_fn_name``: cosine, dot product, and the negative Euclidean
or Manhattan distance), and ``model.similarity`` computes it. Cosine is computed here, as a product of vectors that were
brought to unit length once, when they were encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor

_PAIRS_AT_ONCE = 64  # whose matrix is computed where a function knows no pairs


@dataclass(frozen=True)
class Similarity:
    """A function of queries (Q, D) and passages (P, D), larger for nearer ones.

    Attributes:
        name: ``cosine``, ``dot``, ``euclidean``, ``manhattan``, or ``custom`` where the model's code has another one.
        matrix: all pairs, (Q, P).
        pairs: query i and passage i, (Q,).
        unit: takes vectors of unit length.
    """

    name: str
    matrix: Callable[[Tensor, Tensor], Tensor]
    pairs: Callable[[Tensor, Tensor], Tensor]
    unit: bool = False


def dot(queries: Tensor, passages: Tensor) -> Tensor:
    """The product of every query and every passage."""
    return queries @ passages.T


COSINE = Similarity("cosine", dot, lambda queries, passages: (queries * passages).sum(dim=1), unit=True)


def similarity_of(model: SentenceTransformer) -> Similarity:
    """The function of a model."""
    if "similarity" in vars(model) or type(model).similarity is not SentenceTransformer.similarity:
        return Similarity("custom", model.similarity, lambda queries, passages: _diagonal(model, queries, passages))
    name = model.similarity_fn_name
    return COSINE if name == "cosine" else Similarity(name, model.similarity, model.similarity_pairwise)


def _diagonal(model: SentenceTransformer, queries: Tensor, passages: Tensor) -> Tensor:
    parts = zip(queries.split(_PAIRS_AT_ONCE), passages.split(_PAIRS_AT_ONCE), strict=True)
    return torch.cat([model.similarity(*part).diagonal() for part in parts])


def trained_similarity(model: SentenceTransformer) -> str:
    """The name that a model keeps when it was trained by the cosine."""
    unit = isinstance(list(model)[-1], Normalize) and model.truncate_dim is None
    return kept_similarity(similarity_of(model).name, unit)


def kept_similarity(name: str, unit: bool) -> str:
    """A model's own similarity where it ranks as the cosine does, else ``cosine``.

    Args:
        name: of its own.
        unit: its vectors have unit length. Then the product is the cosine, and the Euclidean distance falls as the
            cosine rises.
    """
    return name if unit and name in ("dot", "euclidean") else "cosine"
