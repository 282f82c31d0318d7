"""Runs stages of a recipe: what ``tdro run`` and the commands of the stages call."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

WITHOUT_TRAINING_DATA = {"evaluate", "report"}  # stages for which the recipe's data files need not be there


def run_stages(options: argparse.Namespace, stages: Sequence[str] | None = None) -> None:
    """Run the given stages of ``options.recipe``, or all of them.

    The recipe is read first: whatever is wrong with it shows before anything heavy is imported.
    """
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    data_may_be_gone = stages is not None and WITHOUT_TRAINING_DATA.issuperset(stages)
    recipe = load_recipe(find(options.recipe), data_may_be_gone)
    if getattr(options, "merge", False):
        recipe = recipe.merged()
    if trackers := getattr(options, "report_to", None):
        recipe = recipe.reporting_to(trackers)
    # Both are read when torch is loaded, so they are set here. Idle OpenMP threads sleep instead of spinning: where
    # other programs run too, spinning makes the small steps of a static model four times as slow (100 steps on 2 busy
    # cores took 11 to 14 s instead of 3).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Large tensors lie in huge pages: a step of SmolLM2's first 6 layers took 9.5 s of CPU time instead of 12.6.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from tdro.run.pipeline import run_recipe

    run_recipe(recipe, stages, options.force, getattr(options, "workers", 1))
