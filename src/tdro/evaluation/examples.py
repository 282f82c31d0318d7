"""Queries to read: which gained and lost most against the baseline, what is right, and what each model ranked first.

Values come from the results, the first passages from their TREC run files, texts from the test set's BEIR folder where
the run's recipe still leads to it and its checksum is that of the results; else ids stand alone. Rejected: texts in the
results, which would double every test set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from tdro.data.mixture import beir_sha256, test_folders
from tdro.errors import UserError
from tdro.evaluation.beir import BeirData, read_beir
from tdro.evaluation.results import Results

_RELEVANT = 2  # right passages that are shown of a query


def find_examples(models: Sequence[Results], comparison: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The queries that gained most and that lost most, of every model that the comparison has a baseline of.

    Args:
        models: what was compared.
        comparison: what :func:`tdro.evaluation.compare.compare_models` said of them.
        count: queries of each kind, at most; of all test sets together.

    Returns:
        One dict a compared model: ``model``, ``baseline``, ``gained`` and ``lost``. These have a dict a query, most
        first: ``test``, ``query`` (id), ``text``, ``values`` (model's and baseline's, means over seeds), ``relevant``
        (the passages of the highest relevance, ``id`` and ``text``; no more than two) and ``first`` (what each ranked
        first, ``id`` and ``text``, with its lowest seed; null where it found nothing; a model whose run file is missing
        is left out). A ``text`` is null where the test set is not found.
    """
    by_name: dict[str, list[Results]] = {}
    for model in sorted(models, key=lambda one: one.seed or 0):
        by_name.setdefault(model.name, []).append(model)
    reader = _Reader()
    found = []
    for row in comparison["rows"]:
        if row["versus"] is None:
            continue
        sides = {name: by_name[name] for name in (row["mixture"], row["baseline"])}
        ranked = _by_difference(sides, comparison["measure"])
        chosen = {"gained": ranked[:count], "lost": ranked[::-1][:count]}
        kept = {"gained": [each for each in chosen["gained"] if each[0] > 0]}
        kept["lost"] = [each for each in chosen["lost"] if each[0] < 0]
        entry: dict[str, Any] = {"model": row["mixture"], "baseline": row["baseline"]}
        for key, queries in kept.items():
            entry[key] = [
                reader.example(test, place, values, {name: runs[0] for name, runs in sides.items()})
                for _, test, place, values in queries
            ]
        found.append(entry)
    return found


def _by_difference(
    sides: Mapping[str, Sequence[Results]], measure: str
) -> list[tuple[float, str, int, dict[str, float]]]:
    """Difference, test set, place of the query, and both values; the largest difference first."""
    model, baseline = sides.values()
    rows = []
    for test in model[0].tests:
        values = [np.mean([run.values(test, measure) for run in runs], axis=0) for runs in (model, baseline)]
        for place, pair in enumerate(zip(*(each.tolist() for each in values), strict=True)):
            rows.append((pair[0] - pair[1], test, place, dict(zip(sides, pair, strict=True))))
    return sorted(rows, key=lambda row: -row[0])


class _Reader:
    """Texts and run files, each read once."""

    def __init__(self) -> None:
        self._data: dict[tuple[Path, str], BeirData | None] = {}
        self._first: dict[Path, dict[str, str] | None] = {}

    def example(
        self, test: str, place: int, values: Mapping[str, float], runs: Mapping[str, Results]
    ) -> dict[str, Any]:
        """What :func:`find_examples` has of one query."""
        data = next((data for run in runs.values() if (data := self._of(run, test)) is not None), None)
        query = next(iter(runs.values())).tests[test]["queries"][place]
        relevant = _most_relevant(data.qrels.get(query, {})) if data else []
        ranked = {name: found for name, run in runs.items() if (found := self._first_of(run, test)) is not None}
        firsts = {name: found.get(query) for name, found in ranked.items()}
        wanted = [*relevant, *(each for each in firsts.values() if each is not None)]
        texts = _texts(data, wanted) if data else {}

        def passage(key: str | None) -> dict[str, Any] | None:
            return None if key is None else {"id": key, "text": texts.get(key)}

        return {
            **{"test": test, "query": query, "text": data.queries[place] if data else None, "values": dict(values)},
            "relevant": [passage(key) for key in relevant],
            "first": {name: passage(key) for name, key in firsts.items()},
        }

    def _of(self, run: Results, test: str) -> BeirData | None:
        key = (run.group, test)
        if key not in self._data:
            self._data[key] = _test_set(run, test)
        return self._data[key]

    def _first_of(self, run: Results, test: str) -> dict[str, str] | None:
        path = run.folder / f"{test}.trec"
        if path not in self._first:
            self._first[path] = _first_passages(path, set(run.tests[test]["queries"]))
        return self._first[path]


def _test_set(run: Results, test: str) -> BeirData | None:
    """The test set that the results are of, or None where it is not to be found or not the same any more."""
    if run.run is None or not (run.run / "recipe.yaml").is_file():
        return None
    try:
        folder = _folders(run.run / "recipe.yaml").get(test)
        if folder is None or beir_sha256(folder)[:16] != run.tests[test].get("data"):
            return None
        return read_beir(folder)
    except UserError:
        return None


def _folders(recipe: Path) -> dict[str, Path]:
    """The test sets of a recipe, by name."""
    from tdro.data.wheels import cache_folder
    from tdro.recipe import load_recipe

    data = load_recipe(recipe).data
    if data.mixture is None:
        return {name: Path(test.folder).expanduser() for name, test in (data.test_sets or {}).items()}
    return test_folders(
        cache_folder() / "sample-mixture" if data.mixture == "sample" else Path(data.mixture).expanduser()
    )


def _first_passages(path: Path, queries: Collection[str]) -> dict[str, str] | None:
    """Query to the passage of rank 1 in a TREC run file, where white space in ids is percent-encoded; None without."""
    if not path.is_file():
        return None
    found = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            query, _, passage, rank, *_ = line.split(" ")
            if rank == "1":
                found[query if query in queries else unquote(query)] = passage
    return found


def _most_relevant(scores: Mapping[str, int]) -> list[str]:
    best = max(scores.values(), default=0)
    return [passage for passage, score in scores.items() if score == best and score > 0][:_RELEVANT]


def _texts(data: BeirData, ids: Sequence[str]) -> dict[str, str]:
    """The passages' texts, of those that are there; an id from a run file may be percent-encoded."""
    places = data.passages.places([*ids, *map(unquote, ids)])
    found = {}
    for key in ids:
        place = places.get(key, places.get(unquote(key)))
        if place is not None:
            (found[key],) = data.passages.texts[place : place + 1]
    return found
