"""Search and evaluation: exact, ties as in trec_eval, nothing encoded or evaluated twice."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from tdro.data.task import TestSet
from tdro.errors import UserError
from tdro.evaluation.beir import BeirData, read_beir
from tdro.evaluation.evaluate import evaluate, evaluate_all
from tdro.evaluation.metrics import gains, judgements, ndcg, recall
from tdro.evaluation.search import encode_texts, search, top_k
from tdro.retriever.machine import Machine

WORDS = [f"w{number}" for number in range(60)]


def tiny_model(dimension: int = 8) -> SentenceTransformer:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS, "Instruct", "Query", ":", "find"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=dimension)], device="cpu")


def write_test(folder, seed=0, queries=12, passages=40) -> TestSet:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, 6)) for _ in range(passages)]
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"p{number}", "title": "", "text": text} for number, text in enumerate(texts)]
    asked = [{"_id": f"q{number}", "text": texts[number].rpartition(" ")[0]} for number in range(queries)]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{n}\tp{n}\t1\n" for n in range(queries)))
    return TestSet(folder.name, str(folder), task="some", instruction="find")


def test_top_k_in_parts_is_a_stable_sort():
    torch.manual_seed(0)
    queries, passages = torch.randn(7, 4).round(), torch.randn(50, 4).round()  # rounded: many ties
    scores = queries @ passages.T
    expected = scores.sort(dim=1, descending=True, stable=True)
    for at_once in (3, 17, 50):
        for k in (1, 9, 50):
            places, values = top_k(queries, passages, k, passages_at_once=at_once, queries_at_once=3)
            assert torch.equal(places, expected.indices[:, :k])
            assert torch.equal(values, expected.values[:, :k])


def test_top_k_with_more_asked_for_than_there_is():
    places, values = top_k(torch.ones(2, 1), torch.ones(3, 1), 100, torch.tensor([-1, 1]))
    assert places.tolist() == [[0, 1, 2], [0, 2, -1]]
    assert values[1, 2] == -torch.inf


def random_data(random, queries=6, passages=30, names="p") -> BeirData:
    ids = [f"{names}{number}" for number in random.permutation(passages)]
    qrels = {
        f"q{query}": {key: int(random.integers(0, 4)) for key in random.choice(ids, 8, replace=False)}
        for query in range(queries)
    }
    return BeirData(list(qrels), [""] * queries, ids, [""] * passages, qrels)


@pytest.mark.parametrize("seed", range(8))
def test_search_and_measures_equal_pytrec_eval_with_ties(seed):
    import pytrec_eval

    random = np.random.default_rng(seed)
    data = random_data(random)
    queries = torch.tensor(random.integers(-1, 2, (6, 3)), dtype=torch.float32)
    passages = torch.tensor(random.integers(-1, 2, (30, 3)), dtype=torch.float32)
    scores = (queries @ passages.T).numpy()
    run = {
        query: {key: float(scores[q, p]) for p, key in enumerate(data.passage_ids)}
        for q, query in enumerate(data.query_ids)
    }
    found = pytrec_eval.RelevanceEvaluator(data.qrels, {"ndcg_cut.10", "recall.20"}).evaluate(run)
    top, _ = search(queries, passages, data, k=20)
    judged = judgements(data)
    gained = gains(top, judged)
    expected = np.array([[found[query]["ndcg_cut_10"], found[query]["recall_20"]] for query in data.query_ids])
    np.testing.assert_allclose(ndcg(gained, judged, 10), expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(recall(gained, judged, 20), expected[:, 1], atol=1e-9)


def test_a_passage_with_the_querys_id_is_left_out():
    data = BeirData(["a", "q"], ["", ""], ["a", "b"], ["", ""], {"a": {"b": 1}, "q": {"a": 1}})
    top, scores = search(torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[1.0, 0], [0, 1]]), data)
    assert top.tolist() == [[1, -1], [0, 1]]
    assert scores[0, 1] == -np.inf


def test_encoding_gives_what_encode_gives_and_each_text_once(monkeypatch):
    model = tiny_model()
    texts = ["w1 w2", "w3", "w1 w2", "w4 w5 w6 w7", ""]
    expected = model.encode(texts, normalize_embeddings=True)
    seen = []
    inner = model.preprocess
    monkeypatch.setattr(model, "preprocess", lambda inputs, **more: (seen.extend(inputs), inner(inputs, **more))[1])
    first, second = encode_texts(model, [texts, ["w3", "w8"]], Machine("cpu", bf16=True))
    np.testing.assert_allclose(first.numpy(), expected, atol=1e-6)
    assert torch.equal(first[1], second[0])
    assert [seen.count(text) for text in ("w1 w2", "w3", "w8")] == [1, 1, 1]


def test_a_model_that_gives_nan_is_refused():
    model = tiny_model()
    model[0].embedding.weight.data[:] = torch.nan
    with pytest.raises(UserError, match="not all finite"):
        encode_texts(model, [["w1"]], Machine())


def test_evaluate_prepends_the_prompt_to_the_sides_that_have_it(tmp_path):
    model, test = tiny_model(), write_test(tmp_path / "one")
    data = read_beir(test.folder)
    for symmetric in (False, True):
        result = evaluate(model, dataclasses.replace(test, symmetric=symmetric))
        on_passages = test.prompt if symmetric else ""
        queries = model.encode([test.prompt + query for query in data.queries], normalize_embeddings=True)
        passages = model.encode([on_passages + text for text in data.passages], normalize_embeddings=True)
        judged = judgements(data)
        top = np.argsort(-(queries @ passages.T), axis=1)
        assert result["ndcg@10"] == pytest.approx(ndcg(gains(top, judged), judged).tolist())
    assert result["queries"] == data.query_ids
    assert result["mean"]["ndcg@10"] == pytest.approx(np.mean(result["ndcg@10"]))
    assert result["mean"]["recall@100"] == 1.0  # 40 passages
    assert (result["passages"], result["trained"], result["task"]) == (40, True, "some")


def test_evaluate_all_skips_what_is_there_and_unchanged(tmp_path, monkeypatch):
    tests = [write_test(tmp_path / name, seed) for seed, name in enumerate(["one", "two"])]
    model, out = tmp_path / "model", tmp_path / "out"
    tiny_model().save_pretrained(str(model), create_model_card=False)
    tokens = tmp_path / "tokens"
    first = evaluate_all(model, tests, out, model_name="uniform-seed1", tokens_folder=tokens, progress=False)
    paths = [out / "uniform-seed1" / f"{name}.json" for name in ("one", "two")]
    assert [json.loads(path.read_text()) for path in paths] == first
    assert len(list(tokens.iterdir())) == 1
    encoded = []
    import tdro.evaluation.evaluate as module

    inner = module.encode_texts
    monkeypatch.setattr(
        module,
        "encode_texts",
        lambda m, lists, *a, **k: (encoded.append(len(lists)), inner(m, lists, *a, **k))[1],
    )
    again = {"model_name": "uniform-seed1", "progress": False}
    assert evaluate_all(model, tests, out, **again) == first
    assert encoded == []
    paths[0].write_text("{")  # torn
    assert evaluate_all(str(model), tests, out, **again) == first
    assert encoded == [2]  # one test set: queries and passages
    changed = [tests[0], dataclasses.replace(tests[1], instruction="find w1")]
    evaluate_all(model, changed, out, **again)
    qrels = tmp_path / "two" / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text() + "q0\tp9\t1\n")
    evaluate_all(model, changed, out, **again)
    other = tiny_model()
    other[0].embedding.weight.data[3] += 1
    evaluate_all(other, changed, out, **again)
    assert encoded == [2, 2, 2, 4]


def test_a_broken_test_set_is_named_and_nothing_is_written(tmp_path):
    test = write_test(tmp_path / "one")
    (tmp_path / "one" / "qrels" / "test.tsv").write_text("q0\tnowhere\t1\n")
    with pytest.raises(UserError, match=r"test\.tsv, line 1: no passage 'nowhere'"):
        evaluate_all(tiny_model(), [test], tmp_path / "out", model_name="untrained")
    assert not (tmp_path / "out").exists()
