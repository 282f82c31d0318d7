"""The sizes of ``finetune.matryoshka``: that they fit the model."""

from __future__ import annotations

from pathlib import Path

from tdro.errors import UserError
from tdro.models.load import load_model
from tdro.recipe.finetune_section import Finetune


def check_sizes(group: Finetune, base: Path, trust_remote_code: bool = False) -> None:
    """Refuse sizes that do not fit the model: the largest must be its width.

    With a smaller one, nothing would train the rest of an embedding, and whole embeddings would be of no use.

    Args:
        group: the group; one without sizes is fine.
        base: the folder of its base.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: it names the key, the sizes and the width.
    """
    if not group.matryoshka:
        return
    width = load_model(base, device="meta", trust_remote_code=trust_remote_code).get_embedding_dimension()
    key = f"finetune.matryoshka of the group {group.name!r}"
    if width is None:
        raise UserError(f"{key}: the model does not say how wide its embeddings are; leave the key out")
    if group.matryoshka[0] > width:
        raise UserError(f"{key}: {group.matryoshka[0]} is more than the {width} numbers of the model's embeddings")
    if group.matryoshka[0] < width:
        raise UserError(f"{key}: {width}, the width of the model's embeddings, is not among the sizes; add it")
