"""Whether two rows of a comparison are one model: then nothing was compared, and no interval or p says anything.

For instance top-60 and top-70 of three tasks, which are the same tasks, or a training that changed nothing. Told by the
results, and where those are equal by the weights, if they lie in the run folder.
"""

from __future__ import annotations

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdro.evaluation.results import Results, measures_of

_ROUNDING = 1e-9


def same_model(
    name: str, baseline: str | None, names: Sequence[str], runs: Mapping[str, Sequence[Results]]
) -> dict[str, Any] | None:
    """Which other row is the same model as ``name``: the baseline, or the first before it; None if none is.

    Args:
        name: of the row.
        baseline: of what it is compared with, if anything.
        names: of all rows, in their order.
        runs: each one's results, one a seed.

    Returns:
        ``as`` (the other's name) and ``weights``: whether the weights are known to be equal, not the results alone.
    """
    before = list(names[: names.index(name)])
    for other in ([baseline] if baseline is not None else []) + before:
        pairs = _pairs(runs[name], runs.get(other, ()))
        if pairs and all(_same_results(one, two) for one, two in pairs):
            return {"as": other, "weights": all(_same_weights(one, two) for one, two in pairs)}
    return None


def same_model_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each row that is the same model as another."""
    return [_sentence(row["mixture"], row["same"]) for row in rows if row.get("same")]


def is_baseline(row: Mapping[str, Any]) -> bool:
    """Whether a row is the same model as what it is compared with."""
    return bool(row.get("same")) and row["same"]["as"] == row.get("baseline", "uniform")


def _sentence(name: str, same: Mapping[str, Any]) -> str:
    other = same["as"]
    if same["weights"]:
        return f"{name} is the same model as {other}, weight for weight: nothing was compared."
    return (
        f"{name} has the result of {other} on every query: they are the same model, or these test sets cannot tell "
        "them apart."
    )


def _pairs(one: Sequence[Results], other: Sequence[Results]) -> list[tuple[Results, Results]]:
    """The trainings of equal seeds, if both sides have the same; a model without seeds beside each of the other's."""
    first, second = ({run.seed: run for run in runs} for runs in (one, other))
    if first.keys() == second.keys():
        return [(first[seed], second[seed]) for seed in first]
    if None in first or None in second:
        return [(a, b) for a in one for b in other]
    return []


def _same_results(one: Results, other: Results) -> bool:
    for test, content in one.tests.items():
        for measure in measures_of(content):
            if measure not in other.tests[test]:
                return False
            if not np.allclose(one.values(test, measure), other.values(test, measure), rtol=0, atol=_ROUNDING):
                return False
    return True


def _same_weights(one: Results, other: Results) -> bool:
    """Whether both models are there, and have the same weights byte for byte."""
    first, second = _weights(one), _weights(other)
    return (
        bool(first)
        and first.keys() == second.keys()
        and all(filecmp.cmp(path, second[name], shallow=False) for name, path in first.items())
    )


def _weights(results: Results) -> dict[str, Path]:
    """The files of weights of a model of a run folder, by their place in it."""
    if results.run is None:
        return {}
    model = results.run / "models" / results.group.name / results.folder.name
    return {str(path.relative_to(model)): path for path in sorted(model.rglob("*.safetensors"))}
