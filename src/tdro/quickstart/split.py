"""Decides which pairs of the sample mixture train and which test. No group and no text is on both sides.

- Groups: a hash of a group's name decides. So a component trains in all languages or in none, a word in all
  dictionaries or in none, and a group stays where it is when pairs come or go.
- Texts: a test pair is left out if its query or an answer is also in its own task's training groups. A training row is
  left out if it has the query, or an answer, of a test query that was chosen for any task's test set.

See docs/decisions.md, split-by-group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tdro.data.same_text import normalise
from tdro.quickstart.pairs import Pair, digest

TEST_SHARE = 0.12  # of the groups
MAX_QUERIES = 150  # of a test set
MAX_PASSAGES = 1000  # of a test set
MAX_ANSWERS = 10  # of a test query


def is_test_group(group: str) -> bool:
    """Whether a group's pairs are for testing only. A hash of the group's name decides."""
    return int(digest("side", group), 16) < TEST_SHARE * 2**64


@dataclass(frozen=True)
class Bench:
    """A test set before it is written.

    Attributes:
        queries: the texts of the queries.
        passages: the texts of the passages, answers first.
        relevant: the places of a query and of a passage that answers it, for each such pair.
    """

    queries: list[str]
    passages: list[str]
    relevant: list[tuple[int, int]]

    def protected(self) -> set[str]:
        """The normalised texts that no training row may have: the queries and their answers, not the distractors."""
        texts = {normalise(query) for query in self.queries}
        return texts | {normalise(self.passages[passage]) for _, passage in self.relevant}


def sides(pairs: Iterable[Pair], all_test: bool = False) -> tuple[list[Pair], list[Pair]]:
    """Divide the pairs of a task into training pairs and test pairs.

    Both come in the order of their digests, which is arbitrary but the same each time. A test pair that shares a text
    with the training pairs is left out. With ``all_test`` all pairs are test pairs.
    """
    ordered = sorted(pairs, key=lambda pair: (digest(pair.query, *pair.positives), pair))
    train = [] if all_test else [pair for pair in ordered if not is_test_group(pair.group)]
    trained_texts = texts_of(train)
    candidates = ordered if all_test else [pair for pair in ordered if is_test_group(pair.group)]
    return train, [pair for pair in candidates if trained_texts.isdisjoint(_texts(pair))]


def _texts(pair: Pair) -> set[str]:
    """The normalised query and positives of a pair."""
    return {normalise(text) for text in (pair.query, *pair.positives)}


def texts_of(pairs: Iterable[Pair]) -> set[str]:
    """The normalised queries and positives of all pairs."""
    return {text for pair in pairs for text in _texts(pair)}


def bench(test: list[Pair], train: list[Pair]) -> Bench:
    """Make a task's test set: the first :data:`MAX_QUERIES` queries, their answers, and distractors.

    Distractors are other passages, up to :data:`MAX_PASSAGES` in all: of the test pairs first, then of the training
    pairs. A passage that answers a chosen query is never a distractor. So if a query has more than :data:`MAX_ANSWERS`
    answers, the others are left out of the corpus.
    """
    asked: dict[str, str] = {}  # by the normalised query, the query
    for pair in test:
        if len(asked) < MAX_QUERIES:
            asked.setdefault(normalise(pair.query), pair.query)
    passages: dict[str, str] = {}  # by the normalised passage, the passage
    answers: dict[str, dict[str, None]] = {query: {} for query in asked}  # normalised, in order
    left_out: set[str] = set()
    for pair in test:
        query = normalise(pair.query)
        if query not in asked:
            continue
        for positive in pair.positives:
            answer = normalise(positive)
            if len(answers[query]) < MAX_ANSWERS:
                answers[query][answer] = None
                passages.setdefault(answer, positive)
            else:
                left_out.add(answer)
    for pair in [*test, *train]:
        for positive in pair.positives:
            if len(passages) >= MAX_PASSAGES:
                break
            if (passage := normalise(positive)) not in left_out:
                passages.setdefault(passage, positive)
    places = {passage: place for place, passage in enumerate(passages)}
    relevant = [(place, places[answer]) for place, of_query in enumerate(answers.values()) for answer in of_query]
    return Bench(list(asked.values()), list(passages.values()), relevant)


def without(pairs: Iterable[Pair], protected: set[str]) -> list[Pair]:
    """The pairs that have none of the protected texts, neither as query nor as positive."""
    return [pair for pair in pairs if protected.isdisjoint(_texts(pair))]
