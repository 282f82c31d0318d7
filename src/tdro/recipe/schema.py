"""The recipe as a whole, and :func:`load_recipe`, which reads a file.

A recipe that cannot work (an unknown key, a wrong type, a missing file, an impossible value) is refused by file, line
and key before anything heavy is imported. The descriptions below are the documentation: ``docs/recipe.md`` and
``tdro recipe --keys`` are made from them. Defaults are the paper's (arXiv 2408.10613) unless the description says
otherwise. See docs/decisions.md, pydantic-schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from tdro.errors import UserError
from tdro.mixture_name import parse_mixture
from tdro.recipe import rules
from tdro.recipe.data_sections import Data, Negatives
from tdro.recipe.explain_errors import explain_errors
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.messages import wrong
from tdro.recipe.section import Name, Section, Seed
from tdro.recipe.training_sections import Base, Gain, LearnWeights, Training
from tdro.recipe.yaml_lines import RecipeDumper, read_yaml


class Evaluate(Section):
    """The comparison of the mixtures on the test sets."""

    permutations: int = Field(default=10000, ge=1, description="random sign flips in the paired test of two mixtures")
    bootstrap: int = Field(default=2000, ge=1, description="has no effect: the intervals are computed, not drawn")
    bm25: bool = Field(default=True, description="also score BM25, a search by matching words alone")


class Recipe(Section):
    """All settings of a run."""

    name: Name = Field(description="name of the run: letters, digits, '_', '-' and '.'")
    folder: Annotated[Path, Field(strict=False), AfterValidator(rules.check_run_folder)] = Field(
        default=Path(),
        description="folder that everything of the run is written to, relative to the current folder",
    )
    seed: Seed = Field(
        default=13, description="seed of everything random, except in the fine-tunings, which have their own seeds"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="auto: bf16 if the device computes in it, else fp32"
    )
    device: Annotated[str, AfterValidator(rules.check_device)] = Field(
        default="auto", description="auto, cpu, mps, cuda or cuda:N; auto: the best device of this machine"
    )
    report_to: Annotated[
        tuple[Literal["mlflow", "tensorboard", "trackio", "wandb"], ...],
        Field(strict=False),
        AfterValidator(rules.check_no_duplicates),
    ] = Field(
        default=(),
        description="experiment trackers that every training reports to, as in [tensorboard, trackio]; each must be "
        "installed",
    )
    trust_remote_code: bool = Field(default=False, description="run code that comes with a model from the hub")
    data: Data = Field(default_factory=Data, description="the training data and the test sets")
    negatives: Negatives = Field(default_factory=Negatives, description="mining of hard negatives")
    base: Base = Field(
        description="the model of the reference and the proxy; fine-tunings start from it too unless they name "
        "their own"
    )
    reference: Training = Field(
        default_factory=Training, description="stage 0: training the reference, with uniform weights"
    )
    weights: LearnWeights = Field(default_factory=LearnWeights, description="stage 1: learning the weights")
    gain: Gain = Field(
        default_factory=Gain, description="learning weights by transfer gain; used where a mixture asks for it"
    )
    finetune: Annotated[tuple[Finetune, ...], Field(strict=False, min_length=1)] = Field(
        default_factory=lambda: (Finetune(name="main"),),
        description='stage 2: groups of fine-tunings (default: one, "main", with the defaults)',
    )
    evaluate: Evaluate = Field(default_factory=Evaluate, description="comparing the fine-tuned models")

    @model_validator(mode="before")
    @classmethod
    def _default_folder(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("folder") is None and isinstance(data.get("name"), str):
            return {**data, "folder": Path("runs", data["name"])}
        return data

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        self._groups_differ()
        self._enough_negatives()
        self._gain_fits()
        self._development_sets_are_used()
        return self

    @property
    def learns_gain(self) -> bool:
        """Whether a mixture asks for the weights of transfer gain."""
        return any(parse_mixture(mixture).uses_gain for group in self.finetune for mixture in group.mixtures)

    @property
    def learns_alpha(self) -> bool:
        """Whether tDRO's weights are learned (or loaded): always, but where a recipe uses those of gain alone."""
        mixtures = [mixture for group in self.finetune for mixture in group.mixtures]
        return not self.learns_gain or any(parse_mixture(mixture).uses_alpha for mixture in mixtures)

    @property
    def has_stage_one(self) -> bool:
        """Whether tDRO's weights are learned here, and not loaded."""
        return self.learns_alpha and not self.weights.load

    @property
    def trains_proxy(self) -> bool:
        """Whether weights are learned here, and so the recipe's ``base`` is trained."""
        return self.learns_gain or self.has_stage_one

    def _gain_fits(self) -> None:
        """Raise if the proxy of gain has fewer steps than rounds, or none after its warm-up."""
        if not self.learns_gain:
            if self.gain.target is not None:
                raise wrong("no mixture asks for gain; add gain to finetune.mixtures, or remove this", "gain", "target")
            return
        if self.gain.target is not None:
            self.gain.target.check_names(self.data)
        steps = self.gain.training(self.reference).steps
        if self.gain.rounds > steps:
            raise wrong(f"{self.gain.rounds} rounds do not fit into {steps} steps of training", "gain", "rounds")
        warmup = self.reference.warmup_steps
        if warmup >= 1 and warmup >= steps:
            raise wrong(f"the warm-up of reference, {warmup:g} steps, does not end within them", "gain", "steps")

    def _development_sets_are_used(self) -> None:
        """Raise if a group wants development sets and there are none, or if there are some and no group wants them."""
        evaluates = [index for index, group in enumerate(self.finetune) if group.evaluate_every]
        if evaluates and not self.data.development_sets:
            message = "there is nothing to evaluate on; give data.development_sets"
            raise wrong(message, "finetune", evaluates[0], "evaluate_every")
        if self.data.development_sets and not evaluates:
            message = "no fine-tuning is evaluated on them; set finetune.evaluate_every, or remove this"
            raise wrong(message, "data", "development_sets")

    def _groups_differ(self) -> None:
        """Raise if two groups have one name, since each is a folder, or push to one repository."""
        repos = [repo for group in self.finetune for repo in group.push.values()]
        for index, group in enumerate(self.finetune):
            if twice := [repo for repo in group.push.values() if repos.count(repo) > 1]:
                raise wrong(f"two groups would push to {twice[0]}", "finetune", index, "push")
            if any(group.name == other.name for other in self.finetune[:index]):
                raise wrong(f"another group is named {group.name!r} too", "finetune", index, "name")

    def _enough_negatives(self) -> None:
        """Raise if a training wants more hard negatives than a row has after mining, or none where a task needs some.

        A task without in-batch negatives needs at least one hard negative in each row. Sections of stages that this
        recipe does not have, because it loads weights for instance, do not count.
        """
        stages: list[tuple[tuple[str | int, ...], int]] = [
            *([(("reference",), self.reference.negatives)] if self.trains_proxy else []),
            *([(("weights",), self.weights.negatives)] if self.has_stage_one else []),
            *((("finetune", index), group.negatives) for index, group in enumerate(self.finetune)),
        ]
        flagged = [name for name, source in (self.data.sources or {}).items() if not source.in_batch_negatives]
        for key, wanted in stages:
            if self.data.hard_negatives_only and not wanted:
                raise wrong("data.hard_negatives_only names tasks that need at least 1 here", *key, "negatives")
            if flagged and not wanted:
                raise wrong(
                    f"task {flagged[0]!r} has no in-batch negatives and needs at least 1 here", *key, "negatives"
                )
            if self.negatives.mine != "none" and wanted > self.negatives.per_row:
                raise wrong(
                    f"a row has {self.negatives.per_row} hard negatives after mining, not {wanted}; "
                    "raise negatives.per_row or lower this",
                    *key,
                    "negatives",
                )

    def base_of(self, group: Finetune) -> Base:
        """The model that a group fine-tunes: its own base, or the recipe's."""
        return group.base or self.base

    def reporting_to(self, trackers: Sequence[str]) -> Recipe:
        """The recipe with other trackers, as ``tdro run --report-to`` wants it."""
        return self.model_copy(update={"report_to": tuple(dict.fromkeys(trackers))})

    def merged(self) -> Recipe:
        """The recipe with ``merge: true`` in every group, as ``tdro run --merge`` wants it."""
        groups = tuple(group.model_copy(update={"merge": True}) for group in self.finetune)
        return self.model_copy(update={"finetune": groups})

    def to_yaml(self) -> str:
        """The recipe as YAML with every default written out. :func:`load_recipe` of it gives an equal recipe."""
        data = self.model_dump(mode="json")
        data["finetune"] = [{"name": group["name"], **group} for group in data["finetune"]]
        return yaml.dump(data, Dumper=RecipeDumper, sort_keys=False, allow_unicode=True, width=110)


def load_recipe(path: Path | str, data_may_be_gone: bool = False) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: of the file; of a built-in recipe, what :func:`tdro.recipe.builtin.find` returns.
        data_may_be_gone: do not check whether the files of the training data are there. ``evaluate`` and ``report`` do
            not need them.

    Raises:
        UserError: the file is missing, is not YAML, or has an unknown key, a wrong type, a missing file or an
            impossible value. The message has file, line and key of the first three problems.

    Example::

        recipe = load_recipe("recipe.yaml")
        recipe.weights.steps  # 1000
    """
    data, node = read_yaml(path)
    try:
        return Recipe.model_validate(data, context={"data_may_be_gone": data_may_be_gone})
    except ValidationError as error:
        raise UserError(explain_errors(error, path, node, Recipe)) from None
