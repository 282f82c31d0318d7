"""Decides which rows to remove because a test query, or another row, has nearly the same text.

A test query that stands in the training data measures memory. A query that stands there twice counts twice, and makes
false negatives in a batch. First rows go that are near-duplicates of test texts, then rows that are near-duplicates of
rows that stay. For each the audit says why: its text, and the text that it is a duplicate of. Which texts are
near-duplicates is decided in :mod:`tdro.data.neardup.near_duplicates`. See docs/decisions.md, remove-training-rows.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.neardup.near_duplicates import THRESHOLD, near_duplicates
from tdro.data.same_text import normalise
from tdro.data.task import Task
from tdro.data.testsets.test_texts import TestTexts

Ints = NDArray[np.int64]
By = Literal["query", "positive", "both"]


@dataclass(frozen=True)
class Duplicate:
    """Why a row leaves: one of its texts, and the text that this is a duplicate of. A line of the audit.

    Attributes:
        task: of the row.
        row: its place in the task, from 0.
        id: its id.
        by: ``query`` or ``positive``: which of its texts.
        kind: ``exact`` (the same text to :func:`tdro.data.same_text.normalise`) or ``near``.
        similarity: see :class:`tdro.data.neardup.near_duplicates.Pairs`.
        text: as it stands in the row.
        of: ``test`` or ``train``: what the other text belongs to.
        other: the test set, or the task.
        other_id: the test query's or passage's id, or the id of the training row that stays.
        other_text: as it stands there.
    """

    task: str
    row: int
    id: str
    by: str
    kind: str
    similarity: float
    text: str
    of: str
    other: str
    other_id: str
    other_text: str

    def as_json(self) -> dict[str, Any]:
        """For the audit file."""
        return {**asdict(self), "similarity": round(self.similarity, 4)}


@dataclass(frozen=True)
class Deduplicated:
    """Which rows stay, and for each of the others why it is removed.

    Attributes:
        kept: for each task the numbers of the rows that stay, in order.
        audit: the duplicates of the rows that are removed. A row that repeats test texts has an entry for each test
            set, with the most similar text; a row that repeats another row has one entry.
    """

    kept: list[Ints]
    audit: list[Duplicate]

    def removed(self, task: str) -> Counter[str]:
        """How many rows of a task are removed, by kind; a row with exact and near duplicates counts as ``exact``."""
        kinds: dict[int, str] = {}
        for found in self.audit:
            if found.task == task and kinds.get(found.row) != "exact":
                kinds[found.row] = found.kind
        return Counter(kinds.values())


def deduplicate(
    tasks: Sequence[Task],
    tests: Sequence[TestTexts] = (),
    by: By = "query",
    within: bool = False,
    across: bool = False,
    threshold: float = THRESHOLD,
) -> Deduplicated:
    """Which rows leave: near-duplicates of test texts, then of rows further up in the same or in another task.

    Args:
        tasks: with distinct names. Where two rows are duplicates, the one of the earlier task and row stays.
        tests: what must not be trained on.
        by: compare queries (with test queries), positives (with relevant passages), or one after the other; a row
            leaves if one of its positives is a duplicate.
        within: also duplicates within a task.
        across: also duplicates across tasks.
        threshold: as of :func:`tdro.data.neardup.near_duplicates.near_duplicates`.
    """
    rows = _Rows(tasks)
    audit: list[Duplicate] = []
    for column in ("query", "positive") if by == "both" else (by,):
        audit += _repeats_of_tests(rows, tests, column, threshold)
    if within or across:
        for column in ("query", "positive") if by == "both" else (by,):
            audit += _repeats_of_rows(rows, column, within, across, threshold)
    bounds = itertools.pairwise(rows.starts.tolist())
    return Deduplicated([np.flatnonzero(rows.stays[start:end]) for start, end in bounds], audit)


class _Rows:
    """The rows of all tasks under one numbering: those of the second task follow those of the first.

    ``stays`` says for each row whether it is still there; every step of the deduplication clears some of it.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.starts = np.cumsum([0, *map(len, tasks)])
        self.stays = np.ones(int(self.starts[-1]), np.bool_)
        self.task = np.repeat(np.arange(len(tasks)), np.diff(self.starts))
        self._ids: dict[int, list[str]] = {}

    def texts(self, column: str) -> tuple[list[str], Ints]:
        """The texts of the rows that stay, and each text's row."""
        texts: list[str] = []
        owners: list[Ints] = []
        for task, start in zip(self.tasks, self.starts.tolist(), strict=False):
            here = np.flatnonzero(self.stays[start : start + len(task)])
            if not len(here):
                continue
            chosen = task.rows if len(here) == len(task) else task.rows.select(here)
            if column == "query":
                texts += chosen["query"][:]
                owners.append(start + here)
            else:
                lists = chosen["positives"][:]
                texts += itertools.chain.from_iterable(lists)
                owners.append(start + np.repeat(here, [len(positives) for positives in lists]))
        return texts, np.concatenate([np.zeros(0, np.int64), *owners])

    def name_and_id(self, row: int) -> tuple[str, str]:
        """A row's task, and its id there."""
        task = int(self.task[row])
        if task not in self._ids:
            self._ids[task] = self.tasks[task].rows["id"][:]  # one by one takes longer than all that is compared
        return self.tasks[task].name, self._ids[task][row - int(self.starts[task])]

    def duplicate(self, row: int, by: str, similarity: float, text: str, of: str, other: Sequence[str]) -> Duplicate:
        """A line of the audit; ``other`` is name, id and text."""
        name, key = self.name_and_id(row)
        kind = "exact" if normalise(text) == normalise(other[2]) else "near"
        return Duplicate(name, row - int(self.starts[self.task[row]]), key, by, kind, similarity, text, of, *other)


