"""What the stages of a run share: the mixture with its negatives, base models, and tokens. Each is made once.

Everything here is made when it is first asked for, so that a run whose stages are all done loads nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.console import say
from tdro.data.index import MixtureIndex
from tdro.data.index_files import kept_index
from tdro.data.mixture import mixture_fingerprint, read_mixture
from tdro.data.sample import build_sample
from tdro.data.source_mixture import source_mixture
from tdro.data.task import Mixture, Task, TestSet
from tdro.data.token_files import kept_tokens
from tdro.data.wheels import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.mining.dense import embedder_of
from tdro.mining.mine import mine_mixture
from tdro.mining.settings import Mining
from tdro.recipe import Base, Recipe
from tdro.retriever.base import build_base, load_model, set_dropout
from tdro.retriever.base_notes import base_notes
from tdro.retriever.check import model_fingerprint
from tdro.retriever.machine import Machine, in_turn
from tdro.retriever.prompts import saved_prompts
from tdro.retriever.saving import Saving, public_base
from tdro.retriever.steps import TokenizedMixture

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

# Keys of data that say what the mixture is; its fingerprint (and the pipeline's inputs) have what came of them.
_IN_MIXTURE = {"mixture", "sources", "test_sets", "tests", "hard_negatives_only"}


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk: its folder, the fingerprint of its content, and its settings."""

    path: Path
    fingerprint: str
    settings: Base


