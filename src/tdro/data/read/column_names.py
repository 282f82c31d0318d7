"""What a column's name says that it holds: the query, positives, negatives, the id, or a judgement of the pair.

Case, spaces, hyphens, underscores and camelCase make no difference, so ``Question Text`` is ``question_text``.
Positives and negatives may be numbered: ``negative_1``, ``Negative 2``. Rejected: a list of all spellings (people have
more).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# What positives and negatives are called: "positive", "pos", "hard_negatives", "rejected_response", "bm25_negatives".
_NOUN = (
    "(?:passage|ctx|context|document|doc|text|answer|response|message|completion|example|sample|sentence|paragraph"
    "|chunk|candidate|content|item)"
)
_MADE = "(?:hard|semihard|easy|soft|random|mined|bm25|dense|model|top)"
_POSITIVE = re.compile(rf"(?:(?:positive|pos|chosen)s?{_NOUN}?s?|relevant{_NOUN}s?)\d{{0,4}}")
_NEGATIVE = re.compile(
    rf"{_MADE}*(?:(?:negative|neg|reject|rejected|distractor)s?{_NOUN}?s?"
    rf"|(?:incorrect|wrong|irrelevant|nonrelevant){_NOUN}s?){_MADE}*\d{{0,4}}"
)
# A name of a later group counts where there is none of an earlier one.
QUERIES = (
    {"query", "anchor", "question", "prompt", "messages"}
    | {"questiontext", "querytext", "searchquery", "userquery", "q"},
    {"title", "headline", "input", "instruction", "term", "subject", "sentence1"},
)
ANSWERS = (
    {"answer", "answers", "answertext", "correctanswer", "bestanswer", "response", "reply", "completion", "a"},
    {"passage", "document", "context", "text", "content", "body", "output", "definition", "description"}
    | {"sentence2"},
)
# Beside an answer, one of these may be what is searched for, and the answer a few words out of it.
LONG = {"passage", "passages", "document", "documents", "context", "contexts", "text", "content", "body"}
IDS = ("id", "query_id", "_id", "qid")
# Names that mean the same to everybody who trains embedding models; the others are said to have been guessed.
WELL_KNOWN = {"query", "anchor", "question", "prompt", "messages", "sentence1"} | {
    *("answer", "answers", "passage", "document", "response", "sentence2")
}
LABELS = {"label", "labels", "score", "scores", "similarity"}
_JUDGE_WORDS = LABELS | {
    *("relevance", "relevant", "relevancy", "rel", "duplicate", "duplicates", "paraphrase", "judgement", "judgment"),
    *("qrel", "qrels", "entailment", "rating", "grade", "selected", "answerable", "correct"),
}
_DENIALS = {
    "not",
    "non",
    "no",
    "impossible",
    "unanswerable",
    "irrelevant",
    "nonrelevant",
    "wrong",
    "incorrect",
    "negative",
}
_COUNTS = {  # names of numbers that judge nothing: "chunk_id", "n_words", "page"
    *("id", "ids", "idx", "index", "no", "nr", "num", "number", "n", "count", "len", "length", "size", "tokens"),
    *("words", "chars", "page", "pages", "chunk", "turn", "turns", "rank", "line", "row", "offset", "start", "end"),
    *("year", "month", "day", "hour", "version", "split", "fold", "seed", "position", "section", "chapter", "unnamed"),
}


@lru_cache(maxsize=4096)
def bare(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name).casefold())


def words(name: str) -> set[str]:
    """The words of a name: ``isDuplicate`` and ``is_duplicate`` have ``is`` and ``duplicate``."""
    parted = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=[a-z0-9])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return set(re.sub(r"[\W_]+", " ", parted).casefold().split())


def is_positive(name: str) -> bool:
    """Whether a column is called so because it holds positives."""
    return _POSITIVE.fullmatch(bare(name)) is not None


def is_negative(name: str) -> bool:
    """Whether a column is called so because it holds negatives."""
    return _NEGATIVE.fullmatch(bare(name)) is not None


@lru_cache(maxsize=4096)
def is_judgement(name: str) -> bool:
    """Whether a column is called as judgements are: ``label``, ``is_duplicate``, ``relevanceScore``."""
    return not words(name).isdisjoint(_JUDGE_WORDS)


def denies(name: str) -> bool:
    """Whether a judgement of this name is true where the pair is wrong: ``is_impossible``."""
    return not words(name).isdisjoint(_DENIALS)


def is_count(name: str) -> bool:
    """Whether small numbers in a column of this name number or count something; an empty name is pandas' index."""
    return not bare(name) or not words(name).isdisjoint(_COUNTS)


def in_groups(keys: Sequence[str], groups: Sequence[set[str]]) -> list[str]:
    """The keys of the first group that any is in."""
    for group in groups:
        if found := [key for key in keys if bare(key) in group]:
            return found
    return []


def family(name: str, keys: Sequence[str]) -> tuple[str, ...]:
    """The key of this name and, in their order, the ones with a number behind it."""
    own = [name] if name in keys else []
    numbered = re.compile(rf"{re.escape(name)}[\s_.-]*(\d{{1,4}})", re.ASCII)
    matches = [match for key in keys if (match := numbered.fullmatch(key))]
    return (*own, *(match[0] for match in sorted(matches, key=lambda match: int(match[1]))))


def stem(name: str) -> str:
    """A name without the number behind it."""
    return re.sub(r"[\s_.-]*\d{1,4}$", "", name, flags=re.ASCII) or name


def shown_key(key: object) -> str:
    """A key from a file as it may stand in a message: ASCII, on one line, not too long."""
    text = str(key)
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")


def listed(keys: Sequence[str], most: int | None = 12) -> str:
    """Keys for a message, the first ones and how many more; all of them for None."""
    more = f" and {len(keys) - most} more" if most is not None and len(keys) > most else ""
    return ", ".join(map(shown_key, keys[:most])) + more or "none"
