"""Results of evaluations on disk, read back and checked: the same queries and passages, a value a query.

A place is a run folder (all its groups), a folder ``evaluation/<group>``, or the folder of one model. Where two places
have a mixture of one name, their names get the group before them, the run, or both. Rejected: names that always say all
of it, which nobody can read in a table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.errors import UserError
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.files import read_json

SHOWN = ("ndcg@10", "recall@100")  # what a comparison shows besides the measure that it tests


@dataclass(frozen=True)
class Results:
    """One model's results.

    Attributes:
        name: what it is compared as; models of one name are seeds of one mixture.
        mixture: ``uniform``, ``top-70``, …, or the model's own name.
        seed: of its training, or None for a model that has no seeds, such as ``untrained``.
        folder: where the results are.
        tests: test set to its file's content.
    """

    name: str
    mixture: str
    seed: int | None
    folder: Path
    tests: Mapping[str, dict[str, Any]]

    def values(self, test: str, measure: str) -> NDArray[np.float64]:
        """One value a query; with ``weights`` (CQADupStack, whose forums count the same) the value times its weight."""
        content = self.tests[test]
        return np.asarray(content[measure], dtype=np.float64) * np.asarray(content.get("weights", 1.0))

    @property
    def group(self) -> Path:
        """The folder of the models that it was evaluated with."""
        return self.folder.parent

    @property
    def run(self) -> Path | None:
        """The run folder that the results are in, if they are in one."""
        return self.group.parent.parent if self.group.parent.name == "evaluation" else None

    @property
    def leaks(self) -> Path:
        """The file that says what of the test sets is in its training data."""
        own = self.folder / LEAKS
        return own if self.run is None or own.is_file() else self.run / LEAKS


def note_path(folder: Path) -> Path:
    """The file that says whose results of ``--on`` are in a folder, and which test sets they are of."""
    return folder.parent / ".models" / f"{folder.name}.json"


def read_group(
    folder: Path | str, models: Collection[str] | None = None, test_sets: Collection[str] | None = None
) -> list[Results]:
    """The results of ``evaluation/<group>``: a folder a model, ``<mixture>-seed<k>`` or another name.

    Args:
        folder: of the group.
        models: names of their folders; None for all that are there.
        test_sets: names of the test sets; None for all that are there.

    Raises:
        UserError: nothing is there, a model lacks a test set, or two files have different queries or texts.
    """
    folder = Path(folder)
    found: dict[Path, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*.json")):
        if path.name == LEAKS:
            continue
        chosen = models is None or path.parent.name in models
        if chosen and (test_sets is None or path.stem in test_sets) and not path.parent.name.startswith("."):
            found.setdefault(path.parent, {})[path.stem] = path
    if not found:
        raise UserError(f"{folder}: no evaluations there; run `tdro evaluate` first")
    names = sorted({name for paths in found.values() for name in paths})
    for model, paths in found.items():
        if lacking := [name for name in names if name not in paths]:
            raise UserError(
                f"{model / lacking[0]}.json: no such file, but other models have this test set.\n"
                f"Run `tdro evaluate`, or remove {model}"
            )
    results = [_read(model, paths) for model, paths in found.items()]
    check_same_texts(results)
    return results


def read_places(places: Sequence[Path | str]) -> list[Results]:
    """The results of several places, each model once, with names that tell them apart.

    Raises:
        UserError: as :func:`read_group`, or a place holds no results.
    """
    found: dict[Path, Results] = {}
    for place in places:
        for results in _at(Path(place).expanduser().resolve()):
            found.setdefault(results.folder, results)
    models = list(found.values())
    check_same_texts(models)
    return _named(models)


def on_common_tests(models: Sequence[Results]) -> tuple[list[Results], list[str]]:
    """The models' results on the test sets that all of them have, and the names of the other test sets.

    Raises:
        UserError: there are no such test sets.
    """
    common = set.intersection(*(set(model.tests) for model in models))
    if not common:
        raise UserError(
            f"no test set has been evaluated for all of {', '.join(str(model.folder) for model in models[:3])}"
            f"{' and others' if len(models) > 3 else ''}.\nEvaluate them on the same test sets first."
        )
    names = [name for name in models[0].tests if name in common]
    others = sorted({name for model in models for name in model.tests} - common)
    return [replace(model, tests={name: model.tests[name] for name in names}) for model in models], others


def check_same_texts(models: Iterable[Results]) -> None:
    """Raise :class:`UserError` where two models have other queries or passages under the name of one test set."""
    first: dict[str, Results] = {}
    for model in models:
        for name, content in model.tests.items():
            other = first.setdefault(name, model)
            if any(content.get(key) != other.tests[name].get(key) for key in ("queries", "data")):
                raise UserError(
                    f"{model.folder / name}.json and {other.folder / name}.json are of different queries or passages.\n"
                    "Run `tdro evaluate` again for both."
                )


def _at(place: Path) -> list[Results]:
    if (place / "evaluation").is_dir():
        groups = sorted(path for path in (place / "evaluation").iterdir() if path.is_dir())
        if not groups:
            raise UserError(f"{place}: no evaluations there; run `tdro evaluate` first")
        return [results for group in groups for results in read_group(group, *_compared(group))]
    if not place.is_dir():
        raise UserError(f"{place}: no such folder")
    if (place / "modules.json").exists():
        raise UserError(f"{place}: a model, not its results; those are in evaluation/GROUP/MODEL of its run folder")
    if (place / "run.json").exists():
        raise UserError(f"{place}: no evaluations there; run `tdro evaluate` first")
    files = {path.stem: path for path in sorted(place.glob("*.json")) if path.name != LEAKS}
    if not files:
        return read_group(place, *_compared(place))
    _compared(place.parent)
    return [_read(place, files)]


def _compared(group: Path) -> tuple[list[str] | None, list[str] | None]:
    """The models and test sets that the run's last evaluation of a group was of, (None, None) outside of a run.

    What else is in the folder is of an earlier recipe. Raises :class:`UserError` where a model was made anew since, for
    its results are the old one's.
    """
    record = group.parent.parent / "run.json"
    if group.parent.name != "evaluation" or not record.is_file():
        return None, None
    stages = {stage["name"]: stage for stage in read_json(record).get("stages", [])}
    evaluation = stages.get(f"evaluation/{group.name}", {}).get("inputs")
    if evaluation is None:
        return None, None
    for name, key in evaluation["models"].items():
        if stages.get(f"models/{group.name}/{name}", {}).get("fingerprint", key) != key:
            raise UserError(
                f"{group / name}: these are results of an older model; run `tdro evaluate RECIPE` for the one that is "
                "there now"
            )
    return [*evaluation["models"], "bm25"], list(evaluation["tests"])


def _read(folder: Path, files: Mapping[str, Path]) -> Results:
    mixture, _, seed = folder.name.rpartition("-seed")
    known = bool(mixture) and re.fullmatch(r"\d+", seed)
    name = mixture if known else folder.name
    tests = {test: _content(path) for test, path in files.items()}
    return Results(name, name, int(seed) if known else None, folder, tests)


def _content(path: Path) -> dict[str, Any]:
    """One file's content, with as many values as queries."""
    content = read_json(path)
    for key in ("test", "queries"):
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{path}: no key {key!r}, so it is no result of an evaluation; run `tdro evaluate` for one")
    measures = measures_of(content)
    if not measures:
        raise UserError(f"{path}: no measure such as {SHOWN[0]!r} in it; run `tdro evaluate` again")
    if not content["queries"] or any(len(content[measure]) != len(content["queries"]) for measure in measures):
        raise UserError(f"{path}: not one value a query; remove the file and run `tdro evaluate` again")
    for measure in measures:
        for query, value in zip(content["queries"], content[measure], strict=True):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise UserError(
                    f"{path}: test set {content['test']!r}, query {query!r}: {measure} is {value}, no finite number.\n"
                    "Remove the file and run `tdro evaluate` again."
                )
    weights = content.get("weights", [])
    if not isinstance(weights, list) or not all(
        isinstance(one, (int, float)) and math.isfinite(one) for one in weights
    ):
        raise UserError(f"{path}: test set {content['test']!r}: 'weights' are no list of finite numbers")
    return content


