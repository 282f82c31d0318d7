"""How a recipe cuts texts to its limits with a base's tokenizer, and what it cuts of a sample of each task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdro.data.task import Task
from tdro.data.tokens.cuts import Cutter, TaskCut
from tdro.data.tokens.limits import longest_row
from tdro.data.tokens.tokenize import encoder_of
from tdro.models.base_tokens import BaseTokens
from tdro.models.load import load_model
from tdro.planning.lengths import cut_of
from tdro.recipe.data_sections import Data


def cutter_of(tokens: BaseTokens, data: Data | None = None) -> Cutter:
    """How texts are cut for a base: at the recipe's limits, or without a recipe where the base stops reading."""
    if data is None:
        return Cutter(tokens.encode, tokens.longest)
    return Cutter(tokens.encode, tokens.longest, data.query_tokens, data.passage_tokens, data.prompts)


def tokens_as_trained(built: Path, source: str, trust_remote_code: bool = False) -> BaseTokens:
    """How a base that was built from ``source`` cuts texts into tokens, read from the built model."""
    model = load_model(built, device="meta", trust_remote_code=trust_remote_code)
    return BaseTokens(source, encoder_of(model), longest_row(model))


def cuts_of(tasks: Sequence[Task], cutter: Cutter) -> dict[str, TaskCut]:
    """What is cut of a sample of each task's rows, by the task's name. Raises as :meth:`Cutter.of`."""
    return {task.name: cut_of(task, cutter) for task in tasks}
