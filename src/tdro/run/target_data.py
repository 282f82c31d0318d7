"""What a recipe's ``gain.target`` names, as rows to measure losses on, and which test queries are looked at for it.

A test or development set becomes a task that nobody trains on: each of its queries is a row, with the relevant passages
as positives. Its negatives are passages of the set's own corpus, half found by BM25 and half drawn at random, as many
as ``negatives.per_row`` says. Of a large corpus a fixed sample is searched. See docs/decisions.md,
target-loss-in-the-whole-set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from tdro.data.mixtures.folder import beir_sha256
from tdro.data.plan.permute import mix, permute
from tdro.data.same_text import normalise
from tdro.data.task import Task, TestSet
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.data.testsets.halves import answered_queries, may_be_looked_at
from tdro.data.tokens.mixture_index import MixtureIndex, index_mixture
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.gain.held_out import SHARE
from tdro.gain.looked_at import LookedAt
from tdro.gain.losses import HeldOutSet
from tdro.gain.target import TargetSet
from tdro.mining.mine_task import VERSION as MINING_VERSION
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.recipe.schema import Recipe
from tdro.recipe.target_section import ALL, Target
from tdro.training.steps import TokenizedMixture

if TYPE_CHECKING:
    from tdro.run.training_data import RunData

LEAST = 10  # queries or rows of a set: of fewer, its loss says too little
PASSAGES = 10_000  # of a corpus that negatives are chosen from
_QUERIES, _PASSAGES = 51, 52  # streams of the seed


@dataclass(frozen=True)
class NamedSet:
    """A part of a target.

    Attributes:
        name: unique in the target.
        share: how much it counts; the shares sum to 1.
        test: the test or development set; None for a training task of that name.
        whole: whether all of its queries are looked at, and not half of them.
    """

    name: str
    share: float
    test: TestSet | None = None
    whole: bool = False

    @functools.cached_property
    def queries(self) -> dict[str, str]:
        """The queries that weights are learned on, by id; of a task none."""
        if self.test is None:
            return {}
        found = answered_queries(self.test.folder)
        return {key: text for key, text in found.items() if self.whole or may_be_looked_at(text)}


class TargetData:
    """The target of a recipe that has one. What it reads is read when it is first asked for.

    Args:
        recipe: the recipe.
        data: its training data and test sets.
    """

    def __init__(self, recipe: Recipe, data: RunData) -> None:
        assert recipe.gain.target is not None
        self.recipe, self.data, self._target = recipe, data, recipe.gain.target

    @functools.cached_property
    def sets(self) -> list[NamedSet]:
        """The parts in order: test sets, development sets, tasks.

        Raises:
            UserError: a test set or task that the recipe does not have, or shares that are not of these parts.
        """
        target, known = self._target, {test.name: test for test in self.data.tests}
        wanted = list(known) if target.tests == ALL else list(target.tests or ())
        if target.tests == ALL and not known:
            raise UserError("gain.target.tests: the recipe has no test sets")
        if unknown := [name for name in wanted if name not in known]:
            raise UserError(f"gain.target.tests: no test set '{unknown[0]}'; there are {', '.join(known)}")
        if unknown := [name for name in target.tasks or () if name not in self.data.sizes]:
            raise UserError(f"gain.target.tasks: no task '{unknown[0]}'; there are {', '.join(self.data.sizes)}")
        found: list[tuple[str, TestSet | None, bool]] = [(name, known[name], False) for name in wanted]
        found += [(name, self._development(name), True) for name in target.folders or {}]
        found += [(name, None, False) for name in target.tasks or ()]
        shares = _shares(target, [name for name, _, _ in found])
        return [NamedSet(name, shares[name], test, whole) for name, test, whole in found]

    @functools.cached_property
    def looked_at(self) -> dict[str, LookedAt]:
        """The queries that are looked at, by the checksum of each test set that the recipe judges by and of each
        development set. A query counts by its text, in whichever of the sets it was looked at."""
        texts = {text for each in self.sets for text in _same(each.queries).values()}
        judged = {test.name: test for test in self.data.tests}
        judged |= {each.name: each.test for each in self.sets if each.test is not None and each.whole}
        found = {}
        for name, test in judged.items():
            queries = _same(answered_queries(test.folder))
            hit = tuple(key for key, text in queries.items() if text in texts)
            if hit:
                found[beir_sha256(test.folder)[:16]] = LookedAt(name, hit)
        return found

    @property
    def inputs(self) -> list[list[Any]]:
        """What the learned weights depend on, as JSON: of each part its name, its share and its content."""
        return [
            [each.name, each.share]
            if each.test is None
            else [
                *(each.name, each.share, beir_sha256(each.test.folder)[:16], fingerprint(each.queries)),
                *(each.test.prompt, each.test.symmetric, asdict(self._settings), MINING_VERSION),
                *(["hard negatives only"] if each.test.task in self._hard_only else []),
            ]
            for each in self.sets
        ]

    def check(self) -> None:
        """Refuse what cannot be measured or judged, before any work.

        Raises:
            UserError: a part with too few queries or held-out rows, or a test set all of whose queries are looked at.
        """
        for each in self.sets:
            if each.test is None:
                held = min(self.recipe.gain.held_out_rows, self.data.sizes[each.name] // SHARE)
                if held < LEAST:
                    rows = self.data.sizes[each.name]
                    raise UserError(
                        f"gain.target.tasks: of the {rows} rows of task '{each.name}' only {held} would be held out; "
                        f"it takes {LEAST}. Leave it out, or raise held_out_rows."
                    )
            elif len(each.queries) < LEAST:
                half = f"the half of {each.test.folder} that may be looked at" if not each.whole else each.test.folder
                raise UserError(
                    f"gain.target: '{each.name}' has too few queries: {len(each.queries)} with a relevant passage in "
                    f"{half}; it takes {LEAST}. Leave it out, or give a larger set."
                )
        for test in self.data.tests:
            hit = self.looked_at.get(beir_sha256(test.folder)[:16])
            if hit and len(hit.queries) == len(answered_queries(test.folder)):
                raise UserError(
                    f"gain.target: all {len(hit.queries)} queries of the test set '{test.name}' are in the target, so "
                    "none is left to judge by.\nName it under gain.target.tests, which takes half of them, or leave "
                    "it out of data.tests."
                )

    def rows(self, tokenized: Callable[[MixtureIndex], TokenizedMixture]) -> list[TargetSet]:
        """The parts with the rows that their losses are measured on.

        Args:
            tokenized: gives the tokens of an index' texts.

        Raises:
            UserError: too few of the relevant passages are in a corpus.
        """
        of_tests = [(each, each.test) for each in self.sets if each.test is not None]
        tasks = [self._task(each, test) for each, test in of_tests]
        found = {}
        if tasks:
            data = tokenized(index_mixture(tasks, self.recipe.data.prompts))
            for number, ((each, test), task) in enumerate(zip(of_tests, tasks, strict=True)):
                rows, negatives = np.arange(len(task)), self._settings.per_row
                found[each.name] = HeldOutSet(
                    each.name, data, number, rows, negatives, test.task in self._hard_only, all_answers=True
                )
        return [TargetSet(each.name, each.share, found.get(each.name)) for each in self.sets]

    @property
    def _hard_only(self) -> set[str]:
        """The tasks whose rows take no other row's passages as negatives; nor do the queries of their sets."""
        return {self.data.facts.names[number] for number in self.data.facts.hard_negatives_only}

    @property
    def _settings(self) -> MiningSettings:
        keys = self.recipe.negatives
        return MiningSettings("bm25", keys.per_row, keys.ranks, keys.margin, keys.relative_margin, random=True)

    def _development(self, name: str) -> TestSet:
        """A development set, read as the recipe's test sets are."""
        assert self._target.folders is not None
        folder = self._target.folders[name]
        return replace(self.data.development_set(name, folder, "gain.target.folders"), task=folder.task or "")

    def _task(self, each: NamedSet, test: TestSet) -> Task:
        """A test set as a task: its looked-at queries, at most ``held_out_rows``, with mined negatives."""
        data, seed = read_beir(test.folder), self.recipe.seed
        rows = _rows(data, each.queries)
        if len(rows) < LEAST:
            raise UserError(
                f"gain.target: '{each.name}' has {len(rows)} queries whose relevant passages are in "
                f"{Path(test.folder) / 'corpus.jsonl'}; it takes {LEAST}"
            )
        order = permute(np.arange(len(rows)), len(rows), mix(seed, _QUERIES))
        chosen = sorted(order[: self.recipe.gain.held_out_rows].tolist())
        dataset = Dataset.from_list([rows[place] for place in chosen])
        task = Task(each.name, dataset, test.instruction, test.symmetric)
        return mine_task(task, self._settings, seed=seed, corpus=_sample(data, seed))


