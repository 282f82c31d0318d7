"""Candidates by an embedding model: exact search by its own similarity, margins and answers taken out meanwhile.

Texts are encoded once each, in files (:mod:`tdro.search.embedding_store`), so that ranks share them and a kill costs
little.
A candidate stays below *every* positive of its query: the margins are against the one that scores lowest, which is the
hardest of them, as in sentence-transformers. What is above is left out before ranks are counted, however much that is,
so a row whose positive the model does not find still gets what lies below it. Rejected: sentence-transformers'
``mine_hard_negatives``, which looks at a fixed number of best passages and leaves such a row without negatives, takes
one positive a row, knows equal texts by their spelling only, and keeps nothing of an interrupted run
(``benchmarks/mine.py`` has the figures); and approximate indexes, for the search is a small part of the encoding.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tdro.console import say
from tdro.data.task import Task
from tdro.data.tokens.cut_warnings import much_cut
from tdro.data.tokens.cuts import Cutter, TaskCut
from tdro.data.tokens.limits import longest_row
from tdro.data.tokens.tokenize import encoder_of
from tdro.evaluation.scoring.model_prompts import Instruction, Prompts, prompts_of, read_prompts, sides
from tdro.machine import Machine, in_turn
from tdro.mining.passages import Passages
from tdro.mining.settings import Mining
from tdro.mining.wrappings import Wrappings
from tdro.models.fingerprint import model_fingerprint
from tdro.models.kinds import refuse_other_models
from tdro.models.load import load_model
from tdro.models.own_encode import needs_own_encode
from tdro.models.similarity import similarity_of
from tdro.models.sources import encoder_source
from tdro.search.embedding_store import Store, Texts
from tdro.search.exact import found, top_k

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PAIRS_AT_ONCE = 65_536
_LOOKED_AT = 500  # texts of a side that are looked at for what the model cuts away
logger = logging.getLogger(__name__)
_SPARE = 8  # passages more than are asked for: that many may be answers in another wrapping, else it is searched again
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Embedder:
    """A model to mine with.

    Attributes:
        load: reads it; called once, if there is something to encode.
        fingerprint: what :func:`tdro.models.fingerprint.model_fingerprint` says of it.
        folder: for embeddings, while a task is mined.
        machine: its ranks share the texts.
        prompts: put the tasks' prompts before queries (and passages of symmetric tasks), as training does. They count:
            the model reads no more than its ``max_seq_length`` of a row.
        own: the model's prompts, for tasks that get none.
        name: for people.
    """

    load: Callable[[], SentenceTransformer]
    fingerprint: str
    folder: Path
    machine: Machine
    prompts: bool = False
    own: Prompts = field(default_factory=lambda: Prompts({}))
    name: str = "the model"

    def share(self, task: Task, queries: Sequence[str], passages: Passages) -> None:
        """Encode this rank's share of a task's queries and passages."""
        self._store(task, list(dict.fromkeys(queries)), passages, self.machine)

    def search(
        self, task: Task, rows: Sequence[int], queries: Sequence[str], passages: Passages, wrappings: Wrappings
    ) -> DenseSearch:
        """Make some rows' queries ready to search with; what is not encoded yet is encoded by this process.

        Args:
            task: of the rows.
            rows: their numbers.
            queries: of these rows, as written.
            passages: of the task.
            wrappings: tells which of them are an answer, too.
        """
        distinct = {query: place for place, query in enumerate(dict.fromkeys(queries))}
        query_of = np.full(len(task), -1)
        query_of[rows] = [distinct[query] for query in queries]
        store = self._store(task, list(distinct), passages, replace(self.machine, rank=0, world=1))
        return DenseSearch(store, query_of, passages, wrappings, self.machine.device)

    def _store(self, task: Task, queries: list[str], passages: Passages, machine: Machine) -> Store:
        given = {task.name: Instruction(task.instruction, task.symmetric)} if self.prompts and task.instruction else {}
        on_queries, on_passages = sides([task.name], "", given, self.own)
        lists = [Texts(queries, on_queries, "query"), Texts(passages.texts, on_passages)]
        self._say_cuts(task, {"queries": (queries, on_queries), "passages": (passages.texts, on_passages)})
        store = Store(self.folder, lists, self.load(), self.fingerprint, machine)
        store.encode(title=f"encoding {task.name}")
        return store

    def _say_cuts(self, task: Task, sides: Mapping[str, tuple[Sequence[str], str]]) -> None:
        """Warn of a task of which the model reads too little: of its queries and passages, with the prompt of each.

        Raises as :meth:`tdro.data.tokens.cuts.Cutter.side`.
        """
        if needs_own_encode(self.load()):  # whose tokenizers, and limits, are its own affair
            return
        longest = longest_row(self.load())
        cutter = Cutter(encoder_of(self.load()), longest)
        cuts = (
            cutter.side(_some(texts), prompt, None, f"{what} of task '{task.name}'")
            for what, (texts, prompt) in sides.items()
        )
        if much := much_cut({task.name: TaskCut(*cuts)}, longest):
            logger.warning("mining with %s: %s", self.name, much)


def _some(texts: Sequence[str]) -> list[str]:
    return [texts[place] for place in range(0, len(texts), -(-len(texts) // _LOOKED_AT) or 1)]


def embedder_of(
    source: str, folder: Path, machine: Machine, *, prompts: bool = False, trust_remote_code: bool = False
) -> Embedder:
    """The embedding model that a recipe's ``negatives.model`` or ``--model`` names.

    Raises:
        UserError: it cannot be read, or is no embedding model.
    """
    with in_turn(machine):
        path = encoder_source(source)

    @functools.cache
    def load() -> SentenceTransformer:
        model = load_model(path, device=machine.device, bf16=machine.bf16, trust_remote_code=trust_remote_code)
        if (name := similarity_of(model).name) != "cosine":
            say(f"{source}: candidates and margins are scored by {name}, its own similarity", machine.main)
        return model

    refuse_other_models(path)
    whole = (Path(path) / "modules.json").exists()
    content = model_fingerprint(path if whole else load())
    own = read_prompts(path) if whole else prompts_of(vars(load()))
    return Embedder(load, content, folder, machine, prompts, own, source)


class DenseSearch:
    """Searches the passages of a task.

    Args:
        store: of the distinct queries and the passages, encoded.
        query_of: which of the queries each row of the task has, -1 for rows that are not searched for; (rows,).
        passages: of the task.
        wrappings: tells which of them are an answer, too.
        device: where scores are computed.
    """

    def __init__(self, store: Store, query_of: Ints, passages: Passages, wrappings: Wrappings, device: str) -> None:
        self._store, self._query_of, self._passages, self._device = store, query_of, passages, device
        self._wrappings = wrappings
        self._queries = store.whole(0)

    def candidates(self, rows: Sequence[int], barred: Sequence[set[int]], settings: Mining) -> list[list[int]]:
        """Passages of each row in the ranks of the settings, best first, equal scores in the passages' order.

        Args:
            rows: numbers of rows.
            barred: for each of them what is no candidate.
            settings: margins and ranks.
        """
        first, last = settings.ranks
        ranked: list[list[int]] = [[] for _ in rows]
        never, left = list(barred), list(range(len(rows)))
        while left:
            best = self._best(
                [rows[place] for place in left], [never[place] for place in left], settings, last + _SPARE
            )
            short = []
            for place, found_here in zip(left, best, strict=True):
                answers = self._wrappings.among(rows[place], found_here)
                never[place] = never[place] | answers
                ranked[place] = [index for index in found_here if index not in answers][first - 1 : last]
                if len(found_here) == last + _SPARE and len(answers) > _SPARE:  # there may be more behind
                    short.append(place)
            left = short
        return ranked

    def _best(self, rows: Sequence[int], barred: Sequence[set[int]], settings: Mining, depth: int) -> list[list[int]]:
        """The best passages of each row that are not barred and below its limit, best first."""
        count = len(self._passages.texts)
        queries = self._vectors(rows).to(self._device)
        limits = torch.from_numpy(self._limits(rows, settings)).to(self._device)
        row, passage = (torch.from_numpy(part) for part in _pairs(barred))

        def leave_out(part: slice, start: int, scores: Tensor) -> None:
            scores.masked_fill_(scores > limits[part, None], -torch.inf)
            bounds = torch.searchsorted(row, torch.tensor([part.start, part.start + len(scores)]))
            of_rows = slice(int(bounds[0]), int(bounds[1]))
            column = passage[of_rows] - start
            inside = (column >= 0) & (column < scores.shape[1])
            scores[row[of_rows][inside] - part.start, column[inside]] = -torch.inf

        later_is_worse = torch.arange(count - 1, -1, -1)
        score = self._store.similarity.matrix
        best = top_k(queries, self._store.blocks(1), min(depth, count), later_is_worse, leave_out, score)
        ties, _ = found(best)
        return [[count - 1 - tie for tie in own if tie >= 0] for own in ties.tolist()]

    def below(self, rows: Sequence[int], ranked: Sequence[Sequence[int]], settings: Mining) -> list[list[int]]:
        """Other candidates of rows without those that this model scores within the margins."""
        queries, limits = self._vectors(rows), self._limits(rows, settings)
        row, passage = _pairs(ranked)
        kept = self._scores(queries, row, passage) <= limits[row]
        below: list[list[int]] = [[] for _ in rows]
        for number, index in zip(row[kept].tolist(), passage[kept].tolist(), strict=True):
            below[number].append(index)
        return below

    def _vectors(self, rows: Sequence[int]) -> Tensor:
        return self._queries[self._query_of[np.asarray(rows)]]

    def _limits(self, rows: Sequence[int], settings: Mining) -> NDArray[np.float32]:
        """The highest score that a negative of each row may have."""
        row, passage = _pairs([self._passages.answers[number] for number in rows])
        lowest = np.full(len(rows), np.inf, np.float32)
        np.minimum.at(lowest, row, self._scores(self._vectors(rows), row, passage))
        return settings.limits(lowest)

    def _scores(self, queries: Tensor, row: Ints, passage: Ints) -> NDArray[np.float32]:
        """The model's similarity of pairs of a query and a passage; shape (pairs,)."""
        scores, score = np.empty(len(row), np.float32), self._store.similarity.pairs
        by_passage = np.argsort(passage, kind="stable")
        ordered = passage[by_passage]
        for start, block in self._store.blocks(1):
            first, last = np.searchsorted(ordered, [start, start + len(block)])
            for place in range(first, last, _PAIRS_AT_ONCE):
                pairs = by_passage[place : min(place + _PAIRS_AT_ONCE, last)]
                scores[pairs] = score(queries[row[pairs]], block[passage[pairs] - start]).numpy()
        return scores


def _pairs(lists: Sequence[Sequence[int] | set[int]]) -> tuple[Ints, Ints]:
    """Row and passage of every entry, in the rows' order."""
    row = np.repeat(np.arange(len(lists)), [len(entries) for entries in lists])
    return row, np.array([index for entries in lists for index in entries], dtype=np.int64)
