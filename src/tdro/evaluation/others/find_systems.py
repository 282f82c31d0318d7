"""Finds run files, predictions and tables of means in the places that were named, and which system and test set each
is of.

A place is a file, or a folder with such files or with folders of them. What a file is, its name tells, and for JSON its
content:

- ``*.trec`` and ``*.run`` (``.gz`` too) are TREC run files; a file that is named itself may have any other name. If it
  has the name of a test set, its folder is the system: ``bm25/scifact.trec``. Else the file is the system, and there
  must be one test set: ``bm25.trec``.
- ``<Task>_predictions.json`` are mteb's predictions; other JSON with ``task_name`` and ``scores`` are its results.
- ``Information-Retrieval_evaluation_<name>_predictions_<similarity>.jsonl`` and ``…_<name>_results.csv`` are what
  sentence-transformers' evaluator writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.evaluation.others.mean_scores import CSV_NAME, MeanScores, csv_means, is_mteb_result, mteb_means
from tdro.evaluation.others.qrels import Qrels, without_gz
from tdro.evaluation.others.run_file import RunFile, read_st_predictions, read_trec_run, run_of_scores
from tdro.evaluation.others.score_run import score_run
from tdro.evaluation.results import Results
from tdro.files import read_json
from tdro.recipe.names import mixture_and_seed

_RUN_FILES = (".trec", ".run")
_ANY_RUN = (*_RUN_FILES, ".txt", ".res", ".tsv")
_PREDICTIONS = "_predictions.json"
_ST_PREDICTIONS = re.compile(r"Information-Retrieval_evaluation_?(.*)_predictions_(.+)\.jsonl")
_META = "model_meta.json"
_DEEPEST = 3  # folders below a place: mteb writes results/<model>/<revision>/<Task>.json


@dataclass
class Systems:
    """What was found of other people's systems.

    Attributes:
        results: those that have a value for each query.
        means: those that have means only.
        notes: sentences on what was odd or missing.
    """

    results: list[Results] = field(default_factory=list)
    means: list[MeanScores] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_others(place: Path) -> bool:
    """Whether a place holds files of other tools, and not results of ``tdro evaluate``."""
    if place.is_file():
        return True
    if not place.is_dir() or any((place / name).exists() for name in ("evaluation", "run.json", "modules.json")):
        return False
    near = [path for pattern in ("*.json", "*/*.json") for path in place.glob(pattern) if not _hidden(path, place)]
    own = any(path.name not in (LEAKS, _META) and not _is_mteb(path) for path in near)
    return not own and next(_files(place), None) is not None


def read_systems(places: Sequence[Path], qrels: Mapping[str, Qrels], measures: Sequence[str]) -> Systems:
    """The results and means of the systems in some places.

    Args:
        places: for which :func:`is_others` is true.
        qrels: the judgements, by test set; a run cannot be scored without.
        measures: to compute of runs, such as ``ndcg@10``.

    Raises:
        UserError: a file cannot be read, a run has no judgements, or two files are of one system and test set.
    """
    systems = Systems()
    runs: dict[Path, dict[str, RunFile]] = {}
    means: dict[tuple[Path, str], MeanScores] = {}
    for path in dict.fromkeys(path for place in places for path in _files(place)):
        if found := _means(path, qrels):
            folder, named = found
            for name, tests in named.items():
                kept = means.setdefault((folder, name), MeanScores(name, path, {}))
                _add(kept.tests, tests, folder, path)
            continue
        if not qrels:
            raise UserError(f"{path}: a run has no judgements; say where they are with --qrels, such as qrels/test.tsv")
        for folder, test, run in _runs(path, qrels, systems.notes):
            _add(runs.setdefault(folder, {}), {test: run}, folder, path)
    for folder, by_test in runs.items():
        contents = {}
        for test, run in by_test.items():
            contents[test], notes = score_run(run, qrels[test], measures)
            systems.notes += notes
        mixture, seed = mixture_and_seed(folder.name)
        files = {test: run.path for test, run in by_test.items()}
        systems.results.append(Results(mixture, mixture, seed, folder, contents, files))
    if systems.results:
        used = {test for result in systems.results for test in result.tests}
        systems.notes += [note for test in used for note in qrels[test].notes]
    systems.means = list(means.values())
    return systems


def _add(into: dict[str, Any], tests: Mapping[str, Any], folder: Path, path: Path) -> None:
    for test, found in tests.items():
        if test in into:
            raise UserError(f"{path}: a second file of {folder.name} on test set {test!r}; name one of them")
        into[test] = found


def _files(place: Path) -> Iterator[Path]:
    """The files of other tools in a place; a place that is a file is one whatever its name."""
    if place.is_file():
        yield place
        return
    for path in sorted(place.rglob("*")):
        if len(path.relative_to(place).parts) > _DEEPEST + 1 or _hidden(path, place) or not path.is_file():
            continue
        name = path.name
        named = without_gz(path).suffix in _RUN_FILES or CSV_NAME.fullmatch(name) or _ST_PREDICTIONS.fullmatch(name)
        if named or (path.suffix == ".json" and _is_mteb(path)):
            yield path


def _hidden(path: Path, place: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(place).parts)


def _is_mteb(path: Path) -> bool:
    if path.name.endswith(_PREDICTIONS):
        return True
    try:
        return is_mteb_result(read_json(path))
    except UserError:
        return False


def _means(path: Path, qrels: Mapping[str, Qrels]) -> tuple[Path, dict[str, dict[str, dict[str, float]]]] | None:
    """The folder of the system, and by its name the means of each test set; None for a file that is a run."""
    if match := CSV_NAME.fullmatch(path.name):
        folder = _system_folder(path)
        test = match[1] or (next(iter(qrels)) if len(qrels) == 1 else "test")
        found = csv_means(path)
        return folder, {
            folder.name if len(found) == 1 else f"{folder.name} ({key})": {test: each} for key, each in found.items()
        }
    if path.suffix != ".json" or path.name.endswith(_PREDICTIONS):
        return None
    content = read_json(path)
    if not is_mteb_result(content):
        own = isinstance(content, dict) and "queries" in content
        hint = f"name the folder of the results, {path.parent}" if own else "it is no result of mteb or its predictions"
        raise UserError(f"{path}: {hint}")
    return path.parent, {_mteb_name(path.parent): mteb_means(path, content)}


def _mteb_name(folder: Path) -> str:
    """The name of the model that mteb's results in a folder are of."""
    meta = read_json(folder / _META) if (folder / _META).is_file() else {}
    return str(meta.get("name") or folder.name).rpartition("/")[2] if isinstance(meta, dict) else folder.name


