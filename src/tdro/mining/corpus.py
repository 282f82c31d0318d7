"""More passages to choose negatives from: a BEIR folder's corpus, a JSONL file, or plain text.

They are held in memory, since their texts are compared with each other, and each is there once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tdro.data.read.beir import CORPUS, has_texts, passage_text
from tdro.data.read.cells import text_of
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.problem import Problem
from tdro.errors import UserError


def read_corpus(source: str) -> dict[str, str]:
    """The passages of a source, each distinct text once and in its order; empty ones are left out.

    Args:
        source: a BEIR folder (its ``corpus.jsonl``), a JSONL file (.gz too) of strings or of objects with ``text`` and
            perhaps ``title``, or a ``.txt`` file with a passage a line.

    Returns:
        Each passage (title and text joined by :func:`tdro.data.read.titled.titled`), and its text without the title.

    Raises:
        UserError: it is not there, a line is none of this (named by file and line), or it has no passage.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / CORPUS
    if not path.is_file():
        raise UserError(
            f"{path}: no such file (a corpus is a BEIR folder, a JSONL file, or a .txt with one text a line)"
        )
    found: dict[str, str] = {}
    for passage, text in _lines(path) if path.suffix == ".txt" else _jsonl(path):
        if passage:
            found.setdefault(passage, text)
    if not found:
        raise UserError(f"{path}: holds no passage")
    return found


def _lines(path: Path) -> list[tuple[str, str]]:
    try:
        return [(line.strip(), line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _jsonl(path: Path) -> Iterator[tuple[str, str]]:
    for line, _, value in raw_rows(path):
        if isinstance(value, Problem):
            raise UserError(f"{path}, line {line}: {value.message}")
        passage = value if isinstance(value, dict) else {"text": value}
        if not has_texts(passage):
            raise UserError(f"{path}, line {line}: expected a string, or an object with 'text' and perhaps 'title'")
        yield passage_text(passage), text_of(passage).strip()
