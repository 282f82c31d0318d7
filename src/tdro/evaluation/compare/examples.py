"""Queries to read: which gained and lost most against the baseline, with what is relevant and what was ranked first.

The values come from the results, and the passages ranked first from the TREC run files beside them. The texts come from
the test set's BEIR folder. The run's recipe says where that is, or for ``tdro evaluate --on`` the note beside the
results. If the folder is gone, or its files changed since, only ids are shown. See docs/decisions.md,
no-texts-in-results.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from tdro.data.mixtures.folder import beir_sha256, test_folders
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.errors import UserError
from tdro.evaluation.results import Results, note_path
from tdro.evaluation.scoring.metrics import most_relevant
from tdro.files import read_json

_WIDTH = 100  # columns of the lines of an example
_TEXT_LENGTH = 300  # characters of a passage that are shown


def find_examples(models: Sequence[Results], comparison: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The queries that gained most and that lost most, for every model that has a baseline.

    Args:
        models: what was compared.
        comparison: what :func:`tdro.evaluation.compare.compare_results.compare_models` returned for them.
        count: how many queries that gained, and how many that lost, from all test sets together.

    Returns:
        A dict for each compared model: ``model``, ``baseline``, ``gained`` and ``lost``. The last two are lists with a
        dict for each query, the largest difference first:

        - ``test``, ``query`` (its id) and ``text``;
        - ``values``: the model's and the baseline's, means over seeds;
        - ``relevant``: up to two passages of the highest relevance, each with ``id`` and ``text``;
        - ``first``: by model, the passage that its training of the lowest seed ranked first, with ``id`` and ``text``;
          null if it found nothing. A model whose run file is missing is left out.

        Each ``text`` is null if the test set is not found.
    """
    by_name: dict[str, list[Results]] = {}
    for model in sorted(models, key=lambda one: one.seed or 0):
        by_name.setdefault(model.name, []).append(model)
    reader = _ExampleReader()
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


def examples_text(examples: Sequence[Mapping[str, Any]]) -> str:
    """The examples that :func:`find_examples` returned, as text for a terminal."""
    lines: list[str] = []
    for each in examples:
        for key, verb in (("gained", "gained"), ("lost", "lost")):
            lines += ["", f"{each['model']} against {each['baseline']}: queries that {verb} most"]
            lines += [line for query in each[key] for line in _lines(query)] or ["  none"]
    return "\n".join(lines[1:])


def _by_difference(
    sides: Mapping[str, Sequence[Results]], measure: str
) -> list[tuple[float, str, int, dict[str, float]]]:
    """For each query: the difference, its test set, its place there, and both values; the largest difference first."""
    model, baseline = sides.values()
    rows = []
    for test in model[0].tests:  # without the weights that a query may have in the mean
        values = [np.mean([run.tests[test][measure] for run in runs], axis=0) for runs in (model, baseline)]
        for place, pair in enumerate(zip(*(each.tolist() for each in values), strict=True)):
            rows.append((pair[0] - pair[1], test, place, dict(zip(sides, pair, strict=True))))
    return sorted(rows, key=lambda row: -row[0])


class _ExampleReader:
    """Reads test sets and run files, each once."""

    def __init__(self) -> None:
        self._data: dict[tuple[Path, str], BeirData | None] = {}
        self._first: dict[Path, dict[str, str] | None] = {}

    def example(
        self, test: str, place: int, values: Mapping[str, float], runs: Mapping[str, Results]
    ) -> dict[str, Any]:
        """What :func:`find_examples` returns of one query."""
        content = next(iter(runs.values())).tests[test]
        query = content["queries"][place]
        # In a result that joins the forums of CQADupStack, a query's id is <forum>/<id>.
        part, key = query.split("/", 1) if "weights" in content else ("", query)
        data = next((data for run in runs.values() if (data := self._of(run, test, part)) is not None), None)
        relevant = most_relevant(data.qrels.get(key, {})) if data else content.get("relevant", {}).get(query, [])
        ranked = {name: found for name, run in runs.items() if (found := self._first_of(run, test, part)) is not None}
        firsts = {name: found.get(key) for name, found in ranked.items()}
        wanted = [*relevant, *(each for each in firsts.values() if each is not None)]
        texts = _texts(data, wanted) if data else {}

        def passage(found: str | None) -> dict[str, Any] | None:
            return None if found is None else {"id": found, "text": texts.get(found)}

        text = data.queries[data.query_ids.index(key)] if data and key in data.query_ids else None
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
        if "first" in run.tests[test]:  # of another tool, whose file has been read
            return dict(run.tests[test]["first"])
        path = run.folder / test / f"{part}.trec" if part else run.folder / f"{test}.trec"
        if path not in self._first:
            before = f"{part}/" if part else ""
            self._first[path] = _first_passages(path, {key.removeprefix(before) for key in run.tests[test]["queries"]})
        return self._first[path]


def _test_set(run: Results, test: str, part: str) -> BeirData | None:
    """The test set (or forum) that the results are of; None if it is not found or has changed since."""
    try:
        if run.run is not None and (run.run / "recipe.yaml").is_file():
            folder = _folders(run.run / "recipe.yaml").get(test)
        elif run.files:
            return read_beir(content) if (content := run.tests[test].get("texts")) else None
        else:
            folder = read_json(note_path(run.folder)).get("test_sets", {}).get(part or test)
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
    """Query id to the passage of rank 1, from a TREC run file; None if there is no such file.

    White space in ids is percent-encoded there.
    """
    if not path.is_file():
        return None
    found = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            query, _, passage, rank, *_ = line.split(" ")
            if rank == "1":
                found[query if query in queries else unquote(query)] = passage
    return found


def _texts(data: BeirData, ids: Sequence[str]) -> dict[str, str]:
    """Passage id to its text, for those that the test set has; an id from a run file may be percent-encoded."""
    places = data.passages.places([*ids, *map(unquote, ids)])
    found = {}
    for key in ids:
        place = places.get(key, places.get(unquote(key)))
        if place is not None:
            (found[key],) = data.passages.texts[place : place + 1]
    return found


def _lines(query: Mapping[str, Any]) -> list[str]:
    def passage(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return "nothing"
        text = found["text"]
        return found["id"] if text is None else f"{found['id']}: {_start(text)}"

    model, baseline = query["values"].values()
    text = query["text"] if query["text"] is not None else "(text not found)"
    said = [f"{query['test']} {query['query']}, {100 * baseline:.1f} to {100 * model:.1f}: {text}"]
    said += [f"right: {passage(each)}" for each in query["relevant"]]
    said += [f"{name} first: {passage(first)}" for name, first in query["first"].items()]
    said += [
        f"{name} first: not known, its run file is missing" for name in query["values"] if name not in query["first"]
    ]
    return [
        line
        for number, text in enumerate(said)
        for line in textwrap.wrap(
            text, _WIDTH, initial_indent="  " if number == 0 else "    ", subsequent_indent=" " * 6
        )
    ]


def _start(text: str) -> str:
    """The start of a text, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"
