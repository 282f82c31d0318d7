"""Loss reweighting: the factor of a task counts after clipping, or it would count for nothing."""

import copy

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

import tiny
from tdro.machine import Machine
from tdro.recipe.training_sections import Training
from tdro.training.finetune import FinetuneJob, finetune

FACTORS = np.array([0.25, 1.0, 3.0])
TASKS = [tiny.task(name, rows=12) for name in ("a", "b", "c")]


def trained(model, folder, factors, steps=6, **settings):
    """The norm of the gradient that each optimizer step saw, the task of each step, and the parameters in the end."""
    bf16 = settings.pop("bf16", False)
    model = copy.deepcopy(model)
    settings = {"steps": steps, "batch": 4, "temperature": 0.02, "learning_rate": 1e-3, "chunk_rows": 3} | settings
    job = FinetuneJob("test", "uniform", np.full(3, 1 / 3), Training(negatives=1, **settings), 1, factors=factors)
    data = tiny.tokenized(model, TASKS)
    norms = []

    def look(optimizer, *rest):
        found = [p.grad.to_dense() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.linalg.vector_norm(torch.cat([grad.flatten() for grad in found]))))

    hook = register_optimizer_step_pre_hook(look)
    try:
        finetune(lambda: model, data, job, folder, Machine(bf16=bf16))
    finally:
        hook.remove()
    return np.array(norms), job.plan(data).tasks, {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("more", [{}, {"gradient_caching": True}, {"bf16": True}], ids=["plain", "caching", "bf16"])
def test_a_clipped_gradient_has_the_factor_as_its_norm(more, tmp_path):
    model = tiny.encoder(tmp_path / "e")
    plain, tasks, _ = trained(model, tmp_path / "uniform", None, **more)
    norms, _, _ = trained(model, tmp_path / "loss-reweight", FACTORS, **more)
    assert set(tasks) == {0, 1, 2}
    np.testing.assert_allclose(plain, 1.0, rtol=1e-4)  # all of them were clipped: the case in which nothing was left
    np.testing.assert_allclose(norms, FACTORS[tasks], rtol=1e-4)


@pytest.mark.parametrize("kind", ["static", "encoder", "lora"])
@pytest.mark.parametrize("temperature", [0.02, 5.0], ids=["clipped", "not clipped"])
def test_it_trains_another_model_than_uniform(kind, temperature, tmp_path):
    model = tiny.model(kind, tmp_path)
    found = [
        trained(model, tmp_path / str(number), factors, temperature=temperature)[2]
        for number, factors in enumerate((None, np.ones(3), FACTORS))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert max(float((found[0][name] - found[2][name]).abs().max()) for name in found[0]) > 1e-4


def test_without_clipping_it_is_the_factor_of_the_loss(tmp_path):
    model = tiny.encoder(tmp_path / "e")
    plain, tasks, _ = trained(model, tmp_path / "uniform", None, steps=1, temperature=50.0)
    norms, _, _ = trained(model, tmp_path / "loss-reweight", FACTORS, steps=1, temperature=50.0)
    assert plain[0] < 1
    assert norms[0] == pytest.approx(FACTORS[tasks[0]] * plain[0], rel=1e-5)
