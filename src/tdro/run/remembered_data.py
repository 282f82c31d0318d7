"""What ``run.json`` says of the training data, so that models can be evaluated where the data are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tdro.data.mixtures.facts import DataFacts
from tdro.data.task import Task
from tdro.evaluation.leaks.trained_on import task_fingerprint
from tdro.recipe.schema import Recipe


def about_tasks(tasks: list[Task]) -> list[dict[str, Any]]:
    """What is remembered of each task."""
    keys = ("name", "licence", "source", "instruction")
    return [
        {"rows": len(task), "fingerprint": task_fingerprint(task), **{key: getattr(task, key) for key in keys}}
        for task in tasks
    ]


def about_data(recipe: Recipe, facts: DataFacts) -> dict[str, Any]:
    """The facts that the stages' inputs are made of, and the recipe's keys that say where the data are."""
    return {"recipe": _where_data_are(recipe), **asdict(facts)}


def known_facts(content: Mapping[str, Any], recipe: Recipe) -> DataFacts | None:
    """The facts in the content of a ``run.json``, if the recipe still names the same data; else None."""
    known = dict(content.get("training_data") or {})
    try:
        return DataFacts(**known) if known.pop("recipe", None) == _where_data_are(recipe) else None
    except TypeError:  # written by another version, with other fields
        return None


def _where_data_are(recipe: Recipe) -> dict[str, Any]:
    return recipe.data.model_dump(mode="json", include={"mixture", "sources", "tasks", "hard_negatives_only"})