def _runs(path: Path, qrels: Mapping[str, Qrels], notes: list[str]) -> list[tuple[Path, str, RunFile]]:
    """Of each run in a file: the folder that stands for its system, its test set, and what was found."""
    if path.name.endswith(_PREDICTIONS):
        return list(_mteb_runs(path, qrels))
    if match := _ST_PREDICTIONS.fullmatch(path.name):
        return [(_system_folder(path), _test_set(match[1], path, qrels), read_st_predictions(path))]
    name = without_gz(path).stem if without_gz(path).suffix in _ANY_RUN else without_gz(path).name
    if name in qrels:
        return [(path.parent, name, read_trec_run(path))]
    if any((path.parent / f"{test}{path.name.removeprefix(name)}").is_file() for test in qrels):
        notes.append(f"{path}: left out, since no judgements are of a test set {name!r}")
        return []
    if len(qrels) > 1:
        raise UserError(
            f"{path}: of which of {', '.join(qrels)} is this run? Name the file after the test set, in a folder that "
            "is named after the system"
        )
    return [(path.parent / name, next(iter(qrels)), read_trec_run(path))]


def _mteb_runs(path: Path, qrels: Mapping[str, Qrels]) -> Iterator[tuple[Path, str, RunFile]]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected mteb's predictions, an object with the model and a part for each subset")
    meta = content.pop("mteb_model_meta", None) or {}
    name = str(meta.get("model_name") or "").rpartition("/")[2]
    folder = path.parent / name if name else path.parent
    task = path.name.removesuffix(_PREDICTIONS)
    for subset, splits in content.items():
        test = _test_set(task if subset == "default" else f"{task}:{subset}", path, qrels, len(content) == 1)
        if not isinstance(splits, dict) or not splits:
            raise UserError(f"{path}: {subset}: expected a part for each split, such as test")
        split = next((each for each in (without_gz(qrels[test].path).stem, "test") if each in splits), None)
        if split is None and len(splits) > 1:
            raise UserError(
                f"{path}: {subset}: which of the splits {', '.join(splits)} is judged in {qrels[test].path}?"
            )
        split = split or next(iter(splits))
        yield folder, test, run_of_scores(path, splits[split], f"{subset}, {split}")


def _test_set(name: str, path: Path, qrels: Mapping[str, Qrels], alone: bool = True) -> str:
    """The test set of this name, in whatever case; else the only one, if the file has one run."""
    found = {test.lower(): test for test in qrels}.get(name.lower())
    if found is None and alone and len(qrels) == 1:
        found = next(iter(qrels))
    if found is None:
        raise UserError(f"{path}: no judgements of test set {name!r}; --qrels has {', '.join(qrels)}")
    return found


def _system_folder(path: Path) -> Path:
    """The folder of the model that sentence-transformers' evaluator wrote a file for: ``model/eval/FILE``."""
    return path.parent.parent if path.parent.name == "eval" else path.parent
