"""A run as a TREC file, which trec_eval, pytrec_eval, ir_measures and ranx read."""

from __future__ import annotations

import re
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tdro.data.testsets.beir_data import BeirData


def trec_run(data: BeirData, top: NDArray[np.int64], scores: NDArray[np.float32], name: str) -> str:
    """Lines of ``query Q0 passage rank score name``, best first, ranks from 1.

    Scores have 9 digits, which give back the float32, so that ties stay ties; an evaluator that breaks them by id, the
    larger first, finds the ranks that stand here. White space in ids and the name, which would part columns, is
    percent-encoded.

    Args:
        data: whose places ``top`` holds.
        top: places in ``data.passages`` by rank, -1 where there are no more; (queries, k).
        scores: of the same shape.
        name: of the run.
    """
    used = np.unique(top[top >= 0])
    ids = dict(zip(used.tolist(), map(_word, data.passages.ids.take(used).to_pylist()), strict=True))
    tag = _word(name or "tdro")
    lines = [
        f"{_word(query)} Q0 {ids[place]} {rank} {score:.9g} {tag}\n"
        for query, places, values in zip(data.query_ids, top.tolist(), scores.tolist(), strict=True)
        for rank, (place, score) in enumerate(zip(places, values, strict=True), 1)
        if place >= 0
    ]
    return "".join(lines)


def _word(text: str) -> str:
    return re.sub(r"\s", lambda space: quote(space[0]), text)
