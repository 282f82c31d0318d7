"""Whether the measures are those of pytrec_eval and of mteb, query by query, on runs of a real model.

    python benchmarks/crosscheck.py

MiniLM on test sets of the sample mixture: two as they are; one with judgements of 0 to 3; one whose queries are
passages, under the passages' own ids, as in ArguAna; and one with each tenth passage twice (ties) and an empty query.
tdro's values are compared with (a) pytrec_eval's, from the run file that tdro writes, (b) those of mteb's scoring of
that run file, and (c) those of `mteb.evaluate`, which encodes and searches by itself, all in float32. Three minutes on
one core. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytrec_eval
from datasets import Dataset
from figures import about_machine
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, mrr
from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask
from sentence_transformers import SentenceTransformer

from tdro.console import quiet_libraries
from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import read_beir
from tdro.disk import cache_folder
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.evaluation.scoring.metrics import MEASURES, gains, judgements, measure
from tdro.files import read_jsonl, write_json, write_jsonl
from tdro.models.base import build_base
from tdro.models.load import load_model
from tdro.quickstart import build_sample
from tdro.recipe.training_sections import Base

HERE = Path(__file__).parent
# tdro's name → pytrec_eval's, with the cut; MRR is its recip_rank of a run cut at 10.
TREC = {
    "ndcg@10": "ndcg_cut_10",
    "recall@100": "recall_100",
    "map@100": "map_cut_100",
    "accuracy@10": "success_10",
    "accuracy@100": "success_100",
}
WANTED = 1e-9
Values = dict[str, dict[str, float]]  # by measure and query
Run = dict[str, dict[str, float]]


def main() -> None:
    """Compare, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "crosscheck.json")
    arguments = parser.parse_args()
    quiet_libraries()
    logging.disable(logging.WARNING)
    base = cache_folder() / "benchmark" / "bases" / "minilm"
    if not (base / "modules.json").exists():
        build_base(Base(kind="encoder", source="minilm"), base, max_tokens=128)
    model = load_model(base, device="cpu")
    tests = build_sample(cache_folder() / "sample-mixture") / "tests"
    with tempfile.TemporaryDirectory() as temporary:
        found = {
            folder.name: compared(model, folder, own, Path(temporary) / "out")
            for folder, own in test_sets(tests, Path(temporary) / "sets")
        }
    for line in table(found):
        print(line)
    write_json(arguments.json, {"machine": about_machine(mteb=mteb.__version__), "wanted": WANTED, "test_sets": found})


def test_sets(tests: Path, out: Path) -> Iterator[tuple[Path, bool]]:
    """BEIR folders, and whether a passage with the query's own id is to be left out."""
    yield tests / "cli_aws", False
    yield tests / "ui_title2desc_de", False
    corpus, queries, qrels = _read(tests / "faq_chatterbot")
    for number, scores in enumerate(qrels.values()):
        for place, passage in enumerate(scores):
            scores[passage] = (number + place) % 4  # 0 to 3; some queries have a 0 alone
    yield _write(out / "faq_chatterbot, graded", corpus, queries, qrels), False
    corpus, _, qrels = _read(tests / "dict_en")
    texts = {row["_id"]: row["text"] for row in corpus}
    asked = {passages[0]: dict.fromkeys(passages[1:], 1) for of in qrels.values() if len(passages := list(of)) > 1}
    yield _write(out / "dict_en, own passage", corpus, {key: texts[key] for key in asked}, asked), True
    corpus, queries, qrels = _read(tests / "dict_de")
    corpus += [{**row, "_id": f"again-{row['_id']}"} for row in corpus[::10]]
    queries[next(iter(qrels))] = ""
    yield _write(out / "dict_de, ties", corpus, queries, qrels), False


def compared(model: SentenceTransformer, folder: Path, own: bool, out: Path) -> dict[str, Any]:
    """All comparisons on one test set: largest differences by measure, means, and seconds."""
    (ours,) = evaluate_all(model, [TestSet(folder.name, str(folder))], out, model_name="m", bf16=False, progress=False)
    values = {name: dict(zip(ours["queries"], ours[name], strict=True)) for name in MEASURES}
    data = read_beir(folder)
    run: Run = {query: {} for query in data.query_ids}
    for line in (out / "m" / f"{folder.name}.trec").read_text(encoding="utf-8").splitlines():
        query, _, passage, _, score, _ = line.split(" ")
        run[query][passage] = float(score)
    by_trec = _pytrec(run, data.qrels)
    scored = calculate_retrieval_scores(run, data.qrels, (1, 10, 100))
    by_mteb = {name: {query: of[trec] for query, of in scored.all_scores.items()} for name, trec in TREC.items()}
    by_mteb["mrr@10"] = dict(zip(run, mrr(data.qrels, run, (10,))["MRR@10"], strict=True))
    alone, means = _mteb_alone(model, folder, own)
    judged = judgements(data)
    places = {passage: place for place, passage in enumerate(data.passages.ids.to_pylist())}
    top = np.array([[places[key] for key in of] + [-1] * (100 - len(of)) for of in run.values()])
    return {
        "queries": len(run),
        "pytrec_eval": _largest(values, by_trec),
        "mteb_same_run": _largest(values, by_mteb),
        "mteb_alone": _largest(values, alone),
        "means": {name: [ours["mean"][name], means[name]] for name in MEASURES},
        "seconds": {
            "tdro": _seconds(lambda: [measure(name, gains(top, judged), judged) for name in MEASURES]),
            "pytrec_eval": _seconds(lambda: _pytrec(run, data.qrels)),
            "mteb": _seconds(lambda: calculate_retrieval_scores(run, data.qrels, (1, 10, 100))),
        },
    }


