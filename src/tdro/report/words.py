"""Numbers, mixtures and verdicts as words, for the page and the card.

The numbers that the terminal's tables need too are in :mod:`tdro.evaluation.compare.readable_numbers`.
"""

from __future__ import annotations

import math
from typing import Any

from tdro.evaluation.compare.readable_numbers import NOTHING, as_number, fixed
from tdro.mixture_name import known_mixture
from tdro.recipe.names import times_longer


def percent(value: Any) -> str:
    """A share: ``18.2 %``, or ``< 0.1 %``."""
    value = as_number(value)
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return NOTHING if not math.isfinite(value) else f"{fixed(100 * value)} %"


def count(value: Any) -> str:
    """A whole number with narrow spaces between thousands."""
    value = as_number(value)
    return f"{round(value):,}".replace(",", "\u202f") if math.isfinite(value) else NOTHING


def epochs(value: Any) -> str:
    """How often a row is seen on average: ``8.30``, ``0.02``; ``0`` for a task that is left out."""
    value = as_number(value)
    if 0 < value < 0.005:
        return "< 0.01"
    return "0" if value == 0 else fixed(value, 1 if value >= 10 else 2)


def duration(seconds: Any) -> str:
    """``0.4 s``, ``7 s``, ``2 min 05 s``, ``1 h 03 min``."""
    seconds = as_number(seconds)
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def mixture_in_words(mixture: str) -> str:
    """What a mixture does, in a few words; empty for a name that is not tdro's."""
    known = known_mixture(mixture)
    if (times := times_longer(mixture)) is not None:
        return f"every task equally often, for {times:g} times the steps"
    if known is None:
        return {
            "untrained": "the base model before any training",
            "bm25": "matching words alone, no model",
        }.get(mixture, "")
    power = "" if known.exponent is None else f"^{known.exponent:g}"
    if known.selects:
        most = "largest" if known.kind == "top" else "smallest"
        how = f"by α{power}" if power else "equally often"
        return f"the {known.percent:g} % of tasks with the {most} α, {how}"
    return {
        "uniform": "every task equally often",
        "proportional": f"tasks in proportion to rows{power}" if power else "tasks as often as they have rows",
        "reweight": f"α{power or ' itself'} as sampling ratios",
        "loss-reweight": "uniform sampling, each step's gradient times k·α",
        "gain": f"by the weights of transfer gain{power}: most of the tasks that help the others",
    }[known.kind]


def alpha_in_words(alpha: Any) -> str:
    """Which α the weights are, if it is not the last step's; empty if it is, or if that is not known."""
    return {
        "mean": "the mean of α over all steps",
        "ema": "the moving average of α, in which a step counts 0.1",
    }.get(str(alpha), "")


def headline(verdicts: list[str], selection: str = "top-70", looked_at: bool = False) -> str:
    """The headline of the report: one sentence about the verdicts of all groups, and one if test queries were used.

    Args:
        verdicts: a word for each group.
        selection: the mixture that they are about.
        looked_at: whether weights were learned on some of the test queries, so that only the others judge.
    """
    more = " Its weights were learned on part of the test queries; the other part judges." if looked_at else ""
    return _headline(verdicts, selection) + more


def _headline(verdicts: list[str], selection: str) -> str:
    inside = "sampling by transfer gain" if selection.startswith("gain") else "tDRO’s selection"
    subject = "Sampling by transfer gain" if selection.startswith("gain") else "tDRO’s selection"
    total, wins, losses = len(verdicts), verdicts.count("Yes"), verdicts.count("No")
    if not total:
        return "Whether the selection helped is not known yet."
    if total == 1:
        return {
            "Yes": f"{subject} beat uniform sampling.",
            "No": f"{subject} did worse than uniform sampling.",
            "Not shown": f"This run does not show that {inside} beats uniform sampling.",
        }.get(verdicts[0], "Whether the selection helped is not known yet.")
    if wins == total:
        return f"{subject} beat uniform sampling with {'both' if total == 2 else f'all {total}'} models."
    others = f", and did worse with {losses}" if losses else ""
    return f"{subject} beat uniform sampling with {wins or 'none'} of {total} models{others}."
