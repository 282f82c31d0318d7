"""What a comparison says of each mixture: means over test sets, spread over seeds, and tests against its baseline.

Here all results are read already, and are on the same test sets; :mod:`tdro.evaluation.compare.compare` does that. The
tests are over queries: the seeds of a mixture are averaged for each query first, so an interval or p says what other
*queries* would give. What other *seeds* would give stands beside it: the spread over seeds, and an interval over
queries and seeds. If two mixtures have the same seeds, their difference is taken within each seed, since trainings of
one seed read the same rows in the same order. The statistics are in :mod:`tdro.evaluation.significance` (p) and
:mod:`tdro.evaluation.intervals`. See docs/decisions.md, sign-flips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdro.errors import UserError
from tdro.evaluation.compare.against_baseline import against_baseline, values_by_seed
from tdro.evaluation.compare.same_model import same_model
from tdro.evaluation.compare.uniform_longer import uniform_steps
from tdro.evaluation.intervals import query_error, seed_spread
from tdro.evaluation.results import SHOWN, Results, measures_of
from tdro.recipe.names import mixture_rank, times_longer

TESTED = "ndcg@10"  # the measure that is tested if none is named


def compare_models(
    models: Sequence[Results],
    title: str,
    baselines: Mapping[str, str],
    measure: str = TESTED,
    *,
    permutations: int = 10_000,
) -> dict[str, Any]:
    """Compare models that were evaluated on the same test sets. Models of one name are seeds of one mixture.

    Args:
        models: their results.
        title: of the comparison.
        baselines: a model's name to the name of the model that it is tested against.
        measure: what is tested.
        permutations: how many sign flips, see :func:`tdro.evaluation.significance.paired`.

    Returns:
        A dict with these keys, all values of measures in [0, 1]:

        - ``group``: the title;
        - ``seeds``: all seeds of the models;
        - ``measure``: the one that is tested;
        - ``measures``: the tested one, and of nDCG@10 and Recall@100 those that all results have;
        - ``tests``: for each test set ``name``, ``task``, ``trained``, and ``queries`` (how many);
        - ``rows``: for each mixture a dict, see below;
        - ``uniform_longer``: for each uniform that was trained longer than its group, which is no row: ``name``,
          ``times`` (how many times the steps), ``seeds`` (how many), and under the measure's name its mean over all
          test sets.

        A row has ``mixture``, ``seeds`` (how many), ``baseline``, ``same`` (null, or which other row is the same model,
        see :func:`tdro.evaluation.compare.same_model.same_model`), and for each of ``measures`` a dict: the means over
        seeds of each test set (``tests``); the unweighted means of these over ``all`` test sets, over those whose task
        was ``trained`` on, and over the ``untrained`` ones (null if there are none); ``spread``, the standard deviation
        of ``all`` over seeds (null for one seed); and ``error``, the standard error of ``all`` over queries.

        A row's ``versus`` is null for the baseline and if the baseline is missing. Else it has, for the tested measure,
        what :func:`tdro.evaluation.compare.against_baseline.against_baseline` returns. Its ``uniform_steps`` is what
        :func:`tdro.evaluation.compare.uniform_longer.uniform_steps` returns; null where uniform was not trained longer.

    Raises:
        UserError: some result lacks the measure.
    """
    models, longer = _longer_apart(models)
    names = list(models[0].tests)
    measures = _measures(models, measure)
    tests = [_about(models, name) for name in names]
    parts = {
        "all": names,
        "trained": [test["name"] for test in tests if test["trained"]],
        "untrained": [test["name"] for test in tests if not test["trained"]],
    }
    by_name: dict[str, list[Results]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    rows: list[dict[str, Any]] = []
    order = _names_in_order(models)
    for name in order:
        runs, baseline = by_name[name], baselines.get(name)
        baseline = None if baseline == name else baseline
        row: dict[str, Any] = {"mixture": name, "seeds": len(runs), "baseline": baseline}
        row |= {one: _summary(runs, one, parts) for one in measures}
        row["same"] = same_model(name, baseline, order, by_name)
        row["versus"] = None
        if baseline is not None:
            row["versus"] = {measure: against_baseline(runs, by_name[baseline], measure, parts, permutations)}
        row["uniform_steps"] = _uniform_steps(runs, by_name.get(baseline or "", []), longer, measure, names)
        rows.append(row)
    seeds = sorted({model.seed for model in models if model.seed is not None})
    return {
        **{"group": title, "seeds": seeds, "measure": measure, "measures": measures, "tests": tests, "rows": rows},
        "uniform_longer": _about_longer(longer, measure, parts),
    }


def _longer_apart(models: Sequence[Results]) -> tuple[list[Results], list[Results]]:
    """The models that are rows, and uniform that was trained longer than the uniform of its group."""
    groups = {model.group for model in models if model.mixture == "uniform"}
    longer = [model for model in models if model.group in groups and times_longer(model.mixture) is not None]
    return [model for model in models if model not in longer], longer


def _uniform_steps(
    runs: Sequence[Results],
    baseline: Sequence[Results],
    longer: Sequence[Results],
    measure: str,
    tests: Sequence[str],
) -> dict[str, Any] | None:
    """How many times a mixture's steps uniform needs; None where the baseline is not uniform, or had no more steps."""
    if not baseline or baseline[0].mixture != "uniform" or runs[0].group != baseline[0].group:
        return None
    uniform: dict[float, list[Results]] = {1.0: list(baseline)}
    for model in longer:
        if model.group == baseline[0].group:
            uniform.setdefault(times_longer(model.mixture) or 1.0, []).append(model)
    return uniform_steps(runs, uniform, measure, tests) if len(uniform) > 1 else None


