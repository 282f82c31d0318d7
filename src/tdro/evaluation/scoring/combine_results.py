"""One result of several: CQADupStack of its forums, MKQA of its languages.

A paired test is over queries, so what is joined keeps a value a query: forums' queries are all different and stand one
after the other, weighted so that each forum counts the same; languages ask the same questions, and the values of each
are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdro.evaluation.scoring.evaluate import MEASURES
from tdro.files import fingerprint


def join_parts(whole: str, model: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of several test sets' that count as one: all queries, and ``weights`` (of mean 1) that make the
    weighted mean over queries the mean over the parts.

    Args:
        whole: the name of the result's test set.
        model: the model's name.
        parts: what :func:`tdro.evaluation.scoring.evaluate.evaluate_all` returned for each.
    """
    queries = sum(len(part["queries"]) for part in parts)
    return {
        **{"test": whole, "model": model, "task": "", "trained": False},
        "fingerprint": fingerprint([part["fingerprint"] for part in parts]),
        "data": fingerprint([part["data"] for part in parts]),
        **_how(parts),
        "passages": sum(part["passages"] for part in parts),
        "parts": {part["test"]: part["mean"] for part in parts},
        "problems": [problem for part in parts for problem in part["problems"]],
        "queries": [f"{part['test']}/{query}" for part in parts for query in part["queries"]],
        "weights": [queries / len(parts) / len(part["queries"]) for part in parts for _ in part["queries"]],
        **{measure: [value for part in parts for value in part[measure]] for measure in MEASURES},
        "mean": {measure: float(np.mean([part["mean"][measure] for part in parts])) for measure in MEASURES},
    }


def average_parts(whole: str, model: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of test sets that ask the same queries: each query's mean over them.

    Arguments as in :func:`joined`.
    """
    values = {measure: np.mean([part[measure] for part in parts], axis=0) for measure in parts[0]["mean"]}
    return {
        **{"test": whole, "model": model, "task": "", "trained": False},
        "fingerprint": fingerprint([part["fingerprint"] for part in parts]),
        **{key: parts[0][key] for key in ("data", "passages", "problems", "queries")},
        **_how(parts),
        "parts": {part["test"]: part["mean"] for part in parts},
        **{measure: each.tolist() for measure, each in values.items()},
        "mean": {measure: float(each.mean()) for measure, each in values.items()},
    }


def _how(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the parts were scored, as far as it is the same for all."""
    keys = ("similarity", "prompts")
    return {key: parts[0].get(key) for key in keys if all(part.get(key) == parts[0].get(key) for part in parts)}
