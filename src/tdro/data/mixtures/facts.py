"""The few facts of the training data on which the stages of a run depend; they are kept in ``run.json``.

With them tdro can say whether a stage is done, or whether a model belongs to a recipe, before it mines or tokenizes
anything; and models can be evaluated after their training data are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tdro.data.mixtures.folder import mixture_fingerprint
from tdro.data.task import Mixture
from tdro.data.tokens.stored_texts import negative_counts


@dataclass(frozen=True)
class DataFacts:
    """Facts of the training tasks as they are on disk, before hard negatives are mined.

    Attributes:
        names: the tasks' names, in order.
        sizes: how many rows each has.
        mixture: the fingerprint of the tasks' content.
        hard_negatives_only: the places (in ``names``) of the tasks whose rows use their own hard negatives only.
        fewest_negatives: how many hard negatives the row with the fewest has.
    """

    names: list[str]
    sizes: list[int]
    mixture: str
    hard_negatives_only: list[int]
    fewest_negatives: int


def facts_of(mixture: Mixture) -> DataFacts:
    """The facts of a mixture's training tasks. Its test sets do not change them."""
    return DataFacts(
        mixture.names,
        mixture.sizes,
        mixture_fingerprint(Mixture(mixture.tasks)),
        list(mixture.hard_negatives_only),
        min(int(negative_counts(task.rows).min()) for task in mixture.tasks),
    )
