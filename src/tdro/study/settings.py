"""The keys that a study sets: what a variant's settings make of the user's recipe.

A key is one of five kinds:

- a key of the recipe, such as ``weights.offset``. ``finetune.steps`` is a key of the group that is studied. A value
  ``x0.5`` is half of what the recipe says.
- ``mixture``: what the fine-tunings train on, as in a recipe's ``mixtures``.
- ``reference.dimension`` and ``reference.layers``: of the reference's model alone. The proxy keeps the recipe's.
- ``tasks.…``: a change of the training data, such as ``tasks.zipf``. See :mod:`tdro.study.task_changes`.
- ``alpha.…``: a change of the learned weights, such as ``alpha.noise``. See :mod:`tdro.study.weight_changes`.

Settings of stages 0 and 1 (``base``, ``reference``, ``weights``, ``gain``, ``seed``) change how weights are learned and
never what is fine-tuned: a study of proxies must not change the model that it judges them by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from tdro.errors import UserError
from tdro.mixture_name import parse_mixture
from tdro.recipe.explain_errors import explain_values
from tdro.recipe.messages import nearest
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.study.task_changes import TASK_CHANGES
from tdro.study.weight_changes import WEIGHT_CHANGES

DEFAULT_MIXTURE = "top-70"
_LEARNING_ONLY = ("base", "reference", "weights", "gain", "seed")
_REFERENCE_SIZES = {"reference.dimension": "base.dimension", "reference.layers": "base.layers"}
_NOT_STUDIED = {
    "name": "a study names its own folders",
    "folder": "a study names its own folders",
    "finetune": "give a key of the group, such as finetune.steps",
    "finetune.name": "a study names its own folders",
    "finetune.mixtures": "give the key mixture",
    "finetune.seeds": "give the study's seeds",
    "finetune.fewer_seeds": "give the study's seeds",
    "finetune.uniform_longer": "vary finetune.steps",
    "finetune.evaluate_every": "a study keeps the last step of every training",
    "finetune.patience": "a study trains all steps",
    "finetune.matryoshka": "a study trains and judges embeddings of full size",
    "finetune.untrained": "a study trains all of its models",
    "finetune.push": "a study pushes nothing; use tdro push",
}
_TIMES = re.compile(r"x(\d+(?:\.\d+)?|\.\d+)")
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What a variant's settings come to.

    Attributes:
        learning: the recipe by which weights are learned (stages 0 and 1).
        training: the recipe by which the model is fine-tuned: one group with one mixture.
        task_changes: changes of the training data, by key.
        weight_changes: changes of the learned weights, by key.
        reference_base: the reference's model; None if it is the proxy's.
    """

    learning: Recipe
    training: Recipe
    task_changes: dict[str, Any]
    weight_changes: dict[str, Any]
    reference_base: Base | None = None

    @property
    def mixture(self) -> str:
        """What the fine-tunings train on."""
        return self.training.finetune[0].mixtures[0]

    @property
    def learns(self) -> bool:
        """Whether weights are learned at all."""
        parsed = parse_mixture(self.mixture)
        return parsed.uses_alpha or parsed.uses_gain


def make_setup(recipe: Recipe, settings: Settings, group: int = 0) -> Setup:
    """Apply settings to a recipe.

    Args:
        recipe: the user's.
        settings: key: value.
        group: which of the recipe's groups of fine-tunings is studied.

    Raises:
        UserError: an unknown key, with the nearest one that there is; a value that the recipe refuses; or a target.

    Example::

        setup = make_setup(recipe, {"weights.offset": 0.5, "mixture": "top-60"})
        setup.learning.weights.offset  # 0.5
    """
    if recipe.gain.target is not None or any(key.split(".")[:2] == ["gain", "target"] for key in settings):
        raise UserError(
            "gain.target: a study judges by all test queries, also by those that a target looks at; take it out"
        )
    tasks = {key: value for key, value in settings.items() if key.startswith("tasks.")}
    weights = {key: value for key, value in settings.items() if key.startswith("alpha.")}
    _check_changes(tasks, TASK_CHANGES)
    _check_changes(weights, WEIGHT_CHANGES)
    mixture = settings.get("mixture", DEFAULT_MIXTURE)
    plain = {key: value for key, value in settings.items() if key != "mixture" and key not in {**tasks, **weights}}
    sizes = {key: plain.pop(key) for key in _REFERENCE_SIZES if key in plain}
    content = _content(recipe, group, mixture)
    reference_base = _reference_base(recipe, content, sizes, group) if sizes else None
    learning = _applied(recipe, content, plain, group)
    kept = {key: value for key, value in plain.items() if key.split(".")[0] not in _LEARNING_ONLY}
    training = _applied(recipe, content, kept, group)
    setup = Setup(learning, training, tasks, weights, reference_base)
    if not setup.learns:
        return replace(setup, weight_changes={}, reference_base=None)
    for key in weights:
        WEIGHT_CHANGES[key].check_mixture(key, parse_mixture(setup.mixture))
    return setup


