"""``tdro compare`` on files of other tools: the same values as pytrec_eval's, and what is refused or said."""

from __future__ import annotations

import gzip
import json
import random
import re
from types import SimpleNamespace

import pytest
import pytrec_eval

from tdro.cli import main
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.others.qrels import find_qrels
from tdro.evaluation.others.run_file import read_trec_run
from tdro.evaluation.others.score_run import score_run
from tdro.evaluation.scoring.metrics import MEASURES
from tdro.files import write_json

QUERIES, PASSAGES = 12, 30


def made_qrels(seed=0):
    draw = random.Random(seed)
    return {
        f"q{q}": {f"p{p}": draw.choice((0, 1, 1, 2)) for p in draw.sample(range(PASSAGES), 4)} for q in range(QUERIES)
    }


def made_run(seed, passages=25):
    """Scores with ties, so that the order of equal scores matters."""
    draw = random.Random(seed)
    return {
        f"q{q}": {f"p{p}": draw.randrange(8) / 8 for p in draw.sample(range(PASSAGES), passages)}
        for q in range(QUERIES)
    }


def write_qrels(path, qrels, trec=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(query, passage, score) for query, judged in qrels.items() for passage, score in judged.items()]
    if trec:
        path.write_text("".join(f"{query} 0 {passage} {score}\n" for query, passage, score in rows))
    else:
        lines = "".join(f"{query}\t{passage}\t{score}\n" for query, passage, score in rows)
        path.write_text(f"query-id\tcorpus-id\tscore\n{lines}")


def write_run(path, run):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{query} Q0 {passage} {rank} {score} tag\n"
        for query, found in run.items()
        for rank, (passage, score) in enumerate(sorted(found.items(), key=lambda each: -each[1]), 1)
    ]
    path.write_text("".join(lines))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_qrels(tmp_path / "nq/qrels/test.tsv", made_qrels())
    for seed, name in enumerate("ab"):
        write_run(tmp_path / f"{name}.trec", made_run(seed))
    return tmp_path


def values(path, qrels):
    (judged,) = find_qrels([qrels]).values()
    return score_run(read_trec_run(path), judged, MEASURES)[0]