def _repeats_of_tests(rows: _Rows, tests: Sequence[TestTexts], column: str, threshold: float) -> Iterator[Duplicate]:
    """Remove the rows that repeat a test text; yield for each row the most similar text of each test set."""
    ids: dict[tuple[int, str], tuple[str, str]] = {}  # test set and normalised text to the first such text's id, and it
    for test, found in enumerate(tests):
        for key, text in (found.queries if column == "query" else found.passages).items():
            ids.setdefault((test, normalise(text)), (key, text))
    if not ids:
        return
    texts, owners = rows.texts(column)
    pairs = near_duplicates(texts, [text for _, text in ids.values()], threshold)
    copies: dict[int, dict[int, int]] = {}  # test text to its first copy in each test set
    for other, ((test, _), first) in enumerate(zip(ids, pairs.seconds.tolist(), strict=True)):
        copies.setdefault(first, {}).setdefault(test, other)
    alike: dict[int, dict[int, tuple[float, int]]] = {}  # text to what is most like it in each test set
    for one, first, similarity in pairs:
        nearest = alike.setdefault(one, {})
        for test, other in copies[first].items():
            nearest[test] = min(nearest.get(test, (0.0, 0)), (-similarity, other))
    best: dict[tuple[int, int], tuple[float, int, int]] = {}  # by row and test set
    for place, (row, text) in enumerate(zip(owners.tolist(), pairs.firsts.tolist(), strict=True)):
        for test, (unlike, other) in alike.get(text, {}).items():
            here = (unlike, other, place)
            best[row, test] = min(best.get((row, test), here), here)
    those = list(ids.values())
    for (row, test), (unlike, other, place) in sorted(best.items()):
        of = (tests[test].name, *those[other])
        yield rows.duplicate(row, column, -unlike, texts[place], "test", of)
        rows.stays[row] = False


def _repeats_of_rows(rows: _Rows, column: str, within: bool, across: bool, threshold: float) -> Iterator[Duplicate]:
    """Remove the rows that repeat an earlier row which stays; yield for each the most similar text of such a row."""
    texts, owners = rows.texts(column)
    pairs = near_duplicates(texts, threshold=threshold)
    numbers = pairs.firsts.tolist()
    alike: dict[int, list[tuple[int, float]]] = {}  # text to its near-duplicates; of copies the first has them
    for one, other, similarity in pairs:
        alike.setdefault(one, []).append((other, similarity))
        alike.setdefault(other, []).append((one, similarity))
    # What stays, by text: each task's first row that has a copy of it, and which of its texts that is.
    staying: dict[int, dict[int, int]] = {}
    groups = itertools.groupby(range(len(texts)), key=owners.tolist().__getitem__)
    for row, group in progress_bar(groups, "deciding", total=int(rows.stays.sum()), unit=" rows"):
        places, task = list(group), int(rows.task[row])
        for place in places:
            candidates = [(numbers[place], 1.0), *alike.get(numbers[place], ())]
            found = _nearest_that_stays(staying, candidates, task, within, across)
            if found is not None:
                kept, similarity = found
                of = (*rows.name_and_id(int(owners[kept])), texts[kept])
                yield rows.duplicate(row, column, similarity, texts[place], "train", of)
                rows.stays[row] = False
                break
        else:
            for place in places:
                staying.setdefault(numbers[place], {}).setdefault(task, place)


def _nearest_that_stays(
    staying: dict[int, dict[int, int]], candidates: Sequence[tuple[int, float]], task: int, within: bool, across: bool
) -> tuple[int, float] | None:
    """The most similar text among the candidates that belongs to a row that stays; None if there is none.

    Args:
        staying: the texts of rows that stay: number of the text, to task, to place in the list of texts.
        candidates: numbers of texts, each with its similarity.
        task: the task of the row that is being decided.
        within: whether rows of the same task count.
        across: whether rows of other tasks count.

    Returns:
        The place of the text in the list of texts, and its similarity.
    """
    best: tuple[int, float] | None = None
    for number, similarity in candidates:
        for other, place in staying.get(number, {}).items():
            if (within if other == task else across) and (best is None or similarity > best[1]):
                best = place, similarity
    return best
