"""The reference scored at each step, for those who use ``TDROLoss`` in a training script of their own.

It keeps the reference in memory and costs a forward pass of it at every step. ``tdro learn`` scores all planned rows
before training instead, see :mod:`tdro.dro.stage_one.scoring`.

The reference runs in the proxy's micro-batches and under the proxy's autocast: a bf16 proxy against an fp32 reference
would measure the rounding and not the headroom. Accelerate puts autocast around the trained model only, so which one
the proxy runs under is read by a hook inside its forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tdro.data.tokens.limits import table_positions
from tdro.dro.infonce import hard_negative_infonce, in_float64
from tdro.dro.same_tokens import check_same_tokens
from tdro.errors import UserError
from tdro.training.stacking import embed_columns

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class LiveReference:
    """A frozen model that scores the rows of each step.

    Args:
        reference: the reference. It is set to evaluation mode and its parameters are frozen.
        proxy: the model that is trained. The reference reads the token ids that its tokenizer makes.

    Raises:
        ValueError: both are the same object.
        UserError: their token ids do not mean the same tokens.
    """

    def __init__(self, reference: SentenceTransformer, proxy: SentenceTransformer) -> None:
        if reference is proxy:
            raise ValueError("reference and proxy are the same object: the reference is frozen, so give it a copy")
        check_same_tokens(reference, proxy)
        self.model = reference.eval().requires_grad_(False)
        self._positions = table_positions(reference)
        self._enabled, self._dtype = False, torch.bfloat16
        self._watched: nn.Module | None = None

    def watch(self, proxy: SentenceTransformer) -> None:
        """From now on copy the autocast of this model. (A trainer may replace the loss's model by a wrapped one.)"""
        if self._watched is not proxy[0]:
            self._watched = proxy[0]
            proxy[0].register_forward_pre_hook(self._copy_autocast)

    def losses(self, columns: list[dict[str, Any]], temperature: float, mini_batch_size: int) -> Tensor:
        """InfoNCE over each row's own hard negatives, (B,) float64. Call it after the proxy's forward pass.

        Raises:
            UserError: a text is longer than the reference has positions for.
        """
        device = columns[0]["input_ids"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        width = max(column["input_ids"].shape[-1] for column in columns)
        if "offsets" not in columns[0] and self._positions is not None and width > self._positions:
            raise UserError(
                f"texts of {width} tokens, but the reference has {self._positions} positions: "
                f"set max_seq_length = {self._positions} (or less) in the model that is trained"
            )
        with torch.no_grad(), torch.autocast(device.type, self._dtype, self._enabled):
            parts = embed_columns(self.model, columns, mini_batch_size)
        with torch.autocast(device.type, enabled=False):
            losses = hard_negative_infonce(parts[0].float(), torch.stack(parts[1:], dim=1).float(), temperature)
        return in_float64(losses)

    def _copy_autocast(self, module: nn.Module, inputs: tuple[dict[str, Tensor], ...]) -> None:
        kind = inputs[0]["input_ids"].device.type if inputs else "cpu"
        self._enabled, self._dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
