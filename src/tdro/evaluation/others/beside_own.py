"""Puts other people's systems beside tdro's own results: the same queries in the same order, each model with a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.mixtures.folder import beir_sha256
from tdro.errors import UserError
from tdro.evaluation.others.find_systems import is_others, read_systems
from tdro.evaluation.others.mean_scores import MeanScores
from tdro.evaluation.others.qrels import Qrels, find_qrels
from tdro.evaluation.results import Results, check_same_texts, named, results_at
from tdro.evaluation.scoring.metrics import KINDS, MEASURES


@dataclass(frozen=True)
class Everything:
    """What was found in all places.

    Attributes:
        models: those that have a value for each query.
        means: the systems that have means only.
        notes: sentences on what was odd or missing.
    """

    models: list[Results]
    means: list[MeanScores]
    notes: list[str]


def read_everything(places: Sequence[Path | str], qrels: Sequence[Path | str], measure: str) -> Everything:
    """The results in several places, tdro's own and those of other tools.

    Args:
        places: as :func:`tdro.evaluation.results.read_places` takes them, or files and folders of other tools, see
            :mod:`tdro.evaluation.others.find_systems`.
        qrels: where the judgements of these are, see :func:`tdro.evaluation.others.qrels.find_qrels`.
        measure: what will be compared; runs are scored by it too.

    Raises:
        UserError: as the functions named here; or two models have different queries under one test set's name.

    Example::

        found = read_everything(["a.trec", "b.trec"], ["scifact/qrels/test.tsv"], "ndcg@10")
        found.models[0].values("scifact", "ndcg@10")  # (queries,)
    """
    paths = [Path(place).expanduser().resolve() for place in places]
    theirs = [path for path in paths if is_others(path)]
    found: dict[Path, Results] = {}
    for path in paths:
        if path not in theirs:
            for own in results_at(path):
                found.setdefault(own.folder, own)
    judged = find_qrels([Path(path) for path in qrels])
    systems = read_systems(theirs, judged, _measures(measure))
    if qrels and not systems.results:
        raise UserError("--qrels: is for run files, and none of the places has any; leave it out")
    tested = {(model.mixture, test) for model in systems.results for test in model.tests}
    others = [_alike(model, list(found.values()), judged) for model in systems.results]
    models = [*found.values(), *others]
    check_same_texts(models)
    means = [
        replace(each, tests={test: each.tests[test] for test in each.tests if (each.name, test) not in tested})
        for each in systems.means
    ]
    return Everything(named(models) if models else [], [each for each in means if each.tests], systems.notes)


def _measures(wanted: str) -> list[str]:
    """The measures that runs are scored by: the usual ones, and the wanted one if it is computed here."""
    match = re.fullmatch(r"([a-z]+)@([1-9]\d{0,5})", wanted)
    return list(dict.fromkeys([*MEASURES, *([wanted] if match and match[1] in KINDS else [])]))


def _alike(model: Results, own: Sequence[Results], judged: dict[str, Qrels]) -> Results:
    """Another tool's results with their queries in the order of tdro's own, and the test set's checksum if it has one.

    Raises:
        UserError: the judgements are of other queries than those that tdro's results are of.
    """
    tests = {}
    for test, content in model.tests.items():
        tests[test] = content
        if (other := next((each for each in own if test in each.tests), None)) is None:
            continue
        wanted, here = other.tests[test]["queries"], content["queries"]
        if odd := sorted(set(wanted) ^ set(here)):
            raise UserError(
                f"{judged[test].path}: judges {len(here):,} queries and {other.file(test)} has {len(wanted):,}; only "
                f"one of them has {odd[0]!r}. Name the judgements that `tdro evaluate` read"
            )
        place = {query: number for number, query in enumerate(here)}
        order = [place[query] for query in wanted]
        tests[test] = {
            key: [value[number] for number in order] if isinstance(value, list) else value
            for key, value in content.items()
        }
        if folder := judged[test].folder:
            tests[test]["data"] = beir_sha256(folder)[:16]
    return replace(model, tests=tests)
