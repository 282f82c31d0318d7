"""The texts that training data must not contain: the queries of test sets, and the passages that answer them.

Deduplication and the search for leaks read them from what models are evaluated on: BEIR folders, a mixture's test sets,
or a benchmark or mteb task by its name; or from a file of plain text with one text a line. In a BEIR folder, only
queries that have a judgement count, for ``queries.jsonl`` may hold the training queries too, as MS MARCO's does. See
docs/decisions.md, test-texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tdro.data.read.beir import CORPUS, QUERIES, entries, judgements, passage_text, qrels_file, strict
from tdro.data.testsets.find import FoundTestSet, find_test_sets, test_sets_in
from tdro.errors import UserError
from tdro.recipe.source_kinds import looks_like_file

MTEB = "mteb:"


@dataclass(frozen=True)
class TestTexts:
    """The texts of one test set, by their ids.

    A line of a plain text file has its number as its id. It counts as a query and as a passage.
    """

    __test__ = False  # pytest: not a test class

    name: str
    queries: dict[str, str]
    passages: dict[str, str] = field(default_factory=dict)


def find_test_texts(source: str, passages: bool = False, data: Path | None = None) -> list[TestTexts]:
    """The texts of the test sets that a source names.

    Args:
        source: a BEIR folder, a mixture folder or a folder of BEIR folders; a folder with only a ``queries.jsonl``; a
            file of plain text, one text a line; or ``mteb:`` and the name of a benchmark or of one of mteb's tasks.
        passages: whether the relevant passages are read too. The corpus is streamed for them.
        data: a folder that may hold local copies, in BEIR's or mteb's layout; they come first.

    Raises:
        UserError: the source is not there, has no text, or needs a package that is not installed.
    """
    path = Path(source).expanduser()
    if source.startswith(MTEB):
        found = _texts_of_each(find_test_sets(source.removeprefix(MTEB), data), passages)
    elif path.is_dir():
        found = _texts_of_each(test_sets_in(path), passages) or [beir_texts(path, path.resolve().name, passages)]
    else:
        found = [_plain_lines(path)]
    if not any(test.queries or test.passages for test in found):
        raise UserError(f"{source}: holds no test query")
    return found


def _texts_of_each(found: list[FoundTestSet], passages: bool) -> list[TestTexts]:
    """The texts of test sets that were found."""
    return [beir_texts(each.folder, each.wanted.name, passages) for each in found]


def _plain_lines(path: Path) -> TestTexts:
    """The lines of a file of plain text."""
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


def beir_texts(folder: Path, name: str, passages: bool = False) -> TestTexts:
    """The queries of a BEIR folder that ``qrels/test.tsv`` judges, or all where there is no such file.

    Args:
        folder: has a ``queries.jsonl``.
        name: the test set's name.
        passages: whether the relevant passages are read too.

    Raises:
        UserError: a file is missing, or a line, named in the error, is broken.
    """
    path = folder / QUERIES
    if not path.is_file():
        raise UserError(f"{path}: no such file; a folder of test queries is in BEIR's layout, or has a mixture.json")
    scores = _judgements(qrels_file(folder, "test"))
    queries = {each.id: each.text for each in strict(path, entries(path, scores))}
    return TestTexts(name, queries, _relevant(folder / CORPUS, queries, scores or {}) if passages else {})


def _judgements(path: Path) -> dict[str, dict[str, int]] | None:
    """The relevance of each judged passage, by query and passage; None if there is no such file: all queries count."""
    if not path.is_file():
        return None
    scores: dict[str, dict[str, int]] = {}
    for _, query, passage, score in strict(path, judgements(path)):
        scores.setdefault(query, {})[passage] = score
    return scores


def _relevant(corpus: Path, queries: Iterable[str], scores: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """The passages that are relevant to one of the queries. A passage that the corpus lacks is left out."""
    wanted = dict.fromkeys(
        passage for query in queries for passage, score in scores.get(query, {}).items() if score > 0
    )
    found = {each.id: passage_text(each.value) for each in strict(corpus, entries(corpus, wanted))}
    return {passage: found[passage] for passage in wanted if passage in found}
