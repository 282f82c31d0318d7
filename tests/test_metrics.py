"""nDCG and recall: equal to pytrec_eval, and to arithmetic for perfect, reversed and random rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.evaluation.beir import BeirData
from tdro.evaluation.metrics import gains, judgements, ndcg, recall


def data_of(relevance: np.ndarray) -> BeirData:
    """A test set from a matrix queries x passages of relevances."""
    queries, passages = relevance.shape
    qrels = {f"q{q}": {f"p{p}": int(relevance[q, p]) for p in range(passages)} for q in range(queries)}
    names = [f"q{q}" for q in range(queries)]
    return BeirData(names, names, [f"p{p}" for p in range(passages)], [""] * passages, qrels)


def measured(top: np.ndarray, relevance: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    judged = judgements(data_of(relevance))
    gained = gains(top, judged)
    return ndcg(gained, judged, k), recall(gained, judged, k)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), passages=st.integers(1, 30), grades=st.integers(1, 4))
def test_equal_to_pytrec_eval(seed, passages, grades):
    import pytrec_eval

    random = np.random.default_rng(seed)
    relevance = random.integers(-1, grades + 1, (5, passages)) * (random.random((5, passages)) < 0.5)
    relevance[:, 0] = 1
    top = np.argsort(random.random((5, passages)), axis=1)
    retrieved = random.integers(1, passages + 1)  # fewer than asked for
    data = data_of(relevance)
    run = {f"q{q}": {f"p{p}": float(passages - rank) for rank, p in enumerate(top[q, :retrieved])} for q in range(5)}
    found = pytrec_eval.RelevanceEvaluator(data.qrels, {"ndcg_cut.10", "recall.20"}).evaluate(run)
    top[:, retrieved:] = -1
    judged = judgements(data)
    gained = gains(top, judged)
    expected = np.array([[found[q]["ndcg_cut_10"], found[q]["recall_20"]] for q in data.query_ids])
    np.testing.assert_allclose(ndcg(gained, judged, 10), expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(recall(gained, judged, 20), expected[:, 1], atol=1e-9)


def test_perfect_and_reversed_rankings():
    relevance = np.array([[3, 2, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    perfect = np.tile(np.arange(6), (2, 1))
    assert [list(value) for value in measured(perfect, relevance, 3)] == [[1, 1], [1, 1]]
    value, found = measured(perfect[:, ::-1], relevance, 6)
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    backwards = 1 / np.log2(5) + 2 / np.log2(6) + 3 / np.log2(7)
    np.testing.assert_allclose(value, [backwards / ideal, 1 / np.log2(7)], atol=1e-12)
    assert list(found) == [1, 1]
    assert [list(value) for value in measured(perfect[:, ::-1], relevance, 3)] == [[0, 0], [0, 0]]


def test_a_random_ranking_finds_k_of_n():
    random = np.random.default_rng(0)
    relevance = np.eye(1, 50, dtype=int).repeat(4000, 0)
    top = np.argsort(random.random((4000, 50)), axis=1)
    value, found = measured(top, relevance, 10)
    assert found.mean() == pytest.approx(10 / 50, abs=0.02)
    assert value.mean() == pytest.approx((1 / np.log2(np.arange(10) + 2)).sum() / 50, abs=0.02)


def test_nothing_retrieved_or_nothing_relevant_is_zero():
    relevance = np.array([[1, 0], [0, 0]])
    value, found = measured(np.array([[-1, -1], [0, 1]]), relevance, 2)
    assert list(value) == [0, 0]
    assert list(found) == [0, 0]
