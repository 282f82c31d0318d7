"""What a column's name tells: that it holds the query, positives, negatives, the id, or a judgement of the pair.

Case, spaces, hyphens, underscores and camelCase make no difference, so ``Question Text`` is ``question_text``.
Positives and negatives may be numbered: ``negative_1``, ``Negative 2``. See docs/decisions.md, column-names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# Names of positives and negatives: "positive", "pos", "hard_negatives", "rejected_response", "bm25_negatives".
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
# A name of the second group counts only where no column has a name of the first.
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
# Where one of these stands beside an answer, it may be the passage to find, and the answer a few words out of it.
LONG = {"passage", "passages", "document", "documents", "context", "contexts", "text", "content", "body"}
IDS = ("id", "query_id", "_id", "qid")
# Names that mean the same to everybody who trains embedding models. Any other is reported as a guess.
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
_COUNTS = {  # words in the names of numbers that judge nothing: "chunk_id", "n_words", "page"
    *("id", "ids", "idx", "index", "no", "nr", "num", "number", "n", "count", "len", "length", "size", "tokens"),
    *("words", "chars", "page", "pages", "chunk", "turn", "turns", "rank", "line", "row", "offset", "start", "end"),
    *("year", "month", "day", "hour", "version", "split", "fold", "seed", "position", "section", "chapter", "unnamed"),
}


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A name in lower case, without spaces and punctuation: ``hardnegatives`` of ``Hard_Negatives``."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name).casefold())


def words(name: str) -> set[str]:
    """The words of a name in lower case: ``is`` and ``duplicate`` of ``isDuplicate`` and of ``is_duplicate``."""
    parted = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=[a-z0-9])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return set(re.sub(r"[\W_]+", " ", parted).casefold().split())


def is_positive(name: str) -> bool:
    """Whether the name says that the column holds positives."""
    return _POSITIVE.fullmatch(plain_name(name)) is not None


def is_negative(name: str) -> bool:
    """Whether the name says that the column holds negatives."""
    return _NEGATIVE.fullmatch(plain_name(name)) is not None


@lru_cache(maxsize=4096)
def is_judgement(name: str) -> bool:
    """Whether the name has a word for a judgement: ``label``, ``is_duplicate``, ``relevanceScore``."""
    return not words(name).isdisjoint(_JUDGE_WORDS)


def denies(name: str) -> bool:
    """Whether a judgement of this name is true for the wrong pairs: ``is_impossible``."""
    return not words(name).isdisjoint(_DENIALS)


def is_count(name: str) -> bool:
    """Whether the name says that its numbers are ids or counts. (An empty name is the index that pandas writes.)"""
    return not plain_name(name) or not words(name).isdisjoint(_COUNTS)


def in_groups(keys: Sequence[str], groups: Sequence[set[str]]) -> list[str]:
    """The keys with a name of the first group from which there is one."""
    for group in groups:
        if found := [key for key in keys if plain_name(key) in group]:
            return found
    return []


def family(name: str, keys: Sequence[str]) -> tuple[str, ...]:
    """The keys with this name, and with this name and a number: of ``bad``, they are ``bad``, ``bad_1``, ``bad 2``."""
    own = [name] if name in keys else []
    numbered = re.compile(rf"{re.escape(name)}[\s_.-]*(\d{{1,4}})", re.ASCII)
    matches = [match for key in keys if (match := numbered.fullmatch(key))]
    return (*own, *(match[0] for match in sorted(matches, key=lambda match: int(match[1]))))


def without_number(name: str) -> str:
    """A name without the number at its end."""
    return re.sub(r"[\s_.-]*\d{1,4}$", "", name, flags=re.ASCII) or name


def shown_key(key: object) -> str:
    """A key from a file in quotes, made safe for a message: ASCII, on one line, at most 40 characters."""
    text = str(key)
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")


def listed(keys: Sequence[str], most: int | None = 12) -> str:
    """Keys as one text for a message: the first ``most`` of them and how many more there are; None for all."""
    more = f" and {len(keys) - most} more" if most is not None and len(keys) > most else ""
    return ", ".join(map(shown_key, keys[:most])) + more or "none"
