"""On which side of the measured budgets a fine-tuning lies, in words: for ``tdro plan`` and ``tdro init``.

A mixture that gains much in a short training gains less in a longer one, and may fall behind uniform. This was measured
on the sample mixture with static models (docs/algorithm.md, "For the budget at hand"), and nothing more is said here.
See docs/decisions.md, measured-sides.
"""

from __future__ import annotations

from collections.abc import Sequence

# Steps a task (steps / tasks) and passes over all rows of two measured budgets: 400 and 1600 steps of 128 rows, with
# the 16 tasks and 228,708 rows of the sample mixture.
SHORT, LONG = (25, 0.2), (100, 0.9)


def budget_in_words(steps: int, batch: int, rows: Sequence[int], kind: str) -> str:
    """How long a fine-tuning is, and what was seen at such lengths.

    Args:
        steps: of the fine-tuning.
        batch: rows in a step.
        rows: how many each task has.
        kind: of the base: static, decoder or encoder.

    Example::

        budget_in_words(400, 128, [14_000] * 16, "static")
        # "25 steps a task, 0.23 passes over the rows. With static models and 2 seeds, top-70^0.5 led uniform at 25
        # steps a task (0.2 passes), and was behind at 100 (0.9 passes): this run is like the first."
    """
    a_task, passes = steps / len(rows), steps * batch / sum(rows)
    own = f"{_rounded(a_task)} steps a task, {_rounded(passes)} passes over the rows."
    seen = (
        f"With static models and 2 seeds, top-70^0.5 led uniform at {SHORT[0]} steps a task ({SHORT[1]} passes), and "
        f"was behind at {LONG[0]} ({LONG[1]} passes)"
    )
    if kind != "static":
        return f"{own} {seen}; other models were not measured."
    side = "like the first" if a_task <= SHORT[0] else "like the second" if a_task >= LONG[0] else "between the two"
    return f"{own} {seen}: this run is {side}."


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
