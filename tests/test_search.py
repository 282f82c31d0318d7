"""Search and evaluation: exact, ties as in trec_eval, nothing encoded or evaluated twice."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

import tdro.search.exact
from evaluate_once import evaluate_once
from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.data.testsets.benchmarks import benchmark
from tdro.data.testsets.passages import Passages
from tdro.errors import UserError
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.evaluation.scoring.metrics import MEASURES, gains, judgements, measure
from tdro.search.embedding_store import EmbeddingStore
from tdro.search.exact import search

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


def as_blocks(passages: torch.Tensor, *cuts: int):
    starts = [0, *cuts]
    return [(start, passages[start:stop]) for start, stop in zip(starts, [*cuts, len(passages)], strict=True)]


@pytest.mark.parametrize("sizes", [(3, 2), (17, 7), (8192, 1024)])
def test_search_in_parts_is_a_sort_by_score_and_id(sizes, monkeypatch):
    monkeypatch.setattr(tdro.search.exact, "_PASSAGES_AT_ONCE", sizes[0])
    monkeypatch.setattr(tdro.search.exact, "_QUERIES_AT_ONCE", sizes[1])
    torch.manual_seed(0)
    queries, passages = torch.randn(7, 4).round(), torch.randn(50, 4).round()  # rounded: many ties, zeros of both signs
    data = random_data(np.random.default_rng(0), 7, 50)
    ids = data.passages.ids.to_pylist()
    scores = (queries @ passages.T).numpy() + 0.0
    for k in (1, 9, 50, 90):
        for cuts in [(), (20, 21), (49,)]:
            blocks = as_blocks(passages, *cuts)
            places, values = search(queries, blocks[::-1] if k == 9 else blocks, data, k)
            for query in range(7):
                expected = sorted(range(50), key=lambda place: (scores[query, place], ids[place]), reverse=True)[:k]
                assert places[query].tolist() == expected
                assert values[query].tolist() == scores[query, expected].tolist()


def test_search_when_every_passage_is_better_than_the_one_before_or_all_are_equal():
    queries = torch.tensor([[1.0], [-1.0], [0.0]])
    passages = torch.arange(20_000, dtype=torch.float32)[:, None]
    data = random_data(np.random.default_rng(0), 3, 20_000, "")
    places, _ = search(queries, as_blocks(passages, 9000), data, 5)
    best = sorted(data.passages.ids.to_pylist(), reverse=True)[:5]
    assert places[0].tolist() == [19_999, 19_998, 19_997, 19_996, 19_995]
    assert places[1].tolist() == [0, 1, 2, 3, 4]
    assert data.passages.ids.take(places[2]).to_pylist() == best


def random_data(random, queries=6, passages=30, names="p") -> BeirData:
    ids = [f"{names}{number}" for number in random.permutation(passages)]
    qrels = {
        f"q{query}": {key: int(random.integers(0, 4)) for key in random.choice(ids, 8, replace=False)}
        for query in range(queries)
    }
    return BeirData(list(qrels), [""] * queries, Passages.of(ids, [""] * passages), qrels)


@pytest.mark.parametrize("seed", range(4))
def test_search_and_measures_equal_pytrec_eval_with_ties(seed):
    import pytrec_eval

    random = np.random.default_rng(seed)
    data = random_data(random)
    queries = torch.tensor(random.integers(-1, 2, (6, 3)), dtype=torch.float32)
    passages = torch.tensor(random.integers(-1, 2, (30, 3)), dtype=torch.float32)
    scores = (queries @ passages.T).numpy()
    run = {
        query: {key: float(scores[q, p]) for p, key in enumerate(data.passages.ids.to_pylist())}
        for q, query in enumerate(data.query_ids)
    }
    found = pytrec_eval.RelevanceEvaluator(data.qrels, {"ndcg_cut.10", "recall.20", "map_cut.20"}).evaluate(run)
    top, _ = search(queries, as_blocks(passages, 11), data, k=20)
    judged = judgements(data)
    gained = gains(top, judged)
    for ours, theirs in {"ndcg@10": "ndcg_cut_10", "recall@20": "recall_20", "map@20": "map_cut_20"}.items():
        expected = [found[query][theirs] for query in data.query_ids]
        np.testing.assert_allclose(measure(ours, gained, judged), expected, atol=1e-9)


def test_a_passage_with_the_querys_id_is_left_out():
    qrels = {"a": {"b": 1}, "q": {"a": 1}}
    data = BeirData(["a", "q"], ["", ""], Passages.of(["a", "b"], ["", ""]), qrels)
    for cuts in [(), (1,)]:
        blocks = as_blocks(torch.tensor([[1.0, 0], [0, 1]]), *cuts)
        top, scores = search(torch.tensor([[1.0, 0], [1, 0]]), blocks, data)
        assert top.tolist() == [[1, -1], [0, 1]]
        assert scores[0, 1] == -np.inf


def test_evaluate_prepends_the_prompt_to_the_sides_that_have_it(tmp_path):
    model, test = tiny_model(), write_test(tmp_path / "one")
    data = read_beir(test.folder)
    for symmetric in (False, True):
        result = evaluate_once(model, dataclasses.replace(test, symmetric=symmetric))
        on_passages = test.prompt if symmetric else ""
        queries = model.encode([test.prompt + query for query in data.queries], normalize_embeddings=True)
        passages = model.encode([on_passages + text for text in data.passages.texts[0:40]], normalize_embeddings=True)
        judged = judgements(data)
        top = np.argsort(-(queries @ passages.T), axis=1)
        assert result["ndcg@10"] == pytest.approx(measure("ndcg@10", gains(top, judged), judged).tolist())
    assert result["queries"] == data.query_ids
    assert result["mean"]["ndcg@10"] == pytest.approx(np.mean(result["ndcg@10"]))
    assert result["mean"]["recall@100"] == 1.0  # 40 passages
    assert (result["passages"], result["trained"], result["task"]) == (40, True, "some")
    assert all(len(result[name]) == 12 and 0 <= result["mean"][name] <= 1 for name in MEASURES)


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
    inner = EmbeddingStore.encode
    monkeypatch.setattr(
        EmbeddingStore, "encode", lambda store, *a, **k: (encoded.append(len(store._lists)), inner(store, *a, **k))[1]
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
    (tmp_path / "one" / "qrels" / "test.tsv").write_text("q0\tp1\n")
    with pytest.raises(UserError, match=r"test\.tsv, line 1: expected 3 columns"):
        evaluate_all(tiny_model(), [test], tmp_path / "out", model_name="untrained")
    assert not (tmp_path / "out").exists()


def test_odd_lines_are_in_the_results(tmp_path, caplog):
    test = write_test(tmp_path / "one")
    with (tmp_path / "one" / "qrels" / "test.tsv").open("a") as file:
        file.write("q0\tnowhere\t1\nnobody\tp1\t1\n")
    (result,) = evaluate_all(tiny_model(), [test], tmp_path / "out", model_name="untrained")
    assert [re.search(r"line \d+: no \w+ '\w+'", problem)[0] for problem in result["problems"]] == [
        "line 14: no query 'nobody'",
        "line 13: no passage 'nowhere'",
    ]
    assert result["recall@100"][0] == 0.5
    assert result["mean"]["recall@100"] == pytest.approx(11.5 / 12)


def test_the_run_file_gives_the_same_measures(tmp_path):
    import pytrec_eval

    test = write_test(tmp_path / "one", passages=150)
    (result,) = evaluate_all(tiny_model(2), [test], tmp_path / "out", model_name="uniform seed1")
    with (tmp_path / "out" / "uniform seed1" / "one.trec").open() as file:
        run = pytrec_eval.parse_run(file)
    assert {len(passages) for passages in run.values()} == {100}
    qrels = read_beir(test.folder).qrels
    names = {"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "map@100": "map_cut_100"}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100", "map_cut.100"}).evaluate(run)
    for ours, theirs in names.items():
        assert result[ours] == pytest.approx([found[query][theirs] for query in result["queries"]], abs=1e-9)
    first = (tmp_path / "out" / "uniform seed1" / "one.trec").read_text().splitlines()[0]
    assert re.fullmatch(r"q0 Q0 p\d+ 1 [\d.]+ uniform%20seed1", first)


def test_the_run_file_has_no_columns_too_many(tmp_path):
    from tdro.evaluation.formats.trec_run import trec_run

    data = BeirData(["a b"], [""], Passages.of(["c\td", "e"], ["", ""]), {"a b": {"e": 1}})
    run = trec_run(data, np.array([[0, -1]]), np.array([[1 / 3, -np.inf]], dtype=np.float32), "")
    assert run == "a%20b Q0 c%09d 1 0.333333343 tdro\n"
    assert np.float32("0.333333343") == np.float32(1 / 3)


def test_mteb_reads_its_format(tmp_path):
    mteb = pytest.importorskip("mteb")
    test = dataclasses.replace(write_test(tmp_path / "NFCorpus"), wanted=benchmark("NFCorpus")[0])
    (result,) = evaluate_all(tiny_model(), [test], tmp_path / "out", model_name="untrained")
    path = tmp_path / "out" / "untrained" / "mteb" / "NFCorpus.json"
    read = mteb.TaskResult.from_disk(path)
    assert read.task_name == "NFCorpus"
    assert read.get_score() == pytest.approx(result["mean"]["ndcg@10"], abs=1e-12)
    assert read.main_score == read.get_score(splits=["test"])
    (scores,) = read.scores["test"]
    assert scores["hit_rate_at_10"] == result["mean"]["accuracy@10"]
    read.to_disk(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()).keys() >= json.loads(path.read_text()).keys()
