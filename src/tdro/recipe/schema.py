"""The recipe: every setting of a run, typed and documented once, here. YAML in, YAML out.

``load_recipe`` reads a file and refuses what cannot work (an unknown key, a wrong type, a missing file, an
impossible value) by file, line and key before anything heavy is imported. The descriptions below are the
documentation: ``docs/recipe.md`` and ``tdro recipe --keys`` are made from them. Defaults are the paper's
(arXiv 2408.10613) unless the description says otherwise. Rejected: dataclasses with hand-written checks (the
same rules twice) and unions of shapes for one key (their error messages name alternatives that nobody
wrote).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from tdro.errors import UserError
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
        description="static: a vector a token, random start, mean; decoder: LLM, last token; encoder: mean"
    )
    source: Annotated[str, AfterValidator(rules.check_model)] = Field(
        description='"smollm2", "minilm", a folder or a hub id; for static: whose tokenizer to take'
    )
    dimension: int | None = Field(
        default=None, ge=1, description="length of the vectors (static only; 256 if not given)"
    )
    layers: int | None = Field(default=None, ge=1, description="keep this many first layers (decoder only; null: all)")
    lora: Lora | None = Field(default=None, description="train adapters only (null: train every weight)")
    gradient_checkpointing: bool = Field(
        default=False,
        description="recompute activations in the backward pass: less memory, slower; same result",
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
    negatives: int = Field(default=1, ge=0, description="hard negatives used of each row")
    temperature: float = Field(default=0.002, gt=0, description="what cosine similarities are divided by")
    learning_rate: float = Field(default=1e-4, gt=0, description="peak learning rate (AdamW)")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how it falls after warm-up"
    )
    warmup_steps: float = Field(
        default=0.1,
        ge=0,
        description="steps over which it rises; below 1: the share of all steps that this takes",
    )
    floor: float = Field(default=0.1, ge=0, le=1, description="where it ends, as a share of the peak")
    weight_decay: float = Field(default=0.1, ge=0, description="of AdamW")
    chunk_rows: int = Field(
        default=32,
        ge=1,
        description="rows through the model at a time: for memory and speed; does not change the result",
    )
    gradient_caching: bool = Field(
        default=False,
        description="one more forward pass, so that a batch of any size fits in memory; same result",
    )
    checkpoint_steps: int = Field(
        default=0, ge=0, description="save a checkpoint to resume from each n steps (0: never)"
    )

    @model_validator(mode="after")
    def _warmup_fits(self) -> Training:
        rules.check_warmup(self.warmup_steps, self.steps)
        return self

    @property
    def warmup(self) -> int:
        """Warm-up in steps, also where the recipe gives a share."""
        return int(self.warmup_steps) if self.warmup_steps >= 1 else int(self.warmup_steps * self.steps)


class LearnWeights(Training):
    """Stage 1: the proxy is trained, and the weights of the tasks are learned."""

    negatives: int = Field(default=7, ge=1, description="hard negatives used of each row; stage 1 has no others")
    load: Annotated[str, AfterValidator(rules.check_weights_source)] | None = Field(
        default=None, description='"paper" or a weights file: skip stages 0 and 1 and use these weights'
    )
    eta: float | None = Field(
        default=None, gt=0, description="step size of the weights (the paper: 0.02). Or give the next"
    )
    eta_times_steps: float | None = Field(
        default=None,
        gt=0,
        description="how far the weights may move in all: eta is this / steps (20 if neither is given)",
    )
    max_norm: float | None = Field(
        default=1.0, gt=0, description="the measures of a step are scaled down to this 2-norm (null: never)"
    )
    measure: Literal["relative", "excess", "raw", "relative_per_row"] = Field(
        default="relative",
        description="headroom of a task. relative: proxy loss / reference loss (the paper); excess: their "
        "difference; raw: the proxy loss; relative_per_row: as the released code has it",
    )
    offset: float = Field(
        default=0.0, ge=0, description="nats added to both mean losses before dividing; damps a collapse"
    )
    solved_below: float = Field(
        default=1e-3, gt=0, description="both mean losses below it (nats): solved, its measure is 1"
    )
    average_steps: Annotated[int | Literal["auto"], BeforeValidator(rules.check_count_or_auto)] = Field(
        default="auto",
        description="average both mean losses over this many last steps before dividing (the paper: 1). "
        "auto: as many as give 16 rows a task",
    )
    absent: Literal["last", "zero"] = Field(
        default="last",
        description="measure of a task without a row in the step: its last one, or 0 as in the released code",
    )
    sampling: Literal["stratified", "random"] = Field(
        default="stratified",
        description="tasks of a step's rows: equally many of each (less noise), or drawn (the paper)",
    )
    stage1_rows: Literal["all", "held_out", "cross_fit"] = Field(
        default="all",
        description="all: rows the reference was trained on too (the paper); held_out: a share of each task "
        "is kept from it; cross_fit: two references, each scores the rows the other was trained on",
    )
    held_out_share: float = Field(
        default=0.2, gt=0, lt=1, description="share of each task for stage 1 alone (held_out only)"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_eta(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("eta") is None and data.get("eta_times_steps") is None:
            return {**data, "eta_times_steps": 20.0}
        return data

    @model_validator(mode="after")
    def _one_eta(self) -> LearnWeights:
        if self.eta is not None and self.eta_times_steps is not None:
            raise wrong("give eta or eta_times_steps, not both", "eta")
        return self

    @property
    def eta_value(self) -> float:
        """Step size of the weights, whichever of the two keys gave it."""
        return self.eta if self.eta is not None else (self.eta_times_steps or 0.0) / self.steps

    def averaged_steps(self, n_tasks: int) -> int:
        """Steps that the mean losses are averaged over: as given, or enough for 16 rows a task."""
        if self.average_steps == "auto":
            return max(1, math.ceil(16 * n_tasks / self.batch))
        return self.average_steps


class Finetune(Training):
    """Stage 2: a group of fine-tunings that differ in mixture and seed only, and are compared."""

    name: Name = Field(description="of the group; its models lie in models/<name>/ of the run folder")
    base: Base | None = Field(default=None, description="model to fine-tune (null: the recipe's base)")
    mixtures: Several[MixtureName] = Field(
        default=("uniform", "top-70"),
        description="what to train on: uniform; proportional (to rows); reweight (the weights are the "
        "sampling ratios); top-P or bottom-P (the P % of the tasks with the largest or smallest weights); "
        "loss-reweight (uniform, each step's gradient, after clipping, times tasks x weight)",
    )
    seeds: Several[Seed] = Field(default=(1,), description="each mixture is trained once with each seed")
    draw: Literal["systematic", "random"] = Field(
        default="systematic",
        description="tasks of the batches: each its exact share of the steps (less noise), or drawn",
    )
    max_epochs: float | None = Field(
        default=None, gt=0, description="no task is seen more often; the others take its share (null: no cap)"
    )
    untrained: bool = Field(default=True, description="also evaluate the base as it is")
    merge: bool = Field(
        default=False,
        description="save LoRA adapters merged into the base's weights, not alone. Always so where nobody else has the "
        "base: cut to its first layers, from GGUF, from a package, or with a row more for a new pad token",
    )


class Evaluate(Section):
    """The comparison of the mixtures on the test sets."""

    permutations: int = Field(default=10000, ge=1, description="sign flips of the paired test between two mixtures")
    bootstrap: int = Field(default=2000, ge=1, description="has no effect: the intervals are computed, not drawn")
    bm25: bool = Field(default=True, description="also score BM25, what matching words alone gives")


class Recipe(Section):
    """All settings of a run."""

    name: Name = Field(description="of the run: letters, digits, '_', '-' and '.'")
    folder: Annotated[Path, Field(strict=False), AfterValidator(rules.check_run_folder)] = Field(
        default=Path(),
        description="where everything of the run goes, relative to the current folder (default: runs/<name>)",
    )
    seed: Seed = Field(default=13, description="of everything random but the fine-tunings, which have their own")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="auto: bf16 where the device computes in it, else fp32"
    )
    device: Annotated[str, AfterValidator(rules.check_device)] = Field(
        default="auto", description="auto, cpu, mps, cuda or cuda:N; auto: the best there is"
    )
    trust_remote_code: bool = Field(default=False, description="let a model's hub repository run its own code here")
    data: Data = Field(default_factory=Data, description="what is trained on and judged by")
    negatives: Negatives = Field(default_factory=Negatives, description="mining of hard negatives")
    base: Base = Field(description="the proxy and the reference; also the default of the fine-tunings")
    reference: Training = Field(default_factory=Training, description="stage 0: the reference, uniform weights")
    weights: LearnWeights = Field(default_factory=LearnWeights, description="stage 1: learning the weights")
    finetune: Annotated[tuple[Finetune, ...], Field(strict=False, min_length=1)] = Field(
        default_factory=lambda: (Finetune(name="main"),),
        description='stage 2: groups of fine-tunings (default: one, "main", with the defaults)',
    )
    evaluate: Evaluate = Field(default_factory=Evaluate, description="the comparison")

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
        return self

    def _groups_differ(self) -> None:
        """Groups have different names (each is a folder)."""
        for index, group in enumerate(self.finetune):
            if any(group.name == other.name for other in self.finetune[:index]):
                raise wrong(f"another group is named {group.name!r} too", "finetune", index, "name")

    def _enough_negatives(self) -> None:
        """No training uses more hard negatives than mining leaves in a row, or none where a task has no others."""
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
        """The recipe with ``merge`` in every group."""
        groups = tuple(group.model_copy(update={"merge": True}) for group in self.finetune)
        return self.model_copy(update={"finetune": groups})

    def to_yaml(self) -> str:
        """The recipe with every default written out; ``load_recipe`` of it gives an equal recipe."""
        data = self.model_dump(mode="json")
        data["finetune"] = [{"name": group["name"], **group} for group in data["finetune"]]
        return yaml.dump(data, Dumper=RecipeDumper, sort_keys=False, allow_unicode=True, width=110)


def load_recipe(path: Path | str, data_may_be_gone: bool = False) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: of the file.
        data_may_be_gone: do not ask whether the sources' files are there; to evaluate and report needs none.

    Raises:
        UserError: the file is missing, is not YAML, or holds an unknown key, a wrong type, a missing file or
            an impossible value; a line for each of the first three, by file, line and key.
    """
    data, node = read_yaml(path)
    try:
        return Recipe.model_validate(data, context={"data_may_be_gone": data_may_be_gone})
    except ValidationError as error:
        raise UserError(explain_errors(error, path, node, Recipe)) from None
