"""Something wrong in a file, and what is done about it: the kinds of problems of a row, in words, and their repairs.

Kinds of problems of a whole file or line (``not-json``, ``broken-file``) have their words where they are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["dropped", "repaired", "kept", "refused"]


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file, and what is done about it.

    Attributes:
        file: the path or the source's name, as the user gave it.
        line: the line, from 1; None if it is about the whole file.
        kind: a short name, such as ``not-json``.
        message: one line for people.
        action: ``dropped``, the row is left out; ``repaired``, the row is read with a change, which :data:`REPAIRS`
            names for each kind; ``kept``, it is read as it is; ``refused``, nothing more of the file is read.
    """

    file: str
    line: int | None
    kind: str
    message: str
    action: Action


MESSAGES = {  # kind of problem to what is said of a text that has it
    "null": "null",
    "wrong-type": "not a text",
    "empty-text": "empty",
    "control-character": "control characters",
    "surrogate": "half of a surrogate pair, which is no text",
    "whitespace": "whitespace around the text",
    "overlong": "longer than {longest} characters",
    "wrong-encoding": "looks like UTF-8 that was read in another encoding ('Ã©'), or has lost characters (U+FFFD)",
    "duplicate-text": "the same text twice",
    "positive-is-query": "equal to the query",
    "positive-is-negative": "equal to a positive",
    "not-finite": "NaN or an infinite number, which JSON has not",
    "null-word": "a word for nothing (nan, None, NULL, #N/A)",
    "no-text": "an object without a text",
    "list-text": "begins as the text of a list does, as others in this column, and is none",
    "list-like": "looks like the text of a list or an object, and is read as one text",
    "judged": "a judgement of its own says the opposite",
    "several-messages": "not one question, or not one answer",
    "system-message": "a system message; say what a query asks for as the task's instruction",
}
REPAIRS = {  # kind of problem to what was done to the text where the action is "repaired"
    "null": "left out",
    "wrong-type": "left out",
    "empty-text": "left out",
    "control-character": "removed",
    "surrogate": "removed",
    "whitespace": "removed",
    "overlong": "cut",
    "duplicate-text": "kept once",
    "positive-is-query": "left out",
    "positive-is-negative": "left out",
    "not-finite": "read as null",
    "null-word": "left out",
    "no-text": "left out",
    "list-text": "left out",
    "judged": "left out",
    "several-messages": "left out",
    "system-message": "left out",
}
