"""Learn the weights of transfer gain with the data and the base of a run."""

from __future__ import annotations

from pathlib import Path

from tdro.gain.learned_weights import GAIN
from tdro.gain.looked_at import TARGET, write_looked_at
from tdro.gain.stage import GainStage, learn_gain
from tdro.gain.target import TargetSet
from tdro.machine import in_turn
from tdro.recipe.schema import Recipe
from tdro.run.base_models import BaseModel
from tdro.run.workspace import Workspace
from tdro.training.tracking import TrackedRun


def learn_gain_of(
    recipe: Recipe, workspace: Workspace, base: BaseModel, run: Path, key: str, tracked: TrackedRun
) -> None:
    """Do the stage ``weights/gain`` of a recipe.

    Args:
        recipe: the recipe.
        workspace: its data and base models.
        base: the proxy's.
        run: the run's folder.
        key: the fingerprint of the stage's inputs.
        tracked: the trackers that the proxy's training reports to.

    Raises:
        UserError: as :func:`tdro.gain.stage.learn_gain`, or a target's corpus lacks its relevant passages.
    """
    target, training = workspace.target, recipe.gain.training(recipe.reference)
    stage = GainStage(
        settings=recipe.gain,
        training=training,
        seed=recipe.seed,
        data=workspace.tokens(base),
        hard_negatives_only=tuple(workspace.data.facts.hard_negatives_only),
        load_proxy=workspace.models.loader(base, dropout=False),
        machine=workspace.machine,
        target=_target_rows(workspace, base),
        tracked=tracked,
    )
    provenance = {
        "method": "gain",
        "recipe": recipe.name,
        "seed": recipe.seed,
        "steps": training.steps,
        "rounds": recipe.gain.rounds,
        "base": base.fingerprint,
        "mixture": workspace.data.inputs["mixture"],
        "size": dict(workspace.data.sizes),
        "inputs": key,
        **({"target": [each.name for each in target.sets]} if target else {}),
    }
    if workspace.machine.main:
        write_looked_at(run / TARGET, target.looked_at if target else {})
    learn_gain(stage, (run / GAIN).parent, provenance)


def _target_rows(workspace: Workspace, base: BaseModel) -> list[TargetSet] | None:
    """What the gain is measured on; None for the held-out rows of every task."""
    if workspace.target is None:
        return None
    with in_turn(workspace.machine):
        return workspace.target.rows(lambda index: workspace.tokenized(base, index))