def measures_of(content: Mapping[str, Any]) -> list[str]:
    """The measures that a file has a value a query of, such as ``ndcg@10``."""
    return [key for key, value in content.items() if "@" in key and isinstance(value, list)]


def _named(models: Sequence[Results]) -> list[Results]:
    """The models with names that tell them apart: by mixture, else with group, run or both before it."""
    groups = {model.group: model for model in models}
    if max(Counter(name for _, name in {(model.group, model.mixture) for model in models}).values()) == 1:
        return list(models)
    homes = {group: model.run or group.parent for group, model in groups.items()}
    titles = _distinct(list(dict.fromkeys(homes.values())))
    several_runs = len(titles) > 1
    several_groups = len({group.name for group in groups}) > 1 or not several_runs

    def name(model: Results) -> str:
        run = f"{titles[homes[model.group]]}:" if several_runs else ""
        return f"{run}{f'{model.group.name}/' if several_groups else ''}{model.mixture}"

    return [replace(model, name=name(model)) for model in models]


def _distinct(folders: Sequence[Path]) -> dict[Path, str]:
    """Folders by their names; of one name, the second is ``name#2``."""
    seen: Counter[str] = Counter()
    titles = {}
    for folder in folders:
        seen[folder.name] += 1
        titles[folder] = folder.name if seen[folder.name] == 1 else f"{folder.name}#{seen[folder.name]}"
    return titles
