"""A result as mteb 2 writes it (``mteb.TaskResult``), for model cards, leaderboards and ``mteb.load_results``.

The names are mteb's: ``hit_rate_at_k`` is Accuracy@k, ``accuracy`` is Recall@1. Values are not rounded. mteb's
confidence measures (``nauc_*``), precision, and whatever needs 1,000 ranks are left out. ``mteb_version`` and
``evaluation_time`` are null: mteb did not run. What its averages do otherwise stands in
:mod:`tdro.evaluation.metrics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.evaluation.metrics import Judgements, measure

_RANKS = (1, 3, 5, 10, 20, 100)
_LANGUAGE = "und-Zyyy"  # undetermined; mteb averages over languages, so there must be one
_NAMES = {"ndcg": "ndcg", "map": "map", "recall": "recall", "mrr": "mrr", "accuracy": "hit_rate"}


def mteb_result(task: str, revision: str, gained: NDArray[np.int64], judged: Judgements) -> dict[str, Any]:
    """The content of mteb's JSON file for one task.

    Args:
        task: its name; mteb knows it if the test set is one of its own.
        revision: of the data; the test set's checksum, where it does not come from the hub.
        gained: see :func:`tdro.evaluation.metrics.gains`, 100 ranks.
        judged: the relevant pairs.
    """
    scores = {
        f"{name}_at_{k}": float(measure(f"{kind}@{k}", gained, judged).mean())
        for kind, name in _NAMES.items()
        for k in _RANKS
    }
    main = {"main_score": scores["ndcg_at_10"], "accuracy": scores["recall_at_1"]}
    return {
        "dataset_revision": revision,
        "task_name": task,
        "mteb_version": None,
        "scores": {"test": [{**scores, **main, "hf_subset": "default", "languages": [_LANGUAGE]}]},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }
