"""``fewer_seeds``: mixtures of a group that are trained with the first seeds alone."""

import pytest

from tdro.errors import UserError
from tdro.recipe.schema import load_recipe

RECIPE = """
name: r
base: {kind: encoder, source: some/model}
data: {sources: {a: a.jsonl}}
finetune:
  - name: main
    mixtures: [uniform, top-70, bottom-50]
    seeds: [4, 5, 6]
    fewer_seeds: SEEDS
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"query": "q", "positive": "p"}\n')

    def load(seeds):
        (tmp_path / "r.yaml").write_text(RECIPE.replace("SEEDS", seeds))
        return load_recipe(tmp_path / "r.yaml")

    return load


def test_a_mixture_with_fewer_seeds_has_the_first_of_them(recipe):
    (group,) = recipe("{bottom-50: 1}").finetune
    assert {each.name: each.seeds for each in group.trainings()} == {
        "uniform": (4, 5, 6),
        "top-70": (4, 5, 6),
        "bottom-50": (4,),
    }


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("{top-50: 1}", "'top-50' is not among the mixtures"),
        ("{top-70: 3}", "3 is not fewer than the 3 seeds"),
        ("{top-70: 0}", "fewer_seeds"),
        ("{top70: 1}", "did you mean 'top-70'?"),
        ("2", "fewer_seeds"),
    ],
)
def test_what_is_no_number_of_fewer_seeds_is_refused(recipe, seeds, message):
    with pytest.raises(UserError, match="fewer_seeds") as error:
        recipe(seeds)
    assert message in str(error.value)
