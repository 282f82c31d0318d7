"""What the keys of a run need to know of its training data: a few values, which outlive the data in ``run.json``.

So whether a stage is done, and whether a model is of the recipe's inputs, shows before anything is mined or tokenized,
and models can be evaluated when the data that they were trained on are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tdro.data.mixtures.folder import mixture_fingerprint
from tdro.data.task import Mixture
from tdro.data.tokens.stored_texts import negative_counts


@dataclass(frozen=True)
class DataFacts:
    """Facts of training tasks as they are on disk, before anything is mined.

    Attributes:
        names: of the tasks, in order.
        sizes: rows of each.
        mixture: the fingerprint of their content.
        hard_negatives_only: numbers of the tasks whose rows take no other row's passages as negatives.
        fewest_negatives: that any row has.
    """

    names: list[str]
    sizes: list[int]
    mixture: str
    hard_negatives_only: list[int]
    fewest_negatives: int


def facts_of(mixture: Mixture) -> DataFacts:
    """The facts of a mixture's tasks; its test sets are none of them."""
    return DataFacts(
        mixture.names,
        mixture.sizes,
        mixture_fingerprint(Mixture(mixture.tasks)),
        list(mixture.hard_negatives_only),
        min(int(negative_counts(task.rows).min()) for task in mixture.tasks),
    )
