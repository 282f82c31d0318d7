"""Is it right on a GPU? The same numbers as on the CPU, to the bit after a stop, and the memory that the plan says."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from part import Part
from rows import Rows
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from tdro.dro.infonce import hard_negative_infonce
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.stage_one.learn import learn, reference_labels
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.machine import Machine, this_machine
from tdro.models.load import load_model
from tdro.planning.plan import make_plan
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import LearnWeights, Training
from tdro.run.training_data import mixture_on_disk
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps
from tdro.training.trainer import PlannedTrainer

GOLDENS = Path(__file__).parent.parent.parent / "tests" / "goldens" / "infonce_hard_negatives.json"
CLOSE = 1e-5  # how far a GPU may be from the CPU in fp32, relative
TEMPERATURE = 0.05
# Of a recipe's training and base.
MEMORY = {
    "plain": ({}, {}),
    "cached": ({"gradient_caching": True}, {}),
    "lora": ({"gradient_caching": True}, {"lora": {"r": 8}}),
}


class Stopped(BaseException):
    """Ends a training in the middle of a step, as a kill does; what it leaves on disk is all that is left."""


def find_right(part: Part, rows: Rows) -> None:
    """Every check, the cheap ones first."""
    device = part.device
    part.find("named_device", lambda: named_device(rows, device, rows.folder / "named"))
    part.find("goldens", lambda: goldens(device))
    for bf16 in (False, True):
        name = "bf16" if bf16 else "fp32"
        part.find(f"gradients_{name}", lambda bf16=bf16: gradients(rows, device, bf16))
        part.find(f"alpha_{name}", lambda bf16=bf16: alphas(rows, device, bf16))
    part.find("twice_and_resumed", lambda: twice_and_resumed(rows, device))
    part.find("ranking", lambda: ranking(rows, device))
    for name in MEMORY:
        part.find(f"memory_{name}", lambda name=name: memory(rows, device, name), needs=5)


def named_device(rows: Rows, device: str, folder: Path) -> dict[str, Any]:
    """The device that is named is the one on which a training computes."""
    model = rows.load(rows.small, "cpu")
    trainer = _trainer(model, InBatchLoss(model), rows.of_one_task(1), folder, Machine(device))
    trainer.run()
    found = {str(parameter.device) for parameter in model.parameters()}
    return {"ok": found == {this_machine(device).device}, "parameters_on": sorted(found)}


def goldens(device: str) -> dict[str, Any]:
    """The losses of the released code, from its own embeddings."""
    golden = json.loads(GOLDENS.read_text(encoding="utf-8"))
    worst = 0.0
    for case in golden["cases"]:
        if not case["dtype"].endswith("float32"):
            continue
        queries, passages = (torch.tensor(golden[key], device=device) for key in ("q_raw", "p_raw"))
        shaped = passages.view(golden["B"], golden["n_passages"], -1)
        ours = hard_negative_infonce(queries, shaped, case["temperature"]).double().cpu().numpy()
        theirs = np.array(case["losses"])
        worst = max(worst, float((np.abs(ours - theirs) / (CLOSE + CLOSE * np.abs(theirs))).max()))
    return {"ok": worst <= 1, "worst_share_of_the_tolerance": worst}


def gradients(rows: Rows, device: str, bf16: bool) -> dict[str, Any]:
    """Loss and gradient of one step of each loss, on the device and on the CPU, at several micro-batches."""
    found: dict[str, Any] = {}
    for kind in ("fine-tuning", "stage one"):
        loss, expected = _gradient(rows, "cpu", False, kind, rows.sizes.chunk_rows[0], False)
        for chunk_rows, caching in itertools.product(rows.sizes.chunk_rows, (False, True)):
            here_loss, here = _gradient(rows, device, bf16, kind, chunk_rows, caching)
            found[f"{kind}, chunk_rows {chunk_rows}{', cached' if caching else ''}"] = {
                "loss": abs(here_loss - loss) / abs(loss),
                "gradient": float((here - expected).norm() / expected.norm()),
            }
    worst = max(max(each.values()) for each in found.values())
    return {"ok": True if bf16 else worst <= CLOSE, "worst": worst, "relative_difference": found}


def _gradient(rows: Rows, device: str, bf16: bool, kind: str, chunk_rows: int, caching: bool) -> tuple[float, Any]:
    model = rows.load(rows.small, device, bf16)
    if kind == "fine-tuning":
        loss, steps = InBatchLoss(model, TEMPERATURE, chunk_rows, caching), rows.of_one_task(1)
    else:
        names = [task.name for task in rows.data.index.tasks]
        loss = TDROLoss(model, WeightLearner(names), temperature=TEMPERATURE, mini_batch_size=chunk_rows)
        loss.uses_gradient_cache = caching
        steps = rows.mixed(1, reference_labels(_similarities(rows, 1), TEMPERATURE))
    batch = {key: value.to(device) for key, value in steps[0].items()}
    names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
    columns = [{key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")} for name in names]
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
        value = loss(columns, batch["label"])
    value.backward()
    parts = [parameter.grad.flatten().double().cpu() for parameter in model.parameters() if parameter.grad is not None]
    return float(value.detach()), torch.cat(parts)


def _similarities(rows: Rows, steps: int) -> np.ndarray:
    """Stand-ins for a reference's similarities, the positive the nearest."""
    drawn = np.random.default_rng(0).random((steps, rows.sizes.batch, 1 + rows.sizes.negatives), dtype=np.float32)
    return np.sort(drawn, axis=2)[:, :, ::-1] * 0.5


