"""Reads a run folder into plain data.

A report can be written after any stage, so every part is optional: a file that is missing is None or empty here, and a
sentence on the page. A broken file is an error that names it. Nothing is computed here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdro.errors import UserError
from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.evaluation.leaks.find_leaks import known_leaks
from tdro.mixture_name import known_mixture
from tdro.recipe.names import longer_uniform, mixture_and_seed, model_name
from tdro.recipe.yaml_lines import plain_yaml
from tdro.report.learning_files import LearningSteps, MeasuredGain, json_object, read_gain, read_steps
from tdro.weights import TaskWeights


@dataclass(frozen=True)
class ReportedTask:
    """What ``run.json`` says of a task. ``rows`` is NaN if there is no such file."""

    name: str
    rows: float
    licence: str = ""
    source: str = ""
    instruction: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class TrainedModel:
    """A fine-tuned model: its group, mixture and seed, and as ``facts`` its ``training.json``."""

    group: str
    mixture: str
    seed: int
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the model's folder: ``top-70-seed1``."""
        return model_name(self.mixture, self.seed)

    @property
    def base(self) -> dict[str, Any] | None:
        """The recipe's section of the base that it was made from; None if ``training.json`` does not tell."""
        found = nested(self.facts, "settings", "base")
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class RunContents:
    """A run folder as plain data. Arrays over tasks are in the order of ``tasks``."""

    name: str
    seed: Any
    tasks: list[ReportedTask]
    stages: list[dict[str, Any]]
    recipe: str | None
    versions: dict[str, Any] | None
    weights: TaskWeights | None
    steps: LearningSteps | None
    health: dict[str, Any] | None
    trainings: list[TrainedModel]
    comparisons: list[dict[str, Any]]
    data: dict[str, Any] | None = None  # the card of tdro.data.quality.data_card
    gain: MeasuredGain | None = None
    gain_weights: TaskWeights | None = None
    leaks: dict[str, Any] | None = None  # see tdro.evaluation.leaks.find_leaks.look_for_leaks

    def weights_of(self, mixture: str) -> TaskWeights | None:
        """The learned weights that a mixture is made from."""
        parsed = known_mixture(mixture)
        return self.gain_weights if parsed and parsed.uses_gain else self.weights

    @property
    def names(self) -> list[str]:
        """The tasks' names."""
        return [task.name for task in self.tasks]

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each task, shape (k,)."""
        return np.array([task.rows for task in self.tasks], dtype=float)


def read_run_folder(folder: Path | str) -> RunContents:
    """Read what is in the run folder.

    Raises:
        UserError: there is no such folder, or a file in it is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; `tdro run RECIPE` makes one")
    about = json_object(folder / "run.json") or {}
    path = folder / "recipe.yaml"
    recipe = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    groups, learned = _groups(recipe), _learned(recipe)
    alpha, gain_weights = (
        TaskWeights.load(stored) if kind in learned and (stored := folder / "weights" / name).is_file() else None
        for kind, name in (("alpha", "weights.json"), ("gain", "gain/weights.json"))
    )
    weights = alpha or gain_weights
    tasks = _tasks(about, weights)
    return RunContents(
        name=str(about.get("name") or folder.resolve().name),
        seed=about.get("seed"),
        tasks=tasks,
        stages=[
            stage
            for stage in about.get("stages") or []
            if isinstance(stage, dict) and _is_of_recipe(str(stage.get("name")), groups, learned)
        ],
        recipe=recipe,
        versions=json_object(folder / "versions.json"),
        weights=weights,
        steps=read_steps(folder / "weights" / "steps.jsonl", len(tasks)) if "stage 1" in learned else None,
        health=json_object(folder / "weights" / "health.json") if "stage 1" in learned else None,
        trainings=[
            one for one in _trainings(folder / "models") if groups is None or one.name in groups.get(one.group, ())
        ],
        comparisons=[one for one in _comparisons(folder / "comparison") if groups is None or one["group"] in groups],
        data=json_object(folder / "data.json"),
        gain_weights=gain_weights,
        gain=read_gain(folder / "weights" / "gain" / "gain.json") if "gain" in learned else None,
        leaks=known_leaks(folder / LEAKS),
    )


@functools.lru_cache(maxsize=8)
def recipe_values(text: str) -> Any:
    """The values of a run's ``recipe.yaml``, to be read only: every card of a run and its report get the same ones.

    Raises:
        UserError: it is no YAML.
    """
    return plain_yaml(text, "recipe.yaml")


