"""The measures: equal to pytrec_eval and mteb, and to arithmetic for perfect, reversed and random rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.testsets.beir_data import BeirData
from tdro.data.testsets.passages import Passages
from tdro.evaluation.scoring.metrics import gains, judgements, measure

RANKS = (1, 3, 10, 20)
# Our names, and those of pytrec_eval; its recip_rank has no k, so the run is cut before.
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut", "accuracy": "success"}


def data_of(relevance: np.ndarray) -> BeirData:
    """A test set from a matrix queries x passages of relevances."""
    queries, passages = relevance.shape
    qrels = {f"q{q}": {f"p{p}": int(relevance[q, p]) for p in range(passages)} for q in range(queries)}
    names = [f"q{q}" for q in range(queries)]
    return BeirData(names, names, Passages.of([f"p{p}" for p in range(passages)], [""] * passages), qrels)


def measured(name: str, top: np.ndarray, relevance: np.ndarray) -> list[float]:
    judged = judgements(data_of(relevance))
    return measure(name, gains(top, judged), judged).tolist()


def some_run(seed, passages, grades):
    """Judgements of five queries, a ranking of some passages for each, and the run as pytrec_eval takes it."""
    random = np.random.default_rng(seed)
    relevance = random.integers(-1, grades + 1, (5, passages)) * (random.random((5, passages)) < 0.5)
    relevance[0] = np.minimum(relevance[0], 0)  # nothing relevant
    relevance[1, 0] = grades
    top = np.argsort(random.random((5, passages)), axis=1)
    retrieved = random.integers(1, passages + 1)  # perhaps fewer than asked for
    run = {f"q{q}": {f"p{p}": float(passages - rank) for rank, p in enumerate(top[q, :retrieved])} for q in range(5)}
    top[:, retrieved:] = -1
    data = data_of(relevance)
    for query in data.query_ids[3:]:  # judged, but not in the corpus
        data.qrels[query]["elsewhere"] = grades
        data.qrels[query]["nowhere"] = 1
    return data, top, run


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), passages=st.integers(1, 30), grades=st.integers(1, 4))
def test_equal_to_pytrec_eval(seed, passages, grades):
    import pytrec_eval

    data, top, run = some_run(seed, passages, grades)
    judged = judgements(data)
    gained = gains(top, judged)
    cuts = ",".join(map(str, RANKS))
    found = pytrec_eval.RelevanceEvaluator(data.qrels, {f"{name}.{cuts}" for name in TREC.values()}).evaluate(run)
    assert found.keys() == set(data.query_ids)  # also the one without a relevant passage
    for k in RANKS:
        for ours, theirs in TREC.items():
            expected = [found[query][f"{theirs}_{k}"] for query in data.query_ids]
            np.testing.assert_allclose(measure(f"{ours}@{k}", gained, judged), expected, atol=1e-9, err_msg=ours)
        cut = {query: dict(list(passages.items())[:k]) for query, passages in run.items()}  # best first
        found_first = pytrec_eval.RelevanceEvaluator(data.qrels, {"recip_rank"}).evaluate(cut)
        expected = [found_first[query]["recip_rank"] for query in data.query_ids]
        np.testing.assert_allclose(measure(f"mrr@{k}", gained, judged), expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_mteb(seed):
    """Means: mteb rounds all but MRR to 5 digits."""
    pytest.importorskip("mteb")
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    data, top, run = some_run(seed, 25, 3)
    judged = judgements(data)
    gained = gains(top, judged)
    found = calculate_retrieval_scores(run, data.qrels, RANKS)
    for k in RANKS:
        for query, row in zip(data.query_ids, range(5), strict=True):
            for ours, theirs in TREC.items():
                expected = found.all_scores[query][f"{theirs}_{k}"]
                assert measure(f"{ours}@{k}", gained, judged)[row] == pytest.approx(expected, abs=1e-9)
        means = {"ndcg": found.ndcg[f"NDCG@{k}"], "recall": found.recall[f"Recall@{k}"]}
        means |= {"map": found.map[f"MAP@{k}"], "accuracy": found.hit_rate[f"HitRate@{k}"]}
        for name, value in means.items():
            assert measure(f"{name}@{k}", gained, judged).mean() == pytest.approx(value, abs=6e-6)
        assert measure(f"mrr@{k}", gained, judged).mean() == pytest.approx(found.mrr[f"MRR@{k}"], abs=1e-9)


def test_perfect_ranking():
    relevance = np.array([[3, 2, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    perfect = np.tile(np.arange(6), (2, 1))
    for name in ("ndcg@3", "recall@3", "mrr@3", "map@3", "accuracy@3", "mrr@1", "ndcg@100"):
        assert measured(name, perfect, relevance) == [1, 1], name
    assert measured("recall@1", perfect, relevance) == [pytest.approx(1 / 3), 1]
    assert measured("map@2", perfect, relevance) == [pytest.approx(2 / 3), 1]  # of all relevant ones, as trec_eval


def test_reversed_ranking():
    relevance = np.array([[3, 2, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    backwards = np.tile(np.arange(6), (2, 1))[:, ::-1]
    dcg = 1 / np.log2(5) + 2 / np.log2(6) + 3 / np.log2(7)
    ideal = 3 + 2 / np.log2(3) + 1 / 2
    assert measured("ndcg@6", backwards, relevance) == pytest.approx([dcg / ideal, 1 / np.log2(7)])
    assert measured("map@6", backwards, relevance) == pytest.approx([(1 / 4 + 2 / 5 + 3 / 6) / 3, 1 / 6])
    assert measured("mrr@6", backwards, relevance) == pytest.approx([1 / 4, 1 / 6])
    assert measured("recall@6", backwards, relevance) == [1, 1]
    assert measured("recall@4", backwards, relevance) == [pytest.approx(1 / 3), 0]
    assert measured("accuracy@4", backwards, relevance) == [1, 0]
    for name in ("ndcg@3", "recall@3", "mrr@3", "map@3", "accuracy@3"):
        assert measured(name, backwards, relevance) == [0, 0], name


def test_random_ranking_of_one_relevant_passage():
    random = np.random.default_rng(0)
    relevance = np.eye(1, 50, dtype=int).repeat(4000, 0)
    top = np.argsort(random.random((4000, 50)), axis=1)
    reciprocal = (1 / (np.arange(10) + 1)).sum() / 50  # each rank has a chance of 1 / 50
    discounted = (1 / np.log2(np.arange(10) + 2)).sum() / 50
    for name, expected in [("recall", 0.2), ("accuracy", 0.2), ("mrr", reciprocal), ("map", reciprocal)]:
        assert np.mean(measured(f"{name}@10", top, relevance)) == pytest.approx(expected, abs=0.02), name
    assert np.mean(measured("ndcg@10", top, relevance)) == pytest.approx(discounted, abs=0.02)


def test_nothing_retrieved_or_nothing_relevant_is_zero():
    relevance = np.array([[1, 0], [0, 0]])
    for name in ("ndcg@2", "recall@2", "mrr@2", "map@2", "accuracy@2"):
        assert measured(name, np.array([[-1, -1], [0, 1]]), relevance) == [0, 0]
        assert measured(name, np.zeros((2, 0), dtype=np.int64), relevance) == [0, 0]
