"""How a recipe cuts texts for a base, and what it cuts of a sample of each task's rows."""

from __future__ import annotations

from collections.abc import Sequence

from tdro.data.cuts import Cutter, TaskCut
from tdro.data.longest import longest_row
from tdro.data.task import Task
from tdro.data.tokens import encoder_of
from tdro.planning.lengths import cut_of
from tdro.prepared import Prepared
from tdro.recipe import Base
from tdro.recipe_data import Data
from tdro.retriever.base import load_model
from tdro.retriever.base_tokens import BaseTokens


def cutter_of(tokens: BaseTokens, data: Data | None = None) -> Cutter:
    """How texts are cut for a base by a recipe; without one, where the base stops reading."""
    if data is None:
        return Cutter(tokens.encode, tokens.longest)
    return Cutter(tokens.encode, tokens.longest, data.query_tokens, data.passage_tokens, data.prompts)


def tokens_as_trained(prepared: Prepared, base: Base) -> BaseTokens:
    """How the finished base reads texts, whatever it was made of."""
    model = load_model(prepared.base(base).path, device="meta", trust_remote_code=prepared.recipe.trust_remote_code)
    return BaseTokens(base.source, encoder_of(model), longest_row(model))


def cuts_of(tasks: Sequence[Task], cutter: Cutter) -> dict[str, TaskCut]:
    """What is cut of a sample of each task's rows, by task. Raises as :meth:`Cutter.of`."""
    return {task.name: cut_of(task, cutter) for task in tasks}