def _groups(recipe: str | None) -> dict[str, set[str]] | None:
    """The recipe's groups with the names of their models; None if the recipe cannot be read or names no group.

    What an earlier recipe left in the folder is not shown: it is in none of these.
    """
    groups = _recipe_groups(recipe)
    if groups is None:
        return None
    return {
        str(nested(group, "name")): {
            model_name(mixture, seed)
            for mixture in [*(nested(group, "mixtures") or ()), *map(longer_uniform, _longer(group))]
            for seed in _seeds(group, mixture)
        }
        for group in groups
    }


def _is_of_recipe(stage: str, groups: dict[str, set[str]] | None, learned: set[str]) -> bool:
    """Whether the recipe has a stage, such as ``models/main/uniform-seed1``."""
    room, _, name = stage.partition("/")
    if room in ("models", "evaluation"):
        group, _, model = name.partition("/")
        return groups is None or (group in groups and (not model or model in groups[group]))
    needed = {"reference": "stage 1", "reference-2": "stage 1", "weights": "alpha", "weights/gain": "gain"}
    return needed.get(stage) in (None, *learned)


def _seeds(group: Any, mixture: str) -> Sequence[Any]:
    """The seeds that a group trains a mixture with."""
    seeds, fewer = nested(group, "seeds") or (), nested(group, "fewer_seeds", mixture)
    return seeds[:fewer] if isinstance(fewer, int) else seeds


def _learned(recipe: str | None) -> set[str]:
    """What of the folder's weights is the recipe's, and not left by an earlier one.

    ``alpha``, ``gain``, and ``stage 1`` if alpha was learned here; all of them if the recipe cannot be read.
    """
    groups = _recipe_groups(recipe)
    if groups is None:
        return {"alpha", "gain", "stage 1"}
    mixtures = [known_mixture(str(name)) for group in groups for name in nested(group, "mixtures") or ()]
    found = {"gain"} if any(mixture and mixture.uses_gain for mixture in mixtures) else set()
    if not found or any(mixture and mixture.uses_alpha for mixture in mixtures):
        found |= {"alpha"} if nested(recipe_values(recipe or ""), "weights", "load") else {"alpha", "stage 1"}
    return found


def _recipe_groups(recipe: str | None) -> list[Any] | None:
    """The recipe's fine-tuning groups; None if it cannot be read or has none."""
    try:
        groups = nested(recipe_values(recipe or ""), "finetune")
    except UserError:
        return None
    return groups if isinstance(groups, list) else None


def _longer(group: Any) -> list[float]:
    """How many times the group's steps uniform is trained for besides."""
    return [number for times in nested(group, "uniform_longer") or () if (number := as_number(times)) > 1]


def _tasks(about: dict[str, Any], weights: TaskWeights | None) -> list[ReportedTask]:
    """The tasks of ``run.json``; without it, those of the weights, whose numbers of rows are not known."""
    facts = [
        ReportedTask(
            name=str(task.get("name")),
            rows=as_number(task.get("rows")),
            licence=str(task.get("licence") or ""),
            source=str(task.get("source") or ""),
            instruction=str(task.get("instruction") or ""),
            fingerprint=str(task.get("fingerprint") or ""),
        )
        for task in about.get("tasks") or []
        if isinstance(task, dict)
    ]
    return facts or [ReportedTask(name=name, rows=math.nan) for name in (weights.names if weights else ())]


def _trainings(folder: Path) -> list[TrainedModel]:
    """The models that were trained. Where ``training.json`` names no mixture or seed, the folder's name tells them."""
    models = []
    for path in sorted(folder.glob("*/*/training.json")):
        facts = json_object(path) or {}
        mixture, seed = mixture_and_seed(path.parent.name)
        models.append(
            TrainedModel(
                group=path.parent.parent.name,
                mixture=str(facts.get("mixture") or mixture),
                seed=_seed(path, facts.get("seed"), seed or 0),
                facts=facts,
            )
        )
    return models


def _seed(path: Path, seed: Any, default: int) -> int:
    if seed is None:
        return default
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"{path}: 'seed' is {seed!r}, no whole number; run `tdro finetune` again with --force")
    return seed


def _comparisons(folder: Path) -> list[dict[str, Any]]:
    """The comparison of every group, that with the most mixtures first."""
    found = [_comparison(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda comparison: -len(comparison["rows"]))


def _comparison(path: Path) -> dict[str, Any]:
    comparison = json_object(path) or {}
    rows, tests = comparison.get("rows"), comparison.get("tests")
    if not isinstance(rows, list) or not isinstance(tests, list):
        raise UserError(f"{path}: no 'rows' and 'tests' lists in it; run `tdro evaluate` again")
    return {**comparison, "group": str(comparison.get("group") or path.stem)}