def _about_longer(longer: Sequence[Results], measure: str, parts: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    by_name: dict[str, list[Results]] = {}
    for model in sorted(longer, key=lambda model: mixture_rank(model.mixture)):
        by_name.setdefault(model.name, []).append(model)
    return [
        {
            **{"name": name, "times": times_longer(runs[0].mixture), "seeds": len(runs)},
            measure: _summary(runs, measure, parts)["all"],
        }
        for name, runs in by_name.items()
    ]


def _names_in_order(models: Sequence[Results]) -> list[str]:
    """The models' names as tables list them: group by group, in each by :func:`tdro.recipe.names.mixture_rank`."""
    groups = list(dict.fromkeys(model.group for model in models))

    def place(model: Results) -> tuple[int, tuple[int, float, float], str]:
        return groups.index(model.group), mixture_rank(model.mixture), model.name

    return list(dict.fromkeys(model.name for model in sorted(models, key=place)))


def _measures(models: Sequence[Results], measure: str) -> list[str]:
    """The tested measure, then those of :data:`SHOWN` that every file has."""
    common = set.intersection(*(set(measures_of(content)) for model in models for content in model.tests.values()))
    if measure not in common:
        for model in models:
            for name, content in model.tests.items():
                if measure not in (has := measures_of(content)):
                    raise UserError(
                        f"{model.file(name)}: no measure {measure!r}; it has {', '.join(has)}.\n"
                        "Choose one with --measure."
                    )
    return [measure, *(other for other in SHOWN if other in common and other != measure)]


def _about(models: Sequence[Results], name: str) -> dict[str, Any]:
    """What is said of a test set. With models of several runs, it is "trained" if one run trained on its task."""
    contents = [model.tests[name] for model in models]
    task = next((content["task"] for content in contents if content.get("task")), "")
    trained = any(content.get("trained", content.get("task")) for content in contents)
    return {"name": name, "task": task, "trained": bool(trained), "queries": len(contents[0]["queries"])}


def _summary(runs: Sequence[Results], measure: str, parts: Mapping[str, list[str]]) -> dict[str, Any]:
    """A mixture's means, of each test set and over the parts, and how far seeds and queries move them."""
    values = {name: values_by_seed(runs, name, measure) for name in parts["all"]}
    by_test = {name: float(each.mean()) for name, each in values.items()}
    summary: dict[str, Any] = {"tests": by_test}
    for part, members in parts.items():
        summary[part] = float(np.mean([by_test[name] for name in members])) if members else None
    summary["spread"] = seed_spread(values)
    summary["error"] = query_error({name: each.mean(axis=0) for name, each in values.items()})
    return summary