def _reference_base(recipe: Recipe, content: Mapping[str, Any], sizes: Settings, group: int) -> Base:
    """The recipe's base in another size, for the reference alone."""
    try:
        return _applied(recipe, content, {_REFERENCE_SIZES[key]: value for key, value in sizes.items()}, group).base
    except UserError as error:
        raise UserError(re.sub(r"\bbase\.", "reference.", str(error))) from None


def _content(recipe: Recipe, group: int, mixture: Any) -> dict[str, Any]:
    """The recipe as JSON with the studied group alone, whose base is pinned; it is not evaluated while it trains, since
    studies compare what so many steps give. Embeddings have their full size alone."""
    content = recipe.model_dump(mode="json")
    chosen = content["finetune"][group]
    base = recipe.base_of(recipe.finetune[group]).model_dump(mode="json")
    trainings = {"mixtures": [mixture], "seeds": [1], "fewer_seeds": {}, "uniform_longer": [], "push": {}}
    last_step = {"evaluate_every": 0, "patience": None}
    content["finetune"] = [{**chosen, "base": base, **trainings, **last_step, "matryoshka": []}]
    content["data"]["development_sets"] = None
    return content


def _check_changes(changes: Settings, known: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if key not in known:
            hint = nearest(key, known) or f"; there are: {', '.join(known)}"
            raise UserError(f"{key}: unknown key{hint}")
        if problem := known[key].problem(value):
            raise UserError(f"{key}: {problem}, found {value!r}")


def _applied(recipe: Recipe, content: Mapping[str, Any], settings: Settings, group: int) -> Recipe:
    changed = dict(content)
    for key, value in settings.items():
        if key in _NOT_STUDIED:
            raise UserError(f"{key}: is no key of a study; {_NOT_STUDIED[key]}")
        changed = _with(changed, key.split("."), _times(recipe, key, value, group), key)
        other = {"weights.eta": "eta_times_steps", "weights.eta_times_steps": "eta"}.get(key)
        if other and f"weights.{other}" not in settings:
            changed["weights"] = {**changed["weights"], other: None}
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        raise UserError("\n".join(explain_values(error, Recipe)).replace("finetune[0].", "finetune.")) from None


def _with(content: dict[str, Any], path: list[str], value: Any, key: str) -> dict[str, Any]:
    """The content with one value set, below sections that may not be there yet."""
    first, *rest = path
    if first == "finetune":
        return {**content, first: [_with(content[first][0], rest, value, key)]}
    if not rest:
        return {**content, first: value}
    inner = content.get(first) or {}
    if not isinstance(inner, dict):
        raise UserError(f"{key}: unknown key; {first} is a value, not a section")
    return {**content, first: _with(inner, rest, value, key)}


def _times(recipe: Recipe, key: str, value: Any, group: int) -> Any:
    """``x0.5`` as a number: half of the recipe's own value. Other values as they are."""
    match = _TIMES.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    own: Any = recipe
    for part in key.split("."):
        own = getattr(own[group] if isinstance(own, tuple) else own, part, None)
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise UserError(f"{key}: {value} is a multiple of the recipe's own number, and it has none here")
    return max(1, round(float(match[1]) * own)) if isinstance(own, int) else float(match[1]) * own
