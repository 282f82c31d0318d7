"""The difference of one mixture from its baseline: paired tests, intervals, and queries won and lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.evaluation.intervals import TIE, seed_interval, seeds_needed, too_few
from tdro.evaluation.results import Results
from tdro.evaluation.significance import holm, paired


def against_baseline(
    model: Sequence[Results],
    baseline: Sequence[Results],
    measure: str,
    parts: Mapping[str, list[str]],
    permutations: int,
) -> dict[str, Any]:
    """The paired tests of one mixture against the baseline.

    Args:
        model: the mixture's results, one for each seed.
        baseline: likewise.
        measure: what is tested.
        parts: ``all``, ``trained`` and ``untrained``, each with the names of its test sets.
        permutations: how many sign flips, see :func:`tdro.evaluation.significance.paired`.

    Returns:
        A dict for each of the parts (None for a part without test sets) and, under ``tests``, one for each test set.
        The latter have ``p_holm`` too, Holm's p over the test sets. The keys:

        - ``difference``, the mixture's mean minus the baseline's, and its ``p``;
        - ``means``: the mixture's mean and the baseline's, of the trainings that are compared: where both sides have
          seeds, of the seeds that both have;
        - ``low`` and ``high``, its 95 % interval over queries; null if there is none, and ``too_few`` says why;
        - ``wins``, ``ties`` and ``losses``: on how many queries the mixture is better, equal, worse;
        - ``one_seed``: whether a side is a single training, so that other seeds are not known;
        - ``with_seeds``: null if ``one_seed``, or if neither side has seeds. Else ``low`` and ``high`` of the interval
          over queries and seeds; ``pairs``: how many seeds both sides have, if the difference is taken within each
          seed, else 0; and ``needed``, see :func:`tdro.evaluation.intervals.seeds_needed`.
    """
    model, baseline, pairs = _same_seeds(model, baseline)
    one_seed = any(len(runs) == 1 and runs[0].seed is not None for runs in (model, baseline))
    several = not one_seed and max(len(model), len(baseline)) > 1
    sides = [{name: values_by_seed(runs, name, measure) for name in parts["all"]} for runs in (model, baseline)]

    def test(members: Sequence[str]) -> dict[str, Any]:
        one, other = ({name: side[name] for name in members} for side in sides)
        chosen = {name: one[name].mean(axis=0) - other[name].mean(axis=0) for name in members}
        found: dict[str, Any] = {**_bounded(paired(chosen, permutations=permutations)), "too_few": too_few(chosen)}
        together = np.concatenate(list(chosen.values()))
        found["means"] = [float(np.mean([side[name].mean() for name in members])) for side in sides]
        found["wins"], found["losses"] = int((together > TIE).sum()), int((together < -TIE).sum())
        found["ties"] = len(together) - found["wins"] - found["losses"]
        found["one_seed"], found["with_seeds"] = one_seed, None
        if several:
            low, high = seed_interval(one, other, pairs > 0)
            needed = seeds_needed(one, other, pairs > 0)
            found["with_seeds"] = _bounded({"low": low, "high": high}) | {"pairs": pairs, "needed": needed}
        return found

    found: dict[str, Any] = {part: test(members) if members else None for part, members in parts.items()}
    tests = {name: test([name]) for name in parts["all"]}
    for result, adjusted in zip(tests.values(), holm([each["p"] for each in tests.values()]), strict=True):
        result["p_holm"] = float(adjusted)
    return {**found, "tests": tests}


def _same_seeds(
    model: Sequence[Results], baseline: Sequence[Results]
) -> tuple[Sequence[Results], Sequence[Results], int]:
    """Both sides' trainings of the seeds that both have, in one order, and the number of these seeds.

    If they have fewer than two seeds in common, all trainings, and 0.
    """
    one, other = ({run.seed: run for run in runs if run.seed is not None} for runs in (model, baseline))
    common = sorted(one.keys() & other.keys())
    if len(common) < 2:
        return model, baseline, 0
    return [one[seed] for seed in common], [other[seed] for seed in common], len(common)


def _bounded(found: Mapping[str, float]) -> dict[str, Any]:
    """The same with None for infinite values, which JSON does not have."""
    return {key: value if np.isfinite(value) else None for key, value in found.items()}


def values_by_seed(runs: Sequence[Results], test: str, measure: str) -> NDArray[np.float64]:
    """The values of one test set, (seeds, queries)."""
    return np.stack([run.values(test, measure) for run in runs])
