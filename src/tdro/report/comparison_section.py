"""The comparison of mixtures: verdict, table, interval charts, and the table over test sets, as plain rows.

All numbers come from ``comparison/<group>.json``; nothing is computed again here.
"""

from __future__ import annotations

import math
from typing import Any

from tdro.evaluation.compare.lost_in_transfer import lost_in_transfer
from tdro.evaluation.compare.readable_numbers import as_number, nested, plural, points, signed
from tdro.evaluation.compare.same_model import is_baseline, same_model_sentences
from tdro.evaluation.compare.uniform_longer import steps_cell, steps_in_words
from tdro.evaluation.compare.verdict import says_seeds_needed, seeds_phrase, significant, verdict
from tdro.evaluation.judged import judged_by_line
from tdro.recipe.names import BASELINES, in_order, times_longer
from tdro.report import charts
from tdro.report.run_contents import RunContents
from tdro.report.words import mixture_in_words

PARTS = (
    ("all", "all test sets", "disc"),
    ("trained", "trained tasks", "ring"),
    ("untrained", "new tasks", "diamond"),
)


def comparison_view(run: RunContents, comparison: dict[str, Any], selection: str) -> dict[str, Any]:
    """All that the page shows of one group.

    Args:
        run: the run.
        comparison: of the group, as its file has it.
        selection: the mixture that the verdict is about, such as ``top-70``.
    """
    rows = {str(nested(row, "mixture")): row for row in comparison["rows"] if isinstance(row, dict)}
    tests = [test for test in comparison["tests"] if isinstance(test, dict)]
    names = in_order(list(rows))
    challengers = [name for name in names if name not in BASELINES]
    table = _mixtures_table(rows, names, challengers)
    word, sentence = _verdict(rows, selection, len(tests))
    return {
        "group": comparison["group"],
        "word": word,
        "sentence": sentence,
        "more": _more(rows, challengers, selection),
        "lost": lost_in_transfer(comparison),
        "judged_by": judged_by_line(looked_at) if (looked_at := comparison.get("looked_at")) else "",
        "setting": _setting(run, comparison, tests),
        "table": table,
        "has_spread": any(math.isfinite(value) for row in table for value in row["spread"]),
        "forest": _forest(rows, challengers),
        "selection": selection,
        "test_forest": _test_forest(rows.get(selection), tests),
        "uniform_steps": _uniform_steps(rows, challengers),
        "sizes": _sizes(comparison),
        "challengers": challengers,
        "beside": [name for name in BASELINES if name in rows],
        "tests": _tests(rows, tests, challengers, nested(comparison, "looked_at", "tests") or {}),
        "n_tests": len(tests),
    }


def _mixtures_table(rows: dict[str, Any], names: list[str], challengers: list[str]) -> list[dict[str, Any]]:
    """The rows of the table of mixtures: scores, spread over seeds, and the difference from uniform."""
    best = {
        key: max((_score(rows[name], *key) for name in [*challengers, "uniform"] if name in rows), default=math.nan)
        for key in (
            ("ndcg@10", "all"),
            ("ndcg@10", "trained"),
            ("ndcg@10", "untrained"),
            ("recall@100", "all"),
        )
    }
    table: list[dict[str, Any]] = []
    for name in names:
        row = rows[name]
        difference = None if is_baseline(row) else nested(row, "versus", "ndcg@10", "all")
        cells = [
            {"value": _score(row, *key), "best": name not in ("untrained", "bm25") and _score(row, *key) == value}
            for key, value in best.items()
        ]
        table.append(
            {
                "name": name,
                "what": mixture_in_words(name),
                "cells": cells,
                "spread": [as_number(nested(row, key, "spread")) for key in ("ndcg@10", "recall@100")],
                "difference": difference,
                "significant": significant(difference),
                "few": bool(nested(difference, "too_few")),
            }
        )
    return table


def _uniform_steps(rows: dict[str, Any], challengers: list[str]) -> list[dict[str, str]]:
    """How many times the steps uniform needs for what each mixture reaches; empty if uniform was not trained longer."""
    found = {name: nested(rows[name], "uniform_steps") for name in challengers}
    return [{"name": name, "steps": steps_cell(steps)} for name, steps in found.items() if isinstance(steps, dict)]


