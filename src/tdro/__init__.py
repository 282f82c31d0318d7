"""Learn how much of each data set to fine-tune an embedding model on, with task-level DRO.

The public names below are imported on first use, so that ``import tdro`` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdro.data.task import Mixture, Task, TestSet
    from tdro.dro.callback import TDROCallback
    from tdro.dro.infonce import hard_negative_infonce
    from tdro.dro.learner import WeightLearner
    from tdro.dro.loss import TDROLoss
    from tdro.dro.measures import measure
    from tdro.recipe.schema import load_recipe
    from tdro.sampler import WeightedTaskSampler
    from tdro.weights import TaskWeights

__version__ = "0.1.0"
__all__ = [
    "Mixture",
    "TDROCallback",
    "TDROLoss",
    "Task",
    "TaskWeights",
    "TestSet",
    "WeightLearner",
    "WeightedTaskSampler",
    "hard_negative_infonce",
    "load_recipe",
    "measure",
]

_MODULES = {
    "Mixture": "tdro.data.task",
    "TDROCallback": "tdro.dro.callback",
    "TDROLoss": "tdro.dro.loss",
    "Task": "tdro.data.task",
    "TaskWeights": "tdro.weights",
    "TestSet": "tdro.data.task",
    "WeightLearner": "tdro.dro.learner",
    "WeightedTaskSampler": "tdro.sampler",
    "hard_negative_infonce": "tdro.dro.infonce",
    "load_recipe": "tdro.recipe.schema",
    "measure": "tdro.dro.measures",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tdro' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
