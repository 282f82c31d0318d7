"""What the stages of a run share: its training data, its base models, and the data as tokens of each base."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tdro.data.mixtures.facts import DataFacts
from tdro.data.tokens.mixture_index import MixtureIndex
from tdro.data.tokens.token_files import kept_tokens
from tdro.data.tokens.tokenize import tokenize
from tdro.files import fingerprint
from tdro.machine import Machine, in_turn
from tdro.models.load import load_model
from tdro.recipe.schema import Recipe
from tdro.run.base_models import BaseModel, BaseModels
from tdro.run.target_data import TargetData
from tdro.run.training_data import RunData
from tdro.training.steps import TokenizedMixture

_SAME_DATA = {"data", "negatives", "seed", "precision", "device", "trust_remote_code"}


class Workspace:
    """Data and models of a recipe, each made when it is first asked for.

    Args:
        recipe: the recipe.
        folder: the run's folder. Mined negatives, the index of the texts and their tokens are kept there.
        machine: where models are loaded, and the ranks that share the work.
        known_facts: see :class:`tdro.run.training_data.RunData`.

    Attributes:
        data: the training data and the test sets.
        models: the base models.
        target: what ``gain.target`` names; None where the recipe has none.
    """

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine, known_facts: DataFacts | None = None) -> None:
        self.recipe, self.folder, self.machine = recipe, folder, machine
        self.data = RunData(recipe, folder, machine, known_facts)
        self.models = BaseModels(recipe, machine, self.data)
        self.target = TargetData(recipe, self.data) if recipe.gain.target is not None else None
        self._tokens: dict[str, TokenizedMixture] = {}

    def tokens(self, base: BaseModel) -> TokenizedMixture:
        """All texts of the mixture as tokens of a base; made once and kept on disk."""
        if base.fingerprint not in self._tokens:
            model = load_model(base.path, device="meta", trust_remote_code=self.recipe.trust_remote_code)
            settings, index = self.recipe.data, self.data.index
            with in_turn(self.machine):
                queries, passages = (
                    kept_tokens(model, texts, longest, self.folder / "tokens", content=texts.digest, texts_name=name)
                    for texts, longest, name in (
                        (index.queries, settings.query_tokens, "queries"),
                        (index.passages, settings.passage_tokens, "passages"),
                    )
                )
            self._tokens[base.fingerprint] = TokenizedMixture(index, queries, passages)
        return self._tokens[base.fingerprint]

    def tokenized(self, base: BaseModel, index: MixtureIndex) -> TokenizedMixture:
        """The texts of an index that is in memory, as tokens of a base; nothing is kept on disk."""
        model = load_model(base.path, device="meta", trust_remote_code=self.recipe.trust_remote_code)
        settings = self.recipe.data
        return TokenizedMixture(
            index,
            tokenize(model, index.queries, settings.query_tokens, "queries"),
            tokenize(model, index.passages, settings.passage_tokens, "passages"),
        )


def shared_workspace(recipe: Recipe, folder: Path, machine: Machine) -> Workspace:
    """The workspace of a recipe in a folder, the same for all recipes with the same data.

    A study has a recipe for each variant, and a worker process gets one with each task; so the data are read once.
    """
    content = fingerprint(recipe.model_dump(mode="json", include=_SAME_DATA))
    return _workspace(folder, content, _Hidden(recipe), machine)


@dataclass(frozen=True)
class _Hidden:
    """A value that does not count when calls are compared: the cache goes by the fingerprint beside it."""

    recipe: Recipe = field(compare=False)


@lru_cache(maxsize=4)
def _workspace(folder: Path, content: str, hidden: _Hidden, machine: Machine) -> Workspace:
    return Workspace(hidden.recipe, folder, machine)
