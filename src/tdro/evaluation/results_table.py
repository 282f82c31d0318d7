"""Results of models on benchmarks as text for a terminal: a line for each test set, and the mean of each benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.evaluate_models import ModelResults
from tdro.evaluation.judged import looked_at_line
from tdro.evaluation.leaks.find_leaks import FILE, leak_counts, leaks_line
from tdro.evaluation.scoring.bm25_baseline import NAME as BM25
from tdro.terminal_table import terminal_table

_SHOWN = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100"}
_MKQA = {"accuracy@10": "Acc@10", "accuracy@100": "Acc@100"}


def evaluated_table(models: Sequence[ModelResults]) -> str:
    """The results as text: the measures that the paper reports, times 100.

    A benchmark's mean is over its test sets, each counting the same. If it is known what a model was trained on, a
    column says how many queries of each test set are in that training data.
    """
    blocks = []
    for model in models:
        for name, results in _tables(model):
            blocks.append([f"{model.name}: {model.folder}", *_rows(name, results, model.leaks)])
        blocks[-1] += [*_scoring_lines(model), *_looked_at_lines(model), *_leak_lines(model)]
    return "\n\n".join("\n".join(block) for block in blocks)


def evaluated_numbers(models: Sequence[ModelResults]) -> list[dict[str, Any]]:
    """What :func:`evaluated_table` is made of, without the values of single queries, which are in the models' files.

    Returns:
        For each model ``model``, ``folder``, ``leaks`` (null if unknown), ``notes`` (the sentences under the table) and
        ``benchmarks``: for each its results, with ``test``, ``queries`` (how many) and ``mean``, the mean of each
        measure in [0, 1].
    """
    return [
        {
            **{"model": model.name, "folder": str(model.folder), "leaks": model.leaks},
            "notes": [*_scoring_lines(model), *_looked_at_lines(model), *_leak_lines(model)],
            "benchmarks": {
                name: [
                    {"test": result["test"], "queries": len(result["queries"]), "mean": result["mean"]}
                    for result in results
                ]
                for name, results in model.benchmarks.items()
            },
        }
        for model in models
    ]


def _tables(model: ModelResults) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each benchmark's name and results. Test sets that were named one by one share a table without name or mean."""
    several = [(name, results) for name, results in model.benchmarks.items() if len(results) > 1]
    alone = [result for results in model.benchmarks.values() if len(results) == 1 for result in results]
    return [*several, *([("", alone)] if alone else [])]


def _looked_at_lines(model: ModelResults) -> list[str]:
    """A warning where the model's weights were learned on some of these queries."""
    results = [result for results in model.benchmarks.values() for result in results]
    line = looked_at_line(model.name, model.folder, results)
    return [f"warning: {line}"] if line else []


def _leak_lines(model: ModelResults) -> list[str]:
    """A sentence on the test queries of all benchmarks that are in the model's training data; none for BM25."""
    if model.leaks is None:
        return []
    tests = [result["test"] for results in model.benchmarks.values() for result in results]
    leaking = leak_counts(model.leaks, tests)[0]
    line = leaks_line(model.leaks, tests, model.name)
    return [f"warning: {line}: see {model.folder / FILE}" if leaking else line]


def _scoring_lines(model: ModelResults) -> list[str]:
    """How the model was scored, if not by the cosine or not without prompts."""
    if model.name == BM25:
        return []
    results = [result for results in model.benchmarks.values() for result in results]
    names = {str(result["similarity"]) for result in results if "similarity" in result} - {"cosine"}
    lines = [f"scored by {' and '.join(sorted(names))}, {model.name}'s own similarity"] if names else []
    prompts = [result.get("prompts") for result in results]
    if any(each != prompts[0] or each is None for each in prompts):
        return [*lines, "prompts differ by test set: see the results"]
    for side, what in (("query", "queries"), ("document", "passages")):
        if prompts[0] and prompts[0][side]:
            lines.append(f"before {what}: {json.dumps(prompts[0][side], ensure_ascii=False)}")
    return lines


def _rows(name: str, results: Sequence[Mapping[str, Any]], leaks: Mapping[str, Any] | None) -> list[str]:
    """The lines of one table; with a name, the last line is the mean."""
    shown = _SHOWN if "ndcg@10" in results[0]["mean"] else _MKQA
    mean = {key: sum(result["mean"][key] for result in results) / len(results) for key in shown}
    entries = [(result["test"], result["mean"], [result["test"]]) for result in results]
    if name:
        entries.append((f"mean of {name} ({len(results)} test sets)", mean, [result["test"] for result in results]))
    known = leaks is not None and bool(leaks["looked_at"])
    lines = []
    for title, values, tests in entries:
        lines.append([title, *(f"{100 * values[key]:.2f}" for key in shown)])
        if leaks is not None and known:
            _, _, leaked, queries = leak_counts(leaks, tests)
            lines[-1].append(f"{leaked:,} of {queries:,}")
    return terminal_table(["", *shown.values(), *["trained on"] * known], lines).splitlines()
