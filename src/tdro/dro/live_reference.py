"""The reference scored on the fly, for those who plug the loss into a trainer of their own.

It costs a forward pass of the reference at every step and keeps it in memory; :mod:`tdro.dro.reference` scores the
plan ahead instead and is what ``tdro learn`` does. The reference runs in the proxy's micro-batches and under the
proxy's autocast: a bf16 proxy against an fp32 reference would measure the rounding, not the headroom. Accelerate
wraps the trained model only, so the autocast that the proxy really ran under is looked up inside its own forward
pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tdro.dro.infonce import hard_negative_infonce
from tdro.retriever.sorted_loss import embed_columns

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class LiveReference:
    """A frozen model that scores the rows of each step.

    Args:
        reference: the reference; set to evaluation mode, its parameters need no gradient any more. It must read the
            proxy's token ids, so both need the same tokenizer.
        proxy: the model whose autocast is copied.
    """

    def __init__(self, reference: SentenceTransformer, proxy: SentenceTransformer) -> None:
        if reference is proxy:
            raise ValueError("reference and proxy are the same object: the reference is frozen, so give it a copy")
        self.model = reference.eval().requires_grad_(False)
        self._enabled, self._dtype = False, torch.bfloat16
        proxy[0].register_forward_pre_hook(self._look)

    def losses(self, columns: list[dict[str, Tensor]], temperature: float, mini_batch_size: int) -> Tensor:
        """InfoNCE over each row's own hard negatives, (B,) float64; call it after the proxy's forward pass."""
        device = columns[0]["input_ids"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        with torch.no_grad(), torch.autocast(device.type, self._dtype, self._enabled):
            parts = embed_columns(self.model, columns, mini_batch_size)
        with torch.autocast(device.type, enabled=False):
            return hard_negative_infonce(parts[0].float(), torch.stack(parts[1:], dim=1).float(), temperature).double()

    def _look(self, module: nn.Module, inputs: tuple[dict[str, Tensor], ...]) -> None:
        kind = inputs[0]["input_ids"].device.type if inputs else "cpu"
        self._enabled, self._dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
