"""Finds, among a row's candidates, copies of its answers: with a title before them, cut off, or spaced differently.

What counts as a copy is decided in :mod:`tdro.data.same_answer`. Comparing a million passages with each other would
take 10^12 comparisons, but the negatives of a row come from its best 50 or so candidates. So only these are compared
with the row's answers, and only where one text holds the first letters of the other. A query may have thousands of
answers (for instance a label, whose answers are all texts with that label); then an index of the answers' letters tells
which of them a candidate may be a copy of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tdro.data.same_answer import LETTERS, compact, same_answer
from tdro.mining.task_passages import TaskPassages

_MANY = 16  # a query with more answers than this gets an index of them
# Two texts are cut into blocks of this many letters to find what they share. Copies share at least LETTERS letters in a
# row, which hold a whole block of one of the texts wherever they begin.
_BLOCK = LETTERS // 2


class AnswerCopies:
    """Tells which passages are copies of a row's answers.

    Args:
        passages: of a task.
    """

    def __init__(self, passages: TaskPassages) -> None:
        self._answers, self._title_ends = passages.answers, passages.title_ends
        self._texts = list(passages.index)  # normalised
        self._compact = [""] * len(self._texts)  # the same as `compact` makes them, each made when it is first needed
        self._titles = any(passages.title_ends)
        self._indexes: dict[int, _AnswerIndex] = {}  # by the id() of a row's set of answers

    def among(self, row: int, passages: Sequence[int]) -> set[int]:
        """Those of some passages that are copies of one of the row's answers.

        Args:
            row: its place in the task.
            passages: by their places among the task's passages.
        """
        answers = self._answers[row]
        self._make_compact(passages)
        self._make_compact(answers)
        if len(answers) <= _MANY:
            return {
                passage
                for answer in answers
                for passage in self._similar_start(answer, passages)
                if self._is_copy(passage, answer)
            }
        if id(answers) not in self._indexes:
            self._indexes[id(answers)] = _AnswerIndex(answers, self._compact)
        index = self._indexes[id(answers)]
        for passage in passages:
            if passage not in index.known:
                near = index.near(self._compact[passage])
                index.known[passage] = any(self._is_copy(passage, answer) for answer in near)
        return {passage for passage in passages if index.known[passage]}

    def is_copy(self, row: int, passage: int) -> bool:
        """Whether a passage is a copy of one of the row's answers."""
        return bool(self.among(row, (passage,)))

    def _make_compact(self, passages: Iterable[int]) -> None:
        texts = self._compact
        for passage in passages:
            if not texts[passage]:
                texts[passage] = compact(self._texts[passage])

    def _similar_start(self, answer: int, passages: Sequence[int]) -> list[int]:
        """The passages that may be copies of an answer: one of the two texts holds the first letters of the other."""
        texts = self._compact
        text, head = texts[answer], texts[answer][:LETTERS]
        near = [passage for passage in passages if (other := texts[passage])[:LETTERS] in text or head in other]
        if self._titles:
            near += [
                passage
                for passage in passages
                if compact(self._without_title(passage)[: 2 * LETTERS])[:LETTERS] in text
            ]
        return near

    def _is_copy(self, passage: int, answer: int) -> bool:
        """Whether a passage, with or without its title, is the same answer as another passage."""
        text = self._texts[answer]
        return same_answer(self._texts[passage], text) or same_answer(self._without_title(passage), text)

    def _without_title(self, passage: int) -> str:
        return self._texts[passage][self._title_ends[passage] if passage < len(self._title_ends) else 0 :]


class _AnswerIndex:
    """Finds which of many answers a text may be a copy of.

    Attributes:
        known: passage to whether it is a copy of one of the answers, for those that were compared already.
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
        """The answers that share a block of letters with a text, and all that are too short to tell."""
        if len(text) < LETTERS:
            return set(self._all)
        near = set(self._short)
        for start in range(len(text) - _BLOCK + 1):
            near.update(self._blocks.get(text[start : start + _BLOCK], ()))
        return near
