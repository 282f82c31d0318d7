"""The models and the rows that the benchmarks run on: the sample mixture, a part of each task, tokenized once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sentence_transformers import SentenceTransformer

from tdro.data.mixtures.folder import read_mixture
from tdro.data.plan.row_plans import MixedPlan
from tdro.data.task import Mixture, Task
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.token_files import kept_tokens
from tdro.disk import cache_folder
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mining_settings import MiningSettings
from tdro.models.base import build_base
from tdro.models.dropout import disable_dropout
from tdro.models.load import load_model
from tdro.quickstart import build_sample
from tdro.recipe.training_sections import Base
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels

MODELS = {
    "smollm2": Base(kind="decoder", source="smollm2", layers=6),
    "smollm2-all": Base(kind="decoder", source="smollm2"),
    "minilm": Base(kind="encoder", source="minilm"),
}
NEGATIVES = 3
ROWS_PER_TASK = 1500


@dataclass(frozen=True)
class Material:
    """A base model's folder, and the tokens of the mixture for it."""

    model: str
    base: Path
    data: TokenizedMixture

    def load(self) -> SentenceTransformer:
        """The base, fresh, without dropout."""
        model = load_model(self.base, device="cpu")
        disable_dropout(model)
        return model

    def steps(self, steps: int, batch: int) -> PlannedSteps:
        """A stratified plan over all tasks, as stage 1 reads it."""
        plan = MixedPlan([len(task) for task in self.data.index.tasks], batch, steps, seed=1)
        return PlannedSteps(self.data, plan, NEGATIVES, text_labels)


def material(model: str, query_tokens: int, passage_tokens: int, tasks: int | None = None) -> Material:
    """Everything for one model, built into the user's cache on first use.

    Args:
        model: a key of :data:`MODELS`.
        query_tokens: longest query.
        passage_tokens: longest passage.
        tasks: how many tasks; the mixture's own if None. More than it has: some come twice, under another name.
    """
    folder = cache_folder() / "benchmark"
    base = folder / "bases" / model
    if not (base / "modules.json").exists():
        build_base(MODELS[model], base, max_tokens=max(query_tokens, passage_tokens))
    mixture = read_mixture(build_sample(cache_folder() / "sample-mixture"))
    mixture = Mixture([_part(task) for task in mixture.tasks])
    own = mine_mixture(mixture, MiningSettings("bm25", NEGATIVES, random=True), 1, folder / "negatives").tasks
    chosen = [replace(own[i % len(own)], name=f"{own[i % len(own)].name}-{i}") for i in range(tasks or len(own))]
    index = index_mixture(chosen)
    tokenizing = load_model(base, device="cpu")
    queries, passages = (
        kept_tokens(tokenizing, texts, longest, folder / "tokens", content=texts.digest)
        for texts, longest in ((index.queries, query_tokens), (index.passages, passage_tokens))
    )
    return Material(model, base, TokenizedMixture(index, queries, passages))


def _part(task: Task) -> Task:
    """At most :data:`ROWS_PER_TASK` rows, from everywhere in the task."""
    spread = max(1, len(task) // ROWS_PER_TASK)
    return replace(task, rows=task.rows.select(range(0, len(task), spread)[:ROWS_PER_TASK]))
