"""A hint for GPUs: with few texts in a micro-batch, a GPU waits for the CPU that starts its kernels."""

from __future__ import annotations

from collections.abc import Sequence

from tdro.machine import Machine
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Training

FEW_TEXTS = 128


def small_chunks(recipe: Recipe, stages: Sequence[str], machine: Machine) -> str:
    """A line that names the smallest ``chunk_rows`` of what is trained on a GPU, if it is small; else empty.

    Static models are left out: a step of theirs is a few kernels, whatever ``chunk_rows`` is.

    Args:
        recipe: that is run.
        stages: of it, those that are run.
        machine: the device.

    Example::

        small_chunks(recipe, ["finetune"], Machine("cuda:0"))  # "finetune 'main': chunk_rows: 32 leaves a GPU ..."
    """
    if not machine.device.startswith("cuda"):
        return ""
    sections: list[tuple[str, Training]] = []
    if recipe.trains_proxy and recipe.base.kind != "static":
        proxies = {"reference": recipe.reference, "learn": recipe.weights}
        sections += [(name, settings) for name, settings in proxies.items() if name in stages]
    if "finetune" in stages:
        groups = [group for group in recipe.finetune if recipe.base_of(group).kind != "static"]
        sections += [(f"finetune {group.name!r}", group) for group in groups]
    small = [(settings.chunk_rows, name) for name, settings in sections if settings.chunk_rows < FEW_TEXTS]
    if not small:
        return ""
    rows, name = min(small)
    return (
        f"{name}: chunk_rows: {rows} leaves a GPU idle for much of the time. Raise it as far as the memory allows, "
        "say to 1024, with gradient_caching: true; nothing in the result changes (docs/scale.md)"
    )
