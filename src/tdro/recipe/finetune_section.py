"""The section of a group of fine-tunings: which mixtures it trains, with which seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tdro.recipe import rules
from tdro.recipe.messages import wrong
from tdro.recipe.names import longer_uniform
from tdro.recipe.section import Name, Seed, Several
from tdro.recipe.training_sections import Base, Training

TimesLonger = Annotated[float, Field(gt=1, le=10), AfterValidator(rules.check_times_longer)]
MixtureName = Annotated[str, AfterValidator(rules.check_mixture_name)]
Size = Annotated[int, Field(ge=1)]
RepoId = Annotated[str, AfterValidator(rules.check_repo_id)]


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
    fewer_seeds: dict[MixtureName, Annotated[int, Field(ge=1)]] = Field(
        default={},
        description="mixtures that are trained with the first N of the seeds alone, as in {bottom-50: 3}",
    )
    uniform_longer: Annotated[
        tuple[TimesLonger, ...], Field(strict=False), AfterValidator(rules.check_no_duplicates)
    ] = Field(
        default=(),
        description="also train uniform for so many times the steps, as in [1.5, 2]. The comparison then says how many "
        "times the steps uniform needs for what each mixture reaches",
    )
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
    uniform_last: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the steps, the last ones, in which every mixture samples all tasks equally: 0.3 trains "
        "70 % of the steps by the mixture and the rest as uniform does",
    )
    evaluate_every: int = Field(
        default=0,
        ge=0,
        description="score every model on data.development_sets each so many steps of its training and after the last "
        "one, and keep it as it was where its mean nDCG@10 over the sets was highest (0: never; the last step is kept)",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="stop a training when its score has not risen in so many evaluations in a row; needs "
        "evaluate_every (null: never)",
    )
    matryoshka: Annotated[
        tuple[Size, ...],
        Field(strict=False),
        AfterValidator(rules.check_sizes),
    ] = Field(
        default=(),
        description="sizes that an embedding may be cut to, as in [768, 256, 64], the width of the model among them. "
        "Training sums the loss over all of them, as Matryoshka does, and models are compared at each (empty: whole "
        "embeddings alone)",
    )
    untrained: bool = Field(default=True, description="also evaluate the base before any training")
    merge: bool = Field(
        default=False,
        description="save LoRA adapters merged into the base's weights instead of alone. They are always merged "
        "if the base is nowhere to be had: cut to its first layers, from GGUF, from a package, or "
        "with a row more for a new pad token",
    )

    push: dict[MixtureName, RepoId] = Field(
        default={},
        description="upload the model of a mixture to the Hugging Face hub at the end of `tdro run`, as in "
        "{top-70: owner/name}; that of the first seed. The repository is private, and made if it is new",
    )

    @model_validator(mode="after")
    def _pushed_are_mixtures(self) -> Finetune:
        for mixture, repo in self.push.items():
            if mixture not in self.mixtures:
                raise wrong(f"{mixture!r} is not among the mixtures of this group", "push")
            if list(self.push.values()).count(repo) > 1:
                raise wrong(f"two mixtures would go to {repo}", "push")
        return self

    @model_validator(mode="after")
    def _uniform_can_be_longer(self) -> Finetune:
        if self.uniform_longer and "uniform" not in self.mixtures:
            raise wrong("there is no uniform to compare with; add it to mixtures, or remove this", "uniform_longer")
        steps = [training.settings.steps for training in self.trainings() if training.settings is not self]
        if len({self.steps, *steps}) <= len(steps):
            raise wrong(f"of {self.steps} steps these are no different numbers of steps", "uniform_longer")
        return self

    @model_validator(mode="after")
    def _some_steps_are_uniform(self) -> Finetune:
        for settings in [each.settings for each in self.trainings()] if self.uniform_last else []:
            if not 0 < settings.uniform_steps < settings.steps:
                raise wrong(
                    f"{self.uniform_last:g} of {settings.steps} steps is {settings.uniform_steps}; it must be at least "
                    f"1 and fewer than {settings.steps}",
                    "uniform_last",
                )
        if self.uniform_last and self.max_epochs is not None:
            raise wrong("cannot be had together with max_epochs; remove one of them", "uniform_last")
        return self

    @model_validator(mode="after")
    def _evaluations_fit(self) -> Finetune:
        if self.evaluate_every >= self.steps:
            raise wrong(f"it must be fewer than the {self.steps} steps of the training", "evaluate_every")
        if self.patience is not None and not self.evaluate_every:
            raise wrong("nothing is evaluated in the training; set evaluate_every, or remove this", "patience")
        if self.uniform_longer and self.evaluate_every:
            raise wrong(
                "cannot be had together with uniform_longer, which compares steps: a model that is kept as it was "
                "earlier has had fewer; remove one of them",
                "evaluate_every",
            )
        return self

    @property
    def uniform_steps(self) -> int:
        """How many of the last steps are uniform in every mixture."""
        return round(self.uniform_last * self.steps)

    @model_validator(mode="after")
    def _fewer_seeds_are_of_mixtures(self) -> Finetune:
        for mixture, count in self.fewer_seeds.items():
            if mixture not in self.mixtures:
                raise wrong(f"{mixture!r} is not among the mixtures of this group", "fewer_seeds")
            if count >= len(self.seeds):
                raise wrong(f"{mixture!r}: {count} is not fewer than the {len(self.seeds)} seeds", "fewer_seeds")
        return self

    def trainings(self) -> list[GroupTraining]:
        """What the group trains: each mixture, and uniform for more steps where ``uniform_longer`` asks for it."""
        longer = [
            GroupTraining(longer_uniform(times), "uniform", self._with_steps(times), self.seeds)
            for times in self.uniform_longer
        ]
        counts = {mixture: self.fewer_seeds.get(mixture, len(self.seeds)) for mixture in self.mixtures}
        trainings = [GroupTraining(name, name, self, self.seeds[:count]) for name, count in counts.items()]
        return [*trainings, *longer]

    def _with_steps(self, times: float) -> Finetune:
        return self.model_copy(update={"steps": round(times * self.steps)})


@dataclass(frozen=True)
class GroupTraining:
    """A training that a group does once for each of some seeds.

    Attributes:
        name: of its models, without the seed: the mixture's, or ``uniform-1.5x`` for uniform that is trained longer.
        mixture: what it is sampled by.
        settings: those of the group, but for the steps of uniform that is trained longer.
        seeds: one training each.
    """

    name: str
    mixture: str
    settings: Finetune
    seeds: tuple[int, ...]
