"""Compares models: reads the results of a group, or of several places, and says how they differ.

Only the files that :func:`tdro.evaluation.scoring.evaluate.evaluate_all` wrote are read (and other tools' files), so a
comparison can be repeated without the models. What is computed from them is in
:mod:`tdro.evaluation.compare.compare_results`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.evaluation.compare.compare_results import TESTED, compare_models
from tdro.evaluation.compare.examples import find_examples
from tdro.evaluation.compare.means_only import about_means
from tdro.evaluation.judged import on_judging_queries
from tdro.evaluation.leaks.find_leaks import known_leaks
from tdro.evaluation.others.beside_own import Everything, read_everything
from tdro.evaluation.results import Results, on_common_tests, read_group


def compare(
    folder: Path | str,
    group: str,
    baseline: str = "uniform",
    *,
    models: Collection[str] | None = None,
    test_sets: Collection[str] | None = None,
    permutations: int = 10_000,
) -> dict[str, Any]:
    """Compare the models of a group with one of its mixtures: the stage ``evaluate`` calls this.

    Args:
        folder: ``evaluation/<group>``: a folder for each model, named ``<mixture>-seed<k>`` or ``untrained``, with a
            file for each test set.
        group: the group's name.
        baseline: the mixture that the others are tested against. If it is not there, nothing is tested.
        models: names of the models' folders; None for all that are there.
        test_sets: names of the test sets; None for all that are there.
        permutations: how many sign flips, see :func:`tdro.evaluation.significance.paired`.

    Returns:
        As :func:`compare_models`; if test queries were left out, ``looked_at`` says which, see
        :func:`tdro.evaluation.judged.on_judging_queries`.

    Raises:
        UserError: as :func:`tdro.evaluation.results.read_group`, or nothing is left to judge by.
    """
    found, looked_at = on_judging_queries(read_group(folder, models, test_sets))
    baselines = {model.name: baseline for model in found if baseline in (other.name for other in found)}
    comparison = compare_models(found, group, baselines, permutations=permutations)
    return comparison | ({"looked_at": looked_at} if looked_at else {})


def compare_places(
    places: Sequence[Path | str],
    baseline: str | None = None,
    measure: str = TESTED,
    examples: int = 0,
    qrels: Sequence[Path | str] = (),
) -> dict[str, Any]:
    """Compare the models in several run folders, groups, folders of one model's results, or other tools' files: ``tdro
    compare``.

    Args:
        places: see :func:`tdro.evaluation.others.beside_own.read_everything`.
        baseline: see :func:`find_baselines`.
        measure: what is tested.
        examples: how many queries to show that gained, and that lost; see
            :func:`tdro.evaluation.compare.examples.find_examples`.
        qrels: where the judgements of run files are.

    Returns:
        As :func:`compare`, with more keys: ``left_out`` (test sets that not all models were evaluated on), ``notes``
        (sentences on what was odd in other tools' files), ``means_only`` (see
        :func:`tdro.evaluation.compare.means_only.about_means`), ``examples``, and ``leaks``: the content of each
        ``leaks.json`` of these models (see :func:`tdro.evaluation.leaks.find_leaks.look_for_leaks`), with its ``file``
        and the ``models`` that it is about; null if there is no such file. If all that was found are means, ``rows``
        and ``tests`` are empty.

    Raises:
        UserError: as the functions named here.
    """
    found = read_everything(places, qrels, measure)
    titles = list(dict.fromkeys(Path(place).resolve().name for place in places))
    title = ", ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")
    if not found.models:
        return _only_means(found, title, measure)
    models, left_out = on_common_tests(found.models)
    models, looked_at = on_judging_queries(models)
    comparison = compare_models(models, title, find_baselines(models, baseline), measure)
    tests = [test["name"] for test in comparison["tests"]]
    comparison["left_out"], comparison["notes"] = left_out, found.notes
    comparison["means_only"] = about_means(found.means, tests, comparison["measures"])
    if looked_at:
        comparison["looked_at"] = looked_at
    comparison["leaks"] = _leaks(models)
    comparison["examples"] = find_examples(models, comparison, examples) if examples else []
    return comparison


def _only_means(found: Everything, title: str, measure: str) -> dict[str, Any]:
    """A comparison in which nothing can be tested."""
    if not any(measure in values for system in found.means for values in system.tests.values()):
        has = sorted({each for system in found.means for values in system.tests.values() for each in values})
        raise UserError(
            f"no measure {measure!r} in these files; they have {', '.join(has)}.\nChoose one with --measure."
        )
    return {
        **{"group": title, "seeds": [], "measure": measure, "measures": [measure], "tests": [], "rows": []},
        **{"uniform_longer": [], "left_out": [], "notes": found.notes, "leaks": None, "examples": []},
        "means_only": about_means(found.means, [], [measure]),
    }


def _leaks(models: Sequence[Results]) -> list[dict[str, Any]] | None:
    """The content of each ``leaks.json``, which is one run's or one model's; None if there is none."""
    names: dict[Path, list[str]] = {}
    for model in models:
        names.setdefault(model.leaks, []).append(model.name)
    known = {path: content for path in names if (content := known_leaks(path)) is not None}
    found = [
        {"file": str(path), "models": list(dict.fromkeys(names[path])), **content} for path, content in known.items()
    ]
    return found or None


def find_baselines(models: Sequence[Results], wanted: str | None = None) -> dict[str, str]:
    """The name of each model's baseline, by the model's name.

    Args:
        models: in the order in which they were named.
        wanted: the baseline of all: a model's name, or a mixture's if only one model has it. None: for each model the
            ``uniform`` of its own group; the first of all models if its group has no ``uniform``.

    Raises:
        UserError: no model, or more than one, is called ``wanted``.
    """
    names = list(dict.fromkeys(model.name for model in models))
    if wanted is not None:
        found = {model.name for model in models if wanted in (model.name, model.mixture)}
        found = {wanted} if wanted in found else found
        if len(found) != 1:
            raise UserError(
                f"--baseline {wanted}: {'no' if not found else 'more than one'} model of {', '.join(names)}"
            )
        return dict.fromkeys(names, found.pop())
    uniform = {model.group: model.name for model in models if model.mixture == "uniform"}
    return {model.name: uniform.get(model.group, names[0]) for model in models}
