"""What the curves of a study say: the knee of selections, where a gain ends, and the steps that are saved."""

from __future__ import annotations

from typing import Any

import pytest

from tdro.study.curves import ends, knees, steps_saved
from tdro.study.kept import kinds_of_tests


def gain(difference: float, error: float = 0.005) -> dict[str, Any]:
    """A gain with an interval of ± ``error`` over queries and seeds."""
    bounds = {"low": difference - error, "high": difference + error}
    return {"difference": difference, "p": 0.001, "one_seed": False, **bounds, "with_seeds": {**bounds, "needed": 5}}


def selection(percent: int, mean: float, behind: float) -> dict[str, Any]:
    scores = {"mean": mean, "gain": gain(mean - 0.4), "behind_best": gain(behind) if behind else {"difference": 0.0}}
    return {"line": "top", "axis": "mixture", "name": f"top-{percent}", "place": float(percent), "scores": scores}


def longer(times: float, mean: float, baseline: float, axis: str = "finetune.steps") -> dict[str, Any]:
    settings = {axis: f"x{times:g}"}
    scores = {"mean": mean, "baseline": baseline, "gain": gain(mean - baseline)}
    words = {"line": "longer", "axis": axis, "value": f"x{times:g}", "name": f"{axis} x{times:g}"}
    return {**words, "place": times, "settings": settings, "versus": settings, "scores": scores}


def test_the_knee_is_the_smallest_selection_that_is_as_good_as_the_best() -> None:
    line = [
        selection(50, 0.40, -0.05),
        selection(60, 0.446, -0.004),
        selection(70, 0.45, 0),
        selection(80, 0.44, -0.01),
    ]
    assert knees(line) == ["top: the best selection is top-70; down to top-60 none is shown to be behind it (−0.40)."]
    assert knees(line[:1] + line[2:]) == [
        "top: the best selection is top-70, and the next smaller, top-50, is shown to be behind it (−5.00)."
    ]
    assert knees([line[2], line[3], selection(90, 0.43, -0.02)]) == ["top: the best selection is top-70."]
    assert knees(line[:2]) == []


def test_where_the_gain_ends() -> None:
    line = [longer(0.5, 0.43, 0.40), longer(1, 0.45, 0.44), longer(2, 0.452, 0.45), longer(4, 0.46, 0.47)]
    assert ends(line) == ["longer: the gain is shown up to finetune.steps x1 and not at finetune.steps x2."]
    assert ends(line[:2]) == [] and ends(line[2:]) == []


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ((0.40, 0.44, 0.48), "longer: 0.71 times the recipe's steps reach what the other reaches with all of them."),
        ((0.43, 0.44, 0.48), "longer: 0.5 times the recipe's steps reach what the other reaches with all of them."),
        ((0.38, 0.39, 0.40), "longer: at no number of steps does it reach what the other reaches with the recipe's."),
    ],
)
def test_steps_saved_are_read_off_the_curve(means: tuple[float, ...], said: str) -> None:
    line = [longer(times, mean, 0.42) for times, mean in zip((0.5, 1, 2), means, strict=True)]
    assert steps_saved(line) == [said]
    assert steps_saved([longer(times, 0.43, 0.42, "weights.steps") for times in (0.5, 1, 2)]) == []


def test_test_sets_are_kept_left_out_or_new() -> None:
    tests = {name: {"task": name, "trained": name != "d"} for name in "abcd"}
    used = [{"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 1.0, "b": 0.0, "c": 0.0}]
    assert kinds_of_tests(tests, used) == {"kept": ["a"], "left out": ["c"], "new": ["d"]}
    nothing_left_out = [{"a": 0.5, "b": 0.2, "c": 0.3}]
    assert kinds_of_tests(tests, nothing_left_out) == {"kept": [], "left out": [], "new": []}
