"""The rows and the models that the parts train: tasks of the mixture, tokenized once, and bases built from folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from made_up import random_decoder
from sentence_transformers import SentenceTransformer
from sizes import Sizes

from tdro.data.mixtures.folder import read_mixture
from tdro.data.plan.row_plans import HomogeneousPlan, MixedPlan
from tdro.data.plan.task_order import draw_tasks
from tdro.data.task import Mixture, Task
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.tokenize import tokenize
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mining_settings import MiningSettings
from tdro.models.base import build_base
from tdro.models.dropout import disable_dropout
from tdro.models.load import load_model
from tdro.recipe.training_sections import Base
from tdro.training.steps import MakeLabels, PlannedSteps, TokenizedMixture, text_labels


@dataclass(frozen=True)
class Rows:
    """Everything that a part trains on.

    Attributes:
        sizes: how large it is.
        folder: where models are built.
    """

    sizes: Sizes
    folder: Path

    @cached_property
    def mixture(self) -> Mixture:
        """The tasks, each cut to its first rows, with hard negatives; and the test sets."""
        whole = read_mixture(self.sizes.mixture)
        tasks = [_first(task, self.sizes.rows) for task in whole.tasks]
        settings = MiningSettings("bm25", self.sizes.negatives, random=True)
        mined = mine_mixture(Mixture(tasks), settings, 1, self.folder / "negatives")
        return Mixture(mined.tasks, whole.tests)

    @cached_property
    def data(self) -> TokenizedMixture:
        """Their tokens. All models here have the base's tokenizer."""
        index, model = index_mixture(self.mixture.tasks), load_model(self.base, device="cpu")
        queries, passages = self.sizes.tokens
        return TokenizedMixture(
            index, tokenize(model, index.queries, queries), tokenize(model, index.passages, passages)
        )

    @cached_property
    def base(self) -> Path:
        """The base as a sentence-transformers folder."""
        return self._built("base", Base.model_validate(self.sizes.base))

    @cached_property
    def small(self) -> Path:
        """A small decoder at random weights, on which a CPU can be compared with a GPU."""
        return self._random("small", self.sizes.small)

    def large(self, name: str) -> Path:
        """A decoder of the sizes of this name, at random weights."""
        return self._random(name, self.sizes.large[name])

    def load(self, path: Path, device: str, bf16: bool = False) -> SentenceTransformer:
        """A model to be trained, fresh, without dropout."""
        model = load_model(path, device=device, bf16=bf16, trained=True)
        disable_dropout(model)
        return model

    def mixed(self, steps: int, labels: MakeLabels = text_labels) -> PlannedSteps:
        """Steps of stage 1, with rows of all tasks."""
        sizes = [len(task) for task in self.data.index.tasks]
        plan = MixedPlan(sizes, self.sizes.batch, steps, seed=1)
        return PlannedSteps(self.data, plan, self.sizes.negatives, labels)

    def of_one_task(self, steps: int, batch: int | None = None) -> PlannedSteps:
        """Steps of a fine-tuning, with rows of one task each."""
        sizes = [len(task) for task in self.data.index.tasks]
        tasks = draw_tasks(np.full(len(sizes), 1 / len(sizes)), steps, 1)
        plan = HomogeneousPlan(sizes, batch or self.sizes.batch, tasks, 1)
        return PlannedSteps(self.data, plan, self.sizes.negatives, text_labels)

    def _random(self, name: str, sizes: dict[str, int]) -> Path:
        tokenizer = load_model(self.base, device="cpu").tokenizer
        bare = self.folder / "bare" / name
        if not (bare / "config.json").exists():
            random_decoder(bare, sizes, tokenizer)
        return self._built(name, Base(kind="decoder", source=str(bare)))

    def _built(self, name: str, base: Base) -> Path:
        path = self.folder / "bases" / name
        if not (path / "modules.json").exists():
            build_base(base, path, max_tokens=max(self.sizes.tokens))
        return path


def _first(task: Task, rows: int) -> Task:
    return replace(task, rows=task.rows.select(range(min(rows, len(task)))))
