"""Exact search: compares every query with every passage, block by block, and keeps the k best passages so far.

A candidate (a passage for a query) is one 64-bit integer: its score in the upper half, and in the lower half how ties
are broken. So the k largest integers are the k best passages, with ties broken the same way in whatever order the
blocks come and however many ranks share them. After the first blocks, few scores are above the k-th best, and one
comparison finds those; four fifths of the time go into the matrix product. See docs/decisions.md, exact-search.
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
_NONE = torch.iinfo(torch.int64).min  # no candidate: less than all candidates
_MANY = 4  # if more than 4 k scores a query are above the k-th best one, find the k best of the block first

LeaveOut = Callable[[slice, int, Tensor], None]  # see `top_k`
Score = Callable[[Tensor, Tensor], Tensor]  # queries (Q, D) and passages (P, D) to scores (Q, P), larger is nearer


def search(
    queries: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    data: BeirData,
    k: int = 100,
    machine: Machine | None = None,
    score: Score = dot,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best passages for each query of a test set.

    Passages with equal scores are ordered by id, the larger (by code points) first, as trec_eval and pytrec_eval do. A
    passage with the query's own id is left out, as BEIR does.

    Args:
        queries: embeddings of the queries, (queries, D).
        blocks: embeddings of the passages in parts, each with the place of its first passage and a tensor
            (passages of the part, D). With several ranks, this rank's share of them.
        data: the test set.
        k: how many.
        machine: its ranks search together, and each returns the whole result; None for this process alone.
        score: the model's similarity. The dot product is the cosine if all vectors have unit length.

    Returns:
        Places in ``data.passages``, -1 where there are no more, and scores (-inf there); both
        (queries, min(k, passages)).

    Example::

        top, scores = search(store.whole(0), store.blocks(1), read_beir("data/scifact"), k=100)
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
    """The ``tie`` and the score of each candidate that :func:`top_k` returned; -1 and -inf where there is none."""
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
    """The k best candidates of each query as integers, best first; shape (Q, k). :func:`ties_and_scores` reads them.

    Only the candidates, and the scores of 1,024 queries and 8,192 passages, are in memory at a time.

    Args:
        queries: (Q, D).
        blocks: the passages in parts, each with the place of its first passage and a tensor (passages of the part, D).
        k: how many.
        tie: a number from 0 to N - 1 for each passage; of two with the same score, the larger number wins; (N,).
        leave_out: sets the scores of passages that must not be found to -inf. It is called with a slice of queries, the
            place of the first of some passages, and their scores (queries, passages).
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
    """The k best candidates among ``best`` (Q, k) and some passages with ``scores`` (Q, B) and ``tie`` (B,)."""
    k = best.shape[1]
    lowest = _scores(best[:, -1]).clamp(min=torch.finfo(scores.dtype).min)  # so that -inf never makes a candidate
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
    """One integer for each score: in the upper half the score, so that larger scores are larger; below it ``tie``."""
    bits = (scores + 0.0).view(torch.int32)  # -0.0 becomes 0.0, which it equals
    return (_ordered(bits).to(torch.int64) << 32) | tie


def _scores(candidates: Tensor) -> Tensor:
    """The candidates' scores, -inf where there is none."""
    scores = _ordered((candidates >> 32).to(torch.int32)).view(torch.float32)
    return scores.masked_fill(candidates == _NONE, -torch.inf)


def _ordered(bits: Tensor) -> Tensor:
    """The bits of float32 numbers as integers that are ordered like the numbers; applied twice, it gives the bits back.

    For negative numbers, all bits but the sign are flipped.
    """
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _of_all_ranks(best: Tensor) -> Tensor:
    """The best candidates of all ranks, on every rank."""
    from accelerate import PartialState
    from accelerate.utils import gather

    together = gather(best.to(PartialState().device)).view(-1, *best.shape)  # (ranks, Q, k)
    return together.transpose(0, 1).flatten(1).topk(best.shape[1], dim=1).values
