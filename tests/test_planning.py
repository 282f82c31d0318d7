"""tdro plan: counts that training will keep, and estimates of memory that are checked against autograd."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

import tiny
import tiny_mixture
from tdro.cli import main
from tdro.data.plan.row_plans import HomogeneousPlan, MixedPlan
from tdro.data.tokens.cuts import Cutter
from tdro.dro.stage_one.plan import plan_stage_one
from tdro.errors import UserError
from tdro.gain.learned_weights import LearnedWeights
from tdro.models.base_tokens import base_tokens
from tdro.planning import device as device_module
from tdro.planning.device import Device, machine_memory, planned_device
from tdro.planning.flops import UTILISATION, forward_flops, hours, training_flops
from tdro.planning.lengths import TaskLengths, draw_batch, sample_lengths
from tdro.planning.memory import Regime, graph_bytes, memory, trained_parameters
from tdro.planning.page import WIDTH, page
from tdro.planning.plan import RecipePlan, make_plan
from tdro.planning.shape import ModelShape, read_shape, shape_of
from tdro.planning.trainings import planned_trainings
from tdro.recipe.training_sections import Base, Lora, Training
from tdro.run.stages import reference_job
from tdro.run.training_data import mixture_on_disk
from tdro.weights import TaskWeights

SIZES = {"a": 12, "b": 24, "c": 36, "d": 48}
SMALL = ModelShape(
    parameters=1_000_000, vocabulary=1000, width=64, layers=2, heads=4, queries=64,
    matrices=((64, 64),) * 4 + ((64, 128), (128, 64)),
)  # fmt: skip


# ---- steps, rows and epochs


def trainings(recipe, weights=None, sizes=SIZES, gain=None):
    return {training.title: training for training in planned_trainings(recipe, sizes, LearnedWeights(weights, gain))}


def test_rows_of_each_stage_are_those_that_training_reads(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, weights__sampling="stratified", finetune__mixtures=["uniform"])
    found = trainings(recipe)
    plan = MixedPlan(list(SIZES.values()), recipe.weights.batch, recipe.weights.steps, recipe.seed)
    read = np.concatenate([plan.step(step).task for step in range(plan.steps)])
    assert found["weights"].reading.rows.tolist() == np.bincount(read).tolist()
    assert found["reference"].reading.rows.sum() == recipe.reference.steps * recipe.reference.batch
    uniform = found["main uniform"].reading
    assert uniform.rows.sum() == recipe.finetune[0].steps * recipe.finetune[0].batch
    assert uniform.epochs == pytest.approx(uniform.rows / np.array(list(SIZES.values())))


@pytest.mark.parametrize("rows", ["all", "held_out", "cross_fit"])
def test_the_reference_reads_the_rows_that_are_its_own(tmp_path, rows):
    recipe = tiny_mixture.recipe(tmp_path, weights__stage1_rows=rows)
    sizes = {"a": 3, "b": 24, "c": 35, "d": 48}
    plan_of_all = plan_stage_one(recipe.weights, list(sizes.values()), recipe.seed)
    parts = plan_of_all.reference_rows
    found = [training for name, training in trainings(recipe, sizes=sizes).items() if name.startswith("reference")]
    names_and_times = [(training.stage, training.times) for training in found]
    assert names_and_times == [("reference", 1), ("reference-2", 1)][: len(parts)]
    for number, (training, part) in enumerate(zip(found, parts, strict=True)):
        own = [len(rows) for rows in part] if part else list(sizes.values())
        assert training.reading.available.tolist() == own
        assert training.reading.epochs == pytest.approx(training.reading.rows / np.array(own))
        tasks = [tiny.task(name, rows=size) for name, size in sizes.items()]
        plan = HomogeneousPlan(own, recipe.reference.batch, _tasks_of(recipe, tasks, plan_of_all, number), recipe.seed)
        assert training.reading.steps.tolist() == np.bincount(plan.tasks, minlength=4).tolist()
    if rows == "cross_fit":  # the halves of an odd number of rows are not the same
        assert (found[0].reading.epochs != found[1].reading.epochs).any()


def _tasks_of(recipe, tasks, plan, number):
    from tdro.data.task import Mixture

    job = reference_job(recipe, Mixture(tasks), plan, number)
    return job.plan(tiny.tokenized(tiny.static_model(), tasks)).tasks


def test_mixtures_by_learned_weights_are_known_after_stage_1_only(tmp_path):
    mixtures = ["uniform", "proportional", "loss-reweight", "top-50", "bottom-50", "reweight"]
    recipe = tiny_mixture.recipe(tmp_path, finetune__mixtures=mixtures)
    before = trainings(recipe)
    assert [before[f"main {name}"].reading is None for name in mixtures] == [False] * 3 + [True] * 3
    learned = TaskWeights.from_dict({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4})
    after = trainings(recipe, learned)
    assert (after["main top-50"].reading.rows > 0).tolist() == [False, False, True, True]
    assert (after["main bottom-50"].reading.rows > 0).tolist() == [True, True, False, False]
    assert after["main proportional"].reading.epochs == pytest.approx(np.full(4, 0.4), abs=0.35)


def test_weights_that_are_loaded_leave_no_stage_0_and_1(tmp_path):
    TaskWeights.uniform(f"task{number}" for number in range(4)).save(tmp_path / "weights.json")
    recipe = tiny_mixture.recipe(tmp_path, weights__load=str(tmp_path / "weights.json"))
    plan = make_plan(recipe, mixture_on_disk(recipe))
    assert [estimate.training.title for estimate in plan.estimates] == ["main uniform", "main top-50"]
    assert all(estimate.tokens for estimate in plan.estimates)


def test_a_cap_on_epochs_is_in_the_plan(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__max_epochs=0.5, finetune__mixtures=["uniform"])
    reading = trainings(recipe)["main uniform"].reading
    assert (reading.epochs <= 0.5).all() and reading.epochs.max() > 0
    with pytest.raises(UserError, match="cap"):
        trainings(tiny_mixture.recipe(tmp_path, finetune__max_epochs=0.1, finetune__mixtures=["uniform"]))


# ---- lengths and sizes


def words(texts, max_tokens):
    return [text.split()[:max_tokens] for text in texts]


def test_lengths_are_cut_and_prompts_come_on_top():
    task = tiny.task("t", rows=30, instruction="w1 w2 w3")
    plain = sample_lengths(task, Cutter(words, None, 4, 5))
    assert plain.queries.max() == 4
    assert plain.negatives.max() == 5
    prompted = sample_lengths(task, Cutter(words, None, 100, 5, prompts=True))
    whole = sample_lengths(task, Cutter(words, None, 100, 5))
    assert (prompted.queries - whole.queries).min() == 5  # Instruct: w1 w2 w3 Query:


def test_rows_without_negatives_get_lengths_of_positives():
    lengths = sample_lengths(
        tiny.task("t", negatives=0), Cutter(lambda texts, _: [[1] * (7 if t else 0) for t in texts], None)
    )
    assert lengths.negatives.tolist() == lengths.positives.tolist()
    assert lengths.tokens_a_row(3) == 35
    assert lengths.squares_a_row(3) == 5 * 49


def test_a_drawn_batch_has_every_text_longest_first():
    tasks = [TaskLengths(np.full(3, n), np.full(3, 10 * n), np.full(3, 100 * n)) for n in (1, 2)]
    lengths = draw_batch(tasks, rows=5, negatives=2)
    assert lengths.tolist() == [200] * 4 + [100] * 6 + [20] * 2 + [10] * 3 + [2] * 2 + [1] * 3


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_sizes_and_tokens_come_without_the_weights(tmp_path, kind):
    model = tiny.model(kind, tmp_path)
    folder = tmp_path / f"{kind}-0"
    (folder / "model.safetensors").unlink()
    base = Base(kind=kind, source=str(folder))
    shape = read_shape(base)
    assert shape.parameters == sum(p.numel() for p in model.transformers_model.parameters())
    assert (shape.layers, shape.width, shape.heads, shape.vocabulary) == (2, 16, 2, 203)
    assert shape.products == 2 * (4 * 16 * 16 + (2 if kind == "encoder" else 3) * 16 * 32)
    assert base_tokens(base).count(["w1 w2 w3", "w4"]).tolist() == [4, 2]  # with the end-of-sequence token


def test_a_decoder_that_is_cut_has_fewer_parameters(tmp_path):
    tiny.model("decoder", tmp_path)
    base = Base(kind="decoder", source=str(tmp_path / "decoder-0"), layers=1)
    assert read_shape(base).products * 2 == read_shape(base.model_copy(update={"layers": None})).products
    with pytest.raises(UserError, match="layers must be 1 to 2"):
        read_shape(base.model_copy(update={"layers": 3}))


def test_a_static_model_is_its_vocabulary_times_its_dimension(tmp_path):
    tiny.tokenizer(eos=False).save(str(tmp_path / "tokenizer.json"))
    base = Base(kind="static", source=str(tmp_path), dimension=8)
    shape = read_shape(base)
    assert (shape.parameters, shape.static, shape.products) == (203 * 8, True, 0)
    assert base_tokens(base).count(["w1 w2 w3", ""]).tolist() == [3, 0]


def test_a_model_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="configuration cannot be read"):
        read_shape(Base(kind="encoder", source=str(tmp_path)))


# ---- memory and FLOPs


def kept_by_autograd(model, rows, length, bf16):
    """Bytes of all storages that the graph of a forward pass holds on to, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return tensor

    inputs = {
        "input_ids": torch.randint(0, 90, (rows, length)),
        "attention_mask": torch.ones(rows, length, dtype=torch.long),
    }
    inputs["attention_mask"][0, -1] = 0  # a mask that cannot be left out
    from tdro.models.cpu import short_text_attention

    wrapped = torch.nn.Sequential(_Inner(model))
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        short_text_attention(wrapped),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        output = wrapped[0](inputs)
        output.sum()
    return sum(found.values())


