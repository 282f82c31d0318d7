"""What a rank of ``test_ranks.py`` does; called by ``scale_worker``, in forks, and in the test for one process.

Every scenario trains a few steps on the same global batches. Kept are, per rank: α, the gradient that each optimizer
step saw, and the parameters in the end.
"""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
from accelerate import PartialState
from torch.optim.optimizer import register_optimizer_step_pre_hook

import tdro.dro.stage_one.scoring
import tdro.search.embedding_store
import tiny
from tdro.data.plan.row_plans import MixedPlan
from tdro.data.task import Mixture
from tdro.dro.stage_one.learn import learn
from tdro.dro.stage_one.scoring import score_plan
from tdro.files import write_json
from tdro.machine import Machine
from tdro.mining.embedder import embedder_of
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mining_settings import MiningSettings
from tdro.models.load import load_model
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.training_sections import LearnWeights
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.steps import PlannedSteps

TASKS = [tiny.task(f"t{i}", rows=5 + 3 * i) for i in range(4)]
COMMON = {"steps": 3, "batch": 8, "temperature": 0.05, "learning_rate": 1e-3, "chunk_rows": 5, "weight_decay": 0.0}
SCENARIOS = {
    "learn": ("encoder", {}),
    "learn, gradient caching": ("encoder", {"gradient_caching": True}),
    "learn, static": ("static", {}),
    "fine-tune": ("encoder", {}),
    "fine-tune, gradient caching": ("encoder", {"gradient_caching": True}),
    "fine-tune, sizes": ("encoder", {"matryoshka": [16, 4]}),
}
ON_FOUR = ("learn", "fine-tune, gradient caching")  # what is peculiar to the others is the same on two ranks as on four


def make_models(out: Path) -> None:
    """What all ranks load; once, before there are ranks (transformers saves on the first of them only)."""
    for kind in ("encoder", "static"):
        for seed in (0, 5):
            tiny.model(kind, out / "parts", seed).save_pretrained(str(out / f"{kind}-{seed}"), create_model_card=False)


def run(out: Path, machine: Machine) -> None:
    """All scenarios on this rank, with the models in ``out``; results go to ``out/<scenario>-<world>-<rank>.npz``."""
    shared = out / f"world-{machine.world}"
    for name in SCENARIOS if machine.world < 4 else ON_FOUR:
        kind, more = SCENARIOS[name]
        kept, gradients = [], []

        def load(seed=0, kind=kind, kept=kept):
            kept.append(load_model(out / f"{kind}-{seed}", device="cpu"))
            return kept[-1]

        hook = register_optimizer_step_pre_hook(
            lambda optimizer, *rest, gradients=gradients: gradients.append(flat_gradient(optimizer))
        )
        stage = learned if name.startswith("learn") else finetuned
        alpha = stage(load, shared / name, machine, more)
        hook.remove()
        np.savez(
            out / f"{name}-{machine.world}-{machine.rank}.npz",
            alpha=alpha,
            gradients=np.stack(gradients),
            **{key: value.numpy() for key, value in kept[-1].state_dict().items()},
        )
    mine(out, machine)


def flat_gradient(optimizer):
    """The gradients of an optimizer's parameters, one after the other (BERT has a pooler that nobody reads)."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return (
        torch.cat([p.grad.to_dense().flatten() for p in parameters if p.grad is not None and p.grad.abs().sum() > 0])
        .numpy()
        .copy()
    )


def learned(load, folder, machine, more):
    """Stage 1 with scores made by all ranks; with four ranks, each has rows of two of the four tasks only."""
    tdro.dro.stage_one.scoring._TEXTS_PER_BLOCK = 1  # a block per step, so that every rank scores some
    plan = MixedPlan([len(task) for task in TASKS], 8, 3, 1)
    data = tiny.tokenized(load(), TASKS)
    steps = PlannedSteps(data, plan, 2, lambda *args: None, machine.rank, machine.world)
    similarities = score_plan({"r": lambda: load(seed=5)}, steps, folder / "scores", machine, chunk_rows=5)
    PartialState().wait_for_everyone()
    settings = LearnWeights(negatives=2, eta=0.5, average_steps=1, **COMMON, **more)
    return learn(load, steps, similarities, settings, folder, machine, 1)[0].weights.values


def finetuned(load, folder, machine, more):
    """Stage 2: cross-device negatives."""
    data = tiny.tokenized(load(), TASKS)
    factors = np.array([0.5, 2.0, 0.25, 1.5])
    settings = Finetune(name="test", negatives=1, **COMMON, **more)
    job = FinetuneJob("test", "uniform", np.full(4, 0.25), settings, 1, factors=factors)
    finetune(load, data, job, folder / "model", machine)
    return np.zeros(0)


def mine(out: Path, machine: Machine) -> None:
    """Hard negatives: the ranks share the encoding, the first one searches; ``out/mined-<world>-<rank>.json``."""
    folder = out / f"mined-{machine.world}"
    embedder = embedder_of(str(out / "static-0"), folder / "embeddings", machine)
    with mock.patch.object(tdro.search.embedding_store, "_TEXTS_PER_GROUP", 4):  # so that every rank encodes some
        mined = mine_mixture(Mixture(TASKS), MiningSettings("both", 6), 0, folder, embedder=embedder, machine=machine)
    write_json(out / f"mined-{machine.world}-{machine.rank}.json", [task.rows["negatives"][:] for task in mined.tasks])
