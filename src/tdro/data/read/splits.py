"""Which split a file's name belongs to (``dev.jsonl``: validation), and which split of a data set is trained on.

A data set that was cloned from the hub has its training, validation and test rows side by side, in files such as
``train-00000-of-00002.parquet`` and ``dev.jsonl``. Only the split ``train`` is trained on. Validation and test data are
left out, unless the user names that split. See docs/decisions.md, split-by-name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tdro.errors import UserError

TRAIN, HELD_OUT = "train", ("validation", "test")
_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "trainset": TRAIN,
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "valset": "validation",
    "dev": "validation",
    "devset": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "testset": "test",
    "eval": "test",
    "evaluation": "test",
    "heldout": "test",
    "holdout": "test",
}


def words(name: str) -> list[str]:
    """The words of a name, in lower case, without numbers.

    For example, ``faq_trainData-00001`` has the words ``faq``, ``train`` and ``data``; ``held_out`` is one word,
    ``heldout``.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    name = re.sub(r"\b(held|hold)[-_ ]?out\b", r"\1out", name.replace("_", "-"))
    return [word for word in re.split(r"[\W\d_]+", name) if word]


def split_of(name: str) -> str | None:
    """The split that a name tells: ``train``, ``validation`` or ``test``; None if it tells none, or more than one.

    For example, ``dev.jsonl`` belongs to ``validation``, and ``train_test_pairs.jsonl`` to none.
    """
    found = {_WORDS[word] for word in words(name) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def without_split(name: str) -> str:
    """What is left of a name without its words for a split, and without numbers: ``en`` of ``en-train-00000``."""
    return "-".join(word for word in words(name) if word not in _WORDS)


def split_to_read(names: Sequence[str], wanted: str | None, where: str) -> str:
    """The split to train on: the wanted one, else ``train``, else the only one that is neither validation nor test.

    Args:
        names: of all splits of the data set.
        wanted: the split that the user named; None if they named none.
        where: begins the error: the data set.

    Raises:
        UserError: there is no such split, or several could be meant.
    """
    listed = ", ".join(names)
    if wanted is not None:
        same = [name for name in names if name == wanted] or [
            name for name in names if split_of(name) == split_of(wanted) is not None
        ]
        if len(same) != 1:
            raise UserError(f"{where}: no split {wanted!r}; there are {listed}")
        return same[0]
    for found in (
        [name for name in names if name == TRAIN],
        [name for name in names if split_of(name) == TRAIN],
        [name for name in names if split_of(name) not in HELD_OUT],
    ):
        if len(found) == 1:
            return found[0]
    raise UserError(f"{where}: which split is to be trained on? There are {listed}; name one with the key `split`")
