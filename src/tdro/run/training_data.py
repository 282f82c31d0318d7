"""The training data of a run: tasks, test sets, mined negatives, and what the stages' inputs say of them.

Each is made once, when it is first asked for. So a run whose stages are all done reads no rows, mines nothing and
loads no model: what a stage's inputs say of the data (the rows as they are on disk, and how they are mined) is known
before anything is mined. See docs/decisions.md, inputs-before-mining.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdro.console import say
from tdro.data.mixtures.facts import DataFacts, facts_of
from tdro.data.mixtures.folder import mixture_fingerprint, read_tasks, read_tests, task_instructions
from tdro.data.mixtures.from_recipe import as_test_set, source_mixture, source_tests
from tdro.data.task import Mixture, Task, TestSet, prompt_of
from tdro.data.tokens.index_files import kept_index
from tdro.data.tokens.mixture_index import MixtureIndex, no_negatives
from tdro.data.tokens.stored_texts import negative_counts
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.machine import Machine, in_turn
from tdro.mining.embedder import Embedder, embedder_of
from tdro.mining.mine_mixture import mine_alone, mine_mixture
from tdro.mining.mine_task import VERSION as MINING_VERSION
from tdro.mining.mine_task import check_minable
from tdro.mining.mining_settings import MiningSettings
from tdro.models.prompts import neutral_prompt
from tdro.models.sources import source_content
from tdro.quickstart import build_sample
from tdro.recipe.schema import Recipe

if TYPE_CHECKING:
    from tdro.recipe.data_sections import Data, TestFolder

# Keys of the recipe's ``data`` that say which rows there are. They are not among the inputs of a training, which have
# the fingerprint of the rows instead: the same rows from another place give the same model.
_SAY_WHICH_ROWS = {"mixture", "sources", "tasks", "test_sets", "development_sets", "tests", "hard_negatives_only"}


def mixture_on_disk(recipe: Recipe) -> Mixture:
    """A recipe's tasks as they are on disk, without mined negatives, and its test sets. Nothing is written."""
    return RunData(recipe, recipe.folder, Machine()).unmined


def development_on_disk(recipe: Recipe) -> list[TestSet]:
    """A recipe's development sets. Nothing is written."""
    return RunData(recipe, recipe.folder, Machine()).development


