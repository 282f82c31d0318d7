"""Problems that only show when a task is seen as a whole: rows that repeat a query or do not fit the other rows.

Which rows these are is decided in :mod:`tdro.data.quality.outliers`; here they become problems with file and line.
All are ``kept``: such a row may well be right.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tdro.data.quality.languages import language_name
from tdro.data.quality.outliers import odd_lengths, odd_ones, repeated
from tdro.data.quality.row_facts import TaskFacts
from tdro.data.read.problem import Problem


def repeated_queries(facts: TaskFacts) -> Iterator[Problem]:
    """A problem for each row whose query, after normalisation, an earlier row has too."""
    rows, firsts = repeated(np.array(facts.query_hash, dtype=np.int64))
    for row, first in zip(rows.tolist(), firsts.tolist(), strict=True):
        (file, line), (first_file, first_line) = facts.place(row), facts.place(first)
        where = f"line {first_line}" if first_file == file else f"{first_file}, line {first_line}"
        yield Problem(file, line, "duplicate-query", f"the same query as {where}", "kept")


def misfits(facts: TaskFacts, what: str) -> Iterator[Problem]:
    """Texts in another script or language than nearly all of the task's, or of a very different length.

    Args:
        facts: of the whole task.
        what: which texts: ``query``, or ``positive`` for the first positives.
    """
    texts = facts.texts[what]
    scripts = np.array(texts.scripts)
    by_script, usual = odd_ones(scripts)
    for row in by_script.tolist():
        found, others = facts.script_names[scripts[row]], facts.script_names[usual]
        yield Problem(
            *facts.place(row), "odd-script", f"the {what} is in {found}, nearly all others in {others}", "kept"
        )

    languages, places = texts.languages.sure, texts.sample.places  # of a sample, if there are many rows
    by_language, usual = odd_ones(languages)
    for number, row in zip(by_language.tolist(), places[by_language].tolist(), strict=True):
        if row not in by_script:  # else its script has said so already
            found, others = language_name(languages[number]), language_name(usual)
            message = f"the language of the {what} is {found}, of nearly all others {others}"
            yield Problem(*facts.place(row), "odd-language", message, "kept")

    lengths = np.array(texts.lengths)
    by_length = odd_lengths(lengths).tolist()
    median = np.median(lengths) if by_length else 0
    for row in by_length:
        message = f"the {what} has a length of {lengths[row]}, the median is {median:.0f} characters"
        yield Problem(*facts.place(row), "odd-length", message, "kept")
