"""What the stages of a run share: facts and keys of the training data, the mixture with its negatives, base models, and
tokens. Each is made once, when it is first asked for, so that a run whose stages are all done mines and loads nothing.

What a stage's key says of the data is known before anything is mined: the rows as they are on disk, and how they are
mined. Rejected: the fingerprint of the mined rows, for which nine minutes of mining come before a line that says that
something else is missing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdro.console import say
from tdro.data.mixtures.facts import DataFacts, facts_of
from tdro.data.mixtures.folder import mixture_fingerprint, read_tasks, read_tests, task_instructions
from tdro.data.mixtures.from_recipe import source_mixture, source_tests
from tdro.data.task import Mixture, Task, TestSet, prompt_of
from tdro.data.tokens.index_files import kept_index
from tdro.data.tokens.mixture_index import MixtureIndex, no_negatives
from tdro.data.tokens.stored_texts import negative_counts
from tdro.data.tokens.token_files import kept_tokens
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.machine import Machine, in_turn
from tdro.mining.dense import Embedder, embedder_of
from tdro.mining.mine import VERSION as MINING_VERSION
from tdro.mining.mine import check_minable, mine_mixture
from tdro.mining.settings import Mining
from tdro.models.base import build_base
from tdro.models.base_notes import base_notes
from tdro.models.base_tokens import BaseTokens
from tdro.models.dropout import set_dropout
from tdro.models.fingerprint import model_fingerprint
from tdro.models.load import load_model
from tdro.models.prompts import neutral_prompt, saved_prompts
from tdro.models.saving import Saving, public_base
from tdro.models.sources import source_content
from tdro.planning.cuts import tokens_as_trained
from tdro.quickstart import build_sample
from tdro.recipe.schema import Base, Recipe
from tdro.training.steps import TokenizedMixture

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tdro.recipe.data_sections import Data

logger = logging.getLogger(__name__)

# Keys of data that say what the mixture is; its fingerprint (and the pipeline's inputs) have what came of them.
_IN_MIXTURE = {"mixture", "sources", "tasks", "test_sets", "tests", "hard_negatives_only"}


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk: its folder, the fingerprint of its content, and its settings."""

    path: Path
    fingerprint: str
    settings: Base


def mixture_on_disk(recipe: Recipe) -> Mixture:
    """A recipe's tasks as they are on disk, without mined negatives, and its test sets. Nothing is written."""
    return Prepared(recipe, recipe.folder, Machine()).unmined