@pytest.mark.parametrize("trec", [False, True])
def test_values_are_those_of_pytrec_eval(here, trec):
    """With ties, unjudged passages, negative relevance, and a query of which nothing is relevant."""
    qrels, run = made_qrels(), made_run(3)
    qrels["q0"] = {"p1": 0}
    qrels["q1"]["p2"] = -1
    run["q2"] = {"p1": 0.30000000001, "p3": 0.3, "p2": 0.30000000002}  # equal as float32
    write_qrels(here / "q.qrels", qrels, trec)
    write_run(here / "c.run", run)
    asked = {"ndcg_cut.10", "recall.100", "map_cut.100", "success.10,100"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate(run)
    names = {
        **{"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "map@100": "map_cut_100"},
        **{"accuracy@10": "success_10", "accuracy@100": "success_100"},
    }
    ours = values(here / "c.run", here / "q.qrels")
    assert ours["queries"] == list(qrels)
    for measure, name in names.items():
        assert ours[measure] == pytest.approx([theirs[query][name] for query in qrels], abs=1e-9), measure
    top = {
        q: dict(sorted(found.items(), key=lambda each: (each[1], each[0]), reverse=True)[:10])
        for q, found in run.items()
    }
    top["q2"] = {"p3": 0.3, "p2": 0.3, "p1": 0.3}
    first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)
    assert ours["mrr@10"] == pytest.approx([first[query]["recip_rank"] for query in qrels], abs=1e-9)


def test_two_runs_are_compared_and_shown(here, capsys):
    assert main(["compare", "a.trec", "b.trec", "--qrels", "nq/qrels/test.tsv", "--examples", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 test set, 12 queries" in said and "Best nDCG@10" in said
    assert "queries that gained most" in said and "b first: p" in said
    assert "note: " in said and "has at most 25 passages a query" in " ".join(said.split())
    (baseline, row) = compare_places(["a.trec", "b.trec"], qrels=["nq"])["rows"]
    assert (baseline["mixture"], row["mixture"], row["baseline"]) == ("a", "b", "a")
    assert 0 < row["versus"]["ndcg@10"]["all"]["p"] <= 1


def test_a_folder_for_each_system_and_seeds(here):
    for test in ("nq", "other"):
        write_qrels(here / f"sets/{test}/qrels/test.tsv", made_qrels(len(test)))
        for seed, name in enumerate(("uniform-seed1", "uniform-seed2", "mine-seed1", "mine-seed2")):
            write_run(here / f"systems/{name}/{test}.trec", made_run(seed))
    found = compare_places(["systems"], qrels=["sets"])
    assert [(row["mixture"], row["seeds"]) for row in found["rows"]] == [("uniform", 2), ("mine", 2)]
    versus = found["rows"][1]["versus"]["ndcg@10"]
    assert versus["all"]["with_seeds"]["pairs"] == 2 and set(versus["tests"]) == {"nq", "other"}
    assert all("p_holm" in each for each in versus["tests"].values())
    one = compare_places(["systems"], qrels=["sets/nq"])
    assert [test["name"] for test in one["tests"]] == ["nq"]
    assert any("other.trec: left out" in note for note in one["notes"])


def own_result(folder, run, qrels, model="mine"):
    """What `tdro evaluate` would have of this run, with the queries in another order."""
    write_run(folder / "mine.trec", run)
    content = values(folder / "mine.trec", qrels)
    (folder / "mine.trec").unlink()
    order = sorted(range(QUERIES), key=lambda place: content["queries"][place], reverse=True)
    lists = {key: [content[key][place] for place in order] for key in ("queries", *MEASURES)}
    write_json(folder / "evaluation" / model / "nq.json", {"test": "nq", "model": model, "data": "x", **lists})


def test_beside_tdros_own_results_in_another_order(here):
    own_result(here, made_run(0), here / "nq")
    found = compare_places(["evaluation/mine", "a.trec", "b.trec"], qrels=["nq"])
    rows = {row["mixture"]: row for row in found["rows"]}
    assert rows["a"]["same"] == {"as": "mine", "weights": False}  # the same run: equal on every query
    assert rows["b"]["versus"]["ndcg@10"]["all"]["wins"] > 0
    qrels = made_qrels()
    qrels["q99"] = {"p1": 1}
    write_qrels(here / "nq/qrels/test.tsv", qrels)
    with pytest.raises(UserError, match=r"judges 13 queries and .*nq.json has 12; only one of them has 'q99'"):
        compare_places(["evaluation/mine", "a.trec"], qrels=["nq"])


def test_predictions_of_mteb_and_sentence_transformers(here):
    write_json(
        here / "p/NQ_predictions.json",
        {"mteb_model_meta": {"model_name": "org/model", "revision": "1"}, "default": {"test": made_run(0)}},
    )
    rows = [
        {"query_id": query, "query": "", "results": [{"corpus_id": key, "score": s} for key, s in found.items()]}
        for query, found in made_run(1).items()
    ]
    path = here / "st/eval/Information-Retrieval_evaluation_nq_predictions_cosine.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare_places(["p", "st", "a.trec", "b.trec"], qrels=["nq"])
    rows = {row["mixture"]: row for row in found["rows"]}
    assert rows["model"]["ndcg@10"] == rows["a"]["ndcg@10"] and rows["st"]["ndcg@10"] == rows["b"]["ndcg@10"]


def write_means(here):
    entry = {"ndcg_at_10": 0.4, "recall_at_100": 0.8, "hit_rate_at_10": 0.7, "main_score": 0.4, "hf_subset": "default"}
    folder = here / "results/org__model/1"
    write_json(folder / "nq.json", {"task_name": "nq", "scores": {"test": [entry]}})
    write_json(folder / "model_meta.json", {"name": "org/model"})
    csv = here / "sbert/eval/Information-Retrieval_evaluation_nq_results.csv"
    csv.parent.mkdir(parents=True)
    csv.write_text("epoch,steps,cosine-Accuracy@10,cosine-NDCG@10\n1,100,0.1,0.2\n2,200,0.6,0.3\n")
    return csv


def test_means_are_shown_and_not_tested(here):
    csv = write_means(here)
    found = compare_places(["a.trec", "b.trec", "results", csv], qrels=["nq"])
    assert [row["mixture"] for row in found["rows"]] == ["a", "b"]
    assert [(each["name"], each["ndcg@10"]) for each in found["means_only"]] == [("model", 0.4), ("sbert", 0.3)]
    assert found["means_only"][1]["recall@100"] is None
    text = comparison_table(found)
    assert "no difference from them can be tested" in text and re.search(r"nq +40\.0 +30\.0", text)
    alone = compare_places(["results", "sbert"])
    assert alone["rows"] == [] and "40.0" in comparison_table(alone)
    assert json.dumps(alone, allow_nan=False)
    with pytest.raises(UserError, match="no measure 'mrr@3'"):
        compare_places(["results"], measure="mrr@3")


def test_what_mteb_and_sentence_transformers_write_today(here):
    """The names and columns that the installed versions use."""
    from mteb.abstasks.abstask import AbsTask
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    task = SimpleNamespace(metadata=SimpleNamespace(name="NQ"))
    assert AbsTask.prediction_file_name.fget(task) == "NQ_predictions.json"
    evaluator = InformationRetrievalEvaluator(
        {"q": "a"}, {"p": "b"}, {"q": {"p"}}, name="nq", score_functions={"cosine": None}, write_predictions=True
    )
    csv = here / "model/eval" / evaluator.csv_file
    csv.parent.mkdir(parents=True)
    row = ["1", "2", *["0.5"] * (len(evaluator.csv_headers) - 2)]
    csv.write_text(",".join(evaluator.csv_headers) + "\n" + ",".join(row) + "\n")
    (only,) = compare_places([csv])["means_only"]
    assert only["tests"]["nq"]["ndcg@10"] == 0.5 and only["name"] == "model"


GOOD = "q0 Q0 p1 1 0.5 tag\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}q0 Q0 p2 2 0.4\n", r"c.trec, line 2: expected 6 columns .* found 5"),
        (f"{GOOD}q0 Q0 p2 2 nan tag\n", r"c.trec, line 2: the score must be a finite number, found 'nan'"),
        (f"{GOOD}q0 Q0 p2 2 high tag\n", r"c.trec, line 2: the score must be a finite number, found 'high'"),
        (
            f"{GOOD}q1 Q0 p1 1 1 tag\n{GOOD}",
            r"line 3: passage 'p1' is found a second time for query 'q0', first in line 1",
        ),
        ("", r"c.trec: no lines"),
        ("zz Q0 p1 1 0.5 tag\n", r"c.trec: none of its 1 queries \(the first is 'zz'\) has a judgement in .*test.tsv"),
    ],
)
def test_a_broken_run_is_refused_by_file_and_line(here, text, message):
    (here / "c.trec").write_text(text)
    with pytest.raises(UserError, match=message):
        compare_places(["a.trec", "c.trec"], qrels=["nq"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q0 0 p1\n", r"line 1: expected BEIR's 3 columns .* or TREC's 4"),
        ("q0 0 p1 1\nq0 p2 1\n", r"line 2: expected 4 columns, found 3"),
        ("q0 0 p1 yes\n", r"line 1: the relevance must be a whole number, found 'yes'"),
        ("q0\tp1\t1\nq0\tp2\n", r"line 2: expected 3 columns"),
        ("q0 0 p1 0\n", r"no passage is relevant"),
    ],
)
def test_broken_judgements_are_refused_by_file_and_line(here, text, message):
    (here / "x.qrels").write_text(text)
    with pytest.raises(UserError, match=message):
        compare_places(["a.trec"], qrels=["x.qrels"])


