"""Does the training data hold test queries? Near-duplicates of each test set's queries among the training queries.

What :func:`tdro.data.near_duplicates.leaks` finds is counted by test set and task, kept in the run folder
(``leaks.json``), and found again while training queries and test queries stay the same: 228 k of the ones and 3 k of
the others take a second, but millions take minutes. Nothing is removed here, for the models are trained already; ``tdro
data dedup`` does that before. Rejected: a share of common words, which takes questions of one form for one question.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdro.data.near_duplicates import THRESHOLD, leaks
from tdro.data.task import Mixture
from tdro.data.test_texts import TestTexts, find_test_texts
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_json

FILE = "leaks.json"
_FORMAT = "tdro-leaks/1"


def find_leaks(mixture: Mixture, run_folder: Path | str) -> list[dict[str, Any]]:
    """The test sets with queries that have a near-duplicate among the training queries; kept on disk.

    Args:
        mixture: training tasks and test sets.
        run_folder: ``leaks.json`` is read there if it is of the same queries, and written if not.

    Returns:
        A dict a test set that leaks, in order: ``test``, ``queries`` (how many are judged), ``leaked`` (how many of
        them have a near-duplicate), ``tasks`` (by task, most first), and the most similar ``example``: ``query_id`` and
        ``query`` of the test, ``task``, ``row`` (from 0) and ``train_query``, ``similarity``.

    Raises:
        UserError: a test set is broken.
    """
    path = Path(run_folder) / FILE
    train = {task.name: task.rows["query"][:] for task in mixture.tasks}
    tests = [TestTexts(test.name, _queries(test.folder)) for test in mixture.tests]
    key = fingerprint([THRESHOLD, _digests(train.items()), _digests((test.name, _flat(test)) for test in tests)])
    known = _known(path)
    if known is not None and known.get("key") == key:
        return list(known["leaks"])
    found = count_leaks(train, tests)
    checked = [test.name for test in tests]
    write_json(path, {"format": _FORMAT, "key": key, "threshold": THRESHOLD, "checked": checked, "leaks": found})
    return found


def count_leaks(train: Mapping[str, Sequence[str]], tests: Sequence[TestTexts]) -> list[dict[str, Any]]:
    """What :func:`find_leaks` returns, from texts.

    Args:
        train: the queries of each training task.
        tests: the test sets.
    """
    owners = [(task, row) for task, queries in train.items() for row in range(len(queries))]
    asked = [(number, key) for number, test in enumerate(tests) for key in test.queries]
    texts = [tests[number].queries[key] for number, key in asked]
    best: dict[int, dict[str, Any]] = {}
    tasks: dict[int, dict[str, set[str]]] = {}
    pairs = leaks([query for queries in train.values() for query in queries], texts)
    for train_place, test_place, similarity in pairs:
        (task, row), (number, key) = owners[train_place], asked[test_place]
        tasks.setdefault(number, {}).setdefault(task, set()).add(key)
        if number not in best or similarity > best[number]["similarity"]:
            example = {"query_id": key, "query": texts[test_place], "task": task, "row": row}
            best[number] = {**example, "train_query": train[task][row], "similarity": round(similarity, 4)}
    found = []
    for number, by_task in sorted(tasks.items()):
        counts = Counter({task: len(keys) for task, keys in by_task.items()})
        about = {"test": tests[number].name, "queries": len(tests[number].queries)}
        leaked = len(set.union(*by_task.values()))
        found.append({**about, "leaked": leaked, "tasks": dict(counts.most_common()), "example": best[number]})
    return found


def known_leaks(run_folders: Iterable[Path], tests: Sequence[str]) -> list[dict[str, Any]] | None:
    """What was found for these test sets in some runs, or None where nobody has looked.

    Args:
        run_folders: those without ``leaks.json`` are passed over. Of several runs, each leak is named once.
        tests: names of test sets; others are left out.
    """
    known = [content for content in (_known(folder / FILE) for folder in dict.fromkeys(run_folders)) if content]
    if not known:
        return None
    found: list[dict[str, Any]] = []
    for content in known:
        found += [leak for leak in content["leaks"] if leak["test"] in tests and leak not in found]
    return found


def leak_text(leak: Mapping[str, Any]) -> str:
    """One leak in a sentence."""
    tasks = ", ".join(f"{task} {count}" for task, count in leak["tasks"].items())
    example = leak["example"]
    return (
        f"{leak['test']}: {leak['leaked']} of {leak['queries']} test queries have a near-duplicate among the training "
        f"queries ({tasks}), for instance {_short(example['query'])} (row {example['row']} of {example['task']}: "
        f"{_short(example['train_query'])})"
    )


def _queries(folder: str) -> dict[str, str]:
    (test,) = find_test_texts(folder)
    return test.queries


def _flat(test: TestTexts) -> list[str]:
    return [text for item in test.queries.items() for text in item]


def _digests(texts: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, str]]:
    """A digest of each name's texts; their JSON would be as large as they are."""
    digests = []
    for name, each in texts:
        digest = hashlib.sha256()
        for text in each:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        digests.append((name, digest.hexdigest()))
    return digests


def _known(path: Path) -> dict[str, Any] | None:
    """What was found before; a broken file is made anew."""
    try:
        content = read_json(path)
    except UserError:
        return None
    return content if isinstance(content, dict) and content.get("format") == _FORMAT else None


def _short(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 1] + "…")
