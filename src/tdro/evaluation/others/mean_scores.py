"""Reads files that have means only: mteb's results and sentence-transformers' CSV.

A mean says nothing of the queries, so nothing of it can be tested. It is shown beside what was tested.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.evaluation.others.run_file import lines_of

_KINDS = {kind: kind for kind in ("ndcg", "recall", "mrr", "map", "accuracy")} | {"hit_rate": "accuracy"}
CSV_NAME = re.compile(r"Information-Retrieval_evaluation_?(.*)_results\.csv")


@dataclass(frozen=True)
class MeanScores:
    """The means of one system, which has no value for each query.

    Attributes:
        name: of the system.
        path: of the file (the first, if there are several).
        tests: test set to measure to mean, in [0, 1].
    """

    name: str
    path: Path
    tests: dict[str, dict[str, float]]


def is_mteb_result(content: Any) -> bool:
    """Whether the content of a JSON file is mteb's result of a task."""
    return isinstance(content, dict) and "task_name" in content and isinstance(content.get("scores"), dict)


def mteb_means(path: Path, content: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The means of each test set in one of mteb's result files.

    A subset has its name behind the task's, ``MIRACLRetrieval:sw``; if there are several splits, the split too.

    Raises:
        UserError: the file is not as mteb writes it, or a mean is no number in [0, 1].
    """
    found: dict[str, dict[str, float]] = {}
    splits = content["scores"]
    for split, entries in splits.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"{path}: scores.{split}: expected a list with an entry for each subset")
        for entry in entries:
            subset = entry.get("hf_subset", "default")
            name = content["task_name"] + (f":{subset}" if subset != "default" else "")
            name += f" ({split})" if len(splits) > 1 else ""
            named = (re.fullmatch(r"([a-z_]+)_at_(\d+)", key) for key in entry)
            found[name] = {
                f"{_KINDS[match[1]]}@{match[2]}": _mean(entry[match[0]], f"{path}: {split}, {match[0]}")
                for match in named
                if match and match[1] in _KINDS
            }
    if not any(found.values()):
        raise UserError(f"{path}: no measure such as ndcg_at_10 in it; is it a retrieval task?")
    return found


def csv_means(path: Path) -> dict[str, dict[str, float]]:
    """The last line of the CSV that sentence-transformers' ``InformationRetrievalEvaluator`` writes, by similarity.

    ``{"cosine": {"ndcg@10": 0.41, …}}``. The evaluator adds a line each time it is called; the last line counts.

    Raises:
        UserError: a line has another number of columns than the header, or a mean is no number in [0, 1]; with file
            and line.
    """
    lines = [(number, line) for number, line in lines_of(path) if line.strip()]
    rows = [(number, row) for (number, _), row in zip(lines, csv.reader(line for _, line in lines), strict=True)]
    if len(rows) < 2:
        raise UserError(f"{path}: no line of results under the header")
    (_, header), last = rows[0], rows[-1]
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(f"{path}, line {number}: expected {len(header)} columns as in the header, found {len(row)}")
    found: dict[str, dict[str, float]] = {}
    for key, value in zip(header, last[1], strict=True):
        match = re.fullmatch(r"(.+)-(\w+)@(\d+)", key)
        if match and match[2].lower() in _KINDS:
            measure = f"{_KINDS[match[2].lower()]}@{match[3]}"
            found.setdefault(match[1], {})[measure] = _mean(value, f"{path}, line {last[0]}: {key}")
    if not found:
        raise UserError(f"{path}: no column such as cosine-NDCG@10, so these are no results of a retrieval evaluation")
    return found


def _mean(value: Any, where: str) -> float:
    try:
        mean = float(value)
    except (TypeError, ValueError):
        mean = math.nan
    if not 0 <= mean <= 1:
        raise UserError(f"{where}: expected a mean from 0 to 1, found {value!r}")
    return mean
