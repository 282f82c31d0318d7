"""Decides which pairs of the sample mixture train and which test: whole groups to one side, no text on both.

A group's side is a hash of its name, so it is the same for every task (a component in all languages, a word
in all dictionaries) and does not change when pairs come or go. Then texts: a test pair whose query or answer
also occurs in its task's training groups leaves the tests, and a training row that has the query or an answer
of a *chosen* test query of any task leaves training. :func:`leaks` proves the second on the built files.
See docs/decisions.md, split-by-group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tdro.data.read.beir import entries, judgements, strict
from tdro.data.same_text import normalise
from tdro.files import read_json, read_jsonl
from tdro.quickstart.pairs import Pair, digest
from tdro.recipe.source_kinds import BEIR_FILES

TEST_SHARE = 0.12  # of the groups
MAX_QUERIES = 150
MAX_PASSAGES = 1000
MAX_ANSWERS = 10  # positives a test query


def is_test_group(group: str) -> bool:
    """Whether a group's pairs are for testing only: a hash of its name, nothing else."""
    return int(digest("side", group), 16) < TEST_SHARE * 2**64


@dataclass(frozen=True)
class Bench:
    """A test set before it is written: queries, passages, and which passages answer which query."""

    queries: list[str]
    passages: list[str]
    relevant: list[tuple[int, int]]

    def protected(self) -> set[str]:
        """The normalised texts that training may not have: queries and positives, not the distractors."""
        texts = {normalise(query) for query in self.queries}
        return texts | {normalise(self.passages[passage]) for _, passage in self.relevant}


def sides(pairs: Iterable[Pair], all_test: bool = False) -> tuple[list[Pair], list[Pair]]:
    """Training and test pairs, each in the order of their digests (arbitrary and repeatable).

    A test pair with a text of the training side is dropped. With ``all_test`` every group is for testing.
    """
    ordered = sorted(pairs, key=lambda pair: (digest(pair.query, *pair.positives), pair))
    train = [] if all_test else [pair for pair in ordered if not is_test_group(pair.group)]
    known = texts_of(train)
    candidates = ordered if all_test else [pair for pair in ordered if is_test_group(pair.group)]
    return train, [pair for pair in candidates if known.isdisjoint(_texts(pair))]


def _texts(pair: Pair) -> set[str]:
    return {normalise(text) for text in (pair.query, *pair.positives)}


def texts_of(pairs: Iterable[Pair]) -> set[str]:
    """All normalised texts of pairs, both sides."""
    return {text for pair in pairs for text in _texts(pair)}


def bench(test: list[Pair], train: list[Pair]) -> Bench:
    """A test set: the first queries with all their answers, then distractors up to the size of the corpus.

    Distractors come from the test side; where that is too small, passages of the training side fill up. They
    are only ever wrong answers: no passage that answers a chosen query is among them.
    """
    asked: dict[str, str] = {}  # normalised query → query
    for pair in test:
        if len(asked) < MAX_QUERIES:
            asked.setdefault(normalise(pair.query), pair.query)
    numbers = {query: number for number, query in enumerate(asked)}
    passages: dict[str, str] = {}
    answers: dict[int, dict[str, None]] = {number: {} for number in numbers.values()}
    excess: set[str] = set()
    for pair in test:
        number = numbers.get(normalise(pair.query))
        if number is None:
            continue
        for positive in pair.positives:
            same = normalise(positive)
            if len(answers[number]) < MAX_ANSWERS:
                answers[number][same] = None
                passages.setdefault(same, positive)
            else:
                excess.add(same)  # right, but not listed: it may not count as wrong
    for pair in [*test, *train]:
        for positive in pair.positives:
            if len(passages) >= MAX_PASSAGES:
                break
            if (same := normalise(positive)) not in excess:
                passages.setdefault(same, positive)
    places = {passage: place for place, passage in enumerate(passages)}
    relevant = [(number, places[same]) for number, found in answers.items() for same in found]
    return Bench(list(asked.values()), list(passages.values()), relevant)


def without(pairs: Iterable[Pair], protected: set[str]) -> list[Pair]:
    """The pairs that have no protected text, as query or as positive."""
    return [pair for pair in pairs if protected.isdisjoint(_texts(pair))]


def leaks(folder: Path | str) -> list[str]:
    """Every training row of a built mixture that has a test query or positive, as a sentence; [] is proof.

    Texts are compared normalised, each test with every task. Raises :class:`~tdro.errors.UserError` for
    broken files.
    """
    folder = Path(folder)
    mixture = read_json(folder / "mixture.json")
    protected: dict[str, str] = {}
    for test in mixture["tests"]:
        place = folder / test["folder"]
        corpus, queries, qrels = (place / file for file in BEIR_FILES)
        passages = {each.id: each.text for each in strict(corpus, entries(corpus))}
        for query in strict(queries, entries(queries)):
            protected[normalise(query.text)] = f"a query of {test['name']}"
        for judged in strict(qrels, judgements(qrels)):
            protected[normalise(passages[judged.passage])] = f"a positive of {test['name']}"
    found = []
    for task in mixture["tasks"]:
        for row in read_jsonl(folder / task["file"]):
            for text in (row["query"], *row["positives"]):
                if where := protected.get(normalise(text)):
                    found.append(f"{task['name']}, row {row['id']}: {text[:60]!r} is {where}")
    return found
