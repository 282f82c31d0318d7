"""Find columns that are not read, but judge the pairs: 0 and 1, true and false, a grade, a score, "relevant".

A pair that is judged wrong must not become a positive just because the judgement is in a column with a name that nobody
thought of. So the values of every column that is not read are looked at, until one of them shows that the column holds
something else. See docs/decisions.md, judgements-by-value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tdro.data.read.cells import is_missing, yes_or_no
from tdro.data.read.column_names import LABELS, is_count, is_judgement, plain_name
from tdro.data.read.layout import Certain, Layout, Unclear, judged

_DISTINCT = 8  # how many different values of a column are kept
_COLUMNS = 1_000  # how many columns are kept; rows whose keys are ids have millions
_LEAST, _MOST = -1.0, 5.0  # grades and scores lie between: cosines begin at -1, stars end at 5
_WORDS = {  # a column in which all values are among these is a judgement
    *("relevant", "irrelevant", "not relevant", "not_relevant", "nonrelevant", "non-relevant", "highly relevant"),
    *(
        "partially relevant",
        "somewhat relevant",
        "positive",
        "negative",
        "neutral",
        "pos",
        "neg",
        "correct",
        "incorrect",
    ),
    *("wrong", "right", "match", "mismatch", "no match", "no_match", "entailment", "contradiction", "not_entailment"),
    *("duplicate", "not_duplicate", "not duplicate", "nonduplicate", "same", "different", "good", "bad", "perfect"),
    *("exact", "substitute", "complement", "e", "s", "c", "i"),
}
_OTHER = "other"


class UnreadColumns:
    """Remembers the values of the columns that are not read, until a value shows that a column judges nothing.

    Attributes:
        seen: column to its first 8 different values, each as a grade (``"1"``, ``"relevant"``); ``["other"]`` once a
            value has shown that the column is no judgement.
    """

    def __init__(self, seen: Mapping[str, list[str]] | None = None) -> None:
        self.seen: dict[str, list[str]] = {key: list(values) for key, values in (seen or {}).items()}
        self._others = {key for key, values in self.seen.items() if values == [_OTHER]}

    def add(self, row: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Look at the values that a row has in these columns."""
        for key in keys:
            if key in self._others:
                continue
            values = self.seen.get(key)
            if values is None:
                if len(self.seen) == _COLUMNS:
                    continue
                values = self.seen[key] = []
            value = row.get(key)
            if is_missing(value):
                continue
            grade = _grade(value, is_judgement(key))
            if grade is None:
                self.seen[key] = [_OTHER]
                self._others.add(key)
            elif grade not in values and len(values) < _DISTINCT:
                values.append(grade)

    def judgement(self, layout: Layout, known: Mapping[str, str]) -> Unclear | None:
        """What to ask the user if one of the columns judges the pairs; None if there is none, or if they have said
        already what it means.

        Args:
            layout: which columns are read.
            known: the columns that the user named; with ``label`` among them, nothing is asked.
        """
        if "label" in known:
            return None
        for key, values in self.seen.items():
            if _judges(key, values, layout.by, bool(layout.negatives)):
                return judged(layout.positives[0], key, {**known, **layout.columns}, values)
        return None

    def judges(self, negatives: bool) -> str:
        """The column that judges the rows of a mixture file, whose positives are named so; empty if there is none.

        Args:
            negatives: whether the rows have negatives.
        """
        return next((key for key, values in self.seen.items() if _judges(key, values, "named", negatives)), "")


def _judges(key: str, values: Sequence[str], by: Certain, negatives: bool) -> bool:
    """Whether a column may say that some of the positives are wrong.

    If the positives are in a column named ``positive``, it must have a name such as ``label``, and different grades. If
    they are in one named ``answer`` or ``document``, such a name is enough, and so are different grades under any name.
    If the user named the column of the positives, it takes different grades, under any name. Different grades do not
    count in rows that have negatives.
    """
    if values[:1] == [_OTHER]:
        return by == "answers" and plain_name(key) in LABELS
    differ = len(values) > 1 or (bool(values) and yes_or_no(values[0]) is False)
    if is_judgement(key):
        if by == "answers":
            return bool(values) or plain_name(key) in LABELS
        return differ and not negatives
    return by != "named" and not negatives and len(values) > 1 and not is_count(key)


def _grade(value: object, any_number: bool) -> str | None:
    """A value as a grade, such as ``"1"``; None if it is no grade. Numbers beyond 5 count only if ``any_number``."""
    if (yes := yes_or_no(value)) is not None:
        return "1" if yes else "0"
    if isinstance(value, str):
        text = value.strip().casefold()
        if text in _WORDS:
            return text
        try:
            value = float(text)
        except ValueError:
            return None
    if isinstance(value, (int, float, Decimal)) and (_LEAST <= value <= _MOST or (any_number and value == value)):
        return f"{float(value):g}"
    return None
