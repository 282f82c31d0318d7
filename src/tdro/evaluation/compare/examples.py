"""Queries to read: which gained and lost most against the baseline, what is right, and what each model ranked first.

Values come from the results, the first passages from their TREC run files, texts from the test set's BEIR folder where
the run's recipe, or the note beside results of ``--on``, still leads to it and its checksum is that of the results;
else ids stand alone. Rejected: texts in the results, which would double every test set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from tdro.data.mixtures.folder import beir_sha256, test_folders
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.errors import UserError
from tdro.evaluation.results import Results, note_of
from tdro.files import read_json

_RELEVANT = 2  # right passages that are shown of a query


def find_examples(models: Sequence[Results], comparison: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The queries that gained most and that lost most, of every model that the comparison has a baseline of.

    Args:
        models: what was compared.
        comparison: what :func:`tdro.evaluation.compare.compare.compare_models` said of them.
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
    for test in model[0].tests:  # values as they are, whatever weight a query has in the mean
        values = [np.mean([run.tests[test][measure] for run in runs], axis=0) for runs in (model, baseline)]
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
        content = next(iter(runs.values())).tests[test]
        query = content["queries"][place]
        part, key = query.split("/", 1) if "weights" in content else ("", query)  # a forum of CQADupStack's
        data = next((data for run in runs.values() if (data := self._of(run, test, part)) is not None), None)
        relevant = _most_relevant(data.qrels.get(key, {})) if data else []
        ranked = {name: found for name, run in runs.items() if (found := self._first_of(run, test, part)) is not None}
        firsts = {name: found.get(key) for name, found in ranked.items()}
        wanted = [*relevant, *(each for each in firsts.values() if each is not None)]
        texts = _texts(data, wanted) if data else {}

        def passage(found: str | None) -> dict[str, Any] | None:
            return None if found is None else {"id": found, "text": texts.get(found)}

        text = data.queries[data.query_ids.index(key)] if data else None
        return {
            **{"test": test, "query": query, "text": text, "values": dict(values)},
            "relevant": [passage(found) for found in relevant],
            "first": {name: passage(found) for name, found in firsts.items()},
        }

    def _of(self, run: Results, test: str, part: str) -> BeirData | None:
        key = (run.group, part or test)
        if key not in self._data:
            self._data[key] = _test_set(run, test, part)
        return self._data[key]

    def _first_of(self, run: Results, test: str, part: str) -> dict[str, str] | None:
        path = run.folder / test / f"{part}.trec" if part else run.folder / f"{test}.trec"
        if path not in self._first:
            before = f"{part}/" if part else ""
            self._first[path] = _first_passages(path, {key.removeprefix(before) for key in run.tests[test]["queries"]})
        return self._first[path]


def _test_set(run: Results, test: str, part: str) -> BeirData | None:
    """The test set (or the part of one) that the results are of, or None where it is not to be found or not the same
    any more."""
    try:
        if run.run is not None and (run.run / "recipe.yaml").is_file():
            folder = _folders(run.run / "recipe.yaml").get(test)
        else:
            folder = read_json(note_of(run.folder)).get("test_sets", {}).get(part or test)
        content = read_json(run.folder / test / f"{part}.json") if part else run.tests[test]
        if folder is None or beir_sha256(folder)[:16] != content.get("data"):
            return None
        return read_beir(folder)
    except UserError:
        return None


def _folders(recipe: Path) -> dict[str, Path]:
    """The test sets of a recipe, by name."""
    from tdro.disk import cache_folder
    from tdro.recipe.schema import load_recipe

    data = load_recipe(recipe, data_may_be_gone=True).data
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
