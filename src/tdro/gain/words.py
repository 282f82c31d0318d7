"""What a matrix of gains says in a sentence: who gives most, and who is hurt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def gains_sentence(names: Sequence[str], matrix: NDArray[np.float64], most: int = 4) -> str:
    """Two sentences about a matrix (rows: trained on, columns: helped), for the log and the report.

    ``news helps the others most. Training on the others hurts code and faq on average.``

    Args:
        names: the tasks.
        matrix: (k, k), the mean over the rounds.
        most: how many hurt tasks are named.
    """
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
    more = f" and {len(hurt) - most} more" if len(hurt) > most else ""
    shown = hurt[:most]
    listed = ", ".join(shown) if more or len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{first} Training on the others hurts {listed}{more} on average."