class Prepared:
    """Data and models of a recipe, made on first use.

    Args:
        recipe: the recipe.
        folder: the run's folder; mined negatives, numbers and tokens of the texts are kept there.
        machine: where the models are loaded.
        known: the facts of the training data, to be taken where these cannot be read any more; None for a command that
            needs them.
    """

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine, known: DataFacts | None = None) -> None:
        self.recipe, self.folder, self.machine, self._known = recipe, folder, machine, known
        self.data_gone = ""  # why the training data could not be read, where that is no error
        self._bases: dict[str, BaseModel] = {}
        self._tokens: dict[str, TokenizedMixture] = {}

    @functools.cached_property
    def unmined(self) -> Mixture:
        """The tasks as they are on disk, and the chosen test sets."""
        data = self.recipe.data
        told = functools.partial(say, main=self.machine.main)
        if data.mixture is None:
            tasks = source_mixture(data, told).tasks
        else:
            tasks = read_tasks(self._mixture_folder, data.tasks, told)
        return Mixture(_with_hard_negatives_only(tasks, data.hard_negatives_only or ()), self.tests)

    @functools.cached_property
    def tests(self) -> list[TestSet]:
        """The chosen test sets; no training data is read for them."""
        data = self.recipe.data
        tests = source_tests(data) if data.mixture is None else read_tests(self._mixture_folder, data.tasks)
        tests = _chosen_tests(tests, data.tests)
        if not data.prompts:  # what is trained without prompts is judged without
            tests = [replace(test, instruction="") for test in tests]
        return tests

    @functools.cached_property
    def _mixture_folder(self) -> Path:
        mixture = str(self.recipe.data.mixture)
        if mixture == "sample":
            return build_sample(cache_folder() / "sample-mixture")
        return Path(mixture).expanduser()

    @functools.cached_property
    def facts(self) -> DataFacts:
        """What the stages' keys need to know of the training data."""
        with in_turn(self.machine):
            try:
                return facts_of(self.unmined)
            except UserError as error:
                if self._known is None:
                    raise
                self.data_gone = str(error)
                return self._known

    @functools.cached_property
    def mining(self) -> Mining | None:
        """How negatives are mined; None where every row has enough, or none are to be mined."""
        keys = self.recipe.negatives
        if keys.mine == "none" or self.facts.fewest_negatives >= keys.per_row:
            return None
        return Mining(keys.mine, keys.per_row, keys.ranks, keys.margin, keys.relative_margin, random=True)

    @functools.cached_property
    def mixture(self) -> Mixture:
        """The tasks, with negatives mined for the rows that lack them, and the chosen test sets."""
        unmined = self.unmined
        if self.mining is None:
            return unmined
        folder, embedder = self.folder / "negatives", self._embedder if self.mining.dense else None
        return mine_mixture(unmined, self.mining, self.recipe.seed, folder, embedder=embedder, machine=self.machine)

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return embedder_of(
            self.recipe.negatives.model,
            self.folder / "negatives" / "embeddings",
            self.machine,
            prompts=self.recipe.data.prompts,
            trust_remote_code=self.recipe.trust_remote_code,
        )

    def check_negatives(self) -> None:
        """Raise :class:`UserError` for a task that would be left without negatives, before anything is mined."""
        for task in self.unmined.tasks:
            if self.mining is not None:
                check_minable(task, self.mining)
            elif len(lacking := np.flatnonzero(negative_counts(task.rows) == 0)):
                raise no_negatives(task, lacking)

    @functools.cached_property
    def _prompted(self) -> dict[str, int]:
        """The longest text after each prompt that the model keeps. No rows are read, which evaluation does not need."""
        data = self.recipe.data
        if not data.prompts:
            return {}
        instructions = _instructions(data)
        longest = {neutral_prompt({instruction for instruction, _ in instructions}): data.query_tokens}
        for instruction, symmetric in instructions:
            limit = max(data.query_tokens, data.passage_tokens) if symmetric else data.query_tokens
            prompt = prompt_of(instruction)
            longest[prompt] = max(limit, longest.get(prompt, 0))
        return {prompt: limit for prompt, limit in sorted(longest.items()) if prompt}

    @functools.cached_property
    def index(self) -> MixtureIndex:
        """The tasks' rows as numbers; made once and kept on disk."""
        tasks = self.mixture.tasks
        with in_turn(self.machine):
            content = mixture_fingerprint(Mixture(tasks))
            index = kept_index(tasks, self.folder / "index", content, self.recipe.data.prompts)
        index.require_negatives(self.mixture)
        return index

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """What every training depends on besides its own settings."""
        counted = {"limits": "of texts without their prompts"} if self.recipe.data.prompts else {}
        return {
            **counted,
            "mixture": self.facts.mixture,
            "data": self.recipe.data.model_dump(mode="json", exclude=_IN_MIXTURE),
            "negatives": self._mined_from(),
            "precision": "bf16" if self.machine.bf16 else "fp32",
        }

    def _mined_from(self) -> dict[str, Any]:
        """What the mined negatives depend on besides the rows; nothing where none are mined."""
        if self.mining is None:
            return {}
        keys = self.recipe.negatives.model_dump(mode="json", exclude={"model"})
        keys |= {"seed": self.recipe.seed, "version": MINING_VERSION}
        return keys | ({"model": source_content(self.recipe.negatives.model)} if self.mining.dense else {})

    def base(self, settings: Base) -> BaseModel:
        """A base model as a sentence-transformers folder, built into the user's cache and checked when it is new."""
        longest = max(self.recipe.data.query_tokens, self.recipe.data.passage_tokens)
        prompted = self._prompted if settings.kind == "decoder" else {}
        kept = settings.model_dump(mode="json", exclude={"lora", "gradient_checkpointing", "source"})
        made_of = [kept, source_content(settings.source), self.recipe.seed, longest]
        key = fingerprint([*made_of, *([prompted] if prompted else [])])
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
                        prompted=prompted,
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
        prompts = bool(self._prompted)
        for base in {base.fingerprint: base for base in bases}.values():
            for line in base_notes(base.path, base.settings.source, base.settings.kind, prompts):
                logger.warning(line)

    def tokens_as_trained(self, settings: Base) -> BaseTokens:
        """How the finished base reads texts, whatever it was made of."""
        return tokens_as_trained(self.base(settings).path, settings.source, self.recipe.trust_remote_code)

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
            prompts=saved_prompts(self.unmined) if self.recipe.data.prompts else {},
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


def _instructions(data: Data) -> list[tuple[str, bool]]:
    """Each task's instruction, and whether it stands before passages too."""
    if data.mixture is None:
        known = [(name, source.instruction, source.symmetric) for name, source in (data.sources or {}).items()]
    else:
        sample = data.mixture == "sample"
        known = task_instructions(
            build_sample(cache_folder() / "sample-mixture") if sample else Path(data.mixture).expanduser()
        )
    chosen = [entry for entry in known if data.tasks is None or entry[0] in data.tasks]
    return [(instruction, symmetric) for _, instruction, symmetric in chosen]


def _with_hard_negatives_only(tasks: list[Task], names: Sequence[str]) -> list[Task]:
    known = [task.name for task in tasks]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"data.hard_negatives_only: no task {unknown[0]!r}; there are {', '.join(known)}")
    return [replace(task, in_batch_negatives=False) if task.name in names else task for task in tasks]