def test_what_is_handled_is_said(here):
    run = made_run(0)
    missing = run.pop("q3")
    run["unknown"] = missing
    write_run(here / "c.trec", run)
    (here / "c.trec.gz").write_bytes(gzip.compress((here / "c.trec").read_bytes()))
    (here / "c.trec").unlink()
    lines = (here / "b.trec").read_text().splitlines(keepends=True)
    (here / "b.trec").write_text("".join(re.sub(r" 1 (\S+) tag", r" 99 \1 tag", line) for line in lines))
    with (here / "nq/qrels/test.tsv").open("a") as file:
        file.write("q0\tp1\t1\nq0\tp1\t2\n")
    found = compare_places(["c.trec.gz", "b.trec"], qrels=["nq"])
    said = "\n".join(found["notes"])
    assert "nothing was found for 1 of 12 queries, such as 'q3'; each counts as 0" in said
    assert "1 of its queries, such as 'unknown', have no judgement in test.tsv and are left out" in said
    assert "the scores count and not the ranks" in said
    assert re.search(r"test.tsv, line \d+: 'q0' and 'p1' were judged 1 further up; 2 counts", said)
    assert [row["mixture"] for row in found["rows"]] == ["b", "c"]
    (here / "c.trec.gz").write_bytes((here / "c.trec.gz").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"c.trec.gz, line \d+: the file is damaged or breaks off here"):
        compare_places(["c.trec.gz"], qrels=["nq"])


