"""Which split of a data set a name belongs to, and which of its splits is trained on.

A data set that was cloned from the hub has its training, validation and test rows side by side. ``train`` is trained
on; what is held out is not, unless it is asked for. Rejected: the hub's own patterns, which take a file that names no
split for training data even where test data lie beside it.
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
    """The words of a name, in lower case: of ``faq_trainData-00001`` they are ``faq``, ``train`` and ``data``."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    name = re.sub(r"\b(held|hold)[-_ ]?out\b", r"\1out", name.replace("_", "-"))
    return [word for word in re.split(r"[\W\d_]+", name) if word]


def split_of(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` where just one of them is among a name's words."""
    found = {_WORDS[word] for word in words(name) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def without_split(name: str) -> str:
    """The words of a name that name no split, joined."""
    return "-".join(word for word in words(name) if word not in _WORDS)


def split_to_read(names: Sequence[str], wanted: str | None, where: str) -> str:
    """The split that is trained on: the wanted one, else ``train``, else the only one that is not held out.

    Args:
        names: of the splits.
        wanted: what the user asked for.
        where: for the error.

    Raises:
        UserError: there is no such split, or it cannot be told which one is meant.
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
