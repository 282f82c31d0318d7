"""What makes models faster on CPUs alone: another attention kernel for short texts, and packed weights.

Both are context managers that change how a model computes, and leave it as it was. Both matter in bf16 only: torch's
float32 kernels on a CPU are good as they are. See docs/decisions.md, short-text-attention and packed-weights.

- :func:`short_text_attention` (training): torch's fused attention is slow in the backward pass for short texts.
- :func:`packed_weights` (embedding, without gradients): the weights are brought into the CPU's own layout once, instead
  of once in every forward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdro.machine import Machine

SHORT_TEXT = 160  # tokens; up to here plain matrix products are faster than the fused attention
_TOKENS_PER_BATCH = 1024  # what the packed layout is tuned for; batches of any size can be multiplied


@contextlib.contextmanager
def short_text_attention(model: nn.Module) -> Iterator[None]:
    """Inside it, batches of short texts (up to 160 tokens) use the plain attention kernel, in bf16 on a CPU.

    All other batches, and all other devices, compute as ever. The results differ by rounding only.

    Whether autocast is on is looked up when the model's forward pass begins, because accelerate turns it on there. A
    model with gradient checkpointing is left alone: its layers run again in the backward pass, outside of our hooks,
    where they would take the other kernel.
    """
    inner = getattr(model, "module", model)
    first = inner[0] if isinstance(inner, nn.Sequential) else inner
    if any(getattr(module, "gradient_checkpointing", False) for module in first.modules()):
        yield
        return
    entered: list[Any] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        ids = inputs[0].get("input_ids") if inputs and isinstance(inputs[0], dict) else None
        if ids is not None and ids.dim() == 2 and ids.shape[1] <= SHORT_TEXT and _bf16_on_cpu(ids.device.type):
            entered.append(sdpa_kernel(SDPBackend.MATH))
            entered[-1].__enter__()

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        while entered:
            entered.pop().__exit__(None, None, None)

    hooks = [first.register_forward_pre_hook(enter), first.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _bf16_on_cpu(device: str) -> bool:
    return device == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


@contextlib.contextmanager
def packed_weights(model: nn.Module, machine: Machine) -> Iterator[None]:
    """Inside it, the linear layers of a model in bf16 on a CPU use packed weights. The results are the same to the bit.

    For embedding only: there are no gradients, and the weights must not change meanwhile. The packed weights take as
    much memory as the bf16 copy that autocast would keep. Where torch or the CPU lacks the operators (they are those
    that ``torch.compile`` calls), nothing happens.
    """
    layers: list[nn.Linear] = []
    if machine.bf16 and _can_pack(model):
        layers = [module for module in model.modules() if type(module) is nn.Linear]
    for layer in layers:
        layer.forward = _packed_forward(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _can_pack(model: nn.Module) -> bool:
    device = next((parameter.device.type for parameter in model.parameters()), "")
    operators = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in operators) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _packed_forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """The layer's forward pass, computing what autocast would compute, with its weight packed."""
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().bfloat16(), _TOKENS_PER_BATCH)
    bias = None if layer.bias is None else layer.bias.detach().bfloat16()

    def forward(states: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(states.bfloat16(), weight, bias, "none", [], "")

    return forward
