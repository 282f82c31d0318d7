"""What was measured at about the length of a fine-tuning, in words: for ``tdro plan`` and ``tdro init``.

A mixture that gains much in a short training gains less in a longer one, and may fall behind uniform. This was measured
on the sample mixture with static models (docs/algorithm.md, "For the budget at hand"), and nothing more is said here.
See docs/decisions.md, measured-budgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Measured(NamedTuple):
    """One length of training: steps a task, passes over all rows, and nDCG@10 × 100 minus uniform's of two mixtures."""

    steps_a_task: float
    passes: float
    selected: float
    tempered: float

    def __str__(self) -> str:
        """``top-70^0.5 +1.7 and reweight^0.5 +1.5 at 25 steps a task (0.2 passes)``."""
        gains = f"top-70^0.5 {self.selected:+.1f} and reweight^0.5 {self.tempered:+.1f}"
        return f"{gains} at {self.steps_a_task:g} steps a task ({self.passes:g} passes)"


# 100 to 1600 steps of 128 rows, with the 16 tasks and 228,708 rows of the sample mixture. The weights are those of a
# proxy of 400 steps; of reweight^0.5 at 800 and 1600 steps, of a proxy of as many: benchmarks/results/budgets.json.
MEASURED = [
    Measured(6, 0.06, 2.2, 1.6),
    Measured(12, 0.1, 2.0, 1.3),
    Measured(25, 0.2, 1.7, 1.5),
    Measured(50, 0.45, 0.4, 0.7),
    Measured(100, 0.9, -0.7, 0.3),
]


def budget_in_words(steps: int, batch: int, rows: Sequence[int], kind: str) -> str:
    """How long a fine-tuning is, and what two mixtures gained at the nearest length that was measured.

    Args:
        steps: of the fine-tuning.
        batch: rows in a step.
        rows: how many each task has.
        kind: of the base: static, decoder or encoder.

    Example::

        budget_in_words(400, 128, [14_000] * 16, "static")
        # "25 steps a task, 0.23 passes over the rows. Measured with static models and 2 seeds, in points over uniform:
        # top-70^0.5 +1.7 and reweight^0.5 +1.5 at 25 steps a task (0.2 passes), the nearest length; ..."
    """
    a_task, passes = steps / len(rows), steps * batch / sum(rows)
    own = f"{_rounded(a_task)} steps a task, {_rounded(passes)} passes over the rows."
    seen = f"{own} Measured with static models and 2 seeds, in points over uniform:"
    longest = MEASURED[-1]
    if kind != "static":
        return f"{seen} {MEASURED[2]}; {longest}. Other models were not measured."
    nearest = min(MEASURED, key=lambda one: abs(math.log(one.steps_a_task / a_task)))
    if nearest is longest:
        beyond = "This run is longer." if a_task > 1.5 * longest.steps_a_task else ""
        return f"{seen} {longest}, the nearest length. {beyond}".rstrip()
    return f"{seen} {nearest}, the nearest length; {longest}."


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
