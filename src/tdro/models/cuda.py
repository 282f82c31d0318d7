"""What makes models faster on NVIDIA GPUs alone: attention kernels that need no preparation for each new shape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def attention_of_any_shape(model: nn.Module | None = None) -> Iterator[None]:
    """Inside it, torch's attention does not use cuDNN. Afterwards it is as it was; without a CUDA GPU nothing changes.

    On Hopper and newer cards torch prefers cuDNN, which makes an execution plan for each shape of a batch that it has
    not seen, about 10 ms each on an H200. Texts have other lengths in every micro-batch, so nearly every one pays for a
    plan. The other kernels take any shape as it comes.
    See docs/decisions.md, no-cudnn-attention.

    Args:
        model: leave torch as it is if this model has gradient checkpointing. Its layers run again in the backward pass,
            with the same kernel if the backward pass is inside too: then give no model.

    Example::

        with attention_of_any_shape():
            loss(columns, labels).backward()
    """
    if model is not None and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        yield
        return
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
