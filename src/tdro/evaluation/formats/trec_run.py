"""The text of a TREC run file: which passages were found for each query. trec_eval, pytrec_eval and ranx read it."""

from __future__ import annotations

import re
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tdro.data.testsets.beir_data import BeirData


def trec_run(data: BeirData, top: NDArray[np.int64], scores: NDArray[np.float32], name: str) -> str:
    """Lines of ``query Q0 passage rank score name``, best first, with ranks from 1.

    Scores have 9 digits, from which the same float32 is read back, so equal scores stay equal. A tool that orders equal
    scores by id, the larger first, finds the same ranks as written here. White space in ids and in the name would
    separate columns, so it is percent-encoded.

    Args:
        data: the test set.
        top: places in ``data.passages`` by rank, -1 where there are no more; (queries, k).
        scores: of these passages; (queries, k).
        name: of the run.
    """
    used = np.unique(top[top >= 0])
    ids = dict(zip(used.tolist(), map(_word, data.passages.ids.take(used).to_pylist()), strict=True))
    tag = _word(name or "tdro")
    lines = [
        f"{query} Q0 {ids[place]} {rank} {score:.9g} {tag}\n"
        for query, places, values in zip(map(_word, data.query_ids), top.tolist(), scores.tolist(), strict=True)
        for rank, (place, score) in enumerate(zip(places, values, strict=True), 1)
        if place >= 0
    ]
    return "".join(lines)


def _word(text: str) -> str:
    return re.sub(r"\s", lambda space: quote(space[0]), text)