def alphas(rows: Rows, device: str, bf16: bool, steps: int = 4) -> dict[str, Any]:
    """α after a few steps of stage 1, on the device and on the CPU, at several micro-batches."""
    expected = _alpha(rows, Machine("cpu"), rows.sizes.chunk_rows[0], steps)
    found = {}
    for chunk_rows in rows.sizes.chunk_rows:
        here = _alpha(rows, Machine(device, bf16), chunk_rows, steps)
        found[str(chunk_rows)] = float((np.abs(here - expected) / expected).max())
    return {"ok": True if bf16 else max(found.values()) <= CLOSE, "relative_difference_by_chunk_rows": found}


def _alpha(rows: Rows, machine: Machine, chunk_rows: int, steps: int) -> np.ndarray:
    settings = LearnWeights(
        steps=steps,
        batch=rows.sizes.batch,
        negatives=rows.sizes.negatives,
        temperature=TEMPERATURE,
        learning_rate=1e-4,
        chunk_rows=chunk_rows,
        warmup_steps=0.0,
    )
    folder = _empty(rows.folder / "alpha")
    learner, _ = learn(
        lambda: rows.load(rows.small, machine.device, machine.bf16),
        rows.mixed(steps),
        _similarities(rows, steps),
        settings,
        folder,
        machine,
        seed=1,
    )
    return learner.weights.values


def twice_and_resumed(rows: Rows, device: str) -> dict[str, Any]:
    """A training twice, and once more stopped and continued: the same weights to the bit. In bf16 on a GPU."""
    bf16 = device.startswith("cuda")
    ends = [_trained(rows, device, bf16, stop) for stop in (None, None, 5)]
    equal = [all(torch.equal(ends[0][key], end[key]) for key in end) for end in ends[1:]]
    return {"ok": all(equal), "same_twice": equal[0], "same_after_a_stop": equal[1], "bf16": bf16}


def _trained(rows: Rows, device: str, bf16: bool, stop: int | None) -> dict[str, torch.Tensor]:
    """The weights after eight steps with dropout. ``stop``: before this step the training ends, and another goes on."""
    folder = _empty(rows.folder / "resumed")
    for at in [stop, None] if stop else [None]:
        model = load_model(rows.small, device="cpu", bf16=bf16, trained=True)
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.1
        loss = InBatchLoss(model, TEMPERATURE, rows.sizes.chunk_rows[0])
        trainer = _trainer(model, loss, rows.of_one_task(8), folder, Machine(device, bf16), checkpoint_steps=2)
        if at is not None:
            trainer.add_callback(_StopBefore(at))
        try:
            trainer.run()
        except Stopped:
            continue
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


