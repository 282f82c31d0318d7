"""Names of models and the order of mixtures, on which evaluation, report and run agree."""

import pytest

from tdro.recipe.names import in_order, mixture_and_seed, model_name
from tdro.terminal_table import terminal_table


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("top-70-seed1", ("top-70", 1)),
        ("loss-reweight-seed12", ("loss-reweight", 12)),
        ("top-70^0.5-seed1", ("top-70^0.5", 1)),
        ("untrained", ("untrained", None)),
        ("my-seed-model", ("my-seed-model", None)),
        ("-seed1", ("-seed1", None)),
    ],
)
def test_a_models_name_says_mixture_and_seed(name, parts):
    assert mixture_and_seed(name) == parts
    if parts[1] is not None:
        assert model_name(*parts) == name


def test_the_order_of_mixtures_in_tables():
    names = [
        "other",
        "loss-reweight",
        "top-70",
        "reweight",
        "bottom-30",
        "uniform",
        "bm25",
        "proportional",
        "untrained",
    ]
    expected = ["untrained", "bm25", "uniform", "proportional", "top-70", "bottom-30", "reweight", "loss-reweight"]
    assert in_order(names) == [*expected, "other"]


def test_a_mixture_with_an_exponent_stands_behind_its_plain_one():
    expected = ["uniform", "proportional", "proportional^0.5", "top-7", "top-70", "top-70^0.5", "top-70^1", "top-100"]
    expected += ["bottom-30", "reweight", "reweight^0.5", "reweight^2", "loss-reweight", "top-70^x"]
    assert in_order(reversed(expected)) == expected


def test_a_table_knows_that_chinese_is_two_columns_wide():
    lines = terminal_table(["task", "rows", "what"], [["新闻", "1,000", "x"], ["faq", "9"]], left=["what"]).split("\n")
    assert lines == ["task   rows  what", "新闻  1,000  x", "faq       9"]
