"""Results of models on benchmarks as text: a line a test set, and the mean of each benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.evaluate_models import ModelResults
from tdro.evaluation.leaks.find_leaks import FILE, leak_counts, leaks_line
from tdro.evaluation.scoring.bm25_baseline import NAME as BM25

_SHOWN = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100"}
_MKQA = {"accuracy@10": "Acc@10", "accuracy@100": "Acc@100"}


def evaluated_table(models: Sequence[ModelResults]) -> str:
    """The measures that the paper reports, times 100; the mean is that over test sets, each counting the same.

    Where a model's training data is known, a column says how many queries of each test set are in it.
    """
    blocks = []
    for model in models:
        for name, results in _tables(model):
            blocks.append([f"{model.name}: {model.folder}", *_rows(name, results, model.leaks)])
        blocks[-1] += [*_how(model), *_said(model)]
    return "\n\n".join("\n".join(block) for block in blocks)


def _tables(model: ModelResults) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each benchmark and its results; test sets that were named one by one share a table without name or mean."""
    several = [(name, results) for name, results in model.benchmarks.items() if len(results) > 1]
    alone = [result for results in model.benchmarks.values() if len(results) == 1 for result in results]
    return [*several, *([("", alone)] if alone else [])]


def _said(model: ModelResults) -> list[str]:
    """What is known of leaks, in a sentence about all benchmarks."""
    if model.leaks is None:
        return []
    tests = [result["test"] for results in model.benchmarks.values() for result in results]
    leaking = leak_counts(model.leaks, tests)[0]
    line = leaks_line(model.leaks, tests, model.name)
    return [f"warning: {line}: see {model.folder / FILE}" if leaking else line]


def _how(model: ModelResults) -> list[str]:
    """How the model was scored, where that is not by the cosine of bare texts."""
    if model.name == BM25:
        return []
    results = [result for results in model.benchmarks.values() for result in results]
    names = {str(result["similarity"]) for result in results if "similarity" in result} - {"cosine"}
    lines = [f"scored by {' and '.join(sorted(names))}, {model.name}'s own similarity"] if names else []
    asked = [result.get("prompts") for result in results]
    if any(each != asked[0] or each is None for each in asked):
        return [*lines, "prompts differ by test set: see the results"]
    for side, what in (("query", "queries"), ("document", "passages")):
        if asked[0] and asked[0][side]:
            lines.append(f"before {what}: {json.dumps(asked[0][side], ensure_ascii=False)}")
    return lines


def _rows(name: str, results: Sequence[Mapping[str, Any]], leaks: Mapping[str, Any] | None) -> list[str]:
    shown = _SHOWN if "ndcg@10" in results[0]["mean"] else _MKQA
    mean = {key: sum(result["mean"][key] for result in results) / len(results) for key in shown}
    lines = [(result["test"], result["mean"], [result["test"]]) for result in results]
    if name:
        lines.append((f"mean of {name} ({len(results)} test sets)", mean, [result["test"] for result in results]))
    known = leaks is not None and bool(leaks["looked_at"])
    width = max(len(title) for title, *_ in lines)
    rows = [f"{'':{width}}" + "".join(f"{title:>12}" for title in shown.values()) + f"{'trained on':>18}" * known]
    for title, values, tests in lines:
        row = f"{title:{width}}" + "".join(f"{100 * values[key]:12.2f}" for key in shown)
        if leaks is not None and known:
            _, _, leaked, queries = leak_counts(leaks, tests)
            row += f"{f'{leaked:,} of {queries:,}':>18}"
        rows.append(row)
    return rows