def test_what_does_not_fit_together_is_refused(here):
    with pytest.raises(UserError, match=r"a.trec: a run has no judgements; say where they are with --qrels"):
        compare_places(["a.trec"])
    write_means(here)
    with pytest.raises(UserError, match="--qrels: is for run files"):
        compare_places(["results"], qrels=["nq"])
    write_qrels(here / "other/qrels/test.tsv", made_qrels(5))
    with pytest.raises(UserError, match=r"a.trec: of which of nq, other is this run\?"):
        compare_places(["a.trec"], qrels=["nq", "other"])
    with pytest.raises(UserError, match="nowhere: no such file or folder of judgements"):
        compare_places(["a.trec"], qrels=["nowhere"])
    write_run(here / "x/a.trec", made_run(0))
    (here / "a").mkdir()
    write_run(here / "a/nq.trec", made_run(0))
    with pytest.raises(UserError, match=r"a second file of a on test set 'nq'"):
        compare_places(["a.trec", "a"], qrels=["nq"])
    (here / "own.json").write_text('{"test": "nq", "queries": []}')
    with pytest.raises(UserError, match=r"own.json: name the folder of the results"):
        compare_places(["own.json"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.6,0.3", "0.6"), r"line 3: expected 4 columns as in the header, found 3"),
        (("0.6,0.3", "0.6,nan"), r"line 3: cosine-NDCG@10: expected a mean from 0 to 1, found 'nan'"),
    ],
)
def test_broken_means_are_refused(here, change, message):
    csv = write_means(here)
    csv.write_text(csv.read_text().replace(*change))
    with pytest.raises(UserError, match=message):
        compare_places([csv])


def test_another_measure_is_computed_from_runs(here):
    rows = compare_places(["a.trec", "b.trec"], qrels=["nq"], measure="ndcg@3")["rows"]
    assert all(0 <= row["ndcg@3"]["all"] <= 1 for row in rows)
    with pytest.raises(UserError, match=r"a.trec: no measure 'bleu@3'; it has ndcg@10"):
        compare_places(["a.trec", "b.trec"], qrels=["nq"], measure="bleu@3")
