"""The verdict of a comparison, in a word and a sentence: did a model beat its baseline?

The terminal, the report and the model card all take it from here. "Yes" and "No" need two things: with other queries
the difference would most likely have the same sign, and with other seeds too. With one training on a side nobody knows
what another seed gives, so the verdict is "Not shown". Models without seeds (other people's) are judged by the queries
alone.
"""

from __future__ import annotations

import math
from typing import Any

from tdro.evaluation.compare.readable_numbers import as_number, nested, p_phrase, plural, points, signed
from tdro.evaluation.significance import least_p

SIGNIFICANT = 0.05


def significant(difference: Any) -> bool:
    """Whether a difference holds for other queries and for other seeds.

    That is: p is below 0.05, and zero is in neither the interval over queries nor the one over queries and seeds.
    """
    return over_queries(difference) and not seeds_could_turn(difference) and not one_seed(difference)


def over_queries(difference: Any) -> bool:
    """Whether a difference holds for other queries: p is below 0.05, and zero is not in the interval over queries."""
    low, high, p = (as_number(nested(difference, key)) for key in ("low", "high", "p"))
    return (low > 0 or high < 0) and not p >= SIGNIFICANT


def seeds_could_turn(difference: Any) -> bool:
    """Whether zero is in the interval over queries and seeds, if there is one."""
    low, high = (as_number(nested(difference, "with_seeds", key)) for key in ("low", "high"))
    return low <= 0 <= high


def one_seed(difference: Any) -> bool:
    """Whether a side is a single training, so that nothing is known of other seeds.

    Older files of comparisons do not say so; theirs are all of trainings.
    """
    said = nested(difference, "one_seed")
    return nested(difference, "with_seeds") is None if said is None else bool(said)


def says_seeds_needed(difference: Any) -> bool:
    """Whether the sentence of :func:`verdict` says how many seeds would show the difference."""
    return over_queries(difference) and seeds_could_turn(difference)


def verdict(
    mixture: str,
    difference: Any,
    score: Any,
    baseline: Any,
    n_tests: int,
    against: str = "uniform",
    measure: str = "nDCG@10",
) -> tuple[str, str]:
    """Did ``mixture`` beat its baseline? A word (Yes, No, Not shown or Unknown) and a sentence.

    Args:
        mixture: the name in the table, e.g. ``top-70``.
        difference: one entry of ``versus``, in [0, 1]; see
            :func:`tdro.evaluation.compare.compare_results.compare_models`.
        score: the mixture's mean over the test sets, of all seeds; said if ``difference`` has no ``means``.
        baseline: the baseline's mean.
        n_tests: how many test sets there are.
        against: the baseline's name.
        measure: what was measured, as it is printed.
    """
    value = as_number(nested(difference, "difference"))
    if not math.isfinite(value):
        return "Unknown", f"{mixture} has no measured difference from {against}."
    amount = f"{points(abs(value), 2)} points"
    ahead = "level with" if points(value, 2) == "0.00" else f"{amount} {'ahead of' if value > 0 else 'behind'}"
    means = nested(difference, "means")
    if isinstance(means, list) and len(means) == 2:  # of the seeds that both sides have
        score, baseline = as_number(means[0]), as_number(means[1])
    said = f"{points(score)} against {points(baseline)} {measure}, averaged over {plural(n_tests, 'test set')}"
    wins, ties, losses = (as_number(nested(difference, key)) for key in ("wins", "ties", "losses"))
    if wins == losses == 0:
        return "Not shown", f"{mixture} and {against} have the same result on each of {ties:.0f} queries ({said})."
    if few := _too_few(difference):
        return "Not shown", f"{mixture} came out {ahead} {against} ({said}), on too few queries to judge: {few}."
    evidence = f"{said}; {_evidence(difference)}"
    if significant(difference):
        if value > 0:
            return "Yes", f"{mixture} beat {against} by {amount} ({evidence})."
        return "No", f"{mixture} did worse than {against} by {amount} ({evidence})."
    if not over_queries(difference):
        return "Not shown", f"{mixture} came out {ahead} {against}, too little to tell the two apart ({evidence})."
    if one_seed(difference):
        return "Not shown", (
            f"On these queries, with one training each, {mixture} came out {ahead} {against} ({evidence}); "
            "another seed may turn that: add seeds to find out."
        )
    return "Not shown", (
        f"{mixture} came out {ahead} {against} ({evidence}), but other seeds could turn that{_more_seeds(difference)}."
    )


def _too_few(difference: Any) -> str:
    """Why there are too few queries to show any difference; empty if there are enough."""
    if few := nested(difference, "too_few"):
        return str(few)
    different = as_number(nested(difference, "wins")) + as_number(nested(difference, "losses"))
    if not math.isfinite(different) or least_p(round(different)) < SIGNIFICANT:
        return ""
    return f"only {different:.0f} differ"


def _evidence(difference: Any) -> str:
    """For instance ``95 % interval +0.20 to +1.00, p = 0.011; over queries and 3 pairs of seeds −0.10 to +1.30``."""
    low, high = (signed(nested(difference, key)) for key in ("low", "high"))
    both = nested(difference, "with_seeds")
    over = " over queries" if both is not None else ""
    text = f"95 % interval{over} {low} to {high}, {p_phrase(nested(difference, 'p'))}"
    if both is None:
        return text
    low, high = (signed(nested(both, key)) for key in ("low", "high"))
    pairs = nested(both, "pairs")
    return f"{text}; over queries and {f'{pairs} pairs of seeds' if pairs else 'seeds'} {low} to {high}"


def _more_seeds(difference: Any) -> str:
    both = nested(difference, "with_seeds")
    if not isinstance(both, dict) or "needed" not in both:
        return ""
    needed = both["needed"]
    return f"; a difference of this size would need {seeds_phrase(needed)}"


def seeds_phrase(needed: int | None) -> str:
    """In words, how many seeds a side would show a difference; see :func:`tdro.evaluation.intervals.seeds_needed`."""
    return f"about {plural(needed, 'seed')}" if needed else "more queries, or over 100 seeds"
