"""Fills the negatives of one task's rows.

Candidates are the positives of the task's own rows, and the passages of a corpus if one is given. They are found by
BM25, by an embedding model, or by both in turn. These are never taken as negatives of a row:

- the row's query, its positives, the positives of other rows with the same query, and negatives that the row has,
  all compared as normalised text;
- copies of such a positive, with a title before it or cut off (:mod:`tdro.data.same_answer`);
- passages that score within the margins of the row's positive: most of them are the same answer in other words.

From the rest, the best ranks are taken, or some among a range of ranks at random. If both search, BM25's candidates
must also stay below the model's limit, for two wordings of one answer may share few words. The model's candidates need
not stay below BM25's limit: sharing words with the positive does not make a passage an answer. See docs/decisions.md,
no-judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tdro.data.same_text import normalise
from tdro.data.task import Task
from tdro.data.tokens.stored_texts import negative_counts
from tdro.errors import UserError
from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.bm25_candidates import BM25Candidates
from tdro.mining.choose_negatives import NegativeChooser, alternate
from tdro.mining.dense_candidates import DenseCandidates
from tdro.mining.embedder import Embedder
from tdro.mining.mining_settings import MiningSettings
from tdro.mining.task_passages import TaskPassages, passages_of

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS_AT_ONCE = 16_384
# Rows times passages that are searched in one go: with a large corpus fewer rows, so the progress bar still moves every
# few seconds.
_PAIRS_AT_ONCE = 1 << 31
VERSION = 4  # of the algorithm; raise it when other negatives are mined, so that what is kept on disk is mined again


@dataclass(frozen=True)
class TaskToMine:
    """A task some of whose rows have too few negatives.

    Attributes:
        queries: of all its rows.
        negatives: that the rows have.
        rows: places of the rows that have too few.
        passages: to choose from.
    """

    queries: list[str]
    negatives: list[list[str]]
    rows: list[int]
    passages: TaskPassages

    @property
    def searched(self) -> list[str]:
        """The queries of the rows that have too few."""
        return [self.queries[row] for row in self.rows]


def mine_task(
    task: Task,
    settings: MiningSettings,
    *,
    seed: int = 0,
    corpus: Mapping[str, str] | None = None,
    embedder: Embedder | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> Task:
    """Fill the negatives of the rows that have fewer than ``settings.per_row``; other rows stay as they are.

    Args:
        task: its rows' positives are passages to choose from.
        settings: how negatives are chosen. A row gets fewer where the settings leave no more passages; a row all of
            whose passages are its own answers gets none.
        seed: of everything drawn at random. What row i gets depends on (seed, task name, i) and the task's passages.
        corpus: more passages to choose from; each passage to its text without the title.
        embedder: for mining with a model; this process encodes what is not encoded yet.
        done: called now and then with the number of rows that were searched for since.

    Raises:
        ValueError: the settings need an embedder and there is none.
        UserError: the task has fewer than two different passages, or the model cannot be read.
    """
    if settings.dense and embedder is None:
        raise ValueError(f"mining by {settings.by} needs an embedder")
    check_minable(task, settings, corpus)
    selected = to_mine(task, settings, corpus)
    if selected is None:
        return task
    passages, negatives = selected.passages, [list(own) for own in selected.negatives]
    copies = AnswerCopies(passages)
    by_model = by_words = None
    if embedder and settings.dense:
        by_model = embedder.search(task, selected.rows, selected.searched, passages, copies)
    if settings.by != "dense":
        by_words = BM25Candidates(passages, [normalise(query) for query in selected.queries], copies)
    chooser = NegativeChooser(settings, len(passages.texts), len(task), seed, task.name)
    at_once = min(max(_PAIRS_AT_ONCE // len(passages.texts), 1024), _ROWS_AT_ONCE)
    for start in range(0, len(selected.rows), at_once):
        rows = selected.rows[start : start + at_once]
        had = [{passages.index.get(normalise(text), -1) for text in negatives[row]} for row in rows]
        barred = [passages.barred[row] | own - {-1} for row, own in zip(rows, had, strict=True)]
        missing = [settings.per_row - len(negatives[row]) for row in rows]
        ranked = _candidates(by_model, by_words, rows, barred, missing, settings)
        for row, lacks, candidates, never in zip(rows, missing, ranked, barred, strict=True):
            chosen = chooser.choose(row, lacks, candidates, never, partial(copies.is_copy, row))
            negatives[row] += [passages.texts[passage] for passage in chosen]
        done(len(rows))
    return with_negatives(task, negatives)


def check_minable(task: Task, settings: MiningSettings, corpus: Mapping[str, str] | None = None) -> None:
    """Raise :class:`UserError` if a task's rows need negatives but the task has fewer than two different passages."""
    if has_enough(task, settings):
        return
    distinct: set[str] = set()
    for positives in chain([corpus or {}], (row["positives"] for row in task.rows)):
        for text in positives:
            distinct.add(normalise(text))
            if len(distinct) > 1:
                return
    raise UserError(
        f"task '{task.name}' has {len(distinct)} distinct passage(s): too few to mine.\n"
        "Give its rows negatives, or leave the task out."
    )


def has_enough(task: Task, settings: MiningSettings) -> bool:
    """Whether every row of a task has as many negatives as it should."""
    return bool((negative_counts(task.rows) >= settings.per_row).all())


def to_mine(task: Task, settings: MiningSettings, corpus: Mapping[str, str] | None) -> TaskToMine | None:
    """Which rows of a task to mine, with the passages to choose from; None if all rows have enough negatives."""
    rows = np.flatnonzero(negative_counts(task.rows) < settings.per_row).tolist()
    if not rows:
        return None
    queries = task.rows["query"][:]
    passages = passages_of([normalise(query) for query in queries], task.rows["positives"][:], corpus)
    return TaskToMine(queries, task.rows["negatives"][:], rows, passages)


def with_negatives(task: Task, negatives: list[list[str]]) -> Task:
    """The task with other negatives. Other columns stay in Arrow: ``Dataset.from_dict`` would encode every text."""
    import pyarrow
    from datasets import Dataset

    table = task.rows.with_format("arrow")[:]
    place = table.column_names.index("negatives")
    column = pyarrow.array(negatives, type=table.schema.field("positives").type)
    rows: Dataset = Dataset(table.set_column(place, "negatives", column))
    return replace(task, rows=rows, fingerprint="")


def _candidates(
    by_model: DenseCandidates | None,
    by_words: BM25Candidates | None,
    rows: Sequence[int],
    barred: Sequence[set[int]],
    missing: Sequence[int],
    settings: MiningSettings,
) -> list[list[int]]:
    """The candidates of each row, best first; the model's and BM25's in turn if both search."""
    of_words = by_words.candidates(rows, barred, missing, settings) if by_words else []
    if by_model is None:
        return of_words
    of_model = by_model.candidates(rows, barred, settings)
    if by_words is None:
        return of_model
    below = by_model.below_limits(rows, of_words, settings)
    return [alternate(one, other) for one, other in zip(of_model, below, strict=True)]
