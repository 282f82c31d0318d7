"""Combines the results of a benchmark's parts into one: CQADupStack's of its forums, MKQA's of its languages.

Paired tests are over queries, so a combined result still has one value for each query. The forums have different
queries: they are joined, with weights that make each forum count the same. The languages ask the same questions: each
question's values are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdro.evaluation.scoring.metrics import MEASURES
from tdro.files import fingerprint


def join_parts(whole: str, model: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result with the queries of all parts, and ``weights`` (of mean 1): the weighted mean over the queries is the
    mean over the parts.

    Args:
        whole: the name of the combined test set.
        model: the model's name.
        parts: what :func:`tdro.evaluation.scoring.evaluate.evaluate_all` returned for each.
    """
    queries = sum(len(part["queries"]) for part in parts)
    return {
        **{"test": whole, "model": model, "task": "", "trained": False},
        "fingerprint": fingerprint([part["fingerprint"] for part in parts]),
        "data": fingerprint([part["data"] for part in parts]),
        **_common_scoring(parts),
        "passages": sum(part["passages"] for part in parts),
        "parts": {part["test"]: part["mean"] for part in parts},
        "problems": [problem for part in parts for problem in part["problems"]],
        "queries": [f"{part['test']}/{query}" for part in parts for query in part["queries"]],
        "weights": [queries / len(parts) / len(part["queries"]) for part in parts for _ in part["queries"]],
        **{measure: [value for part in parts for value in part[measure]] for measure in MEASURES},
        "mean": {measure: float(np.mean([part["mean"][measure] for part in parts])) for measure in MEASURES},
    }


def average_parts(whole: str, model: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result of parts that ask the same queries: each query's mean over the parts.

    Arguments as in :func:`joined`.
    """
    values = {measure: np.mean([part[measure] for part in parts], axis=0) for measure in parts[0]["mean"]}
    return {
        **{"test": whole, "model": model, "task": "", "trained": False},
        "fingerprint": fingerprint([part["fingerprint"] for part in parts]),
        **{key: parts[0][key] for key in ("data", "passages", "problems", "queries")},
        **_common_scoring(parts),
        "parts": {part["test"]: part["mean"] for part in parts},
        **{measure: each.tolist() for measure, each in values.items()},
        "mean": {measure: float(each.mean()) for measure, each in values.items()},
    }


def _common_scoring(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The similarity and the prompts, each if it is the same for all parts."""
    keys = ("similarity", "prompts")
    return {key: parts[0].get(key) for key in keys if all(part.get(key) == parts[0].get(key) for part in parts)}