def _sizes(comparison: dict[str, Any]) -> dict[str, Any] | None:
    """nDCG@10 at each size of the embeddings; None if the group has whole embeddings alone."""
    columns = {str(nested(each, "size")): nested(each, "rows") or [] for each in comparison.get("sizes") or ()}
    found = {(size, str(nested(row, "mixture"))): row for size, rows in columns.items() for row in rows}
    names = in_order(list(dict.fromkeys(name for _, name in found)))

    def cell(row: Any) -> dict[str, Any]:
        versus = nested(row, "versus")
        difference = as_number(nested(versus, "difference"))
        return {"value": as_number(nested(row, "ndcg@10")), "difference": difference, "strong": significant(versus)}

    lines = [{"name": name, "cells": [cell(found.get((size, name))) for size in columns]} for name in names]
    return {"sizes": list(columns), "rows": lines} if columns else None


def _verdict(rows: dict[str, Any], selection: str, n_tests: int) -> tuple[str, str]:
    """Whether the selection beat uniform, as a word and a sentence."""
    if selection not in rows:
        return "Unknown", f"{selection} was not compared here."
    if is_baseline(rows[selection]):
        return "Nothing compared", same_model_sentences([rows[selection]])[0]
    return verdict(
        selection,
        nested(rows[selection], "versus", "ndcg@10", "all"),
        _score(rows[selection], "ndcg@10", "all"),
        _score(rows.get("uniform"), "ndcg@10", "all"),
        n_tests,
    )


def _score(row: Any, measure: str, part: str) -> float:
    return as_number(nested(row, measure, part))


def _more(rows: dict[str, Any], challengers: list[str], selection: str) -> str:
    """The sentences after the verdict: seeds needed, new tasks, the best mixture, whether training helps at all."""
    sentences = same_model_sentences([rows[name] for name in rows if name != selection or not is_baseline(rows[name])])
    difference = nested(rows.get(selection), "versus", "ndcg@10", "all")
    both = nested(difference, "with_seeds") or {}
    differs = nested(difference, "wins") or nested(difference, "losses")
    if differs and "needed" in both and not says_seeds_needed(difference):
        sentences.append(f"To show a difference of this size takes {seeds_phrase(both['needed'])}.")
    if isinstance(steps := nested(rows.get(selection), "uniform_steps"), dict):
        sentences.append(steps_in_words(selection, steps))
    parts = [nested(rows.get(selection), "versus", "ndcg@10", part, "difference") for part in ("trained", "untrained")]
    if all(math.isfinite(as_number(part)) for part in parts):
        sentences.append(
            f"{signed(parts[0])} on tasks that were trained on, {signed(parts[1])} on tasks that were not."
        )
    scores = {name: _score(rows[name], "ndcg@10", "all") for name in [*challengers, "uniform"] if name in rows}
    scores = {name: score for name, score in scores.items() if math.isfinite(score)}
    if len(scores) > 2:
        best = max(scores, key=lambda name: scores[name])
        sentences.append(f"Best of the {len(scores)} mixtures: {best} ({points(scores[best])}).")
    base = _score(rows.get("untrained"), "ndcg@10", "all")
    if math.isfinite(base) and "uniform" in scores:
        sentences.append(
            f"The base model has {points(base)} before training, {points(scores['uniform'])} after uniform."
        )
    return " ".join(sentences)


