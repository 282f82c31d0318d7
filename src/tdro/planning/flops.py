"""FLOPs of a training, and the time that they take on a device of a stated speed.

Let N be the number of weights that every token is multiplied with; embedding tables are looked up and do not count.

- forward pass: 2·N a token, and 4·layers·width·length² a text for attention;
- backward pass: twice that. With LoRA the weights are frozen and need no gradient, so it is 2·N a token instead of 4·N;
- gradient caching and gradient checkpointing: one more forward pass each.

A static model multiplies nothing. What its training costs is memory traffic and Python.
"""

from __future__ import annotations

from tdro.planning.shape import ModelShape
from tdro.recipe.training_sections import Base, Training

UTILISATION = 0.4  # the share of a device's peak that training reaches: less with short texts, half with long ones


def forward_flops(shape: ModelShape, tokens: float, squares: float) -> float:
    """FLOPs of one forward pass.

    Args:
        shape: the model's.
        tokens: of all texts together, without padding.
        squares: the sum of the texts' squared lengths.
    """
    return 2 * shape.products * tokens + 4 * shape.layers * shape.queries * squares


def training_flops(shape: ModelShape, base: Base, settings: Training, tokens: float, squares: float) -> float:
    """FLOPs of training on texts: forward, backward, and what is computed again. Arguments as above."""
    forward = forward_flops(shape, tokens, squares)
    backward = 2 * forward - (2 * shape.products * tokens if base.lora else 0)
    return backward + forward * (1 + settings.gradient_caching + base.gradient_checkpointing)


def hours(flops: float, tflops: float, ranks: int) -> float:
    """Hours on ``ranks`` devices with a peak of ``tflops`` TFLOP/s each, if they reach :data:`UTILISATION` of it."""
    return flops / (tflops * 1e12 * UTILISATION * ranks * 3600)
