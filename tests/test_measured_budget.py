"""The line of `tdro plan` and `tdro init` about the length of a fine-tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_mixture
from tdro.files import read_json
from tdro.planning.measured_budget import MEASURED, budget_in_words
from tdro.planning.page import WIDTH, page
from tdro.planning.plan import make_plan
from tdro.run.training_data import mixture_on_disk

BUDGETS = Path(__file__).parent.parent / "benchmarks" / "results" / "budgets.json"


@pytest.mark.parametrize(
    ("steps", "nearest"),
    [
        (16, "+2.2 and reweight^0.5 +1.6 at 6 steps a task (0.06 passes), the nearest length; top-70^0.5 -0.7"),
        (400, "+1.7 and reweight^0.5 +1.5 at 25 steps a task (0.2 passes), the nearest length; top-70^0.5 -0.7"),
        (1600, "-0.7 and reweight^0.5 +0.3 at 100 steps a task (0.9 passes), the nearest length."),
        (3200, "the nearest length. This run is longer."),
    ],
)
def test_the_nearest_length_is_named(steps, nearest):
    text = budget_in_words(steps, 128, [10_000] * 16, "static")
    assert text.startswith(f"{f'{steps / 16:.1f}' if steps < 160 else steps // 16} steps a task, ") and nearest in text


def test_what_is_said_is_what_was_measured():
    found = read_json(BUDGETS)["steps"]
    rows = read_json(BUDGETS)["rows"]
    for one, steps in zip(MEASURED, (100, 200, 400, 800, 1600), strict=True):
        gains = {name: each["test sets"]["minus uniform"] for name, each in found[str(steps)].items()}
        assert one.selected == pytest.approx(gains["top-70^0.5@400"], abs=0.051)
        assert one.tempered == pytest.approx(gains[f"reweight^0.5@{max(400, steps)}"], abs=0.051)
        assert one.steps_a_task == int(steps / len(rows)) and one.passes == pytest.approx(
            steps * 128 / sum(rows.values()), abs=0.051
        )


def test_of_other_models_it_says_that_they_were_not_measured():
    text = budget_in_words(400, 32, [500] * 4, "decoder")
    assert text.startswith("100 steps a task, 6.4 passes over the rows.")
    assert text.endswith("Other models were not measured.") and "nearest" not in text


def test_a_plan_has_a_line_for_each_group(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__uniform_longer=[2])
    text = page(make_plan(recipe, mixture_on_disk(recipe)))
    lines = [line for line in text.splitlines() if line.startswith("main: ")]
    assert len(lines) == 1 and "1.5 steps a task, 0.4 passes" in lines[0]  # 6 steps of 8 rows; 4 tasks, 120 rows
    assert max(map(len, text.splitlines())) <= WIDTH
