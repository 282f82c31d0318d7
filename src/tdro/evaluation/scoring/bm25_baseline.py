"""BM25 as a baseline: what matching words alone gives on a test set, written to the same files as a model's results.

It searches title and text (:mod:`tdro.search.bm25`), with the queries as they are, without a prompt. There are no stop
words and no stemmer: a word is a normalised word, or in scripts without spaces a pair of neighbouring characters, so
that one rule serves every language. So this baseline is mostly below a BM25 with a stemmer, most of all in languages
that inflect (Finnish, Russian, Korean); say so when you quote it. Between two languages it finds only what both write
alike. A passage that shares no word with the query is not found, as in Lucene. See docs/decisions.md, bm25-words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.mixtures.folder import beir_sha256
from tdro.data.same_text import normalise
from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.data.testsets.passages import TextsOfFile
from tdro.errors import UserError
from tdro.evaluation.formats.mteb_results import mteb_entry, write_mteb_entry
from tdro.evaluation.scoring.evaluate import RANKS, Ranking, ScoringJob, is_current, write_ranking
from tdro.evaluation.scoring.metrics import MEASURES
from tdro.files import fingerprint, read_json, write_atomic, write_json
from tdro.search.bm25 import BM25Index, best_first

NAME = "bm25"
_VERSION = 3  # of the files; raise it when their content changes, so that older ones are made again
_PASSAGES_AT_ONCE = 1 << 14


def evaluate_bm25(tests: Sequence[TestSet], out_folder: Path | str, model_name: str = NAME) -> list[dict[str, Any]]:
    """Score BM25 on test sets and write what :func:`tdro.evaluation.scoring.evaluate.evaluate_all` writes for a model.

    Results of the same test set that are in ``out_folder/model_name`` are read instead, and those that another group of
    the same run has are copied. For one process.

    Args:
        tests: their names are the files' names.
        out_folder: of the group, ``evaluation/<group>`` in a run folder.
        model_name: a path below it.

    Returns:
        A dict for each test set, as for a model.

    Raises:
        UserError: a test set is broken.
    """
    folder = Path(out_folder) / model_name
    with progress_bar(tests, NAME, unit=" test sets") as bar:
        for test in bar:
            checksum = beir_sha256(test.folder)
            job = ScoringJob(
                replace(test, prompts=("", "")), checksum, fingerprint([NAME, _VERSION, checksum, test.name, test.task])
            )
            if is_current(folder / f"{test.name}.json", job.key):
                continue
            if not any(_copied(other, folder, job) for other in _in_other_groups(Path(out_folder), model_name)):
                data = read_beir(test.folder)
                write_ranking(folder, job, Ranking(data, *rank_by_bm25(data, RANKS), NAME), NAME)
    return [read_json(folder / f"{test.name}.json") for test in tests]


def rank_by_bm25(data: BeirData, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best passages of each query by BM25.

    Equal scores are ordered by passage id, the larger first, and a passage with the query's own id is left out, as in
    :func:`tdro.search.exact.search`.

    Args:
        data: the test set.
        k: how many.

    Returns:
        Places in ``data.passages``, -1 where no more share a word with the query, and scores (-inf there); both
        (queries, min(k, passages)).
    """
    index = BM25Index(_normalised(data.passages.texts))
    tie_rank = np.empty(len(data.passages), np.int64)
    tie_rank[data.passages.by_id()[::-1]] = np.arange(len(data.passages))
    own = data.passages.places(data.query_ids)
    shape = len(data.query_ids), min(k, len(data.passages))
    top, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
    for row, (query, text) in enumerate(zip(data.query_ids, data.queries, strict=True)):
        found = index.score_all(index.word_ids(normalise(text)))
        if query in own:
            found[own[query]] = 0
        passages = np.flatnonzero(found)
        best = best_first(found[passages], passages, tie_rank[passages], shape[1])
        top[row, : len(best)], scores[row, : len(best)] = best, found[best]
    return top, scores


def _normalised(texts: Sequence[str] | TextsOfFile) -> Iterator[str]:
    """The normalised texts, read from the file part by part."""
    for start in range(0, len(texts), _PASSAGES_AT_ONCE):
        yield from map(normalise, texts[start : start + _PASSAGES_AT_ONCE])


def _in_other_groups(group: Path, model_name: str) -> list[Path]:
    """The folders of BM25's results in the other groups of a run. None outside of a run: folders there may be
    anything."""
    if group.resolve().parent.name != "evaluation":
        return []
    return [folder for folder in sorted(group.parent.glob(f"*/{model_name}")) if folder != group / model_name]


def _copied(other: Path, folder: Path, job: ScoringJob) -> bool:
    """Copy another folder's files of a test set, if they are current and complete; says whether they were."""
    name = job.test.name
    try:
        entry = mteb_entry(other / "mteb", job.test, job.checksum)
        if entry is None or not is_current(other / f"{name}.json", job.key):
            return False
        ranking, result = (other / f"{name}.trec").read_bytes(), read_json(other / f"{name}.json")
    except (OSError, UserError):  # the files are broken, or are just being removed: score it here
        return False
    if not all(len(result.get(measure, ())) == len(result["queries"]) for measure in MEASURES):
        return False
    write_atomic(folder / f"{name}.trec", ranking)
    write_mteb_entry(folder / "mteb", job.test, entry, (NAME, job.model))
    write_json(folder / f"{name}.json", result)
    return True
