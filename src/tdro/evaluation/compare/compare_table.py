"""A comparison as text for a terminal: which is best first, then the means, the variances, and every test set.

Numbers come from :mod:`tdro.evaluation.compare.compare` and are printed x 100. Rejected: every interval of every test
set and mixture, which fills screens; marks say which differ, and the JSON file has the rest.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.same_model import is_baseline, same_model_sentences
from tdro.evaluation.compare.verdict import SIGNIFICANT, seeds_phrase, verdict
from tdro.evaluation.leaks.find_leaks import leak_counts, leaks_line
from tdro.evaluation.significance import least_p

_LABELS = {"ndcg": "nDCG", "recall": "Recall", "mrr": "MRR", "map": "MAP", "accuracy": "Accuracy"}
_NO_MIXTURES = ("untrained", "bm25")
_TEXT = 300  # characters of a passage that are shown


def comparison_table(comparison: Mapping[str, Any], width: int = 100) -> str:
    """The comparison as text, x 100, at most ``width`` columns; says first which is best.

    First a row a mixture: means, spread over seeds, and the difference from the baseline with its 95 % interval
    and p. Then what seeds and queries contribute, and wins and losses by query. Then each test set.
    """
    tests = comparison["tests"]
    new = sum(not test["trained"] for test in tests)
    queries = sum(test["queries"] for test in tests)
    sets = f"{len(tests)} test set{'s' * (len(tests) != 1)}"
    # Of models that tdro did not train, nobody has said which tasks they saw, and they have no seeds.
    known = f" ({new} of tasks never trained on)" if _tasks_known(comparison) else ""
    details = _details(comparison, width)
    blocks = [
        [
            f"{comparison['group']}: {sets}{known}, {queries:,} queries",
            *_verdict(comparison, width),
            *(line for sentence in same_model_sentences(comparison["rows"]) for line in textwrap.wrap(sentence, width)),
            *_left_out(comparison, width),
        ],
        _overview(comparison, width),
        _variances(comparison, width),
        details or _by_test(comparison, width),
        _legend(comparison, bool(details)),
        _leaks(comparison, width),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def examples_text(examples: Sequence[Mapping[str, Any]], width: int = 100) -> str:
    """The examples of :func:`tdro.evaluation.compare.examples.find_examples`, query by query."""
    lines: list[str] = []
    for each in examples:
        for key, verb in (("gained", "gained"), ("lost", "lost")):
            lines += ["", f"{each['model']} against {each['baseline']}: queries that {verb} most"]
            lines += [line for query in each[key] for line in _example(query, width)] or ["  none"]
    return "\n".join(lines[1:])


def measure_label(measure: str) -> str:
    """A measure as people write it: ``nDCG@10`` for ``ndcg@10``."""
    kind, at, k = measure.partition("@")
    return f"{_LABELS.get(kind, kind)}{at}{k}"


def _tasks_known(comparison: Mapping[str, Any]) -> bool:
    return any(test["trained"] for test in comparison["tests"])


def _legend(comparison: Mapping[str, Any], details: bool) -> list[str]:
    """What the signs in the tables mean, as far as they are in them."""
    lines = ["x 100. Intervals (95 %) and p are over queries: for these models, and for these test sets alone."]
    if comparison["seeds"]:
        lines = [
            "x 100. ± is the standard deviation over seeds. Intervals (95 %) and p are over queries, with each",
            "mixture's seeds averaged: they do not cover the luck of a training; the interval over both does.",
            "Where both sides have the same seeds, the difference is within each of them.",
        ]
    if _tasks_known(comparison):
        lines.append(
            "trained, new: means over the test sets (*) of tasks that training saw, and those that it never saw."
        )
    if details:
        lines.append("Of a single test set read Holm's p, which allows for how many test sets there are.")
    else:
        lines.append("Of a test set, + and - mark what differs from the baseline: p < 0.05 after Holm's correction.")
    return lines


def _verdict(comparison: Mapping[str, Any], width: int) -> list[str]:
    """Which mixture is best, and whether that is more than chance."""
    measure = comparison["measure"]
    mixtures = [row for row in comparison["rows"] if _mixture(row["mixture"]) not in _NO_MIXTURES]
    if len(mixtures) < 2:
        return []
    best = max(mixtures, key=lambda row: row[measure]["all"])
    if is_baseline(best):  # the first of equals: the baseline, or what comes before it
        best = next((row for row in mixtures if row["mixture"] == best["baseline"]), best)
    name, points = best["mixture"], _points(best[measure]["all"])
    first = f"Best {measure_label(measure)}: {name} ({points})."
    if best["versus"] is None:
        known = any(row["baseline"] == name for row in mixtures)
        return [f"{first} {'The others are compared with it.' if known else 'The baseline was not evaluated.'}"]
    baseline = next(row for row in comparison["rows"] if row["mixture"] == best["baseline"])
    word, sentence = verdict(
        *(name, best["versus"][measure]["all"], best[measure]["all"], baseline[measure]["all"]),
        *(len(comparison["tests"]), best["baseline"], measure_label(measure)),
    )
    return textwrap.wrap(f"{first} {word}: {sentence}", width, break_long_words=False, break_on_hyphens=False)


def _left_out(comparison: Mapping[str, Any], width: int) -> list[str]:
    names = ", ".join(comparison.get("left_out", ()))
    return textwrap.wrap(f"Left out, since not all models were evaluated on them: {names}", width) if names else []


def _leaks(comparison: Mapping[str, Any], width: int) -> list[str]:
    """What is known of leaks; models of which the same is known share a line."""
    names = [test["name"] for test in comparison["tests"]]
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for found in comparison.get("leaks") or ():
        alike.setdefault(leaks_line(found, names), []).append(found)
    lines = []
    for line, each in alike.items():
        models = [model for found in each for model in found["models"]]
        if len(models) < len(comparison["rows"]):
            more = f" and {len(models) - 3} more" if len(models) > 3 else ""
            line = leaks_line(each[0], names, ", ".join(models[:3]) + more)
        leaking = leak_counts(each[0], names)[0] > 0
        text = f"warning: {line}: see {each[0]['file']}" if leaking else line
        lines += textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines


def _overview(comparison: Mapping[str, Any], width: int) -> list[str]:
    """A row a mixture: means and the difference from the baseline."""
    rows, (measure, *others) = comparison["rows"], comparison["measures"]
    name = min(max(len(row["mixture"]) for row in rows), width - 84)
    second = others[-1] if others else None
    known = _tasks_known(comparison)
    head = f"{measure_label(measure):<{28 if known else 14}}{measure_label(second) if second else '':<14}"
    parts = f"{'trained':>16}{'new':>7}" if known else f"{'':9}"
    lines = [
        f"{'':{name}}  {head}   {measure_label(measure)} minus {_cut(_baseline(rows), width - name - 62)}'s",
        f"{'':{name}}  {'all':>5}{parts}{'all' if second else '':>7}{'difference, interval, p':>33}",
    ]
    for row in rows:
        first = row[measure]
        beside = f"{_points(row[second]['all']):>7}{_spread(row[second]):>7}" if second else f"{'':14}"
        parts = f"{_points(first['trained']):>9}{_points(first['untrained']):>7}" if known else "  "
        lines.append(
            f"{_cut(row['mixture'], name):{name}}  {_points(first['all']):>5}{_spread(first):>7}{parts}{beside}   "
            f"{_compared(row, measure)}"
        )
    return lines


def _variances(comparison: Mapping[str, Any], width: int) -> list[str]:
    """A row a mixture: what seeds and queries contribute, the interval over both, and wins and losses."""
    rows, measure = comparison["rows"], comparison["measure"]
    if not comparison["seeds"]:
        return _queries_alone(comparison, width)
    name = min(max(len(row["mixture"]) for row in rows), width - 78)
    lines = [
        f"{'':{name}}  {'deviation':>10}{'error over':>12}  {'difference, interval over':<26}{'queries':>20}",
        f"{'':{name}}  {'over seeds':>10}{'queries':>12}  {'queries and seeds':<26}{'won':>6}{'tied':>7}{'lost':>7}",
    ]
    for row in rows:
        spread = row[measure]["spread"]
        line = (
            f"{_cut(row['mixture'], name):{name}}  {'-' if spread is None else f'{100 * spread:.2f}':>10}"
            f"{100 * row[measure]['error']:>12.2f}"
        )
        if row["versus"]:
            versus = row["versus"][measure]["all"]
            both = versus["with_seeds"]
            shown = "- (one seed)" if versus["one_seed"] else "-"
            if both:
                shown = f"{100 * versus['difference']:+.1f} {_interval(both)}"
            shown = "-" if is_baseline(row) else shown
            line += f"  {shown:<26}{versus['wins']:>6}{versus['ties']:>7}{versus['losses']:>7}"
        lines.append(line)
    needed = [
        f"{row['mixture']} {seeds_phrase(both['needed'])}"
        for row in rows
        if row["versus"]
        and (both := row["versus"][measure]["all"]["with_seeds"])
        and _mixture(row["mixture"]) not in _NO_MIXTURES
    ]
    if needed:
        lines += textwrap.wrap(f"To show differences of these sizes takes: {', '.join(needed)}.", width)
    return lines


def _queries_alone(comparison: Mapping[str, Any], width: int) -> list[str]:
    """As :func:`_variances`, of models without seeds."""
    rows, measure = comparison["rows"], comparison["measure"]
    name = min(max(len(row["mixture"]) for row in rows), width - 36)
    lines = [
        f"{'':{name}}  {'error over':>10}{'queries':>20}",
        f"{'':{name}}  {'queries':>10}{'won':>8}{'tied':>8}{'lost':>8}",
    ]
    for row in rows:
        line = f"{_cut(row['mixture'], name):{name}}  {100 * row[measure]['error']:>10.2f}"
        if row["versus"]:
            versus = row["versus"][measure]["all"]
            line += f"{versus['wins']:>8}{versus['ties']:>8}{versus['losses']:>8}"
        lines.append(line)
    return lines


def _details(comparison: Mapping[str, Any], width: int) -> list[str]:
    """Every number of every test set, where a single model is compared; else nothing."""
    rows, measure = comparison["rows"], comparison["measure"]
    compared = [row for row in rows if row["versus"]]
    if len(rows) != 2 or len(compared) != 1 or is_baseline(compared[0]):
        return []
    (row,) = compared
    (other,) = (one for one in rows if one is not row)
    name = min(max([len(test["name"]) + 1 for test in comparison["tests"]] + [len(measure_label(measure))]), width - 72)
    lines = [
        f"{measure_label(measure):{name}}{'baseline':>10}{'model':>7}  {'difference, interval, p':<31}{'Holm':>7}"
        f"{'won':>6}{'lost':>5}"
    ]
    for test in _trained_first(comparison["tests"]):
        versus = row["versus"][measure]["tests"][test["name"]]
        values = [_points(one[measure]["tests"][test["name"]]) for one in (other, row)]
        lines.append(
            f"{_starred(test, name):{name}}{values[0]:>10}{values[1]:>7}  {_difference(versus):<31}"
            f"{_p(versus['p_holm']):>7}{versus['wins']:>6}{versus['losses']:>5}"
        )
    return lines


def _by_test(comparison: Mapping[str, Any], width: int) -> list[str]:
    """The measure of each test set, mixtures in columns; as many blocks as it takes."""
    rows, measure = comparison["rows"], comparison["measure"]
    tests = _trained_first(comparison["tests"])
    name = min(max([len(test["name"]) + 1 for test in tests] + [len(measure_label(measure))]), 28)
    blocks: list[list[dict[str, Any]]] = [[]]
    for row in rows:
        if name + sum(_column(other) for other in [*blocks[-1], row]) > width:
            blocks.append([])
        blocks[-1].append(row)
    lines: list[str] = []
    for block in blocks:
        heads = "".join(f"{_cut(row['mixture'], _column(row) - 3):>{_column(row) - 1}} " for row in block)
        lines += [""] * bool(lines) + [f"{measure_label(measure):{name}}{heads}".rstrip()]
        for test in tests:
            values = (_marked(row, measure, test["name"]) for row in block)
            lines.append(f"{_starred(test, name):{name}}{''.join(values)}".rstrip())
    return lines


def _marked(row: Mapping[str, Any], measure: str, test: str) -> str:
    """A value of a test set, with a sign where it differs from the baseline's."""
    mark = " "
    if row["versus"]:
        versus = row["versus"][measure]["tests"][test]
        if versus["p_holm"] < 0.05:
            mark = "+" if versus["difference"] > 0 else "-"
    return f"{_points(row[measure]['tests'][test]):>{_column(row) - 1}}{mark}"


