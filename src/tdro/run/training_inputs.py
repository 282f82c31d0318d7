"""What the result of a training depends on: its inputs, as JSON. If they are the same, it need not be made again."""

from __future__ import annotations

from typing import Any

from tdro.recipe.finetune_section import Finetune
from tdro.recipe.training_sections import Training
from tdro.run.base_models import BaseModel
from tdro.run.development import development_inputs
from tdro.run.training_data import RunData
from tdro.training.finetune import FinetuneJob

_NO_INPUT = {
    # They change the speed and memory of a training, not its result.
    *("chunk_rows", "gradient_caching", "checkpoint_steps"),
    # They say which trainings there are.
    *("load", "name", "mixtures", "seeds", "fewer_seeds", "uniform_longer", "untrained", "push"),
    # They stand among the inputs under another name, some only where they change something.
    *("base", "evaluate_every", "patience", "matryoshka", "merge", "uniform_last"),
    "alpha",  # chooses among what stage 1 keeps in any case
}


def training_inputs(data: RunData, base: BaseModel, settings: Training, seed: int) -> dict[str, Any]:
    """What the result of any training depends on, under the recipe's names."""
    return {
        **data.inputs,
        "hard_negatives_only": data.facts.hard_negatives_only,
        "base": base.fingerprint,
        "lora": base.settings.model_dump(mode="json")["lora"],
        "seed": seed,
        "settings": settings.model_dump(mode="json", exclude=_NO_INPUT),
    }


def finetuning_inputs(
    data: RunData, base: BaseModel, group: Finetune, job: FinetuneJob, mixture: str
) -> dict[str, Any]:
    """What a fine-tuned model depends on.

    Args:
        data: the run's.
        base: the model that is fine-tuned.
        group: of the training.
        job: the training itself.
        mixture: its mixture, without a suffix for longer trainings.
    """
    inputs = training_inputs(data, base, job.settings, job.seed)
    inputs["weights"] = dict(zip(data.facts.names, job.weights.tolist(), strict=True))
    if job.uniform_steps and mixture != "uniform":
        inputs["uniform_steps"] = job.uniform_steps
    if job.factors is not None:
        inputs["gradient_factors"] = job.factors.tolist()
    if group.evaluate_every:
        inputs["development"] = development_inputs(group, data.development)
    if group.matryoshka:
        inputs["matryoshka"] = list(group.matryoshka)
    return inputs
