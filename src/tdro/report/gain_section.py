"""Which task helps which, or which part of the target: the mean of the matrices over the rounds as a map, and what it
says in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdro.gain.words import gains_sentence
from tdro.report.heat_map import Helped, heat_map
from tdro.report.run_contents import RunContents


def gain_view(run: RunContents) -> dict[str, Any] | None:
    """The map and its sentence; None where no gain was measured."""
    if run.gain is None:
        return None
    matrix, weights = run.gain.matrices.mean(axis=0), run.gain.alphas.mean(axis=0)
    tasks, shares = len(run.gain.names), run.gain.shares
    given = (matrix.sum(axis=1) - np.diag(matrix)) / max(tasks - 1, 1) if shares is None else matrix @ shares
    order = np.argsort(-given, kind="stable")
    names = [run.gain.names[at] for at in order]
    if shares is None:
        svg = heat_map(names, matrix[np.ix_(order, order)], weights[order])
    else:
        svg = heat_map(names, matrix[order], weights[order], Helped(run.gain.helped, shares))
    return {
        "sentence": gains_sentence(run.gain.names, matrix, shares),
        "svg": svg,
        "rounds": len(run.gain.matrices),
        "n_tasks": tasks,
        "target": shares is not None,
    }
