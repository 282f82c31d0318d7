"""Writes results in mteb 2's format (``mteb.TaskResult``), for model cards, leaderboards and mteb's tables.

Each task has a file ``mteb/<Task>.json`` with an entry for each subset (for instance MIRACL's languages). It names the
split, the languages and the data's revision on the hub: ``local`` for a local copy, whose revision is not known.
``checksum`` is that of the files that were read. ``model_meta.json`` beside them has the model's name and fingerprint,
as ``mteb.ResultCache`` expects in a folder named ``results``. A test set that mteb does not have gets its file in
``mteb-own``, since mteb's ``validate_and_filter`` stops at a task that it does not know. See docs/decisions.md,
own-mteb-files.

The names of measures are mteb's: ``hit_rate_at_k`` is Accuracy@k, ``accuracy`` is Recall@1. Values are not rounded.
mteb's confidence measures (``nauc_*``), precision, and whatever needs 1,000 ranks are left out. ``mteb_version`` and
``evaluation_time`` are null, since mteb did not run. How mteb's averages differ from ours is said in
:mod:`tdro.evaluation.scoring.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.data.task import TestSet
from tdro.data.testsets.benchmarks import BenchmarkSet, benchmark
from tdro.errors import UserError
from tdro.evaluation.scoring.metrics import Judgements, measure
from tdro.files import read_json, write_json

_RANKS = (1, 3, 5, 10, 20, 100)
_NAMES = {"ndcg": "ndcg", "map": "map", "recall": "recall", "mrr": "mrr", "hit_rate": "accuracy"}
_LOCAL = "local"
_OWN = "mteb-own"
_NO_LANGUAGE = ("und-Zyyy",)  # undetermined language and script, for test sets that mteb does not have
_META = "model_meta.json"


def write_mteb(
    folder: Path, test: TestSet, checksum: str, gained: NDArray[np.int64], judged: Judgements, model: tuple[str, str]
) -> None:
    """Write a test set's means into ``folder/<Task>.json``, beside the task's other subsets of the same model and data.

    A test set that mteb does not have goes into ``mteb-own`` beside the folder. Nothing is written if the task's main
    score is not among our measures.

    Args:
        folder: for the model's files in this format.
        test: the test set.
        checksum: of its files.
        gained: see :func:`tdro.evaluation.scoring.metrics.gains`, 100 ranks.
        judged: the relevant pairs.
        model: its name, and the fingerprint of its weights.
    """
    _, wanted = _place(folder, test)
    scores = {
        f"{name}_at_{k}": float(measure(f"{kind}@{k}", gained, judged).mean())
        for name, kind in _NAMES.items()
        for k in _RANKS
    }
    scores["accuracy"] = scores["recall_at_1"]
    if wanted.main_score in scores:
        about = {"hf_subset": wanted.subset, "languages": list(wanted.languages), "checksum": checksum}
        write_mteb_entry(folder, test, {**scores, "main_score": scores[wanted.main_score], **about}, model)


def write_mteb_entry(folder: Path, test: TestSet, entry: dict[str, Any], model: tuple[str, str]) -> None:
    """Write a test set's entry as :func:`mteb_entry` returned it; files as in :func:`write_mteb`."""
    folder, wanted = _place(folder, test)
    _write(folder, wanted.task, test.revision or _LOCAL, wanted.split, entry, model)


def mteb_entry(folder: Path, test: TestSet, checksum: str) -> dict[str, Any] | None:
    """The entry of a test set with this checksum, from a model's files; None if it is missing or broken.

    Args:
        folder: with the model's files in this format, as in :func:`write_mteb`.
        test: the test set.
        checksum: of its files.
    """
    folder, wanted = _place(folder, test)
    about = {"hf_subset": wanted.subset, "checksum": checksum}
    try:
        entries = _read(folder / f"{wanted.task}.json")["scores"][wanted.split]
        return next((each for each in entries if {key: each[key] for key in about} == about), None)
    except (KeyError, TypeError):  # not there, or broken
        return None


def _place(folder: Path, test: TestSet) -> tuple[Path, BenchmarkSet]:
    """The folder of a test set's file, and what mteb calls the test set."""
    if test.wanted is None or not test.wanted.task or not test.wanted.languages:
        return folder.with_name(_OWN), BenchmarkSet(test.name, test.name, languages=_NO_LANGUAGE)
    return folder, test.wanted


def write_mteb_whole(folder: Path, whole: str, tests: Sequence[TestSet], score: float, model: tuple[str, str]) -> None:
    """Write the file of a task that is the mean of other tasks (CQADupStack): like mteb's, with nothing but that mean.

    Args:
        folder: as in :func:`write_mteb`.
        whole: the task.
        tests: its parts; if one of the benchmark's parts is missing, nothing is written.
        score: the mean of their main scores.
        model: as in :func:`write_mteb`.
    """
    parts: list[BenchmarkSet] = [test.wanted for test in tests if test.wanted is not None]
    if not parts or not {each.name for each in benchmark(whole)} <= {part.name for part in parts}:
        return
    languages = list(dict.fromkeys(language for part in parts for language in part.languages))
    entry = {parts[0].main_score: score, "main_score": score, "hf_subset": "default", "languages": languages}
    revision = "1" if all(test.revision for test in tests) else _LOCAL  # mteb's own is 1
    _write(folder, whole, revision, parts[0].split, entry, model)


def _write(folder: Path, task: str, revision: str, split: str, entry: dict[str, Any], model: tuple[str, str]) -> None:
    """Add an entry to a task's file; it replaces one of the same subset and split. Files of another model and entries
    of another revision of the data are removed."""
    meta = {"name": model[0], "revision": model[1]}
    if _read(folder / _META) != meta:
        for path in folder.glob("*.json"):
            path.unlink()
        write_json(folder / _META, meta)
    path = folder / f"{task}.json"
    before = _read(path)
    scores: dict[str, list[dict[str, Any]]] = before["scores"] if before.get("dataset_revision") == revision else {}
    kept = [each for each in scores.get(split, []) if each["hf_subset"] != entry["hf_subset"]]
    scores[split] = sorted([*kept, entry], key=lambda each: str(each["hf_subset"]))
    content = {"dataset_revision": revision, "task_name": task, "mteb_version": None, "scores": scores}
    write_json(path, {**content, "evaluation_time": None, "kg_co2_emissions": None})


def _read(path: Path) -> dict[str, Any]:
    """The content of a file; empty if the file is missing or broken."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
