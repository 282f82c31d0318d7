"""The recipe's sections about models and their trainings: the base, stages 0, 1 and 2, and transfer gain.

They are apart from :mod:`tdro.recipe.schema` only because that page would be too long; the rules are the same.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tdro.recipe import rules
from tdro.recipe.messages import wrong
from tdro.recipe.section import Section
from tdro.recipe.target_section import Target


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
        description="texts that go through the model at a time: a matter of memory and speed, not of the result; "
        "on a GPU take as many as fit, up to about 1024",
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
    initial: Literal["uniform", "rows"] = Field(
        default="uniform",
        description="where the weights start. uniform: all tasks equally (the paper); rows: each task by its rows",
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
    target: Target | None = Field(
        default=None,
        description="what the gain is measured on (null: the held-out rows of every task, equally): see `gain.target`",
    )

    def training(self, reference: Training) -> Training:
        """The settings of the proxy's training: those of the reference, with the steps given here."""
        return reference.model_copy(update={"steps": self.steps or reference.steps})