def table(found: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """The comparison as Markdown."""
    yield "| test set | measure | pytrec_eval | mteb, same run | mteb alone | mean | mteb's mean |"
    yield "|---|---|---|---|---|---|---|"
    for name, each in found.items():
        for one in MEASURES:
            apart = [f"{each[side][one]:.0e}" for side in ("pytrec_eval", "mteb_same_run", "mteb_alone")]
            mean, theirs = each["means"][one]
            yield f"| {name} | {one} | {' | '.join(apart)} | {mean:.9f} | {theirs:.9g} |"
    worst = max(value for each in found.values() for value in each["pytrec_eval"].values())
    yield f"largest difference to pytrec_eval per query: {worst:.1e}, wanted {WANTED:.0e}"
    for side in ("tdro", "pytrec_eval", "mteb"):
        seconds = [1e3 * each["seconds"][side] for each in found.values()]
        yield f"{side}: {statistics.mean(seconds):.2f} ms a test set for its measures"


def _mteb_alone(model: SentenceTransformer, folder: Path, own: bool) -> tuple[Values, dict[str, float]]:
    """mteb's values per query before they are averaged, and its means as it gives them."""
    corpus, queries, qrels = _read(folder)
    rows = [{"id": row["_id"], "title": row.get("title") or "", "text": row["text"]} for row in corpus]
    asked = [{"id": key, "text": text} for key, text in queries.items() if key in qrels]
    seen: dict[str, Any] = {}

    class InMemory(MockRetrievalTask):
        ignore_identical_ids = own

        def load_data(self, *_: Any, **__: Any) -> None:
            split = {"corpus": Dataset.from_list(rows), "queries": Dataset.from_list(asked), "relevant_docs": qrels}
            self.dataset = {"default": {"test": {**split, "top_ranked": None}}}
            self.data_loaded = True

        def task_specific_scores(self, scores: Any, qrels: Any, results: Any, *_: Any, **__: Any) -> dict[str, float]:
            seen.update(scores=scores, mrr=dict(zip(results, mrr(qrels, results, (10,))["MRR@10"], strict=True)))
            return {}

    task = InMemory().filter_eval_splits(["test"])
    (means,) = mteb.evaluate(model, task, cache=None, show_progress_bar=False).task_results[0].scores["test"]
    values = {name: {query: of[trec] for query, of in seen["scores"].items()} for name, trec in TREC.items()}
    names = {name: name.replace("accuracy", "hit_rate").replace("@", "_at_") for name in MEASURES}
    return {**values, "mrr@10": seen["mrr"]}, {name: float(means[theirs]) for name, theirs in names.items()}


def _pytrec(run: Run, qrels: Mapping[str, dict[str, int]]) -> Values:
    names = {"ndcg_cut.10", "recall.100", "map_cut.100", "success.10,100"}
    found = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    # As trec_eval orders: by score, then by id, the larger first.
    first = {key: dict(sorted(of.items(), key=lambda item: item[::-1], reverse=True)[:10]) for key, of in run.items()}
    ranks = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first)
    values = {name: {query: of[trec] for query, of in found.items()} for name, trec in TREC.items()}
    return {**values, "mrr@10": {query: of["recip_rank"] for query, of in ranks.items()}}


def _largest(ours: Values, theirs: Values) -> dict[str, float]:
    """The largest difference of a query's values; a query that the other side leaves out is an error."""
    return {name: max(abs(value - theirs[name][query]) for query, value in ours[name].items()) for name in MEASURES}


def _seconds(call: Callable[[], Any], rounds: int = 5) -> float:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, dict[str, int]]]:
    queries = {row["_id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, score = line.split("\t")
        qrels.setdefault(query, {})[passage] = int(score)
    return read_jsonl(folder / "corpus.jsonl"), queries, qrels


def _write(
    folder: Path, corpus: list[dict[str, Any]], queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> Path:
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in queries.items()])
    lines = [f"{query}\t{passage}\t{score}\n" for query, of in qrels.items() for passage, score in of.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
