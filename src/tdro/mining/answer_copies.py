"""Which passages are a row's answers in another wrapping (:mod:`tdro.data.same_answer`), among its candidates.

A million passages make 10^12 pairs, but a row's negatives are among its best 50 passages, so only these are compared,
and only where the one text holds the first letters of the other. Where a query has very many answers (a label, and all
texts that have it), an index of their letters finds those that a passage may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tdro.data.same_answer import LETTERS, compact, same_answer
from tdro.mining.task_passages import TaskPassages

_MANY = 16  # answers of a query
_BLOCK = LETTERS // 2  # letters: wherever so many as two texts must share are equal, a whole block of the one is


class AnswerCopies:
    """Tells which passages are a row's answers in another wrapping.

    Args:
        passages: of a task.
    """

    def __init__(self, passages: TaskPassages) -> None:
        self._answers, self._bare = passages.answers, passages.bare
        self._texts = list(passages.number)  # normalised, in their order
        self._compact = [""] * len(self._texts)  # made where one is looked at
        self._titles = any(passages.bare)
        self._indexes: dict[int, _Index] = {}  # of answers that are many; rows of one query share theirs

    def among(self, row: int, indices: Sequence[int]) -> set[int]:
        """Those of some passages that are one of the row's answers in another wrapping.

        Args:
            row: its number in the task.
            indices: of passages.
        """
        own = self._answers[row]
        self._make_compact(indices)
        self._make_compact(own)
        if len(own) <= _MANY:
            return {index for answer in own for index in self._near(answer, indices) if self._is_same(index, answer)}
        if id(own) not in self._indexes:
            self._indexes[id(own)] = _Index(own, self._compact)
        index_of_answers = self._indexes[id(own)]
        for index in indices:
            if index not in index_of_answers.known:
                near = index_of_answers.near(self._compact[index])
                index_of_answers.known[index] = any(self._is_same(index, answer) for answer in near)
        return {index for index in indices if index_of_answers.known[index]}

    def is_answer(self, row: int, index: int) -> bool:
        """Whether a passage is one of the row's answers in another wrapping."""
        return bool(self.among(row, (index,)))

    def _make_compact(self, indices: Iterable[int]) -> None:
        texts = self._compact
        for index in indices:
            if not texts[index]:
                texts[index] = compact(self._texts[index])

    def _near(self, answer: int, indices: Sequence[int]) -> list[int]:
        """The passages that may be an answer: what two texts share begins where one of them begins."""
        texts = self._compact
        text, head = texts[answer], texts[answer][:LETTERS]
        near = [index for index in indices if (other := texts[index])[:LETTERS] in text or head in other]
        if self._titles:
            near += [index for index in indices if compact(self._without_title(index)[: 2 * LETTERS])[:LETTERS] in text]
        return near

    def _is_same(self, index: int, answer: int) -> bool:
        own = self._texts[answer]
        return same_answer(self._texts[index], own) or same_answer(self._without_title(index), own)

    def _without_title(self, index: int) -> str:
        return self._texts[index][self._bare[index] if index < len(self._bare) else 0 :]


class _Index:
    """Finds the answers that a text may be.

    Attributes:
        known: what is known already of passages.
    """

    def __init__(self, answers: Iterable[int], texts: Sequence[str]) -> None:
        self.known: dict[int, bool] = {}
        self._all = list(answers)
        self._short = [answer for answer in self._all if len(texts[answer]) < LETTERS]
        self._blocks: dict[str, list[int]] = {}
        for answer in self._all:
            text = texts[answer]
            for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
                self._blocks.setdefault(text[start : start + _BLOCK], []).append(answer)

    def near(self, text: str) -> set[int]:
        if len(text) < LETTERS:
            return set(self._all)
        near = set(self._short)
        for start in range(len(text) - _BLOCK + 1):
            near.update(self._blocks.get(text[start : start + _BLOCK], ()))
        return near
