"""BM25 as a baseline: the files of a model, the scores of the formula, and what it does not find."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

import tiny_mixture
from tdro.cli import main
from tdro.data.mixtures.folder import read_mixture
from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import read_beir
from tdro.evaluation.compare.compare import compare
from tdro.evaluation.scoring import bm25_baseline as bm25
from tdro.evaluation.scoring.bm25_baseline import evaluate_bm25, rank_by_bm25
from tdro.evaluation.scoring.metrics import MEASURES
from tdro.files import read_json, write_atomic, write_jsonl
from tdro.search.bm25 import BM25Index


def beir(folder, passages, queries, relevant):
    write_jsonl(folder / "corpus.jsonl", ({"_id": key, "title": "", "text": text} for key, text in passages.items()))
    write_jsonl(folder / "queries.jsonl", ({"_id": key, "text": text} for key, text in queries.items()))
    lines = "".join(f"{query}\t{passage}\t1\n" for query, passage in relevant.items())
    write_atomic(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + lines)
    return folder


def found(folder, k=10):
    data = read_beir(folder)
    top, scores = rank_by_bm25(data, k)
    ids = data.passages.ids.to_pylist()
    return [[ids[place] for place in row if place >= 0] for row in top], scores


def test_scores_are_those_of_the_formula(tmp_path):
    passages = {"a": "red red cat", "b": "a red dog sleeps here", "c": "the cat sleeps", "d": "no word of it"}
    beir(tmp_path, passages, {"q": "Red cat?"}, {"q": "a"})
    words = {key: text.split() for key, text in passages.items()}
    mean = sum(map(len, words.values())) / 4

    def score(key, word):
        holding = sum(word in each for each in words.values())
        count = words[key].count(word)
        idf = math.log(1 + (4 - holding + 0.5) / (holding + 0.5))
        return idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(words[key]) / mean))

    expected = {key: score(key, "red") + score(key, "cat") for key in passages}
    ((first, *others),), scores = found(tmp_path)
    assert (first, set(others)) == ("a", {"b", "c"})  # d shares no word, so it is not found
    assert scores[0].tolist() == pytest.approx(
        [*sorted((expected[key] for key in "abc"), reverse=True), -np.inf], rel=1e-5
    )


def test_ties_own_ids_unknown_words_and_scripts_without_spaces(tmp_path):
    passages = {
        "a": "grass is green",
        "c": "grass is green",
        "b": "grass is green",
        "q": "grass",
        "z": "東京都庁舎",
        "e": "?",
    }
    queries = {"q": "grass", "none": "xyzzy", "ja": "都庁"}
    beir(tmp_path, passages, queries, {"q": "a", "none": "a", "ja": "z"})
    rows, scores = found(tmp_path, 2)
    assert rows == [["c", "b"], [], ["z"]]  # the larger id first; not the passage with the query's own id
    assert np.isneginf(scores[1]).all()


def test_a_model_folder_like_any_other_made_once(tmp_path, monkeypatch):
    mixture = read_mixture(tiny_mixture.mixture(tmp_path / "mixture"))
    results = evaluate_bm25(mixture.tests, tmp_path / "evaluation" / "main")
    assert [result["test"] for result in results] == [test.name for test in mixture.tests]
    folder = tmp_path / "evaluation" / "main" / "bm25"
    for test in mixture.tests:
        content = read_json(folder / f"{test.name}.json")
        assert content["model"] == "bm25" and content["trained"] == test.trained
        assert all(len(content[measure]) == len(content["queries"]) for measure in MEASURES)
        assert (folder / f"{test.name}.trec").is_file()
    (row,) = compare(tmp_path / "evaluation" / "main", "main", permutations=10)["rows"]
    assert row["mixture"] == "bm25" and row["ndcg@10"]["spread"] is None

    monkeypatch.setattr(bm25, "read_beir", lambda folder: pytest.fail("scored again"))
    assert evaluate_bm25(mixture.tests, tmp_path / "evaluation" / "main") == results
    assert evaluate_bm25(mixture.tests, tmp_path / "evaluation" / "other") == results  # another group takes its files
    assert {path.name for path in (tmp_path / "evaluation" / "other" / "bm25").iterdir()} == {
        path.name for path in folder.iterdir()
    }
    monkeypatch.undo()
    changed = TestSet(mixture.tests[0].name, mixture.tests[0].folder)
    (again,) = evaluate_bm25([changed], tmp_path / "evaluation" / "main")
    assert again["trained"] is False and again["fingerprint"] != results[0]["fingerprint"]


def two_names(tmp_path):
    """One test set in two folders, as mteb's SciFact and as one's own."""
    passages = {f"d{number}": f"word{number} and more" for number in range(20)}
    relevant = {f"q{number}": f"d{number}" for number in range(5)}
    queries = {key: passages[passage] for key, passage in relevant.items()}
    beir(tmp_path / "d" / "scifact", passages, queries, relevant)
    beir(tmp_path / "t" / "mine", passages, queries, relevant)
    return [["--on", "SciFact", "--data", str(tmp_path / "d")], ["--on", str(tmp_path / "t")]]


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())


def test_a_second_folder_and_a_second_name_have_all_files(tmp_path):
    """In whatever order, the same files with the same content."""
    own, mine = two_names(tmp_path)
    for number, arguments in enumerate((own, own, mine, mine, own)):
        assert main(["evaluate", "bm25", *arguments, "--out", str(tmp_path / f"out{number}")]) == 0
    first, second, third, fourth, fifth = (tmp_path / f"out{number}" / "bm25" for number in range(5))
    for name, format_folder, folders in (
        ("SciFact", "mteb", (first, second, fifth)),
        ("mine", "mteb-own", (third, fourth)),
    ):
        files = [f"{name}.json", f"{name}.trec", f"{format_folder}/{name}.json", f"{format_folder}/model_meta.json"]
        assert all(files_of(folder) == files for folder in folders)
    for one, other in ((first, second), (first, fifth), (third, fourth)):
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files_of(one))
    assert main(["evaluate", "bm25", *mine, "--out", str(tmp_path / "out0")]) == 0  # beside the other name
    assert (first / "mine.json").read_bytes() == (third / "mine.json").read_bytes()


@pytest.mark.parametrize("broken", ["mine.json", "mine.trec", "mteb-own/mine.json", "mteb-own"])
@pytest.mark.parametrize("how", ["removed", "cut", "of other content"])
def test_a_broken_group_beside_it_breaks_nothing(tmp_path, broken, how):
    two_names(tmp_path)
    test = TestSet("mine", str(tmp_path / "t" / "mine"))
    one, other = tmp_path / "evaluation" / "one", tmp_path / "evaluation" / "other"
    expected = evaluate_bm25([test], one)
    whole = {file: (one / "bm25" / file).read_bytes() for file in files_of(one / "bm25")}
    path = one / "bm25" / broken
    if path.is_dir():
        shutil.rmtree(path)
    elif how == "removed" or path.suffix == ".trec":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] if how == "cut" else b'{"scores": [], "fingerprint": 1}')
    assert evaluate_bm25([test], other) == expected
    assert {file: (other / "bm25" / file).read_bytes() for file in files_of(other / "bm25")} == whole


def test_perfect_where_the_words_say_it(tmp_path):
    passages = {f"d{number}": f"word{number} and more" for number in range(20)}
    queries = {f"q{number}": f"word{number}" for number in range(20)}
    beir(tmp_path / "t", passages, queries, {f"q{number}": f"d{number}" for number in range(20)})
    (result,) = evaluate_bm25([TestSet("t", str(tmp_path / "t"))], tmp_path / "out")
    assert result["mean"]["ndcg@10"] == 1


def test_the_scores_are_those_of_the_bm25s_library():
    """To the bit: bm25s computes in float64, keeps float32, and adds a query's words up in their order."""
    import bm25s

    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(300)]
    chance = 1 / np.arange(1, 301)
    texts = [
        " ".join(random.choice(words, size=random.integers(0, 60), p=chance / chance.sum())) for number in range(500)
    ]
    index = BM25Index(texts)
    theirs = bm25s.BM25(backend="numpy")
    theirs.index(([index.word_ids(text) for text in texts], index.vocabulary), show_progress=False)
    for query in texts[:50]:
        ids = index.word_ids(query)
        if ids:
            np.testing.assert_array_equal(index.score_all(ids), theirs.get_scores_from_ids(ids))
    with_words = [place for place, text in enumerate(texts) if text][:50]
    some = [index.word_ids(texts[place]) for place in with_words]
    many = index.score_many(some).toarray()
    np.testing.assert_allclose(many, [index.score_all(ids) for ids in some], rtol=1e-5)
    np.testing.assert_allclose(index.score_pairs(some, with_words), many[np.arange(50), with_words], rtol=1e-5)
