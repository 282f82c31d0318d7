"""Reads results of evaluations from disk and checks them: the same queries and passages, one value for each query.

Results are read from a run folder (all its groups), from a folder ``evaluation/<group>``, or from the folder of one
model. If two of these have a mixture of the same name, the group, the run or both are put before it: ``one:top-70``,
``static/top-70``. See docs/decisions.md, short-names-in-comparisons.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.errors import UserError
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.files import read_json
from tdro.recipe.names import mixture_and_seed

SHOWN = ("ndcg@10", "recall@100")  # a comparison shows these besides the measure that it tests

AT_SIZE = "sizes"  # the folder in a run's folder with the results of cut embeddings


@dataclass(frozen=True)
class Results:
    """One model's results.

    Attributes:
        name: its name in a comparison; models of one name are seeds of one mixture.
        mixture: ``uniform``, ``top-70``, …, or the model's own name.
        seed: of its training; None for a model without seeds, such as ``untrained``.
        folder: where the results are.
        tests: test set to the content of its file.
        files: test set to the file that another tool wrote; empty for results of ``tdro evaluate``.
    """

    name: str
    mixture: str
    seed: int | None
    folder: Path
    tests: Mapping[str, dict[str, Any]]
    files: Mapping[str, Path] = field(default_factory=dict)

    def file(self, test: str) -> Path:
        """The file that the values of a test set are from."""
        return self.files.get(test, self.folder / f"{test}.json")

    def values(self, test: str, measure: str) -> NDArray[np.float64]:
        """The values of a measure, one for each query; (queries,).

        If the file has weights (CQADupStack, each of whose forums counts the same), each value times its weight.
        """
        content = self.tests[test]
        return np.asarray(content[measure], dtype=np.float64) * np.asarray(content.get("weights", 1.0))

    @property
    def group(self) -> Path:
        """The folder of the group that the model was evaluated in."""
        return self.folder.parent

    @property
    def run(self) -> Path | None:
        """The run folder that the results are in; None if they are not in one."""
        found = run_and_group(self.group)
        return found and found[0]

    @property
    def leaks(self) -> Path:
        """The file that says which test queries are in the model's training data."""
        own = self.folder / LEAKS
        return own if self.run is None or own.is_file() else self.run / LEAKS


def run_and_group(folder: Path) -> tuple[Path, str] | None:
    """The run folder and the name of the group whose results a folder has; None for results outside of a run.

    It is ``RUN/evaluation/GROUP``, or ``RUN/sizes/GROUP/64`` for embeddings cut to a size.
    """
    if folder.parent.name == "evaluation":
        return folder.parent.parent, folder.name
    run, group = folder.parent.parent.parent, folder.parent.name
    if folder.parent.parent.name == AT_SIZE and (run / "evaluation" / group).is_dir():
        return run, group
    return None


def note_path(folder: Path) -> Path:
    """The file that says which model the results of ``tdro evaluate --on`` in a folder are of, and which test sets."""
    return folder.parent / ".models" / f"{folder.name}.json"


def read_group(
    folder: Path | str, models: Collection[str] | None = None, test_sets: Collection[str] | None = None
) -> list[Results]:
    """The results in ``evaluation/<group>``: a folder for each model, named ``<mixture>-seed<k>`` or otherwise.

    Args:
        folder: of the group.
        models: names of their folders; None for all that are there.
        test_sets: names of the test sets; None for all that are there.

    Raises:
        UserError: there are no results, a model lacks a test set, or two files have different queries or texts.
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
    """The results in several places, each model once, with names that tell the models apart.

    Args:
        places: run folders, folders ``evaluation/<group>``, or folders with the results of one model.

    Raises:
        UserError: as :func:`read_group`, or a place has no results.
    """
    found: dict[Path, Results] = {}
    for place in places:
        for results in results_at(Path(place).expanduser().resolve()):
            found.setdefault(results.folder, results)
    models = list(found.values())
    check_same_texts(models)
    return named(models)


def on_common_tests(models: Sequence[Results]) -> tuple[list[Results], list[str]]:
    """The models' results on the test sets that all of them have, and the names of all other test sets.

    Raises:
        UserError: no test set is common to all.
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
    """Raise :class:`UserError` if two models have different queries or passages under one name of a test set."""
    first: dict[str, Results] = {}
    for model in models:
        for name, content in model.tests.items():
            other = first.setdefault(name, model)
            known = ("queries", "data") if "data" in content and "data" in other.tests[name] else ("queries",)
            if any(content.get(key) != other.tests[name].get(key) for key in known):
                raise UserError(
                    f"{model.file(name)} and {other.file(name)} are of different queries or passages.\n"
                    "Run `tdro evaluate` again for both."
                )


def results_at(place: Path) -> list[Results]:
    """The results in one place, see :func:`read_places`."""
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
    """The models and test sets that the run's last evaluation of a group compared; (None, None) outside of a run.

    Whatever else is in the group's folder is from an earlier recipe. Raises :class:`UserError` if a model was trained
    again since then, because the results are the old model's.
    """
    found = run_and_group(group)
    if found is None or not (record := found[0] / "run.json").is_file():
        return None, None
    name_of_group = found[1]
    stages = {stage["name"]: stage for stage in read_json(record).get("stages", [])}
    evaluation = stages.get(f"evaluation/{name_of_group}", {}).get("inputs")
    if evaluation is None:
        return None, None
    for name, key in evaluation["models"].items():
        if stages.get(f"models/{name_of_group}/{name}", {}).get("fingerprint", key) != key:
            raise UserError(
                f"{group / name}: these are results of an older model; run `tdro evaluate RECIPE` for the one that is "
                "there now"
            )
    return [*evaluation["models"], "bm25"], list(evaluation["tests"])


def _read(folder: Path, files: Mapping[str, Path]) -> Results:
    mixture, seed = mixture_and_seed(folder.name)
    return Results(mixture, mixture, seed, folder, {test: _content(path) for test, path in files.items()})


def _content(path: Path) -> dict[str, Any]:
    """The content of one file; raises :class:`UserError` unless each measure has one finite value for each query."""
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
    """The measures, such as ``ndcg@10``, for which a file has one value for each query."""
    return [key for key, value in content.items() if "@" in key and isinstance(value, list)]


def named(models: Sequence[Results]) -> list[Results]:
    """The models with names that tell them apart: the mixture, with the group, the run or both before it if needed."""
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
    """A title for each folder: its name; the second folder of the same name is ``name#2``."""
    counts: Counter[str] = Counter()
    titles = {}
    for folder in folders:
        counts[folder.name] += 1
        titles[folder] = folder.name if counts[folder.name] == 1 else f"{folder.name}#{counts[folder.name]}"
    return titles
