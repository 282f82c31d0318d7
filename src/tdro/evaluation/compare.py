"""Compare the mixtures of a group: means over test sets, spread over seeds, paired tests against uniform.

It reads the files that :func:`tdro.evaluation.evaluate.evaluate_all` wrote, nothing else, so it can be
repeated without a model. The unit of every test is a query: seeds are averaged per query first, so an
interval is about which queries were asked, and the spread over seeds stands beside it. Rejected: a test over
seeds, which has three values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.errors import UserError
from tdro.evaluation.significance import holm, paired
from tdro.files import read_json

MEASURES = ("ndcg@10", "recall@100")
TESTED = "ndcg@10"
_ORDER = ("untrained", "uniform", "proportional", "top-", "bottom-", "reweight")
_NEEDED = ("test", "queries", *MEASURES)


@dataclass(frozen=True)
class _Results:
    """One model's evaluation: test set to its file's content."""

    mixture: str
    seed: int | None
    tests: Mapping[str, dict[str, Any]]

    def values(self, test: str, measure: str) -> NDArray[np.float64]:
        """One value a query."""
        return np.asarray(self.tests[test][measure], dtype=np.float64)


def compare(
    folder: Path | str,
    group: str,
    baseline: str = "uniform",
    *,
    models: Collection[str] | None = None,
    test_sets: Collection[str] | None = None,
    permutations: int = 10_000,
    resamples: int = 2_000,
) -> dict[str, Any]:
    """Compare the models of ``evaluation/<group>``.

    Args:
        folder: holds a folder a model, named ``<mixture>-seed<k>`` or ``untrained``, with a file a test set.
        group: its name.
        baseline: the mixture that the others are tested against.
        models: names of their folders; None for all that are there.
        test_sets: names of the test sets; None for all that are there.
        permutations: sign flips, see :func:`tdro.evaluation.significance.paired`.
        resamples: of the bootstrap, see there.

    Returns:
        ``group``; ``seeds``; ``tests``, each with ``name``, ``task``, ``trained`` and ``queries`` (how many);
        and ``rows``, one a mixture: ``mixture``, ``seeds`` (how many), for ``ndcg@10`` and ``recall@100`` the
        means over seeds (``tests`` by name; ``all``, ``trained`` and ``untrained`` are unweighted means over
        test sets, null without one; ``spread`` is the standard deviation of ``all`` over seeds, null for
        one), and ``versus_uniform``, null for the baseline itself and where it is missing: ``ndcg@10`` with
        ``difference``, ``low``, ``high`` and ``p`` for ``all``, ``trained``, ``untrained`` and each of
        ``tests`` (there with Holm's ``p_holm`` over the test sets). In [0, 1].

    Raises:
        UserError: nothing is there, a model lacks a test set, or two files have different queries or texts.
    """
    folder = Path(folder)
    found = _read(folder, models, test_sets)
    names = list(found[0].tests)
    tests = [_about(found[0].tests[name], name) for name in names]
    parts = {
        "all": names,
        "trained": [test["name"] for test in tests if test["trained"]],
        "untrained": [test["name"] for test in tests if not test["trained"]],
    }
    by_mixture: dict[str, list[_Results]] = {}
    for model in found:
        by_mixture.setdefault(model.mixture, []).append(model)
    rows: list[dict[str, Any]] = []
    for mixture in sorted(by_mixture, key=_place):
        runs = by_mixture[mixture]
        row: dict[str, Any] = {"mixture": mixture, "seeds": len(runs)}
        row |= {measure: _summary(runs, measure, parts) for measure in MEASURES}
        row["versus_uniform"] = None
        if mixture != baseline and baseline in by_mixture:
            versus = _versus(runs, by_mixture[baseline], parts, permutations, resamples)
            row["versus_uniform"] = {TESTED: versus}
        rows.append(row)
    seeds = sorted({model.seed for model in found if model.seed is not None})
    return {"group": group, "seeds": seeds, "tests": tests, "rows": rows}


def _read(folder: Path, wanted: Collection[str] | None, test_sets: Collection[str] | None) -> list[_Results]:
    """Every model's results, checked to be about the same queries."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*.json")):
        chosen = wanted is None or path.parent.name in wanted
        if chosen and (test_sets is None or path.stem in test_sets) and not path.parent.name.startswith("."):
            found.setdefault(path.parent.name, {})[path.stem] = path
    if not found:
        raise UserError(f"{folder}: no evaluations there; run `tdro evaluate` first")
    names = sorted({name for paths in found.values() for name in paths})
    models: list[_Results] = []
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for model, paths in found.items():
        tests = {}
        for name in names:
            path = paths.get(name, folder / model / f"{name}.json")
            content = _results(path)
            other, expected = first.setdefault(name, (path, content))
            if any(content.get(key) != expected.get(key) for key in ("queries", "data")):
                raise UserError(
                    f"{path} and {other} are of different queries or passages.\nRun `tdro evaluate` again for both."
                )
            tests[name] = content
        mixture, _, seed = model.rpartition("-seed")
        known = bool(mixture) and re.fullmatch(r"\d+", seed)
        models.append(_Results(mixture if known else model, int(seed) if known else None, tests))
    return models


def _results(path: Path) -> dict[str, Any]:
    """One file's content, with as many values as queries."""
    if not path.exists():
        raise UserError(
            f"{path}: no such file, but other models have this test set.\nRun `tdro evaluate`, or remove {path.parent}"
        )
    content = read_json(path)
    for key in _NEEDED:
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{path}: no key {key!r}; remove the file and run `tdro evaluate` again")
    if any(len(content[measure]) != len(content["queries"]) for measure in MEASURES) or not content["queries"]:
        raise UserError(f"{path}: not one value a query; remove the file and run `tdro evaluate` again")
    return content


def _about(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    task = content.get("task", "")
    trained = bool(content.get("trained", task))
    return {"name": name, "task": task, "trained": trained, "queries": len(content["queries"])}


def _place(mixture: str) -> tuple[int, str]:
    """Where a mixture stands: baselines, then the learned ones, then others by name."""
    found = [place for place, known in enumerate(_ORDER) if mixture.startswith(known)]
    return (found[0] if found else len(_ORDER), mixture)


def _summary(runs: list[_Results], measure: str, parts: Mapping[str, list[str]]) -> dict[str, Any]:
    """Means over seeds, per test set and over the parts, and the spread over seeds."""
    names = parts["all"]
    means = np.array([[run.values(name, measure).mean() for name in names] for run in runs])  # (seeds, tests)
    by_test = dict(zip(names, means.mean(axis=0).tolist(), strict=True))
    summary: dict[str, Any] = {"tests": by_test}
    for part, members in parts.items():
        summary[part] = float(np.mean([by_test[name] for name in members])) if members else None
    summary["spread"] = float(means.mean(axis=1).std(ddof=1)) if len(runs) > 1 else None
    return summary


def _versus(
    runs: list[_Results],
    baseline: list[_Results],
    parts: Mapping[str, list[str]],
    permutations: int,
    resamples: int,
) -> dict[str, Any]:
    """The paired tests of one mixture against the baseline, over the parts and for each test set."""

    def mean(models: list[_Results], name: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([model.values(name, TESTED) for model in models], axis=0))

    def test(members: Iterable[str]) -> dict[str, float]:
        chosen = {name: differences[name] for name in members}
        return paired(chosen, permutations=permutations, resamples=resamples)

    differences = {name: mean(runs, name) - mean(baseline, name) for name in parts["all"]}
    found: dict[str, Any] = {part: test(members) if members else None for part, members in parts.items()}
    tests = {name: test([name]) for name in parts["all"]}
    for result, adjusted in zip(tests.values(), holm([each["p"] for each in tests.values()]), strict=True):
        result["p_holm"] = float(adjusted)
    return {**found, "tests": tests}


def table(comparison: Mapping[str, Any], width: int = 100) -> str:
    """The comparison as text for a terminal, x 100, at most ``width`` columns; says first which is best.

    Above, a row a mixture: means, spread over seeds, and the difference from uniform with its 95 % interval
    and p. Below: nDCG@10 of each test set.
    """
    rows, tests = comparison["rows"], comparison["tests"]
    new = sum(not test["trained"] for test in tests)
    queries = sum(test["queries"] for test in tests)
    lines = [
        f"{comparison['group']}: {len(tests)} test sets ({new} of tasks never trained on), {queries} queries",
        *_verdict(rows),
        "",
        *_overview(rows, width),
        "",
        *_by_test(rows, tests, width),
        "",
        "x 100. ± is the standard deviation over seeds. Intervals (95 %) and p are over queries, with each",
        "mixture's seeds averaged: they do not cover the luck of a training. trained, new: means over the",
        "test sets (*) of tasks that training saw, and of those that it never saw.",
    ]
    return "\n".join(lines)


def _verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Which mixture is best, in words."""
    mixtures = [row for row in rows if row["mixture"] != "untrained"]
    if len(mixtures) < 2:
        return []
    best = max(mixtures, key=lambda row: row[TESTED]["all"])
    if best["versus_uniform"] is None:
        if best["mixture"] == "uniform":
            return [f"No mixture beats uniform: it has the highest nDCG@10 ({_points(best[TESTED]['all'])})."]
        return [f"Best nDCG@10: {best['mixture']} ({_points(best[TESTED]['all'])}). Uniform was not evaluated."]
    versus = best["versus_uniform"][TESTED]["all"]
    sure = "" if versus["p"] < 0.05 else " That may be chance."
    number = f"{_points(best[TESTED]['all'])}, against uniform {_difference(versus)}"
    return [f"Best nDCG@10: {best['mixture']} ({number}).{sure}"]


def _overview(rows: list[dict[str, Any]], width: int) -> list[str]:
    name = min(max(len(row["mixture"]) for row in rows), width - 84)
    head = f"{'':{name}}  {'nDCG@10':<28}{'Recall@100':<14}   nDCG@10 minus uniform's"
    lines = [
        head,
        f"{'':{name}}  {'all':>5}{'trained':>16}{'new':>7}{'all':>7}{'difference, interval, p':>33}",
    ]
    for row in rows:
        first, second = row[TESTED], row["recall@100"]
        versus = row["versus_uniform"]
        lines.append(
            f"{_cut(row['mixture'], name):{name}}  {_points(first['all']):>5}{_spread(first):>7}"
            f"{_points(first['trained']):>9}{_points(first['untrained']):>7}"
            f"{_points(second['all']):>7}{_spread(second):>7}   "
            f"{_difference(versus[TESTED]['all']) if versus else '-'}"
        )
    return lines


def _by_test(rows: list[dict[str, Any]], tests: list[dict[str, Any]], width: int) -> list[str]:
    """nDCG@10 of each test set, mixtures in columns; as many blocks as it takes."""
    name = min(max([len(test["name"]) + 1 for test in tests] + [len("nDCG@10")]), 28)
    blocks: list[list[dict[str, Any]]] = [[]]
    for row in rows:
        if name + sum(_column(other) for other in [*blocks[-1], row]) > width:
            blocks.append([])
        blocks[-1].append(row)
    lines: list[str] = []
    for block in blocks:
        heads = "".join(f"{_cut(row['mixture'], _column(row) - 2):>{_column(row)}}" for row in block)
        lines += [""] * bool(lines) + [f"{'nDCG@10':{name}}{heads}"]
        for test in sorted(tests, key=lambda test: not test["trained"]):
            label = _cut(test["name"], name - 1) + ("*" if test["trained"] else "")
            values = (f"{_points(row[TESTED]['tests'][test['name']]):>{_column(row)}}" for row in block)
            lines.append(f"{label:{name}}{''.join(values)}")
    return lines


def _column(row: Mapping[str, Any]) -> int:
    return min(max(len(row["mixture"]), 5), 20) + 2


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _spread(summary: Mapping[str, Any]) -> str:
    return "" if summary["spread"] is None else f" ± {100 * summary['spread']:.1f}"


def _difference(versus: Mapping[str, float]) -> str:
    """For instance ``+1.0 [+0.3, +1.7] p 0.003``."""
    low, high = f"{100 * versus['low']:+.1f}", f"{100 * versus['high']:+.1f}"
    p = "p < 0.001" if versus["p"] < 0.001 else f"p {versus['p']:.3f}"
    return f"{100 * versus['difference']:+.1f} [{low}, {high}] {p}"
