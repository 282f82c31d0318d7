"""Switch off a model's dropout, wherever its layers keep it."""

from __future__ import annotations

from typing import Any

from torch import nn


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout of a model to 0, so that it computes the same in training and in evaluation.

    Dropout is in modules of its own, and also in plain numbers: attention reads its dropout from an attribute of the
    layer, and some layers read theirs from the configuration. Layerdrop, which skips whole layers, is set to 0 too.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        else:
            _set_numbers_to_zero(module)
        config = getattr(module, "config", None)
        if config is not None and not isinstance(config, dict):
            _set_numbers_to_zero(config)


def _set_numbers_to_zero(owner: Any) -> None:
    """Set those attributes of a layer or a configuration to 0 that hold a dropout."""
    for name, value in list(vars(owner).items()):
        if ("dropout" in name or "layerdrop" in name or name == "drop_prob") and isinstance(value, float):
            setattr(owner, name, 0.0)
