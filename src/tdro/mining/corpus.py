"""More passages to choose negatives from: a BEIR folder's corpus, a JSONL file, or plain text.

Held in memory, for texts are compared with each other; each is there once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tdro.data.read.jsonl import raw_rows
from tdro.data.read.rows import Problem
from tdro.data.read.titled import titled
from tdro.errors import UserError


def read_corpus(source: str) -> dict[str, str]:
    """The distinct passages of a source, in its order, each with what it is without its title; empty ones are left out.

    Args:
        source: a BEIR folder (its ``corpus.jsonl``), a JSONL file (.gz too) of strings or of objects with ``text`` and
            perhaps ``title`` (:func:`tdro.data.read.titled.titled` joins them), or a ``.txt`` file with a passage a
            line.

    Raises:
        UserError: it is not there, a line is none of this (named by file and line), or it has no passage.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "corpus.jsonl"
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
        title, text = (value.get("title"), value.get("text")) if isinstance(value, dict) else ("", value)
        if not isinstance(text, str) or not isinstance(title, str | None):
            raise UserError(f"{path}, line {line}: expected a string, or an object with 'text' and perhaps 'title'")
        yield titled(title, text), text.strip()
