"""Chooses the mixtures that a recipe compares, and says why: by what was measured for models of the base's kind.

The measurements are in docs/algorithm.md, "Which proxy for which model". They are on tdro's sample mixture, not on the
user's data, whose test sets nothing here looks at. See docs/decisions.md, mixtures-by-kind.
"""

from __future__ import annotations

from dataclasses import dataclass

_STATIC = (
    "Measured with static models on tdro's sample mixture (400 steps of 128, 8 seeds, nDCG@10 minus uniform's): gain "
    "+1.6, top-70^0.5 +1.4, the paper's top-70 +0.8, proportional^0.5 -1.0. So the first two are compared with uniform "
    "(docs/algorithm.md)."
)
_TRANSFORMER = (
    "The paper gained 0.8 to 2.6 points with top-70 on decoders of 0.5 to 8 B parameters, by the weights of a decoder "
    "of 0.5 B. tdro itself has shown no gain over uniform on a decoder or a tuned encoder yet. What is best for static "
    "models is no guide here: their weights hurt a decoder. So the weights are learned with this model, not with a "
    "static one, and the paper's mixture is compared with uniform (docs/algorithm.md)."
)


@dataclass(frozen=True)
class ChosenMixtures:
    """The mixtures of a recipe, ``uniform`` first, and sentences for its comment that say why these."""

    names: tuple[str, ...]
    why: str


def mixtures_for(kind: str, tasks: int) -> ChosenMixtures:
    """The mixtures to compare.

    Args:
        kind: of the base: static, decoder or encoder.
        tasks: how many there are, at least 1.

    Example::

        mixtures_for("static", 5).names  # ("uniform", "top-80^0.5", "gain")
        mixtures_for("decoder", 25).names  # ("uniform", "top-70")
    """
    if tasks == 1:
        return ChosenMixtures(("uniform",), "With one task there is nothing to choose.")
    selection = _selection(tasks)
    if kind == "static":
        return ChosenMixtures(("uniform", f"{selection}^0.5", "gain"), _STATIC)
    return ChosenMixtures(("uniform", selection), _TRANSFORMER)


def _selection(tasks: int) -> str:
    """The paper's top-70. With fewer than ten tasks its share is chosen so that the number of tasks that it keeps is
    nearest to 70 %: 4 of 5 tasks, not 3. Of two tasks both are kept, so they are sampled by their weights."""
    if tasks == 2:
        return "reweight"
    kept = (7 * tasks + 5) // 10
    percent = -(-100 * kept // tasks) if tasks < 10 and kept > 7 * tasks // 10 else 70
    return f"top-{percent}"
