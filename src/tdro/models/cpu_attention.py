"""The attention kernel that is fast for short texts on a CPU.

torch's fused attention has a bf16 backward pass on CPUs that takes 2 (96 tokens) to 10 times (12 tokens) as long as
the plain matrix products, which was a sixth of a training step. From about 200 tokens on the fused one is faster.
Rejected: eager attention, which is chosen when a model is loaded, for all lengths and devices alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SHORT = 160  # tokens


@contextlib.contextmanager
def short_text_attention(model: nn.Module) -> Iterator[None]:
    """Within it, forward passes over short texts in bf16 on a CPU use the plain kernel; all others are as ever.

    Autocast is looked up inside the model's forward pass, where accelerate turns it on. Layers that are recomputed in
    the backward pass would be recomputed with the other kernel, so a model with gradient checkpointing is left alone.
    """
    inner = getattr(model, "module", model)
    first = inner[0] if isinstance(inner, nn.Sequential) else inner
    if any(getattr(module, "gradient_checkpointing", False) for module in first.modules()):
        yield
        return
    kernel: list[Any] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        ids = inputs[0].get("input_ids") if inputs and isinstance(inputs[0], dict) else None
        if ids is not None and ids.dim() == 2 and ids.shape[1] <= SHORT and _bf16_on_cpu(ids.device.type):
            kernel.append(sdpa_kernel(SDPBackend.MATH))
            kernel[-1].__enter__()

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        while kernel:
            kernel.pop().__exit__(None, None, None)

    hooks = [first.register_forward_pre_hook(enter), first.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _bf16_on_cpu(device: str) -> bool:
    return device == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
