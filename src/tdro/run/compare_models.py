"""Score the models of a fine-tuning group on the test sets, compare them, and print the table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from tdro.console import progress_bar, say
from tdro.evaluation.compare.at_sizes import compare_at_sizes
from tdro.evaluation.compare.compare import compare
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.compare.lost_in_transfer import lost_in_transfer
from tdro.evaluation.compare.tracked_values import tracked_values
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.evaluation.leaks.find_leaks import find_leaks, leak_counts, leaks_line
from tdro.evaluation.results import AT_SIZE
from tdro.evaluation.scoring.bm25_baseline import evaluate_bm25
from tdro.evaluation.scoring.model_prompts import as_its_recipe_says
from tdro.files import write_json
from tdro.gain.looked_at import TARGET, write_looked_at
from tdro.recipe.finetune_section import Finetune
from tdro.report.model_card import write_card
from tdro.run.checks import evaluation_stage
from tdro.run.folder import RunFolder
from tdro.run.in_workers import EvaluateModel
from tdro.run.stages import Stages
from tdro.run.training_data import RunData
from tdro.workers import Workers


def compare_models(
    folder: RunFolder, stages: Stages, group: Finetune, look_for_leaks: bool, workers: Workers | None = None
) -> None:
    """Evaluate a group. Leaves ``evaluation/<group>/``, ``comparison/<group>.json`` and the models' cards;
    for embeddings that may be cut also ``sizes/<group>/<size>/``, which is like ``evaluation/<group>/``.

    What is there from the same models and test sets is not computed again.

    Args:
        folder: the run's folder.
        stages: the recipe's.
        group: whose models are compared.
        look_for_leaks: also look for the test queries in the training data, and say so if there are any.
        workers: processes that share the models; None: this process evaluates one after the other.
    """
    recipe, data, machine = stages.recipe, stages.workspace.data, stages.workspace.machine
    started, stage, models = time.monotonic(), evaluation_stage(folder, stages, group), _models(stages, group)
    results = folder.path / "evaluation" / group.name
    sizes = {size: folder.path / AT_SIZE / group.name / str(size) for size in group.matryoshka[1:]}
    new = not folder.is_done(stage)
    if new:
        folder.forget(stage.name)  # the comparison that is there is of other models, until this one is written
    _evaluate(models, results, sizes, stages, workers)
    if not machine.main:
        return
    _remove_other_sizes(folder.path / AT_SIZE / group.name, sizes)
    if recipe.evaluate.bm25:
        evaluate_bm25(data.tests, results)
    if looked_at := stages.looked_at(group):
        write_looked_at(folder.path / TARGET, looked_at)  # also of test sets that are newer than the weights
    names, flips = [test.name for test in data.tests], recipe.evaluate.permutations
    compared = [*models, *(["bm25"] if recipe.evaluate.bm25 else [])]
    comparison = compare(results, group.name, models=compared, test_sets=names, permutations=flips)
    if group.matryoshka:
        at_sizes = compare_at_sizes(
            *(comparison, group.matryoshka[0], sizes), models=models, test_sets=names, permutations=flips
        )
        comparison["sizes"] = at_sizes
    write_json(folder.path / "comparison" / f"{group.name}.json", comparison)
    for name in models.keys() - {"untrained"}:
        write_card(folder.path, group.name, name)
    folder.record(stage, round(time.monotonic() - started, 2))
    say(f"evaluation/{group.name}: {time.monotonic() - started:.1f} s\n")
    say(f"{comparison_table(comparison)}\n", answer=True)
    for line in lost_in_transfer(comparison):
        say(f"warning: {line}\n")
    if new:
        stages.tracked(f"{group.name}/comparison").report(tracked_values(comparison), machine.device)
    if look_for_leaks:
        _say_leaks(data, folder.path)


def _evaluate(
    models: Mapping[str, Path], results: Path, sizes: Mapping[int, Path], stages: Stages, workers: Workers | None
) -> None:
    """Write the results of all models, unless they are there: in the workers, or here one after the other."""
    # What is cut away of the test sets' texts is the same for all models of a group, so the first one says it.
    tests = tuple(stages.workspace.data.tests)
    of_trained = tuple(map(as_its_recipe_says, tests))
    evaluations = [
        EvaluateModel(
            *(stages.recipe, name, path, tests if name == "untrained" else of_trained, results, sizes), warn=number == 0
        )
        for number, (name, path) in enumerate(models.items())
    ]
    if workers is None:
        for evaluation in evaluations:
            evaluation()
        return
    with progress_bar(title=f"evaluating {results.name}", total=len(models), unit=" models") as bar:
        for _ in workers.do(evaluations):
            bar.update()


def _remove_other_sizes(place: Path, sizes: Mapping[int, Path]) -> None:
    """Remove the results at sizes that the recipe no longer has, since they are of older models."""
    for old in place.iterdir() if place.is_dir() else ():
        if old not in sizes.values():
            shutil.rmtree(old)


def _models(stages: Stages, group: Finetune) -> dict[str, Path]:
    """The folders of a group's models by name: the untrained base, then one for each mixture and seed."""
    trained = {Path(name).name: stages.path / name for name in stages.finetune_names(group)}
    if not group.untrained:
        return trained
    return {"untrained": stages.workspace.models.base(stages.recipe.base_of(group)).path} | trained


def _say_leaks(data: RunData, folder: Path) -> None:
    _ = data.facts  # reads the training data, or notes why they cannot be read
    if data.unreadable:
        say(f"leaks of test queries were not looked for: {data.unreadable}\n")
        return
    found, names = find_leaks(data.unmined, folder), [test.name for test in data.tests]
    if leak_counts(found, names)[0]:
        say(f"warning: {leaks_line(found, names)}: see {folder / LEAKS} or the report\n")
