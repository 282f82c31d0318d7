"""nDCG@k and Recall@k per query, from ranks and judgements, as trec_eval defines them.

Everything is an array over queries, so that a thousand queries cost what one does. Values equal pytrec_eval's
to 1e-9 (``tests/test_metrics.py``); it is not used here because it wants a dict per query and a compiler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.evaluation.beir import BeirData


@dataclass(frozen=True)
class Judgements:
    """Who is how relevant to whom; three arrays of one length, query and passage by their place in the test
    set."""

    query: NDArray[np.int64]
    passage: NDArray[np.int64]
    relevance: NDArray[np.int64]


def judgements(data: BeirData) -> Judgements:
    """The relevant pairs of a test set. Relevances of 0 and below count for nothing, as in trec_eval."""
    passages = {key: place for place, key in enumerate(data.passage_ids)}
    rows = [
        (place, passages[passage], relevance)
        for place, query in enumerate(data.query_ids)
        for passage, relevance in data.qrels[query].items()
        if relevance > 0
    ]
    query, passage, relevance = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Judgements(query, passage, relevance)


def gains(top: NDArray[np.int64], judged: Judgements) -> NDArray[np.int64]:
    """The relevance of each retrieved passage, 0 where there is none.

    Args:
        top: passages by rank, best first, -1 where there were no more; shape (queries, ranks).
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


def ndcg(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """nDCG@k with gain = relevance and discount log2(rank + 1), as trec_eval's ``ndcg_cut``; shape
    (queries,).

    Args:
        gained: what :func:`gains` returned, at least k ranks unless there are fewer passages.
        judged: the relevant pairs, all of them: the ideal ranking is made of these.
        k: ranks that count.
    """
    ideal = _dcg(_ideal(judged, len(gained), k))
    return np.divide(_dcg(gained[:, :k]), ideal, out=np.zeros_like(ideal), where=ideal > 0)


def recall(gained: NDArray[np.int64], judged: Judgements, k: int = 100) -> NDArray[np.float64]:
    """The share of a query's relevant passages among the first k, as trec_eval's ``recall``; shape
    (queries,).

    Arguments as in :func:`ndcg`.
    """
    relevant = np.bincount(judged.query, minlength=len(gained)).astype(np.float64)
    found = (gained[:, :k] > 0).sum(axis=1)
    return np.divide(found, relevant, out=np.zeros_like(relevant), where=relevant > 0)


def _dcg(gained: NDArray[np.int64]) -> NDArray[np.float64]:
    return (gained / np.log2(np.arange(gained.shape[1]) + 2)).sum(axis=1)


def _ideal(judged: Judgements, queries: int, k: int) -> NDArray[np.int64]:
    """The k largest relevances of each query in falling order, filled up with 0; shape (queries, k)."""
    order = np.lexsort((-judged.relevance, judged.query))
    query, relevance = judged.query[order], judged.relevance[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    best = np.zeros((queries, k), dtype=np.int64)
    best[query[rank < k], rank[rank < k]] = relevance[rank < k]
    return best
