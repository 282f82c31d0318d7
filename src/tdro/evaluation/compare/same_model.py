"""Finds rows of a comparison that are one and the same model, whose difference, interval and p mean nothing.

For instance, with three tasks top-60 and top-70 are the same tasks; or a training changed nothing. Two rows count as
one model if their results are equal on every query. If the run folder has both models, their weights are compared too.
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
    """Which other row is the same model as ``name``: its baseline, or the first of the rows before it; None if none is.

    Args:
        name: of the row.
        baseline: what the row is compared with, if anything.
        names: of all rows, in their order.
        runs: the results of each row, one for each seed.

    Returns:
        ``as``: the other row's name; ``weights``: whether the weights are known to be equal, and not only the results.
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
    """Whether a row is the same model as its baseline."""
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
    """Which trainings to compare: those of the same seed if both sides have the same seeds. A model without seeds is
    paired with each training of the other side."""
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
    """Whether both models are on disk and their files of weights are equal byte for byte."""
    first, second = _weights(one), _weights(other)
    return (
        bool(first)
        and first.keys() == second.keys()
        and all(filecmp.cmp(path, second[name], shallow=False) for name, path in first.items())
    )


def _weights(results: Results) -> dict[str, Path]:
    """The files of weights of a model in a run folder, by their path below the model's folder."""
    if results.run is None:
        return {}
    model = results.run / "models" / results.group.name / results.folder.name
    return {str(path.relative_to(model)): path for path in sorted(model.rglob("*.safetensors"))}
