"""Names that several rooms must agree on: the stages of a run, the mixtures in their order, and the models' folders."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tdro.mixture_name import KINDS, known_mixture

# The stages of a run in their order, each with what it does (the text of `tdro --help`). A stage's name is also its
# command and the method of tdro.run.pipeline that runs it.
STAGES = {
    "reference": "stage 0: train the reference, the model that the weights are learned against",
    "learn": "stage 1: learn how much of each task to train on",
    "finetune": "stage 2: fine-tune a model by each mixture and with each seed",
    "evaluate": "score every model on the test sets and compare the mixtures; with --on: any models on benchmarks",
    "report": "write report.html, the report of a run, and the model cards",
}

TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")  # that trainings report to, as transformers names them
BASELINES = ("untrained", "bm25", "uniform")  # what learned mixtures are compared with
_ORDER = ("untrained", "bm25", *KINDS)


def model_name(mixture: str, seed: int) -> str:
    """The name of a fine-tuned model and of its folder: ``top-70-seed1``."""
    return f"{mixture}-seed{seed}"


def mixture_and_seed(name: str) -> tuple[str, int | None]:
    """What :func:`model_name` was made of; a name of another form is all mixture, without a seed.

    ``top-70-seed1`` gives ``("top-70", 1)``, ``untrained`` gives ``("untrained", None)``.
    """
    match = re.fullmatch(r"(.+)-seed(\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)


def longer_uniform(times: float) -> str:
    """What uniform is called that was trained for so many times its group's steps: ``uniform-1.5x``."""
    return f"uniform-{times:g}x"


def times_longer(name: str) -> float | None:
    """The number that :func:`longer_uniform` was given; None for every other name."""
    match = re.fullmatch(r"uniform-(\d+(?:\.\d+)?)x", name)
    return float(match[1]) if match else None


def mixture_rank(name: str) -> tuple[int, float, float]:
    """Where a mixture stands in tables: untrained, BM25, uniform, proportional, top, bottom, reweight, gain, others.

    Of one kind, small percentages come first, and a mixture with an exponent stands behind the one without.
    """
    mixture = known_mixture(name)
    if (times := times_longer(name)) is not None:
        return _ORDER.index("uniform"), times, 0.0
    if mixture is None:
        return (_ORDER.index(name) if name in _ORDER else len(_ORDER)), 0.0, 0.0
    return _ORDER.index(mixture.kind), mixture.percent or 0.0, mixture.exponent or 0.0


def in_order(mixtures: Iterable[str]) -> list[str]:
    """Mixtures as tables list them; names that are no mixtures of tdro stay as they come."""
    return sorted(mixtures, key=mixture_rank)
