"""Finds test queries that are in the training data: those that have a near-duplicate among the training queries.

The leaks (:func:`tdro.data.neardup.near_duplicates.leaks`) are counted by test set and task and written to
``leaks.json``: for a run, once in its folder for all its models; otherwise in the folder of a model's results. As long
as training and test queries stay the same, the file is read instead: 228,000 training queries and 3,000 test queries
take a second, millions take minutes. Nothing is removed, since the models are trained already; ``tdro data dedup``
removes leaks before a training. See docs/decisions.md, leaks-by-near-duplicates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdro.data.neardup.near_duplicates import THRESHOLD, leaks
from tdro.data.task import Mixture
from tdro.data.testsets.test_texts import TestTexts, beir_texts
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_json

FILE = "leaks.json"
_FORMAT = "tdro-leaks/2"

# By the fingerprints of training and test queries: the leak that was found, or None if there is none.
Memo = dict[tuple[str, str], "dict[str, Any] | None"]


def find_leaks(mixture: Mixture, run_folder: Path | str) -> dict[str, Any]:
    """Find the test queries of a mixture that are in its training tasks: the stage ``evaluate`` calls this.

    Args:
        mixture: training tasks and test sets.
        run_folder: gets ``leaks.json``.

    Returns:
        As :func:`look_for_leaks`.

    Raises:
        UserError: a test set is broken.
    """
    train = {task.name: task.rows["query"][:] for task in mixture.tasks}
    tests = [beir_texts(Path(test.folder), test.name) for test in mixture.tests]
    return look_for_leaks(Path(run_folder) / FILE, train, tests, {"told_by": "the run's recipe"})


def look_for_leaks(
    path: Path,
    train: Mapping[str, Sequence[str]],
    tests: Sequence[TestTexts],
    about: Mapping[str, Any],
    memo: Memo | None = None,
) -> dict[str, Any]:
    """Look for the queries of test sets in training queries, and keep in a file what was found.

    Args:
        path: the file. A test set that it has, with the same test queries and training queries, is not looked for
            again; what it has of other test sets stays.
        train: a task's or data set's name to its queries.
        tests: the test sets. If there are no training queries, nothing is looked for.
        about: more keys for the file, such as ``told_by`` and ``not_looked_at``.
        memo: what was found before, for other models; what is found here is added.

    Returns:
        The file's content:

        - the keys of ``about``;
        - ``looked_at``: data set to the number of its queries;
        - ``tests``: test set to a dict with ``queries`` (how many) and ``digest``;
        - ``leaks``: a dict for each test set that leaks: ``test``, ``queries``, ``leaked`` (how many of the queries
          have a near-duplicate), ``tasks`` (task to how many, most first), and as ``example`` the most similar pair:
          ``query_id`` and ``query`` of the test set; ``task``, ``row`` (from 0) and ``train_query``; ``similarity``.
    """
    memo = {} if memo is None else memo
    trained = fingerprint([THRESHOLD, _digests(train.items())])
    before = known_leaks(path) or {}
    kept: dict[str, Any] = dict(before["tests"]) if before.get("train") == trained else {}
    found = {leak["test"]: leak for leak in before.get("leaks", ()) if leak["test"] in kept}
    keys = {test.name: (trained, digest) for test, digest in zip(tests, _test_digests(tests), strict=True)}
    new = [test for test in tests if train and kept.get(test.name, {}).get("digest") != keys[test.name][1]]
    missing = [test for test in new if keys[test.name] not in memo]
    memo |= {keys[test.name]: None for test in missing}
    memo |= {keys[leak["test"]]: leak for leak in count_leaks(train, missing)}
    for test in new:
        kept[test.name] = {"queries": len(test.queries), "digest": keys[test.name][1]}
        found.pop(test.name, None)
        if leak := memo[keys[test.name]]:
            found[test.name] = {**leak, "test": test.name}
    content = {"format": _FORMAT, **about, "threshold": THRESHOLD, "train": trained}
    content["looked_at"] = {name: len(queries) for name, queries in train.items()}
    content |= {"tests": kept, "leaks": [found[name] for name in kept if name in found]}
    if content != before:
        write_json(path, content)
    return content


def count_leaks(train: Mapping[str, Sequence[str]], tests: Sequence[TestTexts]) -> list[dict[str, Any]]:
    """Count the leaks of each test set; returns the ``leaks`` of :func:`look_for_leaks`.

    Args:
        train: a training task's name to its queries.
        tests: the test sets.
    """
    owners = [(task, row) for task, queries in train.items() for row in range(len(queries))]
    test_queries = [(number, key) for number, test in enumerate(tests) for key in test.queries]
    if not owners or not test_queries:
        return []
    texts = [tests[number].queries[key] for number, key in test_queries]
    pairs = leaks([query for queries in train.values() for query in queries], texts)
    copies: dict[int, dict[str, int]] = {}  # training text to its first copy in each task
    for place, first in enumerate(pairs.firsts.tolist()):
        copies.setdefault(first, {}).setdefault(owners[place][0], place)
    # Test text to the most similar query of each task: minus the similarity, so that min() finds it, and the place.
    alike: dict[int, dict[str, tuple[float, int]]] = {}
    for first, other, similarity in pairs:
        nearest = alike.setdefault(other, {})
        for task, place in copies[first].items():
            nearest[task] = min(nearest.get(task, (0.0, 0)), (-similarity, place))
    best: dict[int, tuple[float, int, int]] = {}  # test set to its most similar pair
    tasks: dict[int, dict[str, set[str]]] = {}  # test set to the keys of the queries that are in each task
    for other, ((number, key), text) in enumerate(zip(test_queries, pairs.seconds.tolist(), strict=True)):
        for task, (unlike, place) in alike.get(text, {}).items():
            tasks.setdefault(number, {}).setdefault(task, set()).add(key)
            best[number] = min(best.get(number, (0.0, 0, 0)), (unlike, place, other))
    found = []
    for number, by_task in sorted(tasks.items()):
        counts = Counter({task: len(keys) for task, keys in by_task.items()})
        about = {"test": tests[number].name, "queries": len(tests[number].queries)}
        leaked = len(set.union(*by_task.values()))
        unlike, place, other = best[number]
        task, row = owners[place]
        example = {"query_id": test_queries[other][1], "query": texts[other], "task": task, "row": row}
        example |= {"train_query": train[task][row], "similarity": round(-unlike, 4)}
        found.append({**about, "leaked": leaked, "tasks": dict(counts.most_common()), "example": example})
    return found


def known_leaks(path: Path) -> dict[str, Any] | None:
    """The content of a file of leaks; None if it is missing, broken, or of an older format."""
    try:
        content = read_json(path)
    except UserError:
        return None
    return content if isinstance(content, dict) and content.get("format") == _FORMAT else None


def leak_counts(content: Mapping[str, Any], tests: Collection[str]) -> tuple[int, int, int, int]:
    """Counts over some test sets: how many leak, how many were looked for, and the same two numbers of queries."""
    looked = [about["queries"] for name, about in content["tests"].items() if name in tests]
    leaked = [leak["leaked"] for leak in content["leaks"] if leak["test"] in tests]
    return len(leaked), len(looked), sum(leaked), sum(looked)


def leaks_line(content: Mapping[str, Any], tests: Collection[str], model: str = "") -> str:
    """A sentence on the leaks of some test sets.

    Args:
        content: of ``leaks.json``.
        tests: the names of the test sets.
        model: the model whose training data it is; empty for a run, whose models share their training data.
    """
    data = f"the training data of {model}" if model else "the training data"
    gone = dict(content.get("not_looked_at") or {})
    if not content["looked_at"]:
        why = f"could not be read ({_listed(gone)})" if gone else "is not known"
        return f"{data.removeprefix('the ')} {why}: leaks not looked for"
    leaking, looked, leaked, queries = leak_counts(content, tests)
    sets = f"{looked:,} test set{'s' * (looked != 1)}"
    if leaking:
        line = f"{leaking:,} of {sets} {'share' if leaking > 1 else 'shares'} queries with {data}, "
        line += f"{leaked:,} of {queries:,} queries in all"
    else:
        line = f"no query of {sets} is in {data}"
    return f"{line} (not looked at: {_listed(gone)})" if gone else line


def _listed(gone: Mapping[str, str], shown: int = 2) -> str:
    """The first data sets that could not be looked at, each with the reason, and how many more there are."""
    said = [f"{name}: {why}" if why else name for name, why in list(gone.items())[:shown]]
    return "; ".join([*said, *([f"{len(gone) - shown} more"] if len(gone) > shown else [])])


def _test_digests(tests: Iterable[TestTexts]) -> list[str]:
    return [digest for test in tests for _, digest in _digests([("", _flat(test))])]


def _flat(test: TestTexts) -> list[str]:
    return [text for item in test.queries.items() for text in item]


def _digests(texts: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, str]]:
    """The SHA-256 of each name's texts, computed text by text: as JSON they would be in memory a second time."""
    digests = []
    for name, each in texts:
        digest = hashlib.sha256()
        for text in each:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        digests.append((name, digest.hexdigest()))
    return digests
