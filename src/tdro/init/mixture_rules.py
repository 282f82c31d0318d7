"""Chooses the mixtures that a recipe compares, and says why: by what was measured for models of the base's kind.

The measurements are in docs/algorithm.md, "Which proxy for which model". They are on tdro's sample mixture, not on the
user's data, whose test sets nothing here looks at. See docs/decisions.md, mixtures-by-kind.
"""

from __future__ import annotations

from dataclasses import dataclass

_STATIC = (
    "Measured with static models on tdro's sample mixture (400 steps of 128, 8 seeds, nDCG@10 minus uniform's): gain "
    "+1.6, top-70^0.5 +1.4, the paper's top-70 +0.8, proportional^0.5 -1.0. In trainings of four times as many steps "
    "top-70^0.5 and gain fall behind, while reweight^0.5 was never behind at any length (2 seeds). So these three are "
    "compared with uniform (docs/algorithm.md)."
)
_TRANSFORMER = (
    "The paper gained 0.8 to 2.6 points with top-70 on decoders of 0.5 to 8 B parameters, by the weights of a decoder "
    "of 0.5 B. tdro itself has shown no gain over uniform on a decoder or a tuned encoder yet. Static models are no "
    "guide: by a static model's weights, the first layers of SmolLM2 scored 1.3 points below uniform (3 seeds). So the "
    "weights are learned with this model, or a smaller one of its kind, and the paper's mixture is compared with "
    "uniform (docs/algorithm.md)."
)
_FEW = (
    "With few tasks a selection may win or lose much, so a mixture that keeps all tasks is compared too. Measured with "
    "static models and the settings for 16 tasks: on 6 of the sample's tasks top-70 lost 2.2 points on average "
    "(10 draws, from -7.4 to +1.2), because the tasks that it leaves out lose most; on 4 and 8 unlike tasks it lost "
    "6.1 and 4.2, and reweight^0.5 about 0.5, which is not sure (docs/studies.md, forecast and diversity)."
)
_FEW_TASKS = 10  # below so many


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

        mixtures_for("static", 5).names  # ("uniform", "top-80^0.5", "reweight^0.5", "gain")
        mixtures_for("decoder", 25).names  # ("uniform", "top-70")
    """
    if tasks == 1:
        return ChosenMixtures(("uniform",), "With one task there is nothing to choose.")
    static = kind == "static"
    selection = f"{_selection(tasks)}^0.5" if static else _selection(tasks)
    few = tasks < _FEW_TASKS
    names = [
        "uniform",
        *([selection] if tasks > 2 else []),  # of two tasks it would keep both, or one
        *(["reweight^0.5"] if few or static else []),
        *(["gain"] if static else []),
    ]
    why = _STATIC if static else _TRANSFORMER
    return ChosenMixtures(tuple(names), f"{why} {_FEW}" if few else why)


def _selection(tasks: int) -> str:
    """The paper's top-70. With fewer than ten tasks its share is chosen so that the number of tasks that it keeps is
    nearest to 70 %: 4 of 5 tasks, not 3."""
    kept = (7 * tasks + 5) // 10
    percent = -(-100 * kept // tasks) if tasks < _FEW_TASKS and kept > 7 * tasks // 10 else 70
    return f"top-{percent}"
