"""What training data must not contain: the queries of test sets, and the passages that answer them.

From a BEIR folder, a mixture folder (all of its test sets), a file of plain text with one text a line, or a task of the
``mteb`` package by its name. Only what is judged counts in a BEIR folder: its ``queries.jsonl`` may hold the training
queries too (MS MARCO's does). Rejected: reading the whole test set as for evaluation, which takes its whole corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdro.data.beir_rows import beir_rows
from tdro.data.jsonl import raw_rows
from tdro.data.mixture import test_folders
from tdro.data.places import looks_like_file
from tdro.data.rows import Problem
from tdro.errors import UserError

MTEB = "mteb:"


@dataclass(frozen=True)
class TestTexts:
    """One test set's texts by their ids; plain lines have their number, and stand for queries and passages alike."""

    __test__ = False  # pytest: not a test class

    name: str
    queries: dict[str, str]
    passages: dict[str, str] = field(default_factory=dict)


def find_test_texts(source: str, passages: bool = False) -> list[TestTexts]:
    """The test sets that a source names.

    Args:
        source: a BEIR folder, a mixture folder, a file of plain text, or ``mteb:`` and the name of a retrieval task.
        passages: read the relevant passages, too; a BEIR corpus is streamed for them.

    Raises:
        UserError: it is not there, has no text, or needs a package that is not installed.
    """
    if source.startswith(MTEB):
        found = list(_mteb(source.removeprefix(MTEB), passages))
    else:
        path = Path(source).expanduser()
        if (path / "mixture.json").is_file():
            found = [_beir(folder, name, passages) for name, folder in test_folders(path).items()]
        elif path.is_dir():
            found = [_beir(path, path.resolve().name, passages)]
        else:
            found = [_lines(path)]
    if not any(test.queries or test.passages for test in found):
        raise UserError(f"{source}: holds no test query")
    return found


def _lines(path: Path) -> TestTexts:
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder (a task of the mteb package is mteb:NAME)")
    if looks_like_file(path.name):
        raise UserError(f"{path}: test queries come from a BEIR folder or from plain text, one a line (.txt)")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    texts = {str(number): line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    return TestTexts(path.name, texts, texts)


def _beir(folder: Path, name: str, passages: bool) -> TestTexts:
    path = folder / "queries.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: no such file; a folder of test queries is in BEIR's layout, or has a mixture.json")
    judged = _judged(folder / "qrels" / "test.tsv")
    queries = {}
    for line, _, value in raw_rows(path):
        if isinstance(value, Problem):
            raise UserError(f"{path}, line {line}: {value.message}")
        if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("_id", "text")):
            raise UserError(f"{path}, line {line}: expected an object with the texts '_id' and 'text'")
        if judged is None or value["_id"] in judged:
            queries[value["_id"]] = value["text"]
    return TestTexts(name, queries, dict(_relevant(folder)) if passages else {})


def _judged(path: Path) -> set[str] | None:
    """The ids of the queries that are tested, or None (all) where nothing says which."""
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return {line.split("\t")[0] for line in lines}


def _relevant(folder: Path) -> Iterator[tuple[str, str]]:
    for line, _, value in beir_rows(folder, "test"):
        if isinstance(value, Problem):
            raise UserError(f"{value.file}, line {line}: {value.message}")
        for passage in value["positive_passages"] if isinstance(value, dict) else ():
            yield passage["docid"], _titled(passage)


def _titled(passage: dict[str, Any]) -> str:
    return " ".join(part for key in ("title", "text") if isinstance(part := passage.get(key), str) and part)


def _mteb(name: str, passages: bool) -> Iterator[TestTexts]:
    """A retrieval task's test sets, one a language and split; the package downloads them into its own cache."""
    try:
        import mteb
    except ImportError as error:
        raise UserError(f"mteb:{name}: needs the mteb package; run `pip install 'mteb>=2'` first") from error
    try:
        task = mteb.get_task(name)
        task.load_data()
        if hasattr(task, "convert_v1_dataset_format_to_v2"):
            task.convert_v1_dataset_format_to_v2(None)
    except Exception as error:  # an unknown name, no network, a data set that is gone: all kinds
        line = " ".join(str(error).split())[:200]
        raise UserError(f"mteb:{name}: cannot be loaded ({type(error).__name__}: {line})") from error
    for subset, splits in (task.dataset or {}).items():
        for split, data in splits.items():
            if not isinstance(data, dict) or "queries" not in data:
                raise UserError(f"mteb:{name}: is no retrieval task; it has no queries")
            queries = {str(row["id"]): row["text"] for row in data["queries"] if isinstance(row["text"], str)}
            wanted = {key for scores in data["relevant_docs"].values() for key, score in scores.items() if score > 0}
            relevant = {}
            if passages:
                relevant = {str(row["id"]): _titled(row) for row in data["corpus"] if row["id"] in wanted}
            yield TestTexts(f"{name}/{subset}/{split}", queries, relevant)
