"""Learn how much of each data set to fine-tune an embedding model on, with task-level DRO.

==========================  ===========================================================================================
``TDROLoss``                stage 1 as a loss for ``SentenceTransformerTrainer``: it learns the weights while it trains
``WeightLearner``           holds the weights while they are learned
``TDROCallback``            keeps them in the trainer's checkpoints
``TaskWeights``             the weights as a value: load, save, select the best 70 %, cap the epochs
``WeightedTaskSampler``     fine-tunes by them: draws the task of each batch in ``SentenceTransformerTrainer``
``load_recipe``             reads a recipe, the YAML file of a whole run
``run_recipe``              does what ``tdro run`` does: all three stages, evaluation and report
==========================  ===========================================================================================

A mistake that the user can mend is raised as ``tdro.errors.UserError``. The names are imported on first use, so that
``import tdro`` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdro.dro.callback import TDROCallback
    from tdro.dro.learner import WeightLearner
    from tdro.dro.loss import TDROLoss
    from tdro.recipe.schema import load_recipe
    from tdro.run.pipeline import run_recipe
    from tdro.sampler import WeightedTaskSampler
    from tdro.weights import TaskWeights

__version__ = "0.1.0"
__all__ = [
    "TDROCallback",
    "TDROLoss",
    "TaskWeights",
    "WeightLearner",
    "WeightedTaskSampler",
    "load_recipe",
    "run_recipe",
]

_MODULES = {
    "TDROCallback": "tdro.dro.callback",
    "TDROLoss": "tdro.dro.loss",
    "TaskWeights": "tdro.weights",
    "WeightLearner": "tdro.dro.learner",
    "WeightedTaskSampler": "tdro.sampler",
    "load_recipe": "tdro.recipe.schema",
    "run_recipe": "tdro.run.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tdro' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
