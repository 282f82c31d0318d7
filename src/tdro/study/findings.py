"""The numbers of a study: scores of each variant against what it is compared with, and what its weights are like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdro.evaluation.compare.against_baseline import against_baseline
from tdro.evaluation.intervals import seed_spread
from tdro.evaluation.results import Results
from tdro.files import fingerprint, read_json, read_jsonl
from tdro.mixture_name import parse_mixture
from tdro.study.kept import kept_shares, kinds_of_tests, weights_used
from tdro.study.schema import Study
from tdro.study.settings import Setup
from tdro.study.task_changes import DISTURBING, disturbed_task
from tdro.study.variants import Variant, settings_key
from tdro.study.weight_changes import changed_weights
from tdro.study.work import Work
from tdro.weights import TaskWeights

MEASURE = "ndcg@10"
PERMUTATIONS = 10_000
FEWER = 1_000  # where only the order of two selections is asked for


def findings_of(study: Study, variants: Sequence[Variant], work: Work) -> list[dict[str, Any]]:
    """Every number of every variant; all pieces must be done.

    Returns:
        For each variant a dict with ``line``, ``axis``, ``value``, ``name``, ``place`` (a number, or null),
        ``settings``, ``versus`` (settings), and:

        - ``scores``: null without trainings; else ``mean`` (nDCG@10 over test sets, in [0, 1]), ``by_seed``,
          ``spread`` over seeds, ``tests`` (the mean of each test set), ``training`` (rows drawn and epochs of each
          task, of the first seed), ``kept`` (see :func:`tdro.study.kept.kept_shares`), ``baseline`` (the mean of what
          it is compared with), ``gain``: what
          :func:`tdro.evaluation.compare.against_baseline.against_baseline` says of the test sets that count, with
          ``kinds``, the same of those whose task was kept, left out, or is no training task; null where both are the
          same trainings; and ``behind_best``: the same against the best selection of its line, null elsewhere.
        - ``disturbed``: null if no task is; else the ``task``, its weight as a multiple of 1 / k (``times_uniform``),
          its mean ``measure`` M and whether it is ``selected`` (null where the mixture selects none);
        - ``weights``: null where none are learned; else ``alpha``, ``effective_tasks``, ``selected`` (by the
          variant's mixture), ``measure`` and ``drift`` (see :func:`stage_one_facts`), ``kendall`` and ``overlap`` with
          the weights of the recipe as it is (null where there are none).
    """
    scores: dict[str, list[Results]] = {}

    def results(settings: Mapping[str, Any]) -> list[Results]:
        key = settings_key(settings)
        if key not in scores:
            scores[key] = _results(study, work, work.setups[key])
        return scores[key]

    def scores_of(variant: Variant) -> dict[str, Any]:
        setup, versus = (work.setups[settings_key(settings)] for settings in (variant.settings, variant.versus))
        runs = results(variant.settings)
        used = weights_used(runs)
        kept = kept_shares(work, setup, versus, used)
        return {**_scores(study, runs, results(variant.versus), used), "kept": kept, "behind_best": None}

    own = _own_weights(work)
    found: list[dict[str, Any]] = []
    for variant in variants:
        setup = work.setups[settings_key(variant.settings)]
        weights = _weights(work, setup, own) if setup.learns else None
        found.append(
            {
                **{"line": variant.line, "axis": variant.axis, "value": variant.value, "name": variant.name},
                **{"place": variant.place, "settings": dict(variant.settings), "versus": dict(variant.versus)},
                "scores": scores_of(variant) if work.seeds else None,
                "disturbed": _disturbed(work, variant, weights),
                "weights": weights,
            }
        )
    if work.seeds:
        _compare_selections(study, found, results)
    return found


# ---- scores


def _compare_selections(
    study: Study, found: Sequence[dict[str, Any]], results: Callable[[Mapping[str, Any]], list[Results]]
) -> None:
    """Compare each selection with the best one of its line, for the knee of the curve."""
    for line in dict.fromkeys(one["line"] for one in found):
        along = [one for one in found if one["line"] == line and one["axis"] == "mixture"]
        along = [one for one in along if one["place"] is not None]
        if len(along) < 3:
            continue
        best = max(along, key=lambda one: one["scores"]["mean"])
        for one in along:
            runs, others = results(one["settings"]), results(best["settings"])
            names = _names(study, runs[0])
            if [run.folder for run in runs] != [run.folder for run in others]:
                one["scores"]["behind_best"] = against_baseline(runs, others, MEASURE, {"all": names}, FEWER)["all"]
            else:
                one["scores"]["behind_best"] = {"difference": 0.0}


def _results(study: Study, work: Work, setup: Setup) -> list[Results]:
    """The scores of a setup's trainings, one for each seed."""
    found = []
    for seed in work.seeds:
        folder = work.place.piece(work.score_piece(setup, seed).key)
        content = read_json(folder / "scores.json")
        tests = content["tests"]
        if study.weigh == "rows":
            tests = _weighed(tests, work, setup)
        found.append(Results(setup.mixture, setup.mixture, seed, folder, tests))
    return found


def _weighed(tests: Mapping[str, dict[str, Any]], work: Work, setup: Setup) -> dict[str, dict[str, Any]]:
    """The test sets of trained tasks, each with a weight that makes the mean count it by its task's rows."""
    sizes = work.workspace(setup.training).data.sizes
    rows = {name: sizes[test["task"]] for name, test in tests.items() if test["task"] in sizes}
    total = sum(rows.values())
    return {
        name: {**test, "weights": [len(rows) * rows[name] / total] * len(test["queries"])}
        for name, test in tests.items()
        if name in rows
    }


def _names(study: Study, run: Results) -> list[str]:
    """The test sets that count."""
    return [name for name, test in run.tests.items() if study.tests == "all" or test["trained"]]


def _scores(
    study: Study, runs: Sequence[Results], baseline: Sequence[Results], used: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    names = _names(study, runs[0])
    by_seed = [_mean(run, names) for run in runs]
    first = read_json(runs[0].folder / "scores.json")["training"]
    same = [run.folder for run in runs] == [run.folder for run in baseline]
    kinds = kinds_of_tests({name: runs[0].tests[name] for name in names}, used)
    parts: dict[str, list[str]] = {"all": names, **kinds}
    gain = None if same else against_baseline(runs, baseline, MEASURE, parts, PERMUTATIONS)
    return {
        "mean": float(np.mean(by_seed)),
        "by_seed": by_seed,
        "spread": seed_spread({name: np.stack([run.values(name, MEASURE) for run in runs]) for name in names}),
        "tests": {name: float(np.mean([_mean(run, [name]) for run in runs])) for name in names},
        "training": {"rows_drawn": first["rows_drawn"], "epochs": first["epochs"], "weights": first["weights"]},
        "baseline": float(np.mean([_mean(run, names) for run in baseline])),
        "gain": None if gain is None else {**gain["all"], "tests": gain["tests"], "kinds": {k: gain[k] for k in kinds}},
        "inputs": fingerprint([run.folder.name for run in runs]),
    }


def _mean(run: Results, names: Sequence[str]) -> float:
    return float(np.mean([run.values(name, MEASURE).mean() for name in names]))


# ---- weights


def _own_weights(work: Work) -> TaskWeights | None:
    """The weights of the recipe as it is; None where they are not learned."""
    if work.own is None or work.place.done(work.weights_stage(work.own).key) is None:
        return None
    return _learned(work, work.own)


def _learned(work: Work, setup: Setup) -> TaskWeights:
    learned = work.learned(setup)
    weights = learned.gain if parse_mixture(setup.mixture).uses_gain else learned.alpha
    assert weights is not None
    return weights


def _weights(work: Work, setup: Setup, own: TaskWeights | None) -> dict[str, Any]:
    weights, mixture = _learned(work, setup), parse_mixture(setup.mixture)
    selection = setup.mixture if mixture.selects else "top-70"
    likeness = [agreement(each, own, selection) for each in _as_used(work, setup)]
    facts = stage_one_facts(work.place.piece(work.weights_stage(setup).key) / "weights", weights.names)
    selected = list(weights.transfer(setup.mixture).names) if mixture.selects else None
    return {
        "alpha": weights.as_dict(),
        "effective_tasks": weights.effective_tasks,
        "selected": selected,
        **facts,
        **{name: _nanmean(np.array([each[name] for each in likeness], float)) for name in ("kendall", "overlap")},
    }


def _as_used(work: Work, setup: Setup) -> list[TaskWeights]:
    """The weights that the trainings use: those that were learned, or each seed's own change of them."""
    weights, mixture = _learned(work, setup), parse_mixture(setup.mixture)
    if not setup.weight_changes:
        return [weights]
    return [changed_weights(weights, setup.weight_changes, mixture, seed) for seed in work.seeds]


def _disturbed(work: Work, variant: Variant, weights: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What became of the task that the study disturbs."""
    if weights is None or not DISTURBING & variant.settings.keys():
        return None
    task = disturbed_task(work.workspace(work.recipe).data.unmined.tasks, variant.settings)
    alpha, measure, selected = (weights[key] for key in ("alpha", "measure", "selected"))
    return {
        "task": task,
        "times_uniform": len(alpha) * alpha[task],
        "measure": measure[task]["mean"] if measure else None,
        "selected": None if selected is None else task in selected,
    }


def agreement(weights: TaskWeights, own: TaskWeights | None, mixture: str) -> dict[str, float | None]:
    """How like two sets of weights are, over the tasks that both have.

    Args:
        weights: one of them.
        own: the other; None if there is none.
        mixture: by which both select tasks.

    Returns:
        ``kendall``, the rank correlation (tau-b) of the weights, and ``overlap``, the share of the tasks selected by
        one that the other selects too; null where it is not defined.
    """
    common = [name for name in weights.names if own is not None and name in own.names]
    if own is None or len(common) < 2:
        return {"kendall": None, "overlap": None}
    from scipy.stats import kendalltau

    tau = float(kendalltau([weights[name] for name in common], [own[name] for name in common]).statistic)
    one, other = (
        set(TaskWeights.from_dict({name: each[name] for name in common}).transfer(mixture).names)
        for each in (_positive(weights, common), _positive(own, common))
    )
    return {"kendall": tau if np.isfinite(tau) else None, "overlap": len(one & other) / len(one)}


def _positive(weights: TaskWeights, names: Sequence[str]) -> dict[str, float]:
    """The weights of some tasks, which sum to 1."""
    total = sum(weights[name] for name in names)
    return {name: weights[name] / total for name in names}


def stage_one_facts(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """What stage 1's log says of each task.

    Args:
        folder: ``weights/`` of the piece.
        names: the tasks, in order.

    Returns:
        ``measure``: for each task the mean of M over all steps, its standard deviation over the steps, and its means
        over the first and the last third; ``spread``: the standard deviation over tasks of the mean M; ``drift``: for
        each task, how far the reference's loss in the first and the last third of the steps is apart, as a share of
        its mean. All null where there is no such log (weights that were loaded, or are of transfer gain).
    """
    log = folder / "steps.jsonl"
    if not log.exists():
        return {"measure": None, "spread": None, "drift": None}
    steps = read_jsonl(log)
    arrays = {
        key: np.array([[np.nan if value is None else value for value in step[key]] for step in steps], dtype=float)
        for key in ("measure", "reference_loss")
    }
    third = max(1, len(steps) // 3)
    measure, loss = arrays["measure"], arrays["reference_loss"]
    known = [at for at in range(len(names)) if np.isfinite(measure[:, at]).any()]
    means = {names[at]: float(np.nanmean(measure[:, at])) for at in known}
    return {
        "measure": {
            names[at]: {
                "mean": means[names[at]],
                "spread": float(np.nanstd(measure[:, at])),
                "first_third": _nanmean(measure[:third, at]),
                "last_third": _nanmean(measure[-third:, at]),
            }
            for at in known
        },
        "spread": float(np.std(list(means.values()))) if means else None,
        "drift": {names[at]: _drift(loss[:, at], third) for at in known},
    }


def _nanmean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _drift(losses: np.ndarray, third: int) -> float | None:
    first, last, mean = _nanmean(losses[:third]), _nanmean(losses[-third:]), _nanmean(losses)
    return abs(last - first) / mean if first is not None and last is not None and mean else None
