"""Exact search: every passage is compared with every query, block by block, and the k best so far are kept.

A candidate is one integer, its score above and its place in the order of ids below, so that the k largest integers are
the k best passages with ties broken, in whatever order and by however many ranks the blocks are seen. After the first
blocks hardly any score reaches the k-th best one, and a comparison finds those; four fifths of the time are the matrix
product's. Rejected: an index that approximates, and faiss's exact search of each block (``faiss.knn``): 12.3 s where
this takes 12.9 s (1,000 queries, 1 M passages of 384 dimensions, one thread), but of several passages with the k-th
score it keeps any; asking it for k + 1 and searching again where two tie cannot gain more than the twentieth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tdro.data.testsets.beir_data import BeirData
from tdro.machine import Machine
from tdro.models.similarity import dot

_PASSAGES_AT_ONCE, _QUERIES_AT_ONCE = 8192, 1024
_NONE = torch.iinfo(torch.int64).min  # less than every candidate
# So many candidates for each that is kept are too many to look at one by one.
_MANY = 4

LeaveOut = Callable[[slice, int, Tensor], None]
Score = Callable[[Tensor, Tensor], Tensor]  # of queries (Q, D) and passages (P, D): (Q, P), larger for nearer ones


def search(
    queries: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    data: BeirData,
    k: int = 100,
    machine: Machine | None = None,
    score: Score = dot,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best passages of each query of a test set.

    Equal scores are ordered by passage id, the larger (by code points) first, as trec_eval and pytrec_eval do. A
    passage with the query's own id is left out, as BEIR does.

    Args:
        queries: (queries, D).
        blocks: embeddings of all passages in parts, (rows, D), each with the place of its first row. With several
            ranks: of this rank's share of them.
        data: whose queries and passages these are.
        k: how many.
        machine: its ranks search together and all get the result; None for this process alone.
        score: the model's similarity. The product is the cosine where all vectors have unit length.

    Returns:
        Places in ``data.passages``, -1 where there are no more, and scores (-inf there); both
        (queries, min(k, passages)).
    """
    by_id = data.passages.by_id()
    tie = np.empty_like(by_id)
    tie[by_id] = np.arange(len(by_id))
    there = data.passages.places(data.query_ids)
    own = torch.tensor([there.get(query, -1) for query in data.query_ids], device=queries.device)

    def leave_out_own(rows: slice, start: int, scores: Tensor) -> None:
        inside = ((own[rows] >= start) & (own[rows] < start + scores.shape[1])).nonzero()[:, 0]
        scores[inside, own[rows][inside] - start] = -torch.inf

    best = top_k(queries, blocks, min(k, len(by_id)), torch.from_numpy(tie), leave_out_own, score)
    if machine is not None and machine.world > 1:
        best = _of_all_ranks(best)
    ties, scores = ties_and_scores(best)
    return np.where(ties >= 0, by_id[ties], -1), scores


def ties_and_scores(best: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``tie`` and the score of each candidate of :func:`top_k`; -1 and -inf where there is none."""
    keys = best.cpu()
    ties = torch.where(keys == _NONE, -1, keys & 0xFFFFFFFF)
    return ties.numpy(), _scores(keys).numpy()


def top_k(
    queries: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    k: int,
    tie: Tensor,
    leave_out: LeaveOut,
    score: Score = dot,
) -> Tensor:
    """The k best candidates of each query, best first, as integers; shape (Q, k). :func:`found` reads them.

    In memory are the candidates and the scores of 1,024 queries for 8,192 passages, whatever there is besides.

    Args:
        queries: (Q, D).
        blocks: passages in parts, (rows, D), each with the place of its first row.
        k: how many.
        tie: which of two passages with one score is better: the one with the larger number here; (N,), 0 to N - 1.
        leave_out: called with some queries, the place of the first of some passages, and their scores
            (queries, passages); makes -inf of those that are not to be found.
        score: see :func:`search`.
    """
    best = torch.full((len(queries), k), _NONE, device=queries.device)
    for first, block in blocks:
        for offset in range(0, len(block), _PASSAGES_AT_ONCE):
            passages = block[offset : offset + _PASSAGES_AT_ONCE].to(queries.device)
            start = first + offset
            ties = tie[start : start + len(passages)].to(queries.device)
            for part in range(0, len(queries), _QUERIES_AT_ONCE):
                rows = slice(part, part + _QUERIES_AT_ONCE)
                scores = score(queries[rows], passages)
                leave_out(rows, start, scores)
                best[rows] = _merged(best[rows], scores, ties)
    return best


def _merged(best: Tensor, scores: Tensor, tie: Tensor) -> Tensor:
    """The best candidates among ``best`` (Q, k) and the passages with these ``scores`` (Q, B)."""
    k = best.shape[1]
    lowest = _scores(best[:, -1]).clamp(min=torch.finfo(scores.dtype).min)  # a score of -inf is no candidate
    enough = scores >= lowest[:, None]
    if int(enough.count_nonzero()) > _MANY * best.numel():
        of_these = scores.topk(min(k, scores.shape[1]), dim=1).values[:, -1]
        enough = scores >= torch.maximum(lowest, of_these)[:, None]
    row, column = enough.nonzero(as_tuple=True)
    if not len(row):
        return best
    count = torch.bincount(row, minlength=len(scores))
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    candidates = torch.full((len(scores), int(count.max())), _NONE, device=row.device)
    candidates[row, place] = _candidates(scores[row, column], tie[column])
    return torch.cat([best, candidates], dim=1).topk(k, dim=1).values


def _candidates(scores: Tensor, tie: Tensor) -> Tensor:
    """One integer each: the score's bits, so that larger scores are larger integers, and below them ``tie``."""
    bits = (scores + 0.0).view(torch.int32)  # -0.0 becomes 0.0, which it equals
    return (_ordered(bits).to(torch.int64) << 32) | tie


def _scores(candidates: Tensor) -> Tensor:
    """The candidates' scores, -inf where there is none."""
    scores = _ordered((candidates >> 32).to(torch.int32)).view(torch.float32)
    return scores.masked_fill(candidates == _NONE, -torch.inf)


def _ordered(bits: Tensor) -> Tensor:
    """Bits of floats as integers in the floats' order (of negative ones all bits but the sign are turned), and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _of_all_ranks(best: Tensor) -> Tensor:
    """The best candidates of all ranks, on every rank."""
    from accelerate import PartialState
    from accelerate.utils import gather

    together = gather(best.to(PartialState().device)).view(-1, *best.shape)  # (ranks, Q, k)
    return together.transpose(0, 1).flatten(1).topk(best.shape[1], dim=1).values
