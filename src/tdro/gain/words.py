"""What a matrix of gains says in a sentence: who gives most, and who is hurt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def gains_sentence(
    names: Sequence[str], matrix: NDArray[np.float64], shares: NDArray[np.float64] | None = None, most: int = 4
) -> str:
    """Two sentences about a matrix (rows: trained on, columns: helped), for the log and the report.

    ``news helps the others most. Training on the others hurts code and faq on average.``

    Args:
        names: the tasks.
        matrix: (k, k), the mean over the rounds; with a target (k, columns).
        shares: (columns,) how much the columns of a target count; None without a target.
        most: how many hurt tasks are named.
    """
    if shares is not None:
        return _towards(names, matrix @ shares, most)
    if len(names) < 2:
        return "One task alone has nobody to help."
    others = ~np.eye(len(names), dtype=bool)
    given = np.array([row[keep].mean() for row, keep in zip(matrix, others, strict=True)])
    received = np.array([column[keep].mean() for column, keep in zip(matrix.T, others, strict=True)])
    best = int(np.argmax(given))
    first = f"{names[best]} helps the others most." if given[best] > 0 else "No task helps the others on average."
    hurt = [names[at] for at in np.argsort(received, kind="stable") if received[at] < 0]
    if not hurt:
        return f"{first} No task is hurt by the others on average."
    return f"{first} Training on the others hurts {_listed(hurt, most)} on average."


def _towards(names: Sequence[str], gain: NDArray[np.float64], most: int) -> str:
    """The same about a target: ``news helps the target most. Training on quotes hurts it.``"""
    best = int(np.argmax(gain))
    first = f"{names[best]} helps the target most." if gain[best] > 0 else "No task helps the target."
    hurt = [names[at] for at in np.argsort(gain, kind="stable") if gain[at] < 0]
    return f"{first} Training on {_listed(hurt, most)} hurts it." if hurt else f"{first} No task hurts it."


def _listed(names: Sequence[str], most: int) -> str:
    """``a``, ``a and b``, ``a, b and c``, ``a, b and 3 more``."""
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
