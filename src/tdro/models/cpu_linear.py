"""Linear layers whose weights are brought into the CPU's own order once, not with every batch.

In bf16 a CPU's matrix product (oneDNN) wants the weights in another order than torch keeps them, and reorders them in
every call; with batches of 1,024 tokens that is a twelfth of a forward pass. The product itself is the same, and so are
its bits. Rejected: compiling the model, which does this too, but needs a C++ compiler and minutes for all the shapes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tdro.machine import Machine

_TOKENS = 1024  # of a batch, for which the order is chosen; any number of them can be multiplied


@contextlib.contextmanager
def packed_weights(model: nn.Module, machine: Machine) -> Iterator[None]:
    """Within it, a model in bf16 on a CPU uses packed weights; they must not change, and there are no gradients.

    It needs as much memory as the weights in bf16, which autocast keeps otherwise. Where torch or the CPU lacks the
    operators (they are what ``torch.compile`` calls), nothing happens.
    """
    layers: list[nn.Linear] = []
    if machine.bf16 and _available(model):
        layers = [module for module in model.modules() if type(module) is nn.Linear]
    for layer in layers:
        layer.forward = _packed(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _available(model: nn.Module) -> bool:
    device = next((parameter.device.type for parameter in model.parameters()), "")
    names = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in names) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _packed(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """The layer's forward pass under autocast, with its weight packed."""
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().bfloat16(), _TOKENS)
    bias = None if layer.bias is None else layer.bias.detach().bfloat16()

    def forward(states: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(states.bfloat16(), weight, bias, "none", [], "")

    return forward
