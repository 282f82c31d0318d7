"""Scores a model on development sets while it trains, as sentence-transformers' trainer asks its evaluator to.

The scores are those that :func:`tdro.evaluation.scoring.evaluate.evaluate_all` would give the model if it were saved at
that step: the same search, prompts and measures.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sentence_transformers.base.evaluation import BaseEvaluator

from tdro.data.task import TestSet
from tdro.evaluation.scoring.evaluate import ScoringJob, search_all
from tdro.evaluation.scoring.metrics import gains, judgements, measure
from tdro.evaluation.scoring.model_prompts import prompts_of, with_prompts
from tdro.machine import Machine
from tdro.training.development import MEASURE

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class DevelopmentSets(BaseEvaluator):
    """Scores a model on some development sets.

    Called with a model it returns the mean nDCG@10 of each set, in [0, 1], as ``<name>_ndcg@10``, and the mean over the
    sets as ``ndcg@10``. The trainer logs them with ``eval_`` before their names.

    Args:
        sets: the development sets.
        scratch: a folder for embeddings; they are removed after each call.
        machine: device and precision. Whatever process is asked computes everything: the trainer asks one rank alone.
        tokens_folder: where the texts' tokens are kept from one call to the next; None keeps none.

    Example::

        evaluator = DevelopmentSets([TestSet("faq", "dev/faq")], Path("scratch"), Machine())
        evaluator(model)  # {"faq_ndcg@10": 0.41, "ndcg@10": 0.41}
    """

    def __init__(
        self, sets: Sequence[TestSet], scratch: Path, machine: Machine, tokens_folder: Path | None = None
    ) -> None:
        super().__init__()
        self.sets, self.scratch, self.tokens_folder = list(sets), scratch, tokens_folder
        self.machine = replace(machine, rank=0, world=1)
        self.primary_metric = MEASURE
        self._warned = False

    def __call__(  # type: ignore[override]
        self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The scores of a model; the other arguments are sentence-transformers' and not used."""
        own = prompts_of(vars(model))
        jobs = [ScoringJob(with_prompts(test, own), checksum="", key="") for test in self.sets]
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            rankings = search_all(
                *(model, "in training", jobs, folder, self.machine),
                tokens_folder=self.tokens_folder,
                progress=False,
                warn=not self._warned,
            )
            scores = {}
            for test, ranking in zip(self.sets, rankings, strict=True):
                judged = judgements(ranking.data)
                scores[test.name] = float(measure(MEASURE, gains(ranking.top, judged), judged).mean())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._warned = True
        found = {f"{name}_{MEASURE}": score for name, score in scores.items()}
        return {**found, MEASURE: sum(scores.values()) / len(scores)}
