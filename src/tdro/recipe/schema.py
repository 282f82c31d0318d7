"""The recipe's sections with all keys, defaults and descriptions, and :func:`load_recipe`, which reads a file.

A recipe that cannot work (an unknown key, a wrong type, a missing file, an impossible value) is refused by file, line
and key before anything heavy is imported. The descriptions below are the documentation: ``docs/recipe.md`` and
``tdro recipe --keys`` are made from them. Defaults are the paper's (arXiv 2408.10613) unless the description says
otherwise. See docs/decisions.md, pydantic-schema.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from tdro.errors import UserError
from tdro.mixture_name import parse_mixture
from tdro.recipe import rules
from tdro.recipe.data_sections import Data, Negatives
from tdro.recipe.explain_errors import explain_errors
from tdro.recipe.messages import wrong
from tdro.recipe.section import Name, Section, Seed, Several
from tdro.recipe.yaml_lines import RecipeDumper, read_yaml

MixtureName = Annotated[str, AfterValidator(rules.check_mixture_name)]


class Lora(Section):
    """Low-rank adapters: train these instead of all the model's weights."""

    r: int = Field(default=8, ge=1, description="rank of the adapters")
    alpha: float = Field(default=32.0, gt=0, description="scale of the adapters (divided by r)")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout before the adapters")


class Base(Section):
    """The model that a training starts from."""

    kind: Literal["static", "decoder", "encoder"] = Field(
        description="static: a vector for each token, random at first, and a text is their mean; "
        "decoder: a language model, read at the last token; encoder: a model of sentence-transformers with its own "
        "pooling, or a bare one, which gets mean pooling"
    )
    source: Annotated[str, AfterValidator(rules.check_model)] = Field(
        description='"smollm2", "minilm", a folder or a hub id; for static: whose tokenizer to take'
    )
    dimension: int | None = Field(default=None, ge=1, description="length of the vectors (static only; null: 256)")
    layers: int | None = Field(
        default=None, ge=1, description="keep only this many of the first layers (decoder only; null: all)"
    )
    lora: Lora | None = Field(default=None, description="train low-rank adapters only (null: train every weight)")
    gradient_checkpointing: bool = Field(
        default=False,
        description="compute activations again in the backward pass: less memory, slower, same result",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_dimension(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == "static" and data.get("dimension") is None:
            return {**data, "dimension": 256}
        return data

    @model_validator(mode="after")
    def _fits_kind(self) -> Base:
        if self.kind != "static" and self.dimension is not None:
            raise wrong(f"only a static model has a free dimension; remove it or the kind {self.kind!r}", "dimension")
        if self.kind != "decoder" and self.layers is not None:
            raise wrong(f"only a decoder can be cut to its first layers; this one is {self.kind!r}", "layers")
        if self.kind == "static" and self.lora is not None:
            raise wrong("a static model has no layers for adapters; remove lora", "lora")
        if self.kind == "static" and self.gradient_checkpointing:
            raise wrong("a static model has no activations to recompute; remove it", "gradient_checkpointing")
        packaged = rules.PACKAGED.get(self.source, self.kind)
        if self.kind != "static" and self.kind != packaged:
            raise wrong(f"{self.source!r} is of kind {packaged!r}, not {self.kind!r}", "kind")
        return self


class Training(Section):
    """Settings that every training has: the reference, the proxy and the fine-tunings."""

    steps: int = Field(default=1000, ge=1, description="optimizer steps")
    batch: Annotated[int, AfterValidator(rules.check_batch_fits_ranks)] = Field(
        default=2048, ge=2, description="rows in a step, over all ranks together"
    )
    negatives: int = Field(default=1, ge=0, description="how many of a row's hard negatives are used")
    temperature: float = Field(default=0.002, gt=0, description="what cosine similarities are divided by")
    learning_rate: float = Field(default=1e-4, gt=0, description="peak learning rate (AdamW)")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the learning rate falls after the warm-up"
    )
    warmup_steps: float = Field(
        default=0.1,
        ge=0,
        description="steps in which the learning rate rises; a number below 1 is a share of all steps",
    )
    floor: float = Field(default=0.1, ge=0, le=1, description="the learning rate at the end, as a share of the peak")
    weight_decay: float = Field(default=0.1, ge=0, description="weight decay of AdamW")
    chunk_rows: int = Field(
        default=32,
        ge=1,
        description="rows that go through the model at a time: a matter of memory and speed, not of the result",
    )
    gradient_caching: bool = Field(
        default=False,
        description="make one more forward pass, so that a batch of any size fits in memory; same result",
    )
    checkpoint_steps: int = Field(
        default=0,
        ge=0,
        description="save a checkpoint every so many steps, from which a stopped training goes on (0: never)",
    )

    @model_validator(mode="after")
    def _warmup_fits(self) -> Training:
        rules.check_warmup(self.warmup_steps, self.steps)
        return self

    @property
    def warmup(self) -> int:
        """The warm-up in whole steps, whether the recipe gives steps or a share."""
        return int(self.warmup_steps) if self.warmup_steps >= 1 else int(self.warmup_steps * self.steps)


class LearnWeights(Training):
    """Stage 1: the proxy is trained, and the weights of the tasks are learned."""

    negatives: int = Field(
        default=7, ge=1, description="how many of a row's hard negatives are used; stage 1 has no other negatives"
    )
    load: Annotated[str, AfterValidator(rules.check_weights_source)] | None = Field(
        default=None, description='"paper" or a weights file: skip stages 0 and 1 and use these weights'
    )
    eta: float | None = Field(
        default=None, gt=0, description="step size of the weights (the paper: 0.02); or give eta_times_steps"
    )
    eta_times_steps: float | None = Field(
        default=None,
        gt=0,
        description="how far the weights may move in all: eta is this divided by steps (20 if neither is given)",
    )
    max_norm: float | None = Field(
        default=1.0,
        gt=0,
        description="the measures of all tasks in a step are scaled down to this 2-norm (null: never)",
    )
    measure: Literal["relative", "excess", "raw", "relative_per_row"] = Field(
        default="relative",
        description="headroom of a task. relative: proxy loss / reference loss (the paper); excess: their "
        "difference; raw: the proxy loss; relative_per_row: as the released code has it",
    )
    offset: float = Field(
        default=0.0,
        ge=0,
        description="nats that are added to both mean losses before they are divided, so that a nearly solved "
        "task does not take all weight",
    )
    solved_below: float = Field(
        default=1e-3,
        gt=0,
        description="where both mean losses are below it (nats), the task counts as solved: its measure is 1",
    )
    average_steps: Annotated[int | Literal["auto"], BeforeValidator(rules.check_count_or_auto)] = Field(
        default="auto",
        description="both mean losses are averaged over this many of the last steps before they are divided (the "
        "paper: 1). auto: as many steps as have 16 rows of each task",
    )
    absent: Literal["last", "zero"] = Field(
        default="last",
        description="measure of a task that has no row in the step: its last one, or 0 as in the released code",
    )
    sampling: Literal["stratified", "random"] = Field(
        default="stratified",
        description="which tasks a step's rows are from. stratified: equally many of each, which has less noise; "
        "random: drawn (the paper)",
    )
    stage1_rows: Literal["all", "held_out", "cross_fit"] = Field(
        default="all",
        description="rows that stage 1 reads. all: those that the reference was trained on too (the paper); "
        "held_out: a share of each task that the reference does not see; cross_fit: all, with two "
        "references, each of which scores the rows that the other was trained on",
    )
    held_out_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of each task that is for stage 1 alone (held_out only)"
    )
    alpha: Literal["last", "mean", "ema"] = Field(
        default="last",
        description="which weights the fine-tunings get. last: those after the last step (the paper); mean: the mean "
        "over all steps; ema: the moving average, in which a step counts 0.1. Stage 1 keeps all three, so a "
        "change here learns nothing again",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_eta(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("eta") is None and data.get("eta_times_steps") is None:
            return {**data, "eta_times_steps": 20.0}
        return data

    @model_validator(mode="after")
    def _loaded_weights_are_one(self) -> LearnWeights:
        if self.load is not None and self.alpha != "last":
            raise wrong(f"loaded weights are one set, without a {self.alpha} over steps; remove alpha or load", "alpha")
        return self

    @model_validator(mode="after")
    def _one_eta(self) -> LearnWeights:
        if self.eta is not None and self.eta_times_steps is not None:
            raise wrong("give eta or eta_times_steps, not both", "eta")
        return self

    @property
    def eta_value(self) -> float:
        """The step size of the weights, whether ``eta`` or ``eta_times_steps`` is given."""
        return self.eta if self.eta is not None else (self.eta_times_steps or 0.0) / self.steps

    def averaged_steps(self, n_tasks: int) -> int:
        """Steps that the mean losses are averaged over; ``auto``: enough for 16 rows of each task."""
        if self.average_steps == "auto":
            return max(1, math.ceil(16 * n_tasks / self.batch))
        return self.average_steps


class Gain(Section):
    """Transfer gain, the second way to learn weights: for recipes with the mixture ``gain``. The proxy is the recipe's
    ``base``, trained with the settings of ``reference``."""

    rounds: int = Field(
        default=10, ge=1, description="how often the gains are measured, and the weights moved, in the training"
    )
    trial_steps: int = Field(default=3, ge=1, description="steps that are tried on each task in a round, and undone")
    held_out_rows: int = Field(
        default=256,
        ge=1,
        description="most rows of a task that are kept from the proxy to measure losses on; never more than a fifth",
    )
    floor: float = Field(
        default=0.02, ge=0, lt=1, description="share of the weights that all tasks get equally, so that none dies out"
    )
    move: float = Field(
        default=3.0,
        gt=0,
        description="how far log weights may move in all rounds together, in standard deviations of the gain",
    )
    steps: int | None = Field(
        default=None, ge=1, description="optimizer steps of the proxy, without the trials (null: those of reference)"
    )

    def training(self, reference: Training) -> Training:
        """The settings of the proxy's training: those of the reference, with the steps given here."""
        return reference.model_copy(update={"steps": self.steps or reference.steps})


class Finetune(Training):
    """Stage 2: a group of fine-tunings that differ in mixture and seed only, and are compared."""

    name: Name = Field(description="name of the group; its models are in models/<name>/ of the run folder")
    base: Base | None = Field(default=None, description="the model to fine-tune (null: the recipe's base)")
    mixtures: Several[MixtureName] = Field(
        default=("uniform", "top-70"),
        description="what to train on. uniform: every task equally often; proportional: by the tasks' rows; "
        "reweight: by the learned weights; top-P or bottom-P: the P % of the tasks with the largest "
        "or smallest weights, equally often; loss-reweight: uniform, and each step's gradient, after "
        "clipping, is multiplied by number of tasks x weight; gain: by the weights of transfer gain. With an exponent: "
        "proportional^0.5: by rows^0.5; reweight^0.5 and gain^0.5: by weight^0.5; top-70^0.5: the same 70 % of the "
        "tasks, by weight^0.5",
    )
    seeds: Several[Seed] = Field(default=(1,), description="every mixture is trained once with each seed")
    draw: Literal["systematic", "random"] = Field(
        default="systematic",
        description="which task a batch is from. systematic: each task gets its exact share of the steps, which "
        "has less noise; random: drawn",
    )
    max_epochs: float | None = Field(
        default=None,
        gt=0,
        description="no row is seen more often than this; the other tasks take over the rest of the task's share "
        "(null: no cap)",
    )
    untrained: bool = Field(default=True, description="also evaluate the base before any training")
    merge: bool = Field(
        default=False,
        description="save LoRA adapters merged into the base's weights instead of alone. They are always merged "
        "if the base is nowhere to be had: cut to its first layers, from GGUF, from a package, or "
        "with a row more for a new pad token",
    )


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
    def trains_proxy(self) -> bool:
        """Whether weights are learned here, and so the recipe's ``base`` is trained."""
        return self.learns_gain or (self.learns_alpha and not self.weights.load)

    def _gain_fits(self) -> None:
        """Raise if the proxy of gain has fewer steps than rounds, or none after its warm-up."""
        if not self.learns_gain:
            return
        steps = self.gain.training(self.reference).steps
        if self.gain.rounds > steps:
            raise wrong(f"{self.gain.rounds} rounds do not fit into {steps} steps of training", "gain", "rounds")
        warmup = self.reference.warmup_steps
        if warmup >= 1 and warmup >= steps:
            raise wrong(f"the warm-up of reference, {warmup:g} steps, does not end within them", "gain", "steps")

    def _groups_differ(self) -> None:
        """Raise if two groups have one name: each is a folder."""
        for index, group in enumerate(self.finetune):
            if any(group.name == other.name for other in self.finetune[:index]):
                raise wrong(f"another group is named {group.name!r} too", "finetune", index, "name")

    def _enough_negatives(self) -> None:
        """Raise if a training wants more hard negatives than a row has after mining, or none where a task needs some.

        A task without in-batch negatives needs at least one hard negative in each row.
        """
        stages: list[tuple[tuple[str | int, ...], int]] = [
            (("reference",), self.reference.negatives),
            (("weights",), self.weights.negatives),
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
