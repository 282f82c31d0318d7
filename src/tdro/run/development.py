"""The development sets of a run: what scores a model while it trains, and that they are apart from the test sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tdro.data.mixtures.folder import beir_sha256
from tdro.data.same_text import normalise
from tdro.data.task import TestSet
from tdro.data.testsets.test_texts import beir_texts
from tdro.errors import UserError
from tdro.evaluation.scoring.development import DevelopmentSets
from tdro.evaluation.scoring.model_prompts import as_its_recipe_says
from tdro.machine import Machine, wants_shards
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.messages import short
from tdro.recipe.training_sections import Training


def evaluator_of(
    settings: Training, sets: Sequence[TestSet], folder: Path, run_folder: Path, machine: Machine
) -> DevelopmentSets | None:
    """What scores a model while it trains; None where the settings do not ask for it.

    Args:
        settings: of the training.
        sets: the recipe's development sets.
        folder: of the model. Embeddings are kept for a moment beside its checkpoints, and go with them.
        run_folder: of the run, where tokens are kept.
        machine: device and precision.
    """
    if not (isinstance(settings, Finetune) and settings.evaluate_every):
        return None
    scratch = folder.with_name(f"{folder.name}.training") / "development"
    sets = [as_its_recipe_says(each) for each in sets]  # as the test sets are
    return DevelopmentSets(sets, scratch, machine, tokens_folder=run_folder / "tokens")


def development_inputs(group: Finetune, sets: Sequence[TestSet]) -> dict[str, Any]:
    """What the evaluations in a group's trainings depend on; they choose the models that are kept."""
    return {
        "every": group.evaluate_every,
        "patience": group.patience,
        "sets": {test.name: content_of(test) for test in sets},
    }


def content_of(test: TestSet) -> list[str]:
    """What the scores on a test or development set depend on, besides the model."""
    return [beir_sha256(test.folder)[:16], test.task, test.prompt, test.passage_prompt]


def check_apart(development: Sequence[TestSet], tests: Sequence[TestSet]) -> None:
    """Refuse development sets that have queries of the test sets: models chosen by these would not be judged fairly.

    Two queries are the same if :func:`tdro.data.same_text.normalise` makes them so. Only judged queries count.

    Raises:
        UserError: it names the two sets and a query.
    """
    known = {each.name: beir_texts(Path(each.folder), each.name).queries for each in development}
    for test in tests if known else ():
        asked = {normalise(text) for text in beir_texts(Path(test.folder), test.name).queries.values()}
        for name, queries in known.items():
            if shared := [text for text in queries.values() if normalise(text) in asked]:
                raise UserError(
                    f"data.development_sets.{name}: {len(shared)} of its {len(queries)} queries are in the test set "
                    f"'{test.name}' too, as {short(shared[0])}; take them out of one of the two"
                )


def refuse_shards(groups: Iterable[Finetune]) -> None:
    """Raise :class:`UserError` where a model would be scored while it is in shards over several ranks."""
    if wants_shards() and any(group.evaluate_every for group in groups):
        raise UserError(
            "finetune.evaluate_every: a model in shards (FSDP) cannot be scored while it trains; leave it out, or "
            "train without FSDP"
        )