class RunData:
    """The data of a recipe, each part made when it is first asked for.

    Args:
        recipe: the recipe.
        folder: the run's folder. Mined negatives and the index of the texts are kept there.
        machine: where negatives are mined, and the ranks that share the work.
        known_facts: what an earlier run noted of the training data. Evaluation and report use it where the data
            themselves can no longer be read; None for a command that needs the data.
    """

    def __init__(self, recipe: Recipe, folder: Path, machine: Machine, known_facts: DataFacts | None = None) -> None:
        self.recipe, self.folder, self.machine, self._known_facts = recipe, folder, machine, known_facts
        self.unreadable = ""  # why the training data could not be read, where known facts stand in for them

    @functools.cached_property
    def unmined(self) -> Mixture:
        """The tasks as they are on disk, and the chosen test sets."""
        data = self.recipe.data
        tell = functools.partial(say, main=self.machine.main)
        if data.mixture is None:
            tasks = source_mixture(data, tell).tasks
        else:
            tasks = read_tasks(_mixture_folder(data), data.tasks, tell)
        return Mixture(_with_hard_negatives_only(tasks, data.hard_negatives_only or ()), self.tests)

    @functools.cached_property
    def tests(self) -> list[TestSet]:
        """The chosen test sets. No training data are read for them."""
        data = self.recipe.data
        tests = source_tests(data) if data.mixture is None else read_tests(_mixture_folder(data), data.tasks)
        tests = _chosen_tests(tests, data.tests)
        if not data.prompts:  # a model that was trained without prompts is evaluated without them
            tests = [replace(test, instruction="") for test in tests]
        return tests

    @functools.cached_property
    def development(self) -> list[TestSet]:
        """The development sets. One without an instruction takes that of its task, as a test set does.

        Raises:
            UserError: the mixture has no task of the name that one gives.
        """
        sets = self.recipe.data.development_sets or {}
        return [self.development_set(name, folder, "data.development_sets") for name, folder in sets.items()]

    def development_set(self, name: str, folder: TestFolder, key: str) -> TestSet:
        """A folder that the recipe's ``key`` names, with the instruction of its task unless it has its own.

        Raises:
            UserError: no such task.
        """
        data = self.recipe.data
        tasks = {task: (instruction, symmetric) for task, instruction, symmetric in _known_instructions(data)}
        if folder.task is not None and folder.task not in tasks:
            raise UserError(f"{key}.{name}.task: no task '{folder.task}'; there are {', '.join(tasks)}")
        own = tasks.get(folder.task or "", ("", False))
        instruction = own[0] if folder.instruction is None else folder.instruction
        symmetric = own[1] if folder.symmetric is None else folder.symmetric
        test = as_test_set(name, folder, data)
        return replace(test, instruction=instruction if data.prompts else "", symmetric=symmetric)

    @functools.cached_property
    def facts(self) -> DataFacts:
        """What the stages' inputs need to know of the training data: names, sizes, fingerprint."""
        with in_turn(self.machine):
            try:
                return facts_of(self.unmined)
            except UserError as error:
                if self._known_facts is None:
                    raise
                self.unreadable = str(error)
                return self._known_facts

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """How many rows each task has, by name."""
        return dict(zip(self.facts.names, self.facts.sizes, strict=True))

    @functools.cached_property
    def mining(self) -> MiningSettings | None:
        """How hard negatives are mined; None where every row has enough, or the recipe mines none."""
        keys = self.recipe.negatives
        if keys.mine == "none" or self.facts.fewest_negatives >= keys.per_row:
            return None
        return MiningSettings(keys.mine, keys.per_row, keys.ranks, keys.margin, keys.relative_margin, random=True)

    @functools.cached_property
    def mixture(self) -> Mixture:
        """The tasks with negatives mined for the rows that lack them, and the chosen test sets."""
        unmined = self.unmined
        if self.mining is None:
            return unmined
        folder, embedder = self.folder / "negatives", self._embedder if self.mining.dense else None
        return mine_mixture(unmined, self.mining, self.recipe.seed, folder, embedder=embedder, machine=self.machine)

    def mine_alone(self, name: str) -> None:
        """Mine the negatives of one task by BM25, and keep them where :attr:`mixture` finds them."""
        assert self.mining is not None
        task = next(task for task in self.unmined.tasks if task.name == name)
        mine_alone(task, self.mining, self.recipe.seed, self.folder / "negatives")

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
    def tokens_after_prompt(self) -> dict[str, int]:
        """For each prompt of the tasks, how many tokens of the longest text after it are kept; empty without prompts.

        It is worked out from the recipe alone, because evaluation needs it where the rows are gone.
        """
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
        """The rows of the tasks as numbers of distinct texts; made once and kept on disk."""
        tasks = self.mixture.tasks
        with in_turn(self.machine):
            content = mixture_fingerprint(Mixture(tasks))
            index = kept_index(tasks, self.folder / "index", content, self.recipe.data.prompts)
        index.require_negatives(self.mixture)
        return index

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """What every training depends on besides its own settings, as JSON."""
        limits = {"limits": "of texts without their prompts"} if self.recipe.data.prompts else {}
        return {
            **limits,
            "mixture": self.facts.mixture,
            "data": self.recipe.data.model_dump(mode="json", exclude=_SAY_WHICH_ROWS),
            "negatives": self._mining_inputs(),
            "precision": "bf16" if self.machine.bf16 else "fp32",
        }

    def _mining_inputs(self) -> dict[str, Any]:
        """What the mined negatives depend on besides the rows; empty where none are mined."""
        if self.mining is None:
            return {}
        keys = self.recipe.negatives.model_dump(mode="json", exclude={"model"})
        keys |= {"seed": self.recipe.seed, "version": MINING_VERSION}
        return keys | ({"model": source_content(self.recipe.negatives.model)} if self.mining.dense else {})


def _mixture_folder(data: Data) -> Path:
    """The mixture folder that the recipe names; the sample mixture is built where it is missing."""
    mixture = str(data.mixture)
    return build_sample(cache_folder() / "sample-mixture") if mixture == "sample" else Path(mixture).expanduser()


def _chosen_tests(tests: list[TestSet], names: tuple[str, ...] | None) -> list[TestSet]:
    if names is None:
        return tests
    known = {test.name: test for test in tests}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"data.tests: the mixture has no test set '{unknown[0]}'; it has {', '.join(known)}")
    return [known[name] for name in names]


def _instructions(data: Data) -> list[tuple[str, bool]]:
    """The instruction of each chosen task, and whether it stands before passages too."""
    chosen = [entry for entry in _known_instructions(data) if data.tasks is None or entry[0] in data.tasks]
    return [(instruction, symmetric) for _, instruction, symmetric in chosen]


def _known_instructions(data: Data) -> list[tuple[str, str, bool]]:
    """The name and instruction of each task, chosen or not, and whether it stands before passages too."""
    if data.mixture is None:
        return [(name, source.instruction, source.symmetric) for name, source in (data.sources or {}).items()]
    return task_instructions(_mixture_folder(data))


def _with_hard_negatives_only(tasks: list[Task], names: Sequence[str]) -> list[Task]:
    """The tasks, those of ``names`` without in-batch negatives."""
    known = [task.name for task in tasks]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"data.hard_negatives_only: no task {unknown[0]!r}; there are {', '.join(known)}")
    return [replace(task, in_batch_negatives=False) if task.name in names else task for task in tasks]
