"""nDCG, Recall, MRR, MAP and Accuracy at k of each query, as trec_eval defines them.

All queries are computed at once, as arrays. The values equal pytrec_eval's to 1e-9 (``tests/test_metrics.py``). See
docs/decisions.md, own-metrics.

mteb computes nDCG, Recall, MAP and Accuracy (its ``hit_rate``) by pytrec_eval, and MRR with the same order of ties, so
for the same ranking its values of each query equal ours. Its averages can differ:

- mteb rounds averages to 5 digits, except MRR's.
- It leaves out a passage with the query's own id only for tasks that ask for it, and after choosing the k best, so
  that such a query has k - 1 passages.
- A query without any ranking is left out of its averages. Here every query has a ranking; one that finds nothing is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.testsets.beir_data import BeirData

_RELEVANT = 2  # relevant passages of a query that are shown to people
MEASURES = ("ndcg@10", "recall@100", "mrr@10", "map@100", "accuracy@10", "accuracy@100")  # of every evaluation


@dataclass(frozen=True)
class Judgements:
    """The relevant pairs of a query and a passage: three arrays of the same length.

    Attributes:
        query: the query's place in the test set.
        passage: the passage's place; passages that are not in the corpus have the place after the last one.
        relevance: how relevant the passage is, at least 1.
    """

    query: NDArray[np.int64]
    passage: NDArray[np.int64]
    relevance: NDArray[np.int64]


def judgements(data: BeirData) -> Judgements:
    """The relevant pairs of a test set. A relevance of 0 or below counts as not relevant, as in trec_eval."""
    pairs = [
        (place, passage, relevance)
        for place, query in enumerate(data.query_ids)
        for passage, relevance in data.qrels[query].items()
        if relevance > 0
    ]
    passages, nowhere = data.passages.places(passage for _, passage, _ in pairs), len(data.passages)
    rows = [(query, passages.get(passage, nowhere), relevance) for query, passage, relevance in pairs]
    query, passage, relevance = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Judgements(query, passage, relevance)


def gains(top: NDArray[np.int64], judged: Judgements) -> NDArray[np.int64]:
    """The relevance of each passage that was found; 0 if it is not relevant.

    Args:
        top: places of the passages that were found, best first, -1 where there are no more; (queries, ranks).
        judged: the relevant pairs.

    Returns:
        Shape (queries, ranks).
    """
    if not len(judged.query):
        return np.zeros_like(top)
    width = int(max(top.max(initial=0), judged.passage.max())) + 1
    keys = judged.query * width + judged.passage
    order = np.argsort(keys)
    keys, relevance = keys[order], judged.relevance[order]
    wanted = np.arange(len(top))[:, None] * width + top
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[place] == wanted) & (top >= 0), relevance[place], 0)


def measure(name: str, gained: NDArray[np.int64], judged: Judgements) -> NDArray[np.float64]:
    """The values of a measure, in [0, 1]; shape (queries,).

    Args:
        name: ``ndcg``, ``recall``, ``mrr``, ``map`` or ``accuracy``, then ``@`` and how many ranks count.
        gained: what :func:`gains` returned; at least k ranks, unless there are fewer passages.
        judged: all relevant pairs.

    Example::

        judged = judgements(data)
        measure("ndcg@10", gains(top, judged), judged).mean()
    """
    kind, _, k = name.partition("@")
    return KINDS[kind](gained, judged, int(k))


def ndcg(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """nDCG@k with gain = relevance and discount log2(rank + 1), as trec_eval's ``ndcg_cut``; shape (queries,).

    The ideal ranking is that of all relevant pairs. The arguments of this and the next functions are those of
    :func:`measure`.
    """
    ideal = _dcg(_ideal(judged, len(gained), k))
    return _share(_dcg(gained[:, :k]), ideal)


def recall(gained: NDArray[np.int64], judged: Judgements, k: int = 100) -> NDArray[np.float64]:
    """The share of a query's relevant passages among the first k, as trec_eval's ``recall``."""
    return _share((gained[:, :k] > 0).sum(axis=1), _relevant(judged, len(gained)))


def mrr(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """1 / rank of the first relevant passage, 0 if none is among the first k: trec_eval's ``recip_rank`` of a run cut
    at k."""
    return ((gained[:, :k] > 0) / _ranks(gained, k)).max(axis=1, initial=0)


def average_precision(gained: NDArray[np.int64], judged: Judgements, k: int = 100) -> NDArray[np.float64]:
    """Average precision at k, as trec_eval's ``map_cut``; its mean over queries is MAP@k.

    The precision at the rank of each relevant passage among the first k, summed and divided by the number of all
    relevant passages, even if these are more than k.
    """
    found = gained[:, :k] > 0
    return _share((found * found.cumsum(axis=1) / _ranks(gained, k)).sum(axis=1), _relevant(judged, len(gained)))


def accuracy(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """1 if a relevant passage is among the first k, else 0: trec_eval's ``success``."""
    return np.asarray((gained[:, :k] > 0).any(axis=1), dtype=np.float64)


KINDS: dict[str, Callable[[NDArray[np.int64], Judgements, int], NDArray[np.float64]]] = {
    "ndcg": ndcg,
    "recall": recall,
    "mrr": mrr,
    "map": average_precision,
    "accuracy": accuracy,
}


def _ranks(gained: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    return np.arange(min(k, gained.shape[1])) + 1


def _relevant(judged: Judgements, queries: int) -> NDArray[np.int64]:
    """How many relevant passages each query has."""
    return np.bincount(judged.query, minlength=queries)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """``part`` divided by ``whole``; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _dcg(gained: NDArray[np.int64]) -> NDArray[np.float64]:
    return (gained / np.log2(np.arange(gained.shape[1]) + 2)).sum(axis=1)


def _ideal(judged: Judgements, queries: int, k: int) -> NDArray[np.int64]:
    """The k largest relevances of each query, largest first, padded with 0; shape (queries, k)."""
    order = np.lexsort((-judged.relevance, judged.query))
    query, relevance = judged.query[order], judged.relevance[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    best = np.zeros((queries, k), dtype=np.int64)
    best[query[rank < k], rank[rank < k]] = relevance[rank < k]
    return best


def most_relevant(scores: Mapping[str, int]) -> list[str]:
    """Two of the passages with the highest relevance, as examples of a query's answers; none if no passage is relevant.

    For example, ``most_relevant({"p1": 1, "p2": 2, "p3": 0})`` is ``["p2"]``.
    """
    best = max(scores.values(), default=0)
    return [passage for passage, score in scores.items() if score == best and score > 0][:_RELEVANT]