def _setting(run: RunContents, comparison: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    """What was compared: steps, batch, seeds and test sets; with a warning if the mixtures were not trained alike."""
    trainings = [
        training
        for training in run.trainings
        if training.group == comparison["group"] and times_longer(training.mixture) is None
    ]
    budgets = {(nested(training.facts, "steps"), nested(training.facts, "batch")) for training in trainings}
    seeds = comparison.get("seeds") or []
    words = f"{plural(len(seeds), 'seed')} a mixture. " if seeds else ""
    if len(budgets) == 1:
        steps, batch = budgets.pop()
        words = f"Every mixture: {steps} steps of {batch} rows, {plural(len(seeds), 'seed')}. "
    elif budgets:
        words += "Careful: the mixtures were not trained for the same steps and batch. "
    last = {as_number(nested(training.facts, "settings", "uniform_last")) for training in trainings} - {0.0}
    if len(last) == 1 and math.isfinite(share := last.pop()):
        words += f"In the last {100 * share:g} % of the steps all tasks are sampled equally. "
    if any(nested(training.facts, "development", "best_step") for training in trainings):
        words += "Each model is kept as it was at its best step on the development sets. "
    new = sum(not test.get("trained") for test in tests)
    words += f"{plural(len(tests), 'test set')}, {new} of them of tasks that training never saw. "
    if len(seeds) == 1:
        words += "With one seed the intervals cover the choice of queries; what another seed would give is not known."
    return words.strip()


def _difference(row: Any, *keys: str) -> tuple[float, float, float]:
    found = nested(row, "versus", "ndcg@10", *keys)
    return as_number(nested(found, "difference")), as_number(nested(found, "low")), as_number(nested(found, "high"))


def _axis(domain: tuple[float, float]) -> str:
    return charts.axis_row(domain, {at: signed(at, 1) for at in charts.ticks(*domain, 8)})


def _interval(label: str, values: tuple[float, float, float], domain: tuple[float, float], mark: str) -> dict[str, str]:
    value, low, high = values
    text = f"{label}: {signed(value)} points, interval {signed(low)} to {signed(high)}"
    return {"svg": charts.interval_row(value, low, high, domain, mark, text), "value": signed(value)}


def _forest(rows: dict[str, Any], challengers: list[str]) -> dict[str, Any] | None:
    found = {(name, part): _difference(rows[name], part) for name in challengers for part, _, _ in PARTS}
    if not any(math.isfinite(values[0]) for values in found.values()):
        return None
    domain = charts.domain_of([value for values in found.values() for value in values])
    lines = [
        {
            "name": name if part == "all" else "",
            "part": says,
            **_interval(f"{name}, {says}", found[name, part], domain, mark),
        }
        for name in challengers
        for part, says, mark in PARTS
    ]
    return {"lines": lines, "axis": _axis(domain)}


def _test_forest(row: Any, tests: list[dict[str, Any]]) -> dict[str, Any] | None:
    found = [(str(test.get("name")), bool(test.get("trained"))) for test in tests]
    values = {name: _difference(row, "tests", name) for name, _ in found}
    found = [(name, trained) for name, trained in found if math.isfinite(values[name][0])]
    if not found:
        return None
    domain = charts.domain_of([value for name, _ in found for value in values[name]])
    lines = [
        {
            "name": name,
            "trained": trained,
            **_interval(name, values[name], domain, "disc" if trained else "diamond"),
        }
        for name, trained in sorted(found, key=lambda test: -values[test[0]][0])
    ]
    return {"lines": lines, "axis": _axis(domain)}


def _tests(
    rows: dict[str, Any], tests: list[dict[str, Any]], challengers: list[str], looked_at: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of the table over test sets, trained tasks first.

    ``looked_at`` has how many queries of a test set were left out, because weights were learned on them.

    A challenger's cell has its difference from uniform, the p-value after Holm's correction, and whether that is below
    0.05.
    """
    table = []
    for test in sorted(tests, key=lambda test: not test.get("trained")):
        name = str(test.get("name"))
        cells = []
        for mixture in challengers:
            found = nested(rows[mixture], "versus", "ndcg@10", "tests", name)
            holm = as_number(nested(found, "p_holm"))
            cells.append({"difference": as_number(nested(found, "difference")), "holm": holm, "strong": holm < 0.05})
        beside = [as_number(nested(rows[base], "ndcg@10", "tests", name)) for base in BASELINES if base in rows]
        table.append(
            {
                "name": name,
                "trained": bool(test.get("trained")),
                "queries": test.get("queries"),
                "looked_at": looked_at.get(name, 0),
                "cells": cells,
                "beside": beside,
            }
        )
    return table
