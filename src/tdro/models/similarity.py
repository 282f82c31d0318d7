"""How a model scores a query and a passage: by cosine, dot product, a distance, or code of its own.

sentence-transformers keeps this with the model as ``similarity_fn_name`` (``cosine``, ``dot``, ``euclidean`` or
``manhattan``, where a distance counts as its negative), and ``model.similarity`` computes it. Only the cosine is
computed here: as the product of vectors that were brought to unit length once, when they were encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor

_PAIRS_AT_ONCE = 64  # a function that computes only whole matrices is given blocks of so many pairs


@dataclass(frozen=True)
class Similarity:
    """How queries (Q, D) and passages (P, D) are scored; nearer texts get larger scores.

    Attributes:
        name: ``cosine``, ``dot``, ``euclidean``, ``manhattan``, or ``custom`` where the model brings code of its own.
        matrix: scores every query with every passage, (Q, P).
        pairs: scores query i with passage i, (Q,).
        unit: the vectors that it is given must have unit length.
    """

    name: str
    matrix: Callable[[Tensor, Tensor], Tensor]
    pairs: Callable[[Tensor, Tensor], Tensor]
    unit: bool = False


def dot(queries: Tensor, passages: Tensor) -> Tensor:
    """The dot product of every query (Q, D) and every passage (P, D); (Q, P)."""
    return queries @ passages.T


COSINE = Similarity("cosine", dot, lambda queries, passages: (queries * passages).sum(dim=1), unit=True)


def similarity_of(model: SentenceTransformer) -> Similarity:
    """How a model scores texts. A model whose class or object replaces ``similarity`` has code of its own."""
    if "similarity" in vars(model) or type(model).similarity is not SentenceTransformer.similarity:
        return Similarity("custom", model.similarity, lambda queries, passages: _diagonal(model, queries, passages))
    name = model.similarity_fn_name
    return COSINE if name == "cosine" else Similarity(name, model.similarity, model.similarity_pairwise)


def _diagonal(model: SentenceTransformer, queries: Tensor, passages: Tensor) -> Tensor:
    """The scores of query i and passage i by a model's own code, which scores all pairs."""
    parts = zip(queries.split(_PAIRS_AT_ONCE), passages.split(_PAIRS_AT_ONCE), strict=True)
    return torch.cat([model.similarity(*part).diagonal() for part in parts])


def trained_similarity(model: SentenceTransformer) -> str:
    """The similarity that a model is saved with after it was trained by the cosine; see :func:`kept_similarity`."""
    unit = isinstance(list(model)[-1], Normalize) and model.truncate_dim is None
    return kept_similarity(similarity_of(model).name, unit)


def kept_similarity(name: str, unit: bool) -> str:
    """The model's own similarity if it ranks exactly as the cosine does, else ``cosine``.

    Vectors of unit length rank alike by cosine, dot product and Euclidean distance.

    Args:
        name: the model's own similarity.
        unit: whether its vectors have unit length.
    """
    return name if unit and name in ("dot", "euclidean") else "cosine"
