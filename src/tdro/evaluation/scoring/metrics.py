"""nDCG, Recall, MRR, MAP and Accuracy at k, per query, from ranks and judgements, as trec_eval defines them.

Everything is an array over queries, so that a thousand queries cost what one does. Values equal pytrec_eval's
to 1e-9 (``tests/test_metrics.py``); it is not used here because it wants a dict per query and a compiler.

mteb takes nDCG, Recall, MAP and Accuracy (its ``hit_rate``) from pytrec_eval and orders ties as it does for MRR, so on
one run its values per query are the same. Its averages are rounded to 5 digits (MRR's are not). It leaves a passage
with the query's own id out only in the tasks that ask for it, and after the k best were chosen, so that such a query
has k - 1. A query that is missing from a run is missing from its averages too; here none is, and one that finds nothing
is 0 for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.testsets.beir_data import BeirData


@dataclass(frozen=True)
class Judgements:
    """Who is how relevant to whom; three arrays of one length, query and passage by their place in the test
    set. Passages that are judged but not in the corpus have the place after the last."""

    query: NDArray[np.int64]
    passage: NDArray[np.int64]
    relevance: NDArray[np.int64]


def judgements(data: BeirData) -> Judgements:
    """The relevant pairs of a test set. Relevances of 0 and below count for nothing, as in trec_eval."""
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


def measure(name: str, gained: NDArray[np.int64], judged: Judgements) -> NDArray[np.float64]:
    """A measure by its name, such as ``ndcg@10``; shape (queries,), in [0, 1].

    Args:
        name: ``ndcg``, ``recall``, ``mrr``, ``map`` or ``accuracy``, ``@``, and how many ranks count.
        gained: what :func:`gains` returned, at least k ranks unless there are fewer passages.
        judged: the relevant pairs, all of them.
    """
    kind, _, k = name.partition("@")
    return _KINDS[kind](gained, judged, int(k))


def ndcg(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """nDCG@k with gain = relevance and discount log2(rank + 1), as trec_eval's ``ndcg_cut``; shape
    (queries,). The ideal ranking is made of all relevant pairs.

    Arguments as in :func:`measure`, as for all measures below.
    """
    ideal = _dcg(_ideal(judged, len(gained), k))
    return _share(_dcg(gained[:, :k]), ideal)


def recall(gained: NDArray[np.int64], judged: Judgements, k: int = 100) -> NDArray[np.float64]:
    """The share of a query's relevant passages among the first k, as trec_eval's ``recall``."""
    return _share((gained[:, :k] > 0).sum(axis=1), _relevant(judged, len(gained)))


def mrr(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """1 / rank of the first relevant passage, 0 if it is not among the first k: trec_eval's ``recip_rank`` of a run
    cut there."""
    return ((gained[:, :k] > 0) / _ranks(gained, k)).max(axis=1, initial=0)


def average_precision(gained: NDArray[np.int64], judged: Judgements, k: int = 100) -> NDArray[np.float64]:
    """MAP@k of one query, as trec_eval's ``map_cut``: the precision at the rank of each relevant passage among the
    first k, summed and divided by the number of all relevant ones (also where these are more than k)."""
    found = gained[:, :k] > 0
    return _share((found * found.cumsum(axis=1) / _ranks(gained, k)).sum(axis=1), _relevant(judged, len(gained)))


def accuracy(gained: NDArray[np.int64], judged: Judgements, k: int = 10) -> NDArray[np.float64]:
    """1 if a relevant passage is among the first k, else 0: trec_eval's ``success``."""
    return np.asarray((gained[:, :k] > 0).any(axis=1), dtype=np.float64)


_KINDS: dict[str, Callable[[NDArray[np.int64], Judgements, int], NDArray[np.float64]]] = {
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
    """Their quotient, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


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