class _Inner(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(**inputs).last_hidden_state


def llama(width=128):
    config = LlamaConfig(
        vocab_size=100, hidden_size=width, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=3 * width,
    )  # fmt: skip
    return LlamaModel(config)


def bert(width=128):
    config = BertConfig(
        vocab_size=100, hidden_size=width, num_hidden_layers=4, num_attention_heads=4, intermediate_size=4 * width
    )
    return BertModel(config)


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("make", [llama, bert])
def test_what_autograd_keeps_is_within_a_quarter_of_the_estimate(make, bf16):
    model = make().train()
    how = Regime(bf16=bf16)
    for length in (16, 64):
        kept = kept_by_autograd(model, 16, length, bf16)
        assert graph_bytes(shape_of(model), how, 16, length) / kept == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("make", [llama, bert])
def test_what_autograd_keeps_of_adapters_too(make):
    from peft import LoraConfig, inject_adapter_in_model

    model = make()
    shape = shape_of(model)
    adapters = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules="all-linear")
    model = inject_adapter_in_model(adapters, model.requires_grad_(False)).train()
    how = Regime(bf16=True, lora=4)
    kept = kept_by_autograd(model, 16, 48, True)
    assert graph_bytes(shape, how, 16, 48) / kept == pytest.approx(1, abs=0.25)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained_parameters(shape, how) == pytest.approx(trained, rel=0.1)  # BERT's pooler gets some as well


