"""Which passages are a row's answers in another wrapping (:mod:`tdro.data.same_answer`), among its candidates.

A million passages make 10^12 pairs, but a row's negatives are among its best 50 passages, so only these are compared,
and only where the one text holds the first letters of the other. Where a query has very many answers (a label, and all
texts that have it), an index of their letters finds those that a passage may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tdro.data.same_answer import LETTERS, compact, same_answer
from tdro.mining.passages import Passages

_MANY = 16  # answers of a query
_BLOCK = LETTERS // 2  # letters: wherever so many as two texts must share are equal, a whole block of the one is


class Wrappings:
    """Tells which passages are a row's answers in another wrapping.

    Args:
        passages: of a task.
    """

    def __init__(self, passages: Passages) -> None:
        self._answers, self._bare = passages.answers, passages.bare
        self._texts = list(passages.number)  # normalised, in their order
        self._compact = [compact(text) for text in self._texts]
        self._heads = [text[:LETTERS] for text in self._compact]
        titles = zip(self._texts, passages.bare, strict=False)
        self._bare_heads = [compact(text[start:])[:LETTERS] for text, start in titles] if any(passages.bare) else []
        self._indexes: dict[int, _Index] = {}  # of answers that are many; rows of one query share theirs

    def among(self, row: int, indices: Sequence[int]) -> set[int]:
        """Those of some passages that are one of the row's answers in another wrapping.

        Args:
            row: its number in the task.
            indices: of passages.
        """
        own = self._answers[row]
        if len(own) <= _MANY:
            return {index for index, answer in self._near(own, indices) if self._is_same(index, answer)}
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

    def _near(self, answers: Iterable[int], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Pairs of a passage and an answer that may be the same: what they share begins where one of them begins."""
        heads, texts, bare = self._heads, self._compact, self._bare_heads
        together = "\n".join([texts[index] for index in indices])
        for answer in answers:
            text, head = texts[answer], heads[answer]
            near = [index for index in indices if heads[index] in text]
            if head in together:
                near += [index for index in indices if head in texts[index]]
            if bare:
                near += [index for index in indices if index < len(bare) and bare[index] in text]
            for index in near:
                yield index, answer

    def _is_same(self, index: int, answer: int) -> bool:
        text, start = self._texts[index], self._bare[index] if index < len(self._bare) else 0
        own = self._texts[answer]
        return same_answer(text, own) or (start > 0 and same_answer(text[start:], own))


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
