"""Check that proxy and reference read the same token ids.

A reference that is scored on the fly is given the ids that the proxy's tokenizer made. With another vocabulary they
would mean other words, and the scores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tdro.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Texts with what tokenizers differ in: case, accents, numbers, scripts, and special tokens before and after.
_PROBES = ("How far is the Moon?", "Crème brûlée, 384,400 km", "月はどのくらい遠いですか")
_CURE = (
    "Take a reference with the proxy's tokenizer, or score the rows with it beforehand and give TDROLoss no reference "
    "but labels of shape (B, 2): task and the reference's loss."
)


def check_same_tokens(reference: SentenceTransformer, proxy: SentenceTransformer) -> None:
    """Raise :class:`UserError` if a token id of the proxy means another token, or none, to the reference."""
    theirs, ours = _vocabulary(reference), _vocabulary(proxy)
    if theirs is not None and ours is not None:
        other = [token for token, number in ours.items() if theirs.get(token) != number]
        if other:
            token = min(other, key=lambda each: ours[each])
            raise UserError(
                f"the reference has another vocabulary than the model that is trained: {len(other):,} of its "
                f"{len(ours):,} tokens differ (token {ours[token]} is {token!r}). {_CURE}"
            )
    if not torch.equal(_probed(reference), _probed(proxy)):
        raise UserError(f"the reference cuts texts into other tokens than the model that is trained. {_CURE}")


def _vocabulary(model: SentenceTransformer) -> dict[str, int] | None:
    tokenizer: Any = getattr(model, "tokenizer", None)
    return tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else None


def _probed(model: SentenceTransformer) -> torch.Tensor:
    """The token ids of the test texts in one row; for each route, if the model has several (a ``Router``)."""
    ways: list[dict[str, str]] = [{"task": way} for way in getattr(model[0], "sub_modules", [])] or [{}]
    return torch.cat([model.preprocess([text], **way)["input_ids"].flatten() for way in ways for text in _PROBES])