def test_the_parts_of_memory_that_follow_from_the_parameters():
    lengths = np.full(64, 10)
    full = memory(SMALL, Regime(), lengths, 16, 48)
    assert (full.weights, full.gradients, full.optimizer) == (4e6, 4e6, 8e6)
    adapters = SMALL.adapters(8)
    lora = memory(SMALL, Regime(lora=8), lengths, 16, 48)
    assert (lora.weights, lora.gradients, lora.optimizer) == (4e6 + 4 * adapters, 4 * adapters, 8 * adapters)
    assert memory(SMALL, Regime(ranks=2), lengths, 16, 48).gradients == 8e6
    frozen = memory(replace(SMALL, stored=2), Regime(lora=8), lengths, 16, 48)
    assert frozen.weights == 2e6 + 4 * adapters
    assert full.sharded(4) == full.total - 0.75 * 16e6


def test_caching_checkpointing_and_small_chunks_need_less():
    lengths = np.sort(np.random.default_rng(0).integers(5, 100, 640))[::-1]

    def needed(**how):
        return memory(SMALL, Regime(bf16=True, **how), lengths, 128, 512).activations

    assert needed(caching=True) < needed() / 4
    assert needed(checkpointing=True) < needed() / 2
    assert needed(caching=True, chunk_rows=8) < needed(caching=True)


def test_flops_by_hand():
    settings = Training(steps=1, batch=8, warmup_steps=0.0)
    tokens, squares = 1000.0, 50_000.0
    forward = 2 * SMALL.products * tokens + 4 * 2 * 64 * squares
    assert forward_flops(SMALL, tokens, squares) == forward
    full = Base(kind="encoder", source="minilm")
    assert training_flops(SMALL, full, settings, tokens, squares) == 3 * forward
    cached = settings.model_copy(update={"gradient_caching": True})
    assert training_flops(SMALL, full, cached, tokens, squares) == 4 * forward
    lora = full.model_copy(update={"lora": Lora(), "gradient_checkpointing": True})
    assert training_flops(SMALL, lora, cached, tokens, squares) == 5 * forward - 2 * SMALL.products * tokens
    assert hours(3600e12 * UTILISATION, tflops=1, ranks=2) == pytest.approx(0.5)


