"""How much of the data a variant keeps, and which test sets are of tasks that it kept or left out.

What is kept is said in shares: of the recipe's tasks, of its rows, and of the steps of what it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tdro.evaluation.results import Results
from tdro.files import read_json
from tdro.study.settings import Setup
from tdro.study.work import Work

KINDS = ("kept", "left out", "new")  # what became of a test set's task; new: no training task
Weights = Sequence[Mapping[str, float]]


def kept_shares(work: Work, setup: Setup, versus: Setup, used: Weights) -> dict[str, float]:
    """The shares of tasks, rows and steps that a variant keeps: 1 where it keeps all.

    Args:
        work: of the study, whose data are there.
        setup: the variant.
        versus: what it is compared with.
        used: for each seed the weights of the tasks that it trains on, from :func:`weights_used`.

    Returns:
        ``tasks`` and ``rows``, as shares of the recipe's (means over seeds); ``steps``, as a share of ``versus``'s.

    Example::

        kept_shares(work, top_70, uniform, used)  # {"tasks": 0.69, "rows": 0.61, "steps": 1.0}
    """
    recipe, own = work.workspace(work.recipe).data.sizes, work.workspace(setup.training).data.sizes
    rows = [sum(own[name] for name, weight in weights.items() if weight > 0) for weights in used]
    tasks = [sum(weight > 0 for weight in weights.values()) for weights in used]
    steps = [each.training.finetune[0].steps for each in (setup, versus)]
    return {
        "tasks": float(np.mean(tasks)) / len(recipe),
        "rows": float(np.mean(rows)) / sum(recipe.values()),
        "steps": steps[0] / steps[1],
    }


def weights_used(runs: Sequence[Results]) -> list[dict[str, float]]:
    """For each training the weights that it drew its tasks by; those of tasks that it left out are 0."""
    return [read_json(run.folder / "scores.json")["training"]["weights"] for run in runs]


def kinds_of_tests(tests: Mapping[str, Mapping[str, object]], used: Weights) -> dict[str, list[str]]:
    """The names of the test sets of each kind; those whose task only some seeds train on are of no kind.

    Args:
        tests: ``task`` and ``trained`` (whether the task is one of the training data's) of each test set.
        used: as in :func:`kept_shares`.

    Returns:
        For each of :data:`KINDS` a list, empty where there is no such test set. All of them are empty if no task was
        left out, for then there is nothing to tell apart.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, test in tests.items():
        on = {weights.get(str(test["task"]), 0.0) > 0 for weights in used}
        if not test["trained"]:
            kinds["new"].append(name)
        elif len(on) == 1:
            kinds["kept" if True in on else "left out"].append(name)
    return kinds if kinds["left out"] else {kind: [] for kind in KINDS}
