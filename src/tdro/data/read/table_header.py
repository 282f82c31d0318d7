"""Read a table's header: which character separates the cells, and whether the line can be a header at all."""

from __future__ import annotations

import re

from tdro.data.read.dialect import Lines, delimiter_of

NOT_UTF8 = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, as Python's surrogateescape reads it
_FIRST_ROW = 1 << 12  # characters behind the header among which the first row is looked for
_MOST_WORDS = 5  # in a column's name; a header with longer ones may be a row of texts


def delimiter_at(lines: Lines, usual: str) -> str:
    """The character that separates the cells. Lines before the header are skipped, and the header is read next."""
    for line in lines:
        # Excel writes this line before the header. A quote or a backslash cannot part cells.
        if sep := re.fullmatch(r'sep=([^"\\\r])\s*', line):
            lines.forget()
            return sep[1]
        if line.strip():
            behind, _ = lines.ahead(_FIRST_ROW)
            lines.taken = lines.taken[-1:]
            lines.put_back()
            return delimiter_of(line, behind, usual)
    return usual


def wrong_header(header: list[str], delimiter: str) -> str:
    """What is wrong with the header, so that no row can be read; empty if nothing is.

    For example, a name that stands twice, or a line of texts where the columns' names should be.
    """
    if NOT_UTF8.search("".join(header)):
        return "the header is not UTF-8; convert the file to UTF-8"
    if len(set(header)) != len(header):
        return "the header has a name twice; number such columns (negative_1, negative_2)"
    others = [other for other in ";\t|," if other in header[0]] if len(header) == 1 else []
    if others:
        return f"the columns are parted by {others[0]!r}, not by {delimiter!r}; save the file with that"
    words = [cell.count(" ") + 1 for cell in header]
    if max(words, default=0) > _MOST_WORDS and all(
        count > 2 or cell.isdecimal() for cell, count in zip(header, words, strict=True)
    ):
        return f"no header: the line has texts, not names; put the columns' names before it, parted by {delimiter!r}"
    return ""
