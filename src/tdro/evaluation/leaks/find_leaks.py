"""Does the training data hold test queries? Near-duplicates of each test set's queries among the training queries.

What :func:`tdro.data.neardup.near_duplicates.leaks` finds is counted by test set and task and kept beside the results
(``leaks.json``: in a run's folder once, for all its models; else in the folder of a model's results), and found again
while training queries and test queries stay the same: 228 k of the ones and 3 k of the others take a second, but
millions take minutes. Nothing is removed here, for the models are trained already; ``tdro data dedup`` does that
before. Rejected: a share of common words, which takes questions of one form for one question.
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

Memo = dict[tuple[str, str], "dict[str, Any] | None"]


def find_leaks(mixture: Mixture, run_folder: Path | str) -> dict[str, Any]:
    """The test queries of a mixture that have a near-duplicate among its training queries; kept on disk.

    Args:
        mixture: training tasks and test sets.
        run_folder: where ``leaks.json`` is.

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
    """Look for each test set's queries in training queries, and keep in a file what was found.

    Args:
        path: what it has of the same training queries and of a test set of the same queries is not looked for again;
            what it has of other test sets stays.
        train: queries by task or data set.
        tests: the test sets; with no training queries, none is looked for.
        about: more that the file shall say, such as ``told_by`` and ``not_looked_at``.
        memo: what was found before, for other models; more is added.

    Returns:
        The file's content: what ``about`` has; ``looked_at`` (data set to its number of queries); ``tests`` (by name,
        ``queries``: how many there are); and ``leaks``, a dict a test set that leaks: ``test``, ``queries``, ``leaked``
        (how many of them have a near-duplicate), ``tasks`` (by task, most first), and the most similar ``example``:
        ``query_id`` and ``query`` of the test, ``task``, ``row`` (from 0) and ``train_query``, ``similarity``.
    """
    memo = {} if memo is None else memo
    trained = fingerprint([THRESHOLD, _digests(train.items())])
    before = known_leaks(path) or {}
    kept: dict[str, Any] = dict(before["tests"]) if before.get("train") == trained else {}
    found = {leak["test"]: leak for leak in before.get("leaks", ()) if leak["test"] in kept}
    asked = {test.name: (trained, digest) for test, digest in zip(tests, _test_digests(tests), strict=True)}
    new = [test for test in tests if train and kept.get(test.name, {}).get("digest") != asked[test.name][1]]
    missing = [test for test in new if asked[test.name] not in memo]
    memo |= {asked[test.name]: None for test in missing}
    memo |= {asked[leak["test"]]: leak for leak in count_leaks(train, missing)}
    for test in new:
        kept[test.name] = {"queries": len(test.queries), "digest": asked[test.name][1]}
        found.pop(test.name, None)
        if leak := memo[asked[test.name]]:
            found[test.name] = {**leak, "test": test.name}
    content = {"format": _FORMAT, **about, "threshold": THRESHOLD, "train": trained}
    content["looked_at"] = {name: len(queries) for name, queries in train.items()}
    content |= {"tests": kept, "leaks": [found[name] for name in kept if name in found]}
    if content != before:
        write_json(path, content)
    return content


def count_leaks(train: Mapping[str, Sequence[str]], tests: Sequence[TestTexts]) -> list[dict[str, Any]]:
    """The ``leaks`` of :func:`look_for_leaks`.

    Args:
        train: the queries of each training task.
        tests: the test sets.
    """
    owners = [(task, row) for task, queries in train.items() for row in range(len(queries))]
    asked = [(number, key) for number, test in enumerate(tests) for key in test.queries]
    if not owners or not asked:
        return []
    texts = [tests[number].queries[key] for number, key in asked]
    pairs = leaks([query for queries in train.values() for query in queries], texts)
    copies: dict[int, dict[str, int]] = {}  # training text to its first copy in each task
    for place, first in enumerate(pairs.firsts.tolist()):
        copies.setdefault(first, {}).setdefault(owners[place][0], place)
    alike: dict[int, dict[str, tuple[float, int]]] = {}  # test text to what is most like it in each task
    for first, other, similarity in pairs:
        nearest = alike.setdefault(other, {})
        for task, place in copies[first].items():
            nearest[task] = min(nearest.get(task, (0.0, 0)), (-similarity, place))
    best: dict[int, tuple[float, int, int]] = {}  # by test set
    tasks: dict[int, dict[str, set[str]]] = {}
    for other, ((number, key), text) in enumerate(zip(asked, pairs.seconds.tolist(), strict=True)):
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
        example = {"query_id": asked[other][1], "query": texts[other], "task": task, "row": row}
        example |= {"train_query": train[task][row], "similarity": round(-unlike, 4)}
        found.append({**about, "leaked": leaked, "tasks": dict(counts.most_common()), "example": example})
    return found


def known_leaks(path: Path) -> dict[str, Any] | None:
    """What was found before; None where nobody has looked. A broken file, or one of an older format, is none."""
    try:
        content = read_json(path)
    except UserError:
        return None
    return content if isinstance(content, dict) and content.get("format") == _FORMAT else None


def leak_counts(content: Mapping[str, Any], tests: Collection[str]) -> tuple[int, int, int, int]:
    """Of some test sets: how many leak, of how many that were looked for, how many of their queries, of how many."""
    looked = [about["queries"] for name, about in content["tests"].items() if name in tests]
    leaked = [leak["leaked"] for leak in content["leaks"] if leak["test"] in tests]
    return len(leaked), len(looked), sum(leaked), sum(looked)


def leaks_line(content: Mapping[str, Any], tests: Collection[str], model: str = "") -> str:
    """What is known of leaks in a sentence.

    Args:
        content: of ``leaks.json``.
        tests: those that it is about.
        model: whose training data it is; empty for a run's, which all its models share.
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
    """A few data sets with the reasons why they could not be looked at, and how many more there are."""
    said = [f"{name}: {why}" if why else name for name, why in list(gone.items())[:shown]]
    return "; ".join([*said, *([f"{len(gone) - shown} more"] if len(gone) > shown else [])])


def _test_digests(tests: Iterable[TestTexts]) -> list[str]:
    return [digest for test in tests for _, digest in _digests([("", _flat(test))])]


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