def _example(query: Mapping[str, Any], width: int) -> list[str]:
    def passage(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return "nothing"
        text = found["text"]
        return found["id"] if text is None else f"{found['id']}: {_cut(' '.join(text.split()), _TEXT)}"

    model, baseline = query["values"].values()
    text = query["text"] if query["text"] is not None else "(text not found)"
    said = [f"{query['test']} {query['query']}, {_points(baseline)} to {_points(model)}: {text}"]
    said += [f"right: {passage(each)}" for each in query["relevant"]]
    said += [f"{name} first: {passage(first)}" for name, first in query["first"].items()]
    said += [
        f"{name} first: not known, its run file is missing" for name in query["values"] if name not in query["first"]
    ]
    return [
        line
        for number, text in enumerate(said)
        for line in textwrap.wrap(
            text, width, initial_indent="  " if number == 0 else "    ", subsequent_indent=" " * 6
        )
    ]


def _compared(row: Mapping[str, Any], measure: str) -> str:
    """A row's difference from its baseline, if there is something to compare."""
    if is_baseline(row):
        return "the same model" if row["same"]["weights"] else "the same results"
    return _difference(row["versus"][measure]["all"]) if row["versus"] else "-"


def _baseline(rows: Sequence[Mapping[str, Any]]) -> str:
    found = sorted({row["baseline"] for row in rows if row["baseline"] is not None})
    return found[0] if len(found) == 1 else "the baseline" if not found else "its group's uniform"


def _mixture(name: str) -> str:
    return name.rpartition(":")[2].rpartition("/")[2]


def _trained_first(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(tests, key=lambda test: not test["trained"])


def _starred(test: Mapping[str, Any], width: int) -> str:
    return _cut(test["name"], width - 1) + ("*" if test["trained"] else "")


def _column(row: Mapping[str, Any]) -> int:
    return min(max(len(row["mixture"]), 5), 20) + 3


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _spread(summary: Mapping[str, Any]) -> str:
    return "" if summary["spread"] is None else f" ± {100 * summary['spread']:.1f}"


def _interval(bounds: Mapping[str, float | None]) -> str:
    low, high = bounds["low"], bounds["high"]
    return "too few queries" if low is None or high is None else f"[{100 * low:+.1f}, {100 * high:+.1f}]"


def _difference(versus: Mapping[str, Any]) -> str:
    """For instance ``+1.0 [+0.3, +1.7] p 0.003``; p only where the queries are enough for a small one."""
    if not versus["wins"] + versus["losses"]:
        return "none: the same on every query"
    said = f"{100 * versus['difference']:+.1f} {_interval(versus)}"
    enough = versus["low"] is not None and least_p(versus["wins"] + versus["losses"]) < SIGNIFICANT
    return f"{said} p {_p(versus['p'])}" if enough else said


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