# ---- devices


def test_memory_is_the_least_of_machine_and_container(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device_module, "_LIMITS", (str(limit), str(tmp_path / "missing")))
    whole = machine_memory()
    limit.write_text("123456\n")
    assert machine_memory() == 123456
    limit.write_text("max\n")
    assert machine_memory() == whole


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a device that is not there")
def test_a_device_that_is_elsewhere_can_be_planned_for():
    assert planned_device("cuda", "auto") == Device("cuda", True, None)
    assert planned_device("cuda:1", "fp32") == Device("cuda", False, None)
    assert planned_device("cpu", "fp32").cpu


# ---- the page and the command


@pytest.fixture
def recipe_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(tiny_mixture.recipe(tmp_path).to_yaml())
    return path


def test_the_page_says_everything_and_writes_nothing(recipe_file, capsys):
    assert main(["plan", str(recipe_file), "--tflops", "1.5"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    for words in ("4 tasks, 120 rows", "scoring", "after stage 1", "optimizer", "epochs", "1.5 TFLOP/s"):
        assert words in text
    assert not (recipe_file.parent / "run").exists()


def test_weights_that_a_run_has_learned_are_used(recipe_file, capsys):
    weights = recipe_file.parent / "run" / "weights" / "weights.json"
    TaskWeights.from_dict({f"task{n}": w for n, w in enumerate((0.1, 0.2, 0.3, 0.4))}).save(weights)
    main(["plan", str(recipe_file)])
    assert "after stage 1" not in capsys.readouterr().out
    TaskWeights.from_dict({"other": 1.0}).save(weights)
    main(["plan", str(recipe_file)])
    text = capsys.readouterr().out
    assert "after stage 1" in text
    assert "weights of other tasks" in text


def test_a_task_that_repeats_often_is_named(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__steps=100, finetune__mixtures=["uniform"])
    warnings = [
        line for line in page(make_plan(recipe, mixture_on_disk(recipe))).splitlines() if line.startswith("warning:")
    ]
    assert any("main uniform: more than 4 epochs of task0 16.7" in line for line in warnings)


def test_a_batch_that_does_not_fit_is_said_with_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.planning.plan.planned_device", lambda *_: Device("cpu", False, int(0.5e9)))
    recipe = tiny_mixture.recipe(tmp_path)
    plan = make_plan(recipe, mixture_on_disk(recipe))
    assert any(line.startswith("main: needs") and "0.5 GB are left" in line for line in plan.warnings)


def test_a_page_of_long_names_and_many_mixtures_fits(tmp_path):
    mixtures = ["uniform", "proportional", "loss-reweight", "reweight", "top-70"]
    recipe = tiny_mixture.recipe(tmp_path, finetune__mixtures=mixtures, finetune__name="n" * 60)
    plan = make_plan(recipe, mixture_on_disk(recipe), ranks=2)
    plan = replace(plan, sizes={f"{name}-{'x' * 60}": 10**7 for name in plan.sizes})
    assert isinstance(plan, RecipePlan)
    assert max(map(len, page(plan, 989.0).splitlines())) <= WIDTH


@pytest.mark.parametrize("option", [["--tflops", "0"], ["--tflops", "nan"], ["--tflops", "fast"], ["--ranks", "0"]])
def test_bad_options_are_errors(recipe_file, option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", str(recipe_file), *option])
    assert stopped.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_ranks_that_do_not_share_a_batch_are_an_error(recipe_file, capsys):
    assert main(["plan", str(recipe_file), "--ranks", "3"]) == 2
    assert "cannot be shared equally by 3 ranks" in capsys.readouterr().err


def test_a_mixture_that_is_broken_is_named(recipe_file, capsys):
    mixture = recipe_file.parent / "mixture"
    content = json.loads((mixture / "mixture.json").read_text())
    Path(mixture / content["tasks"][0]["file"]).write_text('{"query": 1}\n')
    assert main(["plan", str(recipe_file)]) == 2
    assert "line 1" in capsys.readouterr().err
