"""Set a model's dropout, wherever its layers keep it."""

from __future__ import annotations

from typing import Any

from torch import nn

from tdro.errors import UserError


def set_dropout(model: nn.Module, p: float) -> int:
    """Set every dropout of a model to ``p`` and return how many places that were.

    The places are dropout modules and also plain numbers: attention reads its dropout from an attribute of the layer,
    and some layers read theirs from the configuration. Layerdrop, which skips whole layers, is set to 0.

    Raises:
        UserError: p is not in [0, 1).
    """
    if not 0 <= p < 1:
        raise UserError(f"dropout must be at least 0 and below 1, found {p}")
    places = 0
    configurations: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = p
            places += 1
        else:
            places += _set_numbers(module, p)
        if (config := getattr(module, "config", None)) is not None and not isinstance(config, dict):
            configurations[id(config)] = config
    return places + sum(_set_numbers(config, p) for config in configurations.values())


def _set_numbers(owner: Any, p: float) -> int:
    """Set the attributes of a layer or configuration that hold a dropout, and return how many there are."""
    names = [
        name
        for name, value in vars(owner).items()
        if ("dropout" in name or "layerdrop" in name or name == "drop_prob") and isinstance(value, float)
    ]
    for name in names:
        setattr(owner, name, 0.0 if "layerdrop" in name else p)
    return len(names)
