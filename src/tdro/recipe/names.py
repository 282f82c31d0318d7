"""Names that several rooms must agree on: the stages of a run, the mixtures in their order, and the models' folders."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The stages of a run in their order, each with what it does (the text of `tdro --help`). A stage's name is also its
# command and the method of tdro.run.pipeline that runs it.
STAGES = {
    "reference": "stage 0: train the reference with uniform weights",
    "learn": "stage 1: learn the weights of the tasks",
    "finetune": "stage 2: fine-tune by each mixture and seed",
    "evaluate": "score every model on the test sets and compare the mixtures; with --on: any models on benchmarks",
    "report": "write the report, one HTML file",
}

# Mixtures whose shares of the rows are known before stage 1 has learned the weights.
NO_WEIGHTS_NEEDED = ("uniform", "proportional", "loss-reweight")
MIXTURES = ("uniform", "proportional", "reweight", "loss-reweight", "gain")  # besides top-P and bottom-P
BASELINES = ("untrained", "bm25", "uniform")  # what learned mixtures are compared with
_ORDER = ("untrained", "bm25", "uniform", "proportional", "top", "bottom", "reweight", "loss-reweight", "gain")


def needs_gain(mixture: str) -> bool:
    """Whether a mixture samples by the weights of transfer gain."""
    return mixture == "gain"


def needs_alpha(mixture: str) -> bool:
    """Whether a mixture needs the weights that tDRO learns."""
    return mixture not in ("uniform", "proportional") and not needs_gain(mixture)


def model_name(mixture: str, seed: int) -> str:
    """The name of a fine-tuned model and of its folder: ``top-70-seed1``."""
    return f"{mixture}-seed{seed}"


def mixture_and_seed(name: str) -> tuple[str, int | None]:
    """What :func:`model_name` was made of; a name of another form is all mixture, without a seed.

    ``top-70-seed1`` gives ``("top-70", 1)``, ``untrained`` gives ``("untrained", None)``.
    """
    match = re.fullmatch(r"(.+)-seed(\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)


def mixture_rank(name: str) -> int:
    """Where a mixture stands in tables: untrained, BM25, uniform, proportional, top, bottom, reweight, gain, others."""
    for rank, known in enumerate(_ORDER):
        if name == known or (known in ("top", "bottom") and name.startswith(f"{known}-")):
            return rank
    return len(_ORDER)


def in_order(mixtures: Iterable[str]) -> list[str]:
    """Mixtures as tables list them; those of one rank stay as they come."""
    return sorted(mixtures, key=mixture_rank)