class _StopBefore(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Stopped


def _trainer(
    model: SentenceTransformer,
    loss: torch.nn.Module,
    planned: PlannedSteps,
    folder: Path,
    machine: Machine,
    checkpoint_steps: int = 0,
) -> PlannedTrainer:
    training = Training(
        steps=planned.plan.steps,
        batch=planned.plan.batch,
        learning_rate=1e-4,
        warmup_steps=0.0,
        checkpoint_steps=checkpoint_steps,
    )
    return PlannedTrainer(model, loss, planned, training, folder, 1, bf16=machine.bf16, device=machine.device)


def ranking(rows: Rows, device: str) -> dict[str, Any]:
    """The first test sets as the device and as the CPU rank them, in fp32: where the ten best differ, and the means."""
    tests = rows.mixture.tests[:2]
    means, best = {}, {}
    for where in dict.fromkeys(("cpu", device)):
        out = _empty(rows.folder / "ranking" / where.replace(":", "-"))
        results = evaluate_all(rows.small, tests, out, model_name="small", bf16=False, device=where, progress=False)
        means[where] = [result["mean"]["ndcg@10"] for result in results]
        best[where] = [_ten_best(out / "small" / f"{test.name}.trec") for test in tests]
    pairs = [(here, there) for here, there in zip(best["cpu"], best[device], strict=True)]
    queries = sum(len(here) for here, _ in pairs)
    equal = sum(here[query] == there.get(query) for here, there in pairs for query in here)
    off = max(abs(a - b) for a, b in zip(means["cpu"], means[device], strict=True))
    return {
        "ok": equal >= 0.99 * queries and off < 1e-4,
        "queries": queries,
        "same_ten_best": equal,
        "ndcg@10_off": off,
    }


def _ten_best(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        query, _, passage, *_ = line.split()
        found.setdefault(query, []).append(passage)
    return {query: passages[:10] for query, passages in found.items()}


def memory(rows: Rows, device: str, name: str) -> dict[str, Any]:
    """Peak memory of two steps of the base on the longest task, against `tdro plan`.

    Without gradient caching a quarter of the batch, or it would fit on no card.
    """
    of_training, of_base = MEMORY[name]
    sizes = rows.sizes
    batch = sizes.batch if of_training else max(2, sizes.batch // 4)
    shared = {"steps": 2, "batch": batch, "negatives": sizes.negatives, "temperature": TEMPERATURE}
    group = {"name": "main", "mixtures": ["uniform"], "chunk_rows": sizes.chunk_rows[0], "warmup_steps": 0.0}
    recipe = Recipe.model_validate(
        {
            **{"name": "memory", "device": device, "base": sizes.base},
            "precision": "bf16" if device.startswith("cuda") else "fp32",
            "data": {
                **{"mixture": str(sizes.mixture), "prompts": False},
                **{"query_tokens": sizes.tokens[0], "passage_tokens": sizes.tokens[1]},
            },
            "finetune": [{**group, **shared, **of_training, "base": {**sizes.base, **of_base}}],
        }
    )
    estimate = make_plan(recipe, mixture_on_disk(recipe)).estimates[-1].memory
    settings, base = recipe.finetune[0], recipe.base_of(recipe.finetune[0])
    steps = rows.of_one_task(2, batch)
    lengths = [rows.data.passages.lengths[task.positives.values].mean() for task in rows.data.index.tasks]
    steps.plan.tasks[:] = int(np.argmax(lengths))  # type: ignore[attr-defined]
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        free, total = torch.cuda.mem_get_info(device)
        context = total - free - torch.cuda.memory_reserved(device)
    model = load_model(rows.base, device=device, bf16=on_gpu, lora=base.lora, trained=True)
    loss = InBatchLoss(model, TEMPERATURE, settings.chunk_rows, settings.gradient_caching)
    trainer = PlannedTrainer(
        *(model, loss, steps, settings, _empty(rows.folder / "memory"), 1), bf16=on_gpu, device=device
    )
    trainer.run()
    found: dict[str, Any] = {"batch": batch, "estimate_gb": (estimate.total - estimate.process) / 1e9}
    if not on_gpu:
        return {**found, "ok": True, "measured_gb": None}
    measured = torch.cuda.max_memory_allocated(device) / 1e9
    return {
        **found,
        "ok": abs(found["estimate_gb"] / measured - 1) <= 0.25,
        "measured_gb": measured,
        "reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9,
        "context_gb": context / 1e9,
        "estimate_of_the_context_gb": estimate.process / 1e9,
    }


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