def _shares(target: Target, names: list[str]) -> dict[str, float]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"gain.target: '{twice}' is named twice, as two kinds of data; rename or remove one")
    if target.shares is None:
        return dict.fromkeys(names, 1 / len(names))
    if set(target.shares) != set(names):
        name = next(iter(set(target.shares) ^ set(names)))
        raise UserError(f"gain.target.shares: {'no share of' if name in names else 'the target has no'} '{name}'")
    return dict(target.shares)


def _same(queries: Mapping[str, str]) -> dict[str, str]:
    return {key: normalise(text) for key, text in queries.items()}


def _rows(data: BeirData, queries: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each of the queries that has a relevant passage in the corpus."""
    relevant = {key: [passage for passage, score in data.qrels.get(key, {}).items() if score > 0] for key in queries}
    places = data.passages.places(passage for found in relevant.values() for passage in found)
    texts = {passage: data.passages.texts[place : place + 1][0] for passage, place in places.items()}
    asked, rows = dict(zip(data.query_ids, data.queries, strict=True)), []
    for key, passages in relevant.items():
        positives = [texts[passage] for passage in passages if passage in texts]
        if positives:
            rows.append({"id": key, "query": asked[key], "positives": positives, "negatives": []})
    return rows


def _sample(data: BeirData, seed: int) -> dict[str, str]:
    """At most :data:`PASSAGES` of a corpus; each text to itself, as :func:`mine_task` wants it."""
    size = len(data.passages)
    places = np.arange(size)
    if size > PASSAGES:
        places = np.sort(permute(places, size, mix(seed, _PASSAGES))[:PASSAGES])
    texts = (data.passages.texts[place : place + 1][0] for place in places.tolist())
    return {text: text for text in texts if text}
