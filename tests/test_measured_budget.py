"""The line of `tdro plan` and `tdro init` about the length of a fine-tuning."""

from __future__ import annotations

import pytest

import tiny_mixture
from tdro.planning.measured_budget import budget_in_words
from tdro.planning.page import WIDTH, page
from tdro.planning.plan import make_plan
from tdro.run.training_data import mixture_on_disk


@pytest.mark.parametrize(
    ("steps", "side"),
    [(160, "like the first"), (400, "like the first"), (800, "between the two"), (1600, "like the second")],
)
def test_each_side(steps, side):
    text = budget_in_words(steps, 128, [10_000] * 16, "static")
    assert text.startswith(f"{steps // 16} steps a task, ") and f"this run is {side}." in text


def test_of_other_models_it_says_that_they_were_not_measured():
    text = budget_in_words(400, 32, [500] * 4, "decoder")
    assert text.startswith("100 steps a task, 6.4 passes over the rows.") and text.endswith(
        "other models were not measured."
    )
    assert "this run" not in text


def test_a_plan_has_a_line_for_each_group(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__uniform_longer=[2])
    text = page(make_plan(recipe, mixture_on_disk(recipe)))
    lines = [line for line in text.splitlines() if line.startswith("main: ")]
    assert len(lines) == 1 and "1.5 steps a task, 0.4 passes" in lines[0]  # 6 steps of 8 rows; 4 tasks, 120 rows
    assert max(map(len, text.splitlines())) <= WIDTH
