"""What it costs to score a model while it trains: each evaluation embeds every text of the development sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import read_beir
from tdro.data.tokens.cuts import Cutter
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.training_sections import Training

SAMPLE = 200  # texts of each side of a set whose tokens are counted


@dataclass(frozen=True)
class Evaluations:
    """What a model embeds while it is scored on development sets.

    Attributes:
        texts: how many: queries that have a judgement, and all passages.
        tokens: of all of them together, without padding, from a sample.
        squares: the sum of their squared lengths, from which the cost of attention follows.
    """

    texts: int = 0
    tokens: float = 0.0
    squares: float = 0.0

    def __mul__(self, times: int) -> Evaluations:
        """So many evaluations."""
        return Evaluations(self.texts * times, self.tokens * times, self.squares * times)


def how_many(settings: Training) -> int:
    """How often a model is scored while it trains: each ``evaluate_every`` steps and after the last, or never."""
    every = settings.evaluate_every if isinstance(settings, Finetune) else 0
    return -(-settings.steps // every) if every else 0


def one_evaluation(sets: Sequence[TestSet], cutter: Cutter) -> Evaluations:
    """What a model embeds when it is scored once.

    Args:
        sets: the development sets.
        cutter: the base model's tokenizer, and where texts are cut: where the base stops reading, not at the recipe's
            limits for training.

    Raises:
        UserError: a set is missing or broken.
    """
    texts, tokens, squares = 0, 0.0, 0.0
    for each in sets:
        data = read_beir(each.folder)
        sides = ((data.queries, each.prompt), (data.passages.texts, each.passage_prompt))
        for side, prompt in sides:
            places = np.unique(np.linspace(0, len(side) - 1, SAMPLE).astype(int))
            row, _ = cutter.row(prompt, None)
            rows = cutter.encode([prompt + side[place : place + 1][0] for place in places.tolist()], None)
            lengths = np.array([len(ids) if row is None else min(len(ids), row) for ids in rows], dtype=np.float64)
            texts += len(side)
            tokens += float(lengths.mean()) * len(side)
            squares += float((lengths**2).mean()) * len(side)
    return Evaluations(texts, tokens, squares)
