"""Numbers and verdicts as words: what the page says in sentences.

The verdict is computed from the comparison alone and says "no" as plainly as "yes". A missing or non-finite
number is an en dash everywhere. Rejected: the locale module (a report must read the same on every machine).
"""

from __future__ import annotations

import math
from typing import Any

from tdro.report.collect import dig, number

NOTHING = "–"
SIGNIFICANT = 0.05


def fixed(value: Any, digits: int = 1) -> str:
    """``value`` with that many decimals and a true minus sign."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def points(value: Any, digits: int = 1) -> str:
    """A fraction in percent points, without a unit: 0.215 is ``21.5``."""
    return fixed(100 * number(value), digits)


def signed(value: Any, digits: int = 2) -> str:
    """A difference of fractions in points, always with its sign."""
    text = points(value, digits)
    return text if text == NOTHING or text.startswith("−") or float(text) == 0 else f"+{text}"


def percent(value: Any) -> str:
    """A share: ``18.2 %``, or ``< 0.1 %``."""
    value = number(value)
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return NOTHING if not math.isfinite(value) else f"{fixed(100 * value)} %"


def count(value: Any) -> str:
    """A whole number with narrow spaces between thousands."""
    value = number(value)
    return f"{round(value):,}".replace(",", "\u202f") if math.isfinite(value) else NOTHING


def p_value(value: Any) -> str:
    """``< 0.001``, ``0.034``, ``0.21``."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_phrase(value: Any) -> str:
    """``p < 0.001`` or ``p = 0.034``, or nothing known of it."""
    text = p_value(value)
    return "p unknown" if text == NOTHING else f"p {text}" if text.startswith("<") else f"p = {text}"


def epochs(value: Any) -> str:
    """Times that a row is seen on average: ``8.3``, ``0.02``; a plain 0 for a task left out."""
    value = number(value)
    if 0 < value < 0.005:
        return "< 0.01"
    return "0" if value == 0 else fixed(value, 1 if value >= 10 else 2)


def duration(seconds: Any) -> str:
    """``0.4 s``, ``7 s``, ``2 min 05 s``, ``1 h 03 min``."""
    seconds = number(seconds)
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


def plural(n: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def describe(mixture: str) -> str:
    """What a mixture does, in a few words; empty for a name that tdro did not give."""
    kind, _, share = mixture.partition("-")
    if kind in {"top", "bottom"} and share:
        most = "largest" if kind == "top" else "smallest"
        return f"the {share} % of tasks with the {most} α, equally often"
    return {
        "uniform": "every task equally often",
        "proportional": "tasks as often as they have rows",
        "reweight": "α itself as sampling ratios",
        "loss-reweight": "uniform sampling, each step's gradient times k·α",
        "untrained": "the base model before any training",
        "bm25": "matching words alone, no model",
    }.get(mixture, "")


def significant(difference: Any) -> bool:
    """Whether p, where there is one, is below 0.05, and the intervals over queries and over seeds leave zero out."""
    return over_queries(difference) and not seeds_could_turn(difference)


def over_queries(difference: Any) -> bool:
    """Whether other queries would hardly turn a difference: p below 0.05, and zero outside of the interval."""
    low, high, p = (number(dig(difference, key)) for key in ("low", "high", "p"))
    return (low > 0 or high < 0) and not p >= SIGNIFICANT


def seeds_could_turn(difference: Any) -> bool:
    """Whether the interval over queries and seeds, where there is one, has zero in it."""
    low, high = (number(dig(difference, "with_seeds", key)) for key in ("low", "high"))
    return low <= 0 <= high


def verdict(mixture: str, difference: Any, score: Any, baseline: Any, n_tests: int) -> tuple[str, str]:
    """Did ``mixture`` beat uniform? A word and a sentence.

    Args:
        mixture: the name in the table, e.g. ``top-70``.
        difference: ``{"difference", "low", "high", "p"}`` of the average nDCG@10 against uniform, fractions.
        score: the mixture's average nDCG@10.
        baseline: uniform's.
        n_tests: test sets in the average.
    """
    value = number(dig(difference, "difference"))
    if not math.isfinite(value):
        return "Unknown", f"{mixture} has no measured difference from uniform."
    amount = f"{points(abs(value), 2)} points"
    interval = f"95 % interval {signed(dig(difference, 'low'))} to {signed(dig(difference, 'high'))}"
    evidence = (
        f"{points(score)} against {points(baseline)} nDCG@10, averaged over {plural(n_tests, 'test set')}; "
        f"{interval}, {p_phrase(dig(difference, 'p'))}"
    )
    if significant(difference):
        return (
            ("Yes", f"{mixture} beat uniform by {amount} ({evidence}).")
            if value > 0
            else (
                "No",
                f"{mixture} did worse than uniform by {amount} ({evidence}).",
            )
        )
    ahead = "level with" if points(value, 2) == "0.00" else f"{amount} {'ahead of' if value > 0 else 'behind'}"
    if over_queries(difference):
        return "Not shown", f"{mixture} came out {ahead} uniform ({evidence}), but other seeds could turn that."
    return "Not shown", f"{mixture} came out {ahead} uniform, too little to tell the two apart ({evidence})."


def summary(words: list[str]) -> str:
    """One sentence over all groups' verdict words."""
    total, wins, losses = len(words), words.count("Yes"), words.count("No")
    if not total:
        return "Whether the selection helped is not known yet."
    if total == 1:
        return {
            "Yes": "tDRO’s selection beat uniform sampling.",
            "No": "tDRO’s selection did worse than uniform sampling.",
            "Not shown": "This run does not show that tDRO’s selection beats uniform sampling.",
        }.get(words[0], "Whether the selection helped is not known yet.")
    if wins == total:
        return f"tDRO’s selection beat uniform sampling with {'both' if total == 2 else f'all {total}'} models."
    others = f", and did worse with {losses}" if losses else ""
    return f"tDRO’s selection beat uniform sampling with {wins or 'none'} of {total} models{others}."
