"""What a run refuses before anything is read, mined or trained.

A stage that is to be made may not overwrite what other inputs made; a stage that is only read must be there, and of
this recipe's inputs. Otherwise the results of two recipes would mix in one folder.
"""

from __future__ import annotations

from collections.abc import Set

from tdro.errors import UserError
from tdro.gain.learned_weights import LearnedWeights
from tdro.recipe.finetune_section import Finetune
from tdro.run.folder import RunFolder, Stage
from tdro.run.stages import Stages


def require_records(folder: RunFolder, stages: Stages, wanted: Set[str]) -> None:
    """Refuse a stage if one that it needs is not done yet. Only ``run.json`` is looked at, no data and no model.

    Args:
        folder: the run's folder.
        stages: the recipe's.
        wanted: names of the stages that are to be run, such as ``learn``.

    Raises:
        UserError: it names the command to run first.
    """
    if "learn" in wanted and "reference" not in wanted:
        folder.require_any(stages.reference_names(), "reference")
    if "evaluate" in wanted and "finetune" not in wanted:
        for group in stages.recipe.finetune:
            folder.require_any(stages.finetune_names(group), "finetune")
    if wanted & {"finetune", "evaluate"} and "learn" not in wanted:
        folder.require_any(stages.learned_names(), "learn")
    if wanted == {"report"} and not folder.path.is_dir():
        raise UserError(f"{folder.path}: no such run folder; `tdro run RECIPE` makes one")


def check_inputs(folder: RunFolder, stages: Stages, wanted: Set[str]) -> None:
    """Refuse to overwrite what other inputs made, or to read what was not made from the recipe's inputs.

    Arguments and errors as in :func:`require_records`.
    """
    references, learned = stages.references(), stages.learned()
    if "reference" in wanted:
        folder.check(references)
    elif "learn" in wanted:
        folder.require(references, "reference")
    if "learn" in wanted:
        folder.check(learned)
    elif wanted & {"finetune", "evaluate"}:
        for reference in references:
            folder.require_current(reference, "reference")
        folder.require(learned, "learn")
    if not (all(folder.is_done(stage) for stage in learned) and wanted & {"finetune", "evaluate"}):
        return  # what the fine-tunings are made from is not known before the weights are
    weights = LearnedWeights.load(folder.path, stages.recipe)
    for group in stages.recipe.finetune:
        if "finetune" in wanted:
            folder.check(stages.finetune(group, weights))
        else:
            folder.require(stages.finetune(group, weights), "finetune")


def check_report(folder: RunFolder, stages: Stages) -> None:
    """Refuse a report of stages that were made from other inputs than the recipe's. None of them need be there."""
    if not folder.content["stages"]:
        return
    for reference in stages.references():
        folder.require_current(reference, "reference")
    for stage in stages.learned():
        folder.require_current(stage, "learn")
    if any(folder.done_from(name) is None for name in stages.learned_names()):
        return
    weights = LearnedWeights.load(folder.path, stages.recipe)
    for group in stages.recipe.finetune:
        for stage in stages.finetune(group, weights):
            folder.require_current(stage, "finetune")
        evaluation = evaluation_stage(folder, stages, group)
        if (folder.path / "comparison" / f"{group.name}.json").exists():
            folder.require([evaluation], "evaluate")


def evaluation_stage(folder: RunFolder, stages: Stages, group: Finetune) -> Stage:
    """The comparison of a group's models; its inputs are what each model that is there was made from."""
    made_from = {name.rpartition("/")[2]: folder.done_from(name) or "" for name in stages.finetune_names(group)}
    if group.untrained:
        made_from["untrained"] = stages.workspace.models.base(stages.recipe.base_of(group)).fingerprint
    settings = {**stages.recipe.evaluate.model_dump(mode="json"), "bf16": stages.workspace.machine.bf16}
    return stages.evaluation(group, made_from, settings)
