"""A comparison as text for a terminal: which mixture is best, then means, variances, and each test set.

The numbers come from :mod:`tdro.evaluation.compare.compare` and are printed x 100. Of single test sets, the text only
marks which differ from the baseline; their intervals are in the JSON file. See docs/decisions.md,
few-intervals-in-the-terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.at_sizes import sizes_lines
from tdro.evaluation.compare.comparison_cells import (
    cut,
    difference,
    difference_of_row,
    interval,
    means_column,
    measure_label,
    p_value,
    points,
    spreads_column,
)
from tdro.evaluation.compare.means_only import means_lines
from tdro.evaluation.compare.same_model import is_baseline, same_model_sentences
from tdro.evaluation.compare.uniform_longer import steps_cell
from tdro.evaluation.compare.verdict import seeds_phrase, verdict
from tdro.evaluation.judged import judged_by_line
from tdro.evaluation.leaks.find_leaks import leak_counts, leaks_line
from tdro.terminal_table import terminal_table

_NO_MIXTURES = ("untrained", "bm25")  # rows that were not trained on a mixture, so they cannot be the best one


def comparison_table(comparison: Mapping[str, Any], width: int = 100) -> str:
    """The comparison as text of at most ``width`` columns.

    It says which mixture is best, and whether that may be chance. Then come three tables: each mixture's means and its
    difference from the baseline, with interval and p; how much seeds and queries move the means; and each test set.

    Args:
        comparison: what :func:`tdro.evaluation.compare.compare_results.compare_models` returned.
        width: of the terminal.
    """
    measure = comparison["measure"]
    means = means_lines(comparison.get("means_only", ()), measure, measure_label(measure), width)
    notes = [line for note in comparison.get("notes", ()) for line in _wrapped(f"note: {note}", width)]
    if not comparison["rows"]:
        return "\n\n".join("\n".join(block) for block in (means, notes) if block)
    tests = comparison["tests"]
    new = sum(not test["trained"] for test in tests)
    queries = sum(test["queries"] for test in tests)
    sets = f"{len(tests)} test set{'s' * (len(tests) != 1)}"
    # It is known for models that tdro trained; for others nobody has said which tasks they saw.
    known = f" ({new} of tasks never trained on)" if _tasks_known(comparison) else ""
    details = _details(comparison, width)
    blocks = [
        [
            f"{comparison['group']}: {sets}{known}, {queries:,} queries",
            *_looked_at(comparison, width),
            *_verdict(comparison, width),
            *(line for sentence in same_model_sentences(comparison["rows"]) for line in textwrap.wrap(sentence, width)),
            *_left_out(comparison, width),
        ],
        _overview(comparison, width),
        _variances(comparison, width),
        _uniform_longer(comparison, width),
        sizes_lines(comparison, width),
        details or _by_test(comparison, width),
        _legend(comparison, bool(details)),
        means,
        notes,
        _leaks(comparison, width),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _tasks_known(comparison: Mapping[str, Any]) -> bool:
    return any(test["trained"] for test in comparison["tests"])


def _legend(comparison: Mapping[str, Any], details: bool) -> list[str]:
    """What the words and signs in the tables mean, those that occur."""
    lines = ["x 100. Intervals (95 %) and p are over queries: for these models, and for these test sets alone."]
    if comparison["seeds"]:
        lines = [
            "x 100. ± is the standard deviation over seeds. Intervals (95 %) and p are over queries, with each",
            "mixture's seeds averaged: they do not cover the luck of a training; the interval over both does.",
            "A difference is taken within each seed that both sides have. If one side has more seeds, it is not",
            "the difference of the means beside it.",
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
    """Which mixture is best, and whether its lead is more than chance."""
    measure = comparison["measure"]
    mixtures = [row for row in comparison["rows"] if _mixture(row["mixture"]) not in _NO_MIXTURES]
    if len(mixtures) < 2:
        return []
    best = max(mixtures, key=lambda row: row[measure]["all"])
    if is_baseline(best):  # the same model as the baseline: name the baseline
        best = next((row for row in mixtures if row["mixture"] == best["baseline"]), best)
    name = best["mixture"]
    first = f"Best {measure_label(measure)}: {name} ({points(best[measure]['all'])})."
    if best["versus"] is None:
        known = any(row["baseline"] == name for row in mixtures)
        return [f"{first} {'The others are compared with it.' if known else 'The baseline was not evaluated.'}"]
    baseline = next(row for row in comparison["rows"] if row["mixture"] == best["baseline"])
    word, sentence = verdict(
        *(name, best["versus"][measure]["all"], best[measure]["all"], baseline[measure]["all"]),
        *(len(comparison["tests"]), best["baseline"], measure_label(measure)),
    )
    return textwrap.wrap(f"{first} {word}: {sentence}", width, break_long_words=False, break_on_hyphens=False)


def _looked_at(comparison: Mapping[str, Any], width: int) -> list[str]:
    return textwrap.wrap(judged_by_line(found), width) if (found := comparison.get("looked_at")) else []


def _left_out(comparison: Mapping[str, Any], width: int) -> list[str]:
    names = ", ".join(comparison.get("left_out", ()))
    return textwrap.wrap(f"Left out, since not all models were evaluated on them: {names}", width) if names else []


def _leaks(comparison: Mapping[str, Any], width: int) -> list[str]:
    """A sentence about test queries in the training data; models with the same findings share it."""
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
        lines += _wrapped(text, width)
    return lines


def _overview(comparison: Mapping[str, Any], width: int) -> list[str]:
    """A line a mixture: its means, their spread over seeds, and the difference from the baseline."""
    rows, (measure, *others) = comparison["rows"], comparison["measures"]
    columns = {measure_label(measure): means_column(rows, measure, "all"), " ": spreads_column(rows, measure)}
    if _tasks_known(comparison):
        columns |= {"trained": means_column(rows, measure, "trained"), "new": means_column(rows, measure, "untrained")}
    if others:
        columns |= {
            measure_label(others[-1]): means_column(rows, others[-1], "all"),
            "  ": spreads_column(rows, others[-1]),
        }
    last = f"{measure_label(measure)} minus {cut(_baseline(rows), 16)}'s"
    return _fitted(rows, columns | {last: [difference_of_row(row, measure) for row in rows]}, width, left=[last])


def _variances(comparison: Mapping[str, Any], width: int) -> list[str]:
    """A line a mixture: how far seeds and queries move its mean, the interval over both, and queries won and lost."""
    rows, measure = comparison["rows"], comparison["measure"]
    versus = [row["versus"] and row["versus"][measure]["all"] for row in rows]
    error, both = "query error", "difference over both"
    columns = {error: [f"{100 * row[measure]['error']:.2f}" for row in rows]}
    if comparison["seeds"]:
        spreads = [row[measure]["spread"] for row in rows]
        columns = {"seed deviation": ["-" if each is None else f"{100 * each:.2f}" for each in spreads]} | columns
        columns[both] = [_over_both(row, found) if found else "" for row, found in zip(rows, versus, strict=True)]
    for title, key in (("won", "wins"), ("tied", "ties"), ("lost", "losses")):
        columns[title] = [str(found[key]) if found else "" for found in versus]
    lines = _fitted(rows, columns, width, left=[both])
    needed = [
        f"{row['mixture']} {seeds_phrase(found['with_seeds']['needed'])}"
        for row, found in zip(rows, versus, strict=True)
        if found and found["with_seeds"] and _mixture(row["mixture"]) not in _NO_MIXTURES
    ]
    if needed:
        lines += textwrap.wrap(f"To show differences of these sizes takes: {', '.join(needed)}.", width)
    return lines


def _uniform_longer(comparison: Mapping[str, Any], width: int) -> list[str]:
    """How many times the steps uniform needs for what each mixture reaches, if uniform was trained longer."""
    found = [(row["mixture"], row["uniform_steps"]) for row in comparison["rows"] if row["uniform_steps"]]
    if not found:
        return []
    measure, longer = comparison["measure"], comparison["uniform_longer"]
    trained = ", ".join(f"{each['times']:g} times {points(each[measure])}" for each in longer)
    pairs = min(steps["pairs"] for _, steps in found)
    over = f"over queries and {pairs} pairs of seeds" if pairs > 1 else "over queries"
    text = f"Uniform with more steps: {trained}. So for what each mixture reaches, uniform needs this many times the "
    lines = textwrap.wrap(f"{text}steps (interpolated; 95 % interval {over}):", width)
    cells = [[cut(name, 30), steps_cell(steps)] for name, steps in found]
    return lines + terminal_table(["", "times the steps"], cells, left=["times the steps"]).splitlines()


def _over_both(row: Mapping[str, Any], versus: Mapping[str, Any]) -> str:
    """The difference with its interval over queries and seeds."""
    if is_baseline(row) or not versus["with_seeds"]:
        return "- (one seed)" if versus["one_seed"] and not is_baseline(row) else "-"
    return f"{100 * versus['difference']:+.1f} {interval(versus['with_seeds'])}"


def _details(comparison: Mapping[str, Any], width: int) -> list[str]:
    """Every number of every test set, if just one model is compared with a baseline; else nothing."""
    rows, measure = comparison["rows"], comparison["measure"]
    compared = [row for row in rows if row["versus"]]
    if len(rows) != 2 or len(compared) != 1 or is_baseline(compared[0]):
        return []
    (row,) = compared
    (other,) = (one for one in rows if one is not row)
    compared_with = "difference, interval, p"
    lines = []
    for test in _trained_first(comparison["tests"]):
        versus = row["versus"][measure]["tests"][test["name"]]
        values = [points(one[measure]["tests"][test["name"]]) for one in (other, row)]
        found = (difference(versus), p_value(versus["p_holm"]), str(versus["wins"]), str(versus["losses"]))
        lines.append([_starred(test, width - 72), *values, *found])
    head = [measure_label(measure), "baseline", "model", compared_with, "Holm", "won", "lost"]
    return terminal_table(head, lines, left=[compared_with]).splitlines()


def _by_test(comparison: Mapping[str, Any], width: int) -> list[str]:
    """The measure of each test set, with a column a mixture; several blocks of columns where one would be too wide."""
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
        heads = "".join(f"{cut(row['mixture'], _column(row) - 3):>{_column(row) - 1}} " for row in block)
        lines += [""] * bool(lines) + [f"{measure_label(measure):{name}}{heads}".rstrip()]
        for test in tests:
            values = (_marked(row, measure, test["name"]) for row in block)
            lines.append(f"{_starred(test, name):{name}}{''.join(values)}".rstrip())
    return lines


def _marked(row: Mapping[str, Any], measure: str, test: str) -> str:
    """The value of a mixture on a test set, with ``+`` or ``-`` if it differs from the baseline's beyond chance."""
    mark = " "
    if row["versus"]:
        versus = row["versus"][measure]["tests"][test]
        if versus["p_holm"] < 0.05:
            mark = "+" if versus["difference"] > 0 else "-"
    return f"{points(row[measure]['tests'][test]):>{_column(row) - 1}}{mark}"


def _baseline(rows: Sequence[Mapping[str, Any]]) -> str:
    found = sorted({row["baseline"] for row in rows if row["baseline"] is not None})
    return found[0] if len(found) == 1 else "the baseline" if not found else "its group's uniform"


def _fitted(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, list[str]], width: int, left: Sequence[str]
) -> list[str]:
    """A table with a line a mixture, whose names are cut so that it fits the width; without empty columns."""
    columns = {title: cells for title, cells in columns.items() if title.strip() or any(cells)}
    taken = sum(2 + max(map(len, [title.strip(), *cells])) for title, cells in columns.items())
    names = [cut(row["mixture"], width - taken) for row in rows]
    lines = list(zip(names, *columns.values(), strict=True))
    return terminal_table(["", *columns], lines, left=left).splitlines()


def _mixture(name: str) -> str:
    return name.rpartition(":")[2].rpartition("/")[2]


def _trained_first(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(tests, key=lambda test: not test["trained"])


def _starred(test: Mapping[str, Any], width: int) -> str:
    return cut(test["name"], width - 1) + ("*" if test["trained"] else "")


def _column(row: Mapping[str, Any]) -> int:
    return min(max(len(row["mixture"]), 5), 20) + 3
