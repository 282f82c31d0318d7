"""The measures of every query of a run, as trec_eval computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np

from tdro.errors import UserError
from tdro.evaluation.others.qrels import Qrels
from tdro.evaluation.others.run_file import RunFile
from tdro.evaluation.scoring.metrics import Judgements, measure, most_relevant


def score_run(run: RunFile, qrels: Qrels, measures: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """A run's value of each measure for every query that has judgements.

    A judged query of which the run has nothing counts as 0 in every measure. A query without judgements is left out.
    The returned sentences say so.

    Args:
        run: what was found.
        qrels: who judged what relevant.
        measures: such as ``ndcg@10``.

    Returns:
        What a result file of ``tdro evaluate`` has for a comparison: ``test``, ``queries`` and each measure. Also, by
        query, ``first`` (the passage of rank 1) and ``relevant`` (two of the highest relevance); and ``texts``, the
        BEIR folder that has the texts, if there is one. The second value are sentences on what was missing.

    Raises:
        UserError: the run has nothing for any query with judgements.
    """
    found = _by_known_ids(run, qrels)
    queries = list(qrels.judged)
    ranks = max(int(name.partition("@")[2]) for name in measures)
    gained = np.zeros((len(queries), ranks), dtype=np.int64)
    for place, query in enumerate(queries):
        judged = qrels.judged[query]
        for rank, passage in enumerate(found.get(query, ())[:ranks]):
            gained[place, rank] = max(judged.get(passage, 0), 0)
    relevant = [
        (place, score) for place, query in enumerate(queries) for score in qrels.judged[query].values() if score > 0
    ]
    places, scores = np.array(relevant, dtype=np.int64).reshape(-1, 2).T
    pairs = Judgements(places, np.arange(len(places)), scores)
    content: dict[str, Any] = {"test": qrels.test, "queries": queries}
    content |= {name: measure(name, gained, pairs).tolist() for name in measures}
    content["first"] = {query: passages[0] for query, passages in found.items() if passages}
    content |= {"texts": str(qrels.folder)} if qrels.folder else {}
    content["relevant"] = {query: most_relevant(scores) for query, scores in qrels.judged.items()}
    return content, _notes(run, found, qrels, ranks)


def _by_known_ids(run: RunFile, qrels: Qrels) -> dict[str, list[str]]:
    """The run with ids as the judgements have them: white space, which a TREC run cannot have, may be percent-encoded,
    and ``query-`` may be missing before a query's id.

    Raises:
        UserError: no query is judged.
    """
    found: dict[str, list[str]] = {}
    # tdro's copies of some of mteb's tasks have "query-" before the queries' ids; mteb's predictions do not.
    before = "" if run.found.keys() & qrels.judged.keys() else "query-"
    for query, passages in run.found.items():
        name = query if query in qrels.judged or "%" not in query else unquote(query)
        name = f"{before}{name}" if f"{before}{name}" in qrels.judged else name
        judged = qrels.judged.get(name, {})
        found[name] = [
            each if each in judged or "%" not in each or unquote(each) not in judged else unquote(each)
            for each in passages
        ]
    if not found.keys() & qrels.judged.keys():
        raise UserError(
            f"{run.path}: none of its {len(found):,} queries (the first is {next(iter(found), '')!r}) has a judgement "
            f"in {qrels.path} (the first there is {next(iter(qrels.judged))!r}); are these the qrels of this run?"
        )
    return found


def _notes(run: RunFile, found: dict[str, list[str]], qrels: Qrels, ranks: int) -> list[str]:
    notes = list(run.notes)
    missing = [query for query in qrels.judged if not found.get(query)]
    if missing:
        notes.append(
            f"{run.path}: nothing was found for {len(missing):,} of {len(qrels.judged):,} queries, such as "
            f"{missing[0]!r}; each counts as 0"
        )
    unjudged = [query for query in found if query not in qrels.judged]
    if unjudged:
        notes.append(
            f"{run.path}: {len(unjudged):,} of its queries, such as {unjudged[0]!r}, have no judgement in "
            f"{qrels.path.name} and are left out"
        )
    deepest = max(map(len, found.values()))
    if deepest < ranks:
        notes.append(f"{run.path}: has at most {deepest} passages a query; none counts as found below that rank")
    return notes
