"""FLOPs of a training, and the time that they take on a device of a stated speed.

N are the weights that every token is multiplied with (embedding tables are looked up, not multiplied), a forward pass
is 2·N FLOPs a token, a backward pass 4·N, or 2·N where the weights are frozen and only activations need a gradient
(LoRA). Attention adds 4·layers·width·length² a text to a forward pass, and twice that to a backward pass. Gradient
caching and gradient checkpointing are one more forward pass each. A static model has no product at all; what its
training costs is memory traffic and Python.
"""

from __future__ import annotations

from tdro.planning.shape import ModelShape
from tdro.recipe.schema import Base, Training

UTILISATION = 0.4  # of the device's peak; short texts reach less, well-tuned long ones half


def forward_flops(shape: ModelShape, tokens: float, squares: float) -> float:
    """FLOPs of one forward pass.

    Args:
        shape: the model's.
        tokens: of all texts together, padding left out.
        squares: sum of the texts' squared lengths.
    """
    return 2 * shape.products * tokens + 4 * shape.layers * shape.queries * squares


def training_flops(shape: ModelShape, base: Base, settings: Training, tokens: float, squares: float) -> float:
    """FLOPs of training on texts: forward, backward, and what is computed again."""
    forward = forward_flops(shape, tokens, squares)
    backward = 2 * forward - (2 * shape.products * tokens if base.lora else 0)
    return backward + forward * (1 + settings.gradient_caching + base.gradient_checkpointing)


def hours(flops: float, tflops: float, ranks: int) -> float:
    """Hours on ``ranks`` devices with a peak of ``tflops`` TFLOP/s each, :data:`UTILISATION` of which is reached."""
    return flops / (tflops * 1e12 * UTILISATION * ranks * 3600)