class Prepared:
    """Data and models of a recipe, made on first use.

    Args:
        recipe: the recipe.
        folder: the run's folder; mined negatives, numbers and tokens of the texts are kept there.
        machine: where the models are loaded.
    """

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine) -> None:
        self.recipe, self.folder, self.machine = recipe, folder, machine
        self._bases: dict[str, BaseModel] = {}
        self._tokens: dict[str, TokenizedMixture] = {}

    @functools.cached_property
    def unmined(self) -> Mixture:
        """The tasks as they are on disk, and the chosen test sets."""
        data = self.recipe.data
        if data.mixture is None:
            mixture = source_mixture(data, lambda line: say(line, self.machine.main))
        elif data.mixture == "sample":
            mixture = read_mixture(build_sample(cache_folder() / "sample-mixture"), data.tasks)
        else:
            mixture = read_mixture(Path(data.mixture).expanduser(), data.tasks)
        tests = _chosen_tests(mixture.tests, data.tests)
        if not data.prompts:  # what is trained without prompts is judged without
            tests = [replace(test, instruction="") for test in tests]
        return Mixture(_with_hard_negatives_only(mixture.tasks, data.hard_negatives_only or ()), tests)

    @functools.cached_property
    def mixture(self) -> Mixture:
        """The tasks, with negatives mined for the rows that lack them, and the chosen test sets."""
        with in_turn(self.machine):
            unmined = self.unmined
        keys, folder = self.recipe.negatives, self.folder / "negatives"
        if keys.mine == "none":
            return unmined
        settings = Mining(keys.mine, keys.per_row, keys.ranks, keys.margin, keys.relative_margin, random=True)
        embedder = None
        if settings.dense:
            embedder = embedder_of(
                keys.model,
                folder / "embeddings",
                self.machine,
                prompts=self.recipe.data.prompts,
                trust_remote_code=self.recipe.trust_remote_code,
            )
        return mine_mixture(unmined, settings, self.recipe.seed, folder, embedder=embedder, machine=self.machine)

    @functools.cached_property
    def index(self) -> MixtureIndex:
        """The tasks' rows as numbers; made once and kept on disk."""
        tasks, content = self.mixture.tasks, self.inputs["mixture"]
        with in_turn(self.machine):
            index = kept_index(tasks, self.folder / "index", content, self.recipe.data.prompts)
        index.require_negatives(self.mixture)
        return index

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """What every training depends on besides its own settings."""
        return {
            "mixture": mixture_fingerprint(Mixture(self.mixture.tasks)),  # other test sets ask for no other training
            "data": self.recipe.data.model_dump(mode="json", exclude=_IN_MIXTURE),
            "negatives": self.recipe.negatives.model_dump(mode="json"),
            "precision": "bf16" if self.machine.bf16 else "fp32",
        }

    def base(self, settings: Base) -> BaseModel:
        """A base model as a sentence-transformers folder, built into the user's cache and checked when it is new."""
        longest = max(self.recipe.data.query_tokens, self.recipe.data.passage_tokens)
        key = fingerprint(
            [settings.model_dump(mode="json", exclude={"lora", "gradient_checkpointing"}), self.recipe.seed, longest]
        )
        if key not in self._bases:
            path = cache_folder() / "bases" / key
            with in_turn(self.machine):
                if not (path / "modules.json").exists():
                    if not self.machine.main:  # transformers writes models on rank 0 only
                        raise UserError(
                            f"{path}: rank 0 has put a base model there, but it is not on this machine.\n"
                            "Set TDRO_CACHE to a folder that all machines see."
                        )
                    build_base(
                        settings,
                        path,
                        seed=self.recipe.seed,
                        max_tokens=longest,
                        trust_remote_code=self.recipe.trust_remote_code,
                    )
            self._bases[key] = BaseModel(path, model_fingerprint(path), settings)
        return replace(self._bases[key], settings=settings)  # others may differ in lora

    def check_bases(self) -> None:
        """Build the base of every training of the recipe; refuse one that cannot be trained, and say what training does
        not take over from it."""
        recipe = self.recipe
        first = [] if recipe.weights.load else [recipe.base]
        bases = [self.base(settings) for settings in (*first, *map(recipe.base_of, recipe.finetune))]
        with in_turn(self.machine):
            prompts = recipe.data.prompts and bool(saved_prompts(self.unmined))
        for base in {base.fingerprint: base for base in bases}.values():
            for line in base_notes(base.path, base.settings.source, base.settings.kind, prompts):
                logger.warning(line)

    def loader(self, base: BaseModel, dropout: bool = True) -> Callable[[], SentenceTransformer]:
        """A function that loads the base fresh, with adapters and checkpointing as its settings say."""

        def load() -> SentenceTransformer:
            model = load_model(
                base.path,
                device=self.machine.loading,
                computes_on=self.machine.device,
                lora=base.settings.lora,
                gradient_checkpointing=base.settings.gradient_checkpointing,
                bf16=self.machine.bf16,
                trained=True,
                trust_remote_code=self.recipe.trust_remote_code,
            )
            if not dropout:
                set_dropout(model, 0.0)
            return model

        return load

    def saving(self, base: BaseModel, merge: bool) -> Saving:
        """How a model that was trained from a base is saved: its prompts, and adapters merged or alone."""
        trusted = self.recipe.trust_remote_code
        alone = base.settings.lora is not None and not merge
        name = public_base(base.settings, base.path, trusted) if alone else None
        return Saving(
            prompts=saved_prompts(self.mixture) if self.recipe.data.prompts else {},
            merge_into=None if name else base.path,
            adapter_base=name,
            trust_remote_code=trusted,
        )

    def load(self, path: Path) -> SentenceTransformer:
        """A trained model of this run."""
        trusted = self.recipe.trust_remote_code
        return load_model(path, device=self.machine.device, bf16=self.machine.bf16, trust_remote_code=trusted)

    def tokens(self, base: BaseModel) -> TokenizedMixture:
        """All texts of the mixture as tokens of a base model; made once and kept on disk."""
        if base.fingerprint not in self._tokens:
            model = load_model(base.path, device="meta", trust_remote_code=self.recipe.trust_remote_code)
            data, index = self.recipe.data, self.index
            with in_turn(self.machine):
                queries, passages = (
                    kept_tokens(model, texts, longest, self.folder / "tokens", content=texts.digest, what=what)
                    for texts, longest, what in (
                        (index.queries, data.query_tokens, "queries"),
                        (index.passages, data.passage_tokens, "passages"),
                    )
                )
            self._tokens[base.fingerprint] = TokenizedMixture(index, queries, passages)
        return self._tokens[base.fingerprint]


def _chosen_tests(tests: list[TestSet], names: tuple[str, ...] | None) -> list[TestSet]:
    if names is None:
        return tests
    known = {test.name: test for test in tests}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"data.tests: the mixture has no test set '{unknown[0]}'; it has {', '.join(known)}")
    return [known[name] for name in names]


def _with_hard_negatives_only(tasks: list[Task], names: Sequence[str]) -> list[Task]:
    known = [task.name for task in tasks]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"data.hard_negatives_only: no task {unknown[0]!r}; there are {', '.join(known)}")
    return [replace(task, in_batch_negatives=False) if task.name in names else task for task in tasks]
