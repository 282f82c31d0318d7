"""Candidates by an embedding model: the passages most similar to a row's query, found by exact search.

The similarity is the model's own. A candidate must score below *every* positive of its query: the margins are counted
from the positive that scores lowest. Passages above that limit are left out before ranks are counted, however many
there are, so a row whose positive the model ranks far down still gets the passages below it. See docs/decisions.md,
dense-mining.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.mining_settings import MiningSettings
from tdro.mining.task_passages import TaskPassages
from tdro.search.embedding_store import EmbeddingStore
from tdro.search.exact import ties_and_scores, top_k

_PAIRS_AT_ONCE = 65_536
_SPARE = 8  # more passages are searched for than asked for: up to 8 copies of answers do not need a second search
Ints = NDArray[np.int64]


class DenseCandidates:
    """Finds candidates for rows of a task.

    Args:
        store: of the different queries (list 0) and the passages (list 1), encoded.
        query_of: for each row of the task, the place of its query in the store, -1 for rows that are not searched for;
            shape (rows,).
        passages: of the task.
        copies: tells which passages are copies of a row's answers.
        device: where scores are computed.
    """

    def __init__(
        self, store: EmbeddingStore, query_of: Ints, passages: TaskPassages, copies: AnswerCopies, device: str
    ) -> None:
        self._store, self._query_of, self._passages, self._device = store, query_of, passages, device
        self._copies = copies
        self._queries = store.whole(0)

    def candidates(self, rows: Sequence[int], barred: Sequence[set[int]], settings: MiningSettings) -> list[list[int]]:
        """The passages of each row whose ranks are within ``settings.ranks``, best first.

        Equal scores are in the passages' order.

        Args:
            rows: places of the rows in the task.
            barred: for each of these rows, the passages that may not be its candidates.
            settings: margins and ranks.
        """
        first, last = settings.ranks
        depth = last + _SPARE
        ranked: list[list[int]] = [[] for _ in rows]
        excluded, left = list(barred), list(range(len(rows)))
        while left:
            best = self._best([rows[place] for place in left], [excluded[place] for place in left], settings, depth)
            again = []
            for place, found in zip(left, best, strict=True):
                copies = self._copies.among(rows[place], found)
                excluded[place] = excluded[place] | copies
                ranked[place] = [passage for passage in found if passage not in copies][first - 1 : last]
                if len(found) == depth and len(copies) > _SPARE:  # too few are left, and there may be more
                    again.append(place)
            left = again
        return ranked

    def below_limits(
        self, rows: Sequence[int], ranked: Sequence[Sequence[int]], settings: MiningSettings
    ) -> list[list[int]]:
        """Candidates that something else found, without those that this model scores above the rows' limits."""
        queries, limits = self._vectors(rows), self._limits(rows, settings)
        row, passage = _pairs(ranked)
        kept = self._scores(queries, row, passage) <= limits[row]
        below: list[list[int]] = [[] for _ in rows]
        for place, candidate in zip(row[kept].tolist(), passage[kept].tolist(), strict=True):
            below[place].append(candidate)
        return below

    def _best(
        self, rows: Sequence[int], barred: Sequence[set[int]], settings: MiningSettings, depth: int
    ) -> list[list[int]]:
        """The ``depth`` best passages of each row that are not barred and not above its limit, best first."""
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

        earlier_is_better = torch.arange(count - 1, -1, -1)
        score = self._store.similarity.matrix
        best = top_k(queries, self._store.blocks(1), min(depth, count), earlier_is_better, leave_out, score)
        ties, _ = ties_and_scores(best)
        return [[count - 1 - tie for tie in own if tie >= 0] for own in ties.tolist()]

    def _vectors(self, rows: Sequence[int]) -> Tensor:
        return self._queries[self._query_of[np.asarray(rows)]]

    def _limits(self, rows: Sequence[int], settings: MiningSettings) -> NDArray[np.float32]:
        """The highest score that a negative of each row may have."""
        row, passage = _pairs([self._passages.answers[place] for place in rows])
        lowest = np.full(len(rows), np.inf, np.float32)
        np.minimum.at(lowest, row, self._scores(self._vectors(rows), row, passage))
        return settings.limits(lowest)

    def _scores(self, queries: Tensor, row: Ints, passage: Ints) -> NDArray[np.float32]:
        """The model's similarity of pairs: query ``row[i]`` of ``queries`` and passage ``passage[i]``; (pairs,)."""
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
    """Row and passage of every entry of the rows' lists, in the rows' order; shapes (entries,)."""
    row = np.repeat(np.arange(len(lists)), [len(entries) for entries in lists])
    return row, np.array([passage for entries in lists for passage in entries], dtype=np.int64)
