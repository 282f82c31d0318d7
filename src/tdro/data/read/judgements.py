"""Which columns that are not read judge the pairs: 0 and 1, true and false, a grade, a score, "relevant".

A pair that is judged wrong must not become a positive because its judgement stands under a name that nobody thought
of. So the values of every column that is not read are looked at, until one shows that the column is something else.
Rejected: names alone (``is_duplicate``, ``y``, ``gold``, …: there is always another).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tdro.data.read.cells import is_missing, yes_or_no
from tdro.data.read.column_names import LABELS, bare, is_count, is_judgement
from tdro.data.read.layout import Certain, Layout, Unclear, judged

_DISTINCT = 8  # values of a column that are kept
_COLUMNS = 1_000  # that are kept; an object whose keys are ids has millions
_LEAST, _MOST = -1.0, 5.0  # of grades and scores: cosines from -1, stars to 5
_WORDS = {  # where all values of a column are among these, it is a judgement
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


class Unread:
    """The columns that were not read, and what they hold as far as it may be a judgement.

    Attributes:
        seen: by column, its first distinct grades; ``["other"]`` where it holds something else.
    """

    def __init__(self, seen: Mapping[str, list[str]] | None = None) -> None:
        self.seen: dict[str, list[str]] = {key: list(values) for key, values in (seen or {}).items()}
        self._others = {key for key, values in self.seen.items() if values == [_OTHER]}

    def add(self, row: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Look at the columns of a row."""
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
        """What to ask if one of the columns judges the pairs of this layout and the user has not said what it means."""
        if "label" in known:
            return None
        for key, values in self.seen.items():
            if _judges(key, values, layout.by, bool(layout.negatives)):
                return judged(layout.positives[0], key, {**known, **layout.columns}, values)
        return None

    def judges(self, negatives: bool) -> str:
        """The column that judges rows whose positives are called so, with or without negatives; empty for none."""
        return next((key for key, values in self.seen.items() if _judges(key, values, "named", negatives)), "")


def _judges(key: str, values: Sequence[str], by: Certain, negatives: bool) -> bool:
    """Whether a column with these values, as far as they are grades, may say that some positives are none.

    A name such as ``label`` is enough where the positives are only called ``answer`` or ``document``. Where they are
    called ``positive``, it takes such a name and grades that differ; else grades that differ, whatever the name.
    """
    if values[:1] == [_OTHER]:
        return by == "answers" and bare(key) in LABELS
    differ = len(values) > 1 or (bool(values) and yes_or_no(values[0]) is False)
    if is_judgement(key):
        if by == "answers":
            return bool(values) or bare(key) in LABELS
        return differ and not negatives
    return by != "named" and not negatives and len(values) > 1 and not is_count(key)


def _grade(value: object, any_number: bool) -> str | None:
    """A value as a grade; None where it is something else. Of other columns than judgements, large numbers are none."""
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
