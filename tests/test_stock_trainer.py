"""TDROLoss in somebody else's trainer: resumed, accumulating, wrapped, with prompts, evaluating; right, or refused."""

import copy
import logging

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from datasets import ClassLabel, Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses as st_losses
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

import tiny
from tdro import TDROCallback, TDROLoss, WeightLearner
from tdro.errors import UserError

NAMES = ["a", "b", "c"]
TAU = 0.05
PROMPT = "w7 w8 w9 "


def rows(count=24):
    """Rows of three tasks in turn, with their tasks as labels."""
    tasks = [tiny.task(name, rows=count // 3, negatives=1) for name in NAMES]
    found = [
        {"query": row["query"], "positive": row["positives"][0], "negative": row["negatives"][0], "label": label}
        for label, task in enumerate(tasks)
        for row in task.rows
    ]
    return Dataset.from_list([row for turn in range(count // 3) for row in found[turn :: count // 3]])


@pytest.fixture(autouse=True)
def no_accelerator_of_before():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def data():
    return rows()


@pytest.fixture
def make(tmp_path):
    """Proxy and loss, the same at every call."""

    def made(kind="static", reference="static", **settings):
        proxy = tiny.model(kind, tmp_path / "proxy").float()
        frozen = tiny.model(kind, tmp_path / "reference", seed=1) if reference else None
        settings = {"temperature": TAU, "mini_batch_size": 5} | settings
        return proxy, TDROLoss(proxy, WeightLearner(NAMES, eta=0.3), frozen, **settings)

    return made


def trainer(proxy, loss, data, folder, callback=True, **settings):
    args = {
        "max_steps": 4, "per_device_train_batch_size": 6, "learning_rate": 0.01, "save_strategy": "no", "use_cpu": True,
        "report_to": "none", "disable_tqdm": True, "lr_scheduler_type": "constant", "logging_steps": 1000,
    } | settings  # fmt: skip
    extra = {key: args.pop(key) for key in ("eval_dataset", "model_init") if key in args}
    return SentenceTransformerTrainer(
        model=None if "model_init" in extra else proxy,
        args=SentenceTransformerTrainingArguments(str(folder), **args),
        train_dataset=data,
        loss=loss,
        callbacks=[TDROCallback(loss)] if callback else [],
        **extra,
    )


def inner(loss):
    return next(module for module in loss.modules() if isinstance(module, TDROLoss))


def state_of(proxy, loss):
    return inner(loss).dro_state(), {name: value.clone() for name, value in proxy.state_dict().items()}


def assert_same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def matryoshka(proxy, loss, dims=(16, 8, 4), **settings):
    return st_losses.MatryoshkaLoss(proxy, loss, list(dims), **settings)


# ---- going on from a checkpoint


SAVED = {
    "steps": {"save_strategy": "steps", "save_steps": 2},
    "epoch": {"save_strategy": "epoch", "per_device_train_batch_size": 12},  # 2 steps an epoch
    "only the model": {"save_strategy": "steps", "save_steps": 2, "save_only_model": True, "learning_rate": 0.0},
}


@pytest.mark.parametrize(
    "kind, saved, wrapped",
    [*(("static", saved, wrapped) for saved in SAVED for wrapped in (False, True)), ("encoder", "steps", False)],
)
def test_a_resumed_run_ends_as_the_whole_one(kind, saved, wrapped, make, data, tmp_path):
    found = []
    for resume in (None, str(tmp_path / "whole" / "checkpoint-2")):
        proxy, loss = make(kind, average_steps=3)
        loss = matryoshka(proxy, loss) if wrapped else loss
        folder = tmp_path / ("resumed" if resume else "whole")
        trainer(proxy, loss, data, folder, **SAVED[saved]).train(resume_from_checkpoint=resume)
        found.append(state_of(proxy, loss))
    assert found[0][0]["learner"]["step"] == 4
    assert_same(*found)


def test_the_same_trainer_may_be_stopped_and_go_on(make, data, tmp_path):
    """As in a notebook: what the loss knows is later than the checkpoint."""
    proxy, loss = make()
    whole = trainer(proxy, loss, data, tmp_path / "a", **SAVED["steps"])
    whole.train()
    ended = state_of(proxy, loss)
    whole.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert_same(state_of(proxy, loss), ended)


def test_a_loss_that_is_resumed_without_its_weights_says_so(make, data, tmp_path, caplog):
    proxy, loss = make()
    with caplog.at_level(logging.WARNING, "tdro"):
        trainer(proxy, loss, data, tmp_path, callback=False, **SAVED["steps"]).train()
    assert "checkpoints will not have the task weights" in caplog.text
    for new in (True, False):  # in a new process, or the loss of before, which is at step 4
        proxy, loss = make() if new else (proxy, loss)
        before = loss.dro_state()
        with pytest.raises(UserError, match="checkpoint of step 2, but the task weights do not"):
            trainer(proxy, loss, data, tmp_path, callback=False).train(
                resume_from_checkpoint=str(tmp_path / "checkpoint-2")
            )
        assert loss.dro_state() == before
    with pytest.raises(UserError, match="step 2 has no task weights: it was written without TDROCallback"):
        trainer(proxy, loss, data, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_weights_that_were_restored_by_hand_are_taken(make, data, tmp_path):
    proxy, loss = make()
    trainer(proxy, loss, data, tmp_path, **SAVED["steps"]).train()
    resumed, other = make()
    other.learner.load_state_dict(loss.learner.state_dict())
    trainer(resumed, other, data, tmp_path, callback=False, max_steps=6).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-4")
    )
    assert other.learner.step == 6


def test_weights_of_other_tasks_are_refused(make, data, tmp_path):
    proxy, loss = make()
    trainer(proxy, loss, data, tmp_path, **SAVED["steps"]).train()
    other = TDROLoss(proxy, WeightLearner(["x", "y", "z"]), tiny.static_model(seed=1))
    with pytest.raises(UserError, match="saved weights are of tasks"):
        trainer(proxy, other, data, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_without_checkpoints_nothing_is_said_and_a_second_training_is(make, data, tmp_path, caplog):
    proxy, loss = make()
    with caplog.at_level(logging.WARNING, "tdro"):
        trainer(proxy, loss, data, tmp_path, callback=False).train()
        assert "task weights" not in caplog.text
        trainer(proxy, loss, data, tmp_path, callback=False).train()
    assert "go on from an earlier training, where they have moved 4 times" in caplog.text


def test_the_callback_wants_one_loss(make):
    proxy, loss = make()
    assert TDROCallback(matryoshka(proxy, loss)).loss is loss
    with pytest.raises(ValueError, match="MultipleNegativesRankingLoss has 0"):
        TDROCallback(st_losses.MultipleNegativesRankingLoss(proxy))


# ---- gradient accumulation


@pytest.mark.parametrize("callback", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_accumulation_is_refused_before_the_weights_move(callback, wrapped, make, data, tmp_path):
    proxy, loss = make()
    outer = matryoshka(proxy, loss) if wrapped else loss
    with pytest.raises(UserError, match=r"gradient accumulation.*\n.*mini_batch_size"):
        trainer(proxy, outer, data, tmp_path, callback, gradient_accumulation_steps=2).train()
    assert loss.learner.step == 0


def batches(proxy, data, size=6):
    """The columns and labels of a data set, as a plain loop would have them."""
    for part in data.iter(size):
        texts = [part[name] for name in ("query", "positive", "negative")]
        yield [proxy.preprocess(column) for column in texts], torch.tensor(part["label"])


@pytest.mark.parametrize("accumulates", [False, True])
def test_accelerates_own_accumulation_is_refused_too(accumulates, make, data):
    proxy, loss = make("encoder")
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2 if accumulates else 1)
    optimizer = accelerator.prepare(torch.optim.AdamW(proxy.parameters()))

    def train():
        for columns, labels in batches(proxy, data):
            with accelerator.accumulate(proxy):
                accelerator.backward(loss(columns, labels))
                optimizer.step()
                optimizer.zero_grad()

    if accumulates:
        with pytest.raises(UserError, match="gradient accumulation"):
            train()
        assert loss.learner.step == 0
    else:
        train()
        assert loss.learner.step == 4


@pytest.mark.parametrize("late", [False, True])
def test_a_plain_loop_may_clear_gradients_when_it_likes(late, make, data):
    proxy, loss = make("encoder")
    optimizer = torch.optim.AdamW(proxy.parameters(), lr=0.0)
    for columns, labels in batches(proxy, data):
        value = loss(columns, labels)
        if late:
            optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if not late:
            optimizer.zero_grad()
    assert loss.learner.step == 4


# ---- losses around it


@pytest.mark.parametrize(
    "kind, caching, trained",
    [
        ("static", False, "by a trainer"),
        ("encoder", False, "by a trainer"),
        ("encoder", True, "by a trainer"),
        ("encoder", False, "by a loop"),
        ("encoder", True, "by a loop"),
    ],
)
def test_matryoshka_moves_the_weights_once_a_step_by_whole_embeddings(kind, caching, trained, make, data, tmp_path):
    """Without learning, α is that of the loss alone, whatever the dimensions."""
    found = []
    for dims in (None, (16, 8, 4)):
        proxy, loss = make(kind, gradient_caching=caching)
        outer = matryoshka(proxy, loss, dims) if dims else loss
        if trained == "by a trainer":
            trainer(proxy, outer, data, tmp_path, learning_rate=0.0, dataloader_drop_last=True, seed=3).train()
        else:
            for columns, labels in batches(proxy, data):
                outer(columns, labels).backward()
        found.append((loss.learner.step, loss.learner.weights.values))
    assert found[0][0] == found[1][0] == 4
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-6)


@pytest.mark.parametrize("caching", [False, True])
def test_matryoshkas_gradient_is_that_of_the_weighted_losses_at_each_dimension(caching, make, data):
    proxy, loss = make("encoder", gradient_caching=caching)
    columns, labels = next(batches(proxy, data))
    outer = matryoshka(proxy, loss, matryoshka_weights=[1, 2, 3])
    value = outer([dict(column) for column in columns], labels)
    value.backward()
    found = {name: p.grad.clone() for name, p in proxy.named_parameters() if p.grad is not None}
    proxy.zero_grad()
    query, *passages = (proxy(dict(column))["sentence_embedding"] for column in columns)
    alpha = torch.tensor(loss.last.alpha)[labels]
    expected = 0.0
    for dimension, weight in ((16, 1), (8, 2), (4, 3)):
        cut = [torch.nn.functional.normalize(column[:, :dimension].double(), dim=1) for column in (query, *passages)]
        scores = torch.stack([(cut[0] * passage).sum(1) for passage in cut[1:]], dim=1) / TAU
        expected += weight * (alpha / alpha.sum() * -scores.log_softmax(1)[:, 0]).sum()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in proxy.named_parameters():
        if name in found:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("dims, settings", [((8, 4), {}), ((16, 8, 4), {"n_dims_per_step": 1})])
def test_matryoshka_without_the_whole_embedding_is_refused(dims, settings, caching, make, data, tmp_path):
    proxy, loss = make("encoder", gradient_caching=caching)
    with pytest.raises(UserError, match=r"of 16 dimensions.*\nPut 16 into matryoshka_dims"):
        trainer(proxy, matryoshka(proxy, loss, dims, **settings), data, tmp_path, max_steps=20).train()


@pytest.mark.parametrize("name", ["AdaptiveLayerLoss", "Matryoshka2dLoss"])
def test_losses_that_go_by_layers_are_refused(name, make, data, tmp_path):
    proxy, loss = make("encoder")
    outer = getattr(st_losses, name)(proxy, loss, *([[16, 8]] if "2d" in name else []))
    with pytest.raises(UserError, match="AdaptiveLayerLoss"):
        trainer(proxy, outer, data, tmp_path).train()
    assert loss.learner.step == 0


class Sum(torch.nn.Module):
    """Somebody's own loss: TDROLoss and another one."""

    def __init__(self, model, loss, halves):
        super().__init__()
        self.loss, self.other, self.halves = loss, st_losses.MultipleNegativesRankingLoss(model), halves

    def forward(self, features, labels):
        if not self.halves:
            return self.loss(features, labels) + self.other(features, labels)
        return sum(
            self.loss(
                [{key: value[part] for key, value in column.items() if torch.is_tensor(value)} for column in features],
                labels[part],
            )
            for part in (slice(0, 3), slice(3, 6))
        )


def test_anybodys_loss_around_it_may_call_it_once_with_all_rows(make, data, tmp_path):
    proxy, loss = make("encoder")
    trainer(proxy, Sum(proxy, loss, halves=False), data, tmp_path).train()
    assert loss.learner.step == 4
    with pytest.raises(UserError, match="step 0: TDROLoss is called twice in one step"):
        trainer(proxy, Sum(*make("encoder"), halves=True), data, tmp_path).train()


# ---- prompts


@pytest.mark.parametrize(
    "prompts, include, caching",
    [
        (PROMPT, False, False),
        ({"query": PROMPT}, False, False),
        ({"query": PROMPT}, False, True),
        ({"positive": PROMPT, "negative": PROMPT}, False, False),
        ({"query": PROMPT}, True, False),
    ],
)
def test_prompts_of_the_trainer_reach_both_models(include, prompts, caching, make, data, tmp_path):
    """A copy of the proxy as the reference measures 1, and the loss is that of the models' own way with prompts."""
    proxy = tiny.encoder(tmp_path)
    proxy.set_pooling_include_prompt(include)
    plain = copy.deepcopy(proxy)
    loss = TDROLoss(proxy, WeightLearner(NAMES), copy.deepcopy(proxy), TAU, mini_batch_size=4, gradient_caching=caching)
    trainer(proxy, loss, data, tmp_path, prompts=prompts, max_steps=1, per_device_train_batch_size=24).train()
    assert np.abs(loss.last.measure - 1).max() < 1e-6

    def embedded(name):
        prompt = prompts if isinstance(prompts, str) else prompts.get(name, "")
        return plain.encode(data[name], prompt=prompt, convert_to_tensor=True, normalize_embeddings=True)

    query, positive, negative = (embedded(name) for name in ("query", "positive", "negative"))
    losses = torch.nn.functional.softplus(((query * negative).sum(1) - (query * positive).sum(1)) / TAU)
    by_task = [losses[torch.tensor(data["label"]) == task].mean().item() for task in range(3)]
    np.testing.assert_allclose(loss.last.proxy_loss, by_task, rtol=1e-4)


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("queries", ["encoder", "static"])
def test_each_column_goes_its_way_through_a_router(queries, caching, data, tmp_path):
    """Queries and documents by two encoders, or queries by a static model: a copy as the reference measures 1."""
    ways = [
        [*(static(dict(zip(WORDS, range(201), strict=True))) if queries == "static" else tiny.encoder(tmp_path / "q"))],
        [*tiny.encoder(tmp_path / "d", seed=4)],
    ]
    router = Router.for_query_document(query_modules=ways[0], document_modules=ways[1])
    proxy = SentenceTransformer(modules=[router], device="cpu")
    plain = copy.deepcopy(proxy)
    loss = TDROLoss(proxy, WeightLearner(NAMES), copy.deepcopy(proxy), TAU, mini_batch_size=4, gradient_caching=caching)
    mapping = {"query": "query", "positive": "document", "negative": "document"}
    settings = {"router_mapping": mapping, "max_steps": 1, "per_device_train_batch_size": 24}
    trainer(proxy, loss, data, tmp_path / "out", **settings).train()
    assert np.abs(loss.last.measure - 1).max() < 1e-6
    query = plain.encode_query(data["query"], convert_to_tensor=True)
    positive, negative = (
        plain.encode_document(data[name], convert_to_tensor=True) for name in mapping if name != "query"
    )
    cosines = [torch.nn.functional.cosine_similarity(query, passage) for passage in (positive, negative)]
    losses = torch.nn.functional.softplus((cosines[1] - cosines[0]) / TAU)
    by_task = [losses[torch.tensor(data["label"]) == task].mean().item() for task in range(3)]
    np.testing.assert_allclose(loss.last.proxy_loss, by_task, rtol=1e-4)


# ---- a reference that reads the same tokens


def static(vocabulary, lower=False):
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace() if not lower else pre_tokenizers.CharDelimiterSplit(" ")
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")


WORDS = ["[UNK]", *tiny.WORDS]


@pytest.mark.parametrize(
    "reference, message",
    [
        (lambda: static({word: i for i, word in enumerate([WORDS[0], *reversed(WORDS[1:])])}), "200 of its 201 tokens"),
        (lambda: static({word: i for i, word in enumerate(WORDS[:150])}), "51 of its 201 tokens"),
        (lambda: static({word: i for i, word in enumerate(WORDS)}, lower=True), "cuts texts into other tokens"),
    ],
    ids=["permuted", "smaller", "cut otherwise"],
)
def test_a_reference_with_other_tokens_is_refused(reference, message):
    proxy = static({word: i for i, word in enumerate(WORDS)})
    with pytest.raises(UserError, match=rf"{message}.*labels of shape \(B, 2\)"):
        TDROLoss(proxy, WeightLearner(NAMES), reference())


def test_a_reference_may_know_more_tokens(data, tmp_path):
    proxy = static({word: i for i, word in enumerate(WORDS)})
    loss = TDROLoss(proxy, WeightLearner(NAMES), static({word: i for i, word in enumerate([*WORDS, "more"])}))
    trainer(proxy, loss, data, tmp_path).train()
    assert loss.learner.step == 4


def test_texts_beyond_the_references_positions_are_refused(make):
    proxy, loss = make("encoder")
    proxy.max_seq_length = 100
    columns = [proxy.preprocess([" ".join(["w1"] * 70)])] * 3
    assert columns[0]["input_ids"].shape[1] == 71
    with pytest.raises(UserError, match="71 tokens, but the reference has 64 positions: set max_seq_length = 64"):
        loss._live.losses(columns, TAU, 4)


# ---- all else that a trainer does


def test_evaluation_during_training_moves_nothing(make, data, tmp_path):
    found = []
    for evaluation in ({}, {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": data, "eval_on_start": True}):
        proxy, loss = make()
        run = trainer(proxy, loss, data, tmp_path, **evaluation)
        run.train()
        found.append(state_of(proxy, loss))
    assert found[0][0]["learner"]["step"] == 4
    assert any("eval_loss" in entry for entry in run.state.log_history)
    assert_same(*found)


def test_one_loss_for_several_data_sets(make, data, tmp_path):
    proxy, loss = make()
    run = trainer(proxy, loss, DatasetDict({"x": data, "y": data}), tmp_path, **SAVED["steps"])
    run.train()
    resumed, other = make()
    run = trainer(resumed, other, DatasetDict({"x": data, "y": data}), tmp_path, **SAVED["steps"])
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert_same(state_of(proxy, loss), state_of(resumed, other))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (None, r"column 'label': holds texts; .*\n.*ClassLabel\(names=\['a', 'b', 'c'\]\)"),
        (["c", "a", "b"], r"numbers the tasks as \['c', 'a', 'b'\]"),
        (NAMES, None),
        (["0", "1", "2"], None),  # what class_encode_column makes of numbers
    ],
)
def test_labels_with_names_are_in_the_learners_order(order, message, make, data, tmp_path):
    labels = [NAMES[label] for label in data["label"]] if order is None else data["label"]
    named = data.remove_columns("label").add_column("label", labels)
    named = named if order is None else named.cast_column("label", ClassLabel(names=order))
    proxy, loss = make()
    training = trainer(proxy, loss, named, tmp_path / "out", max_steps=1)
    if message is None:
        training.train()
        return
    with pytest.raises(UserError, match=message):
        training.train()


def test_a_short_last_batch_and_several_epochs(make, data, tmp_path):
    proxy, loss = make()
    trainer(proxy, loss, data, tmp_path, max_steps=-1, num_train_epochs=3, per_device_train_batch_size=10).train()
    assert loss.learner.step == 9 and loss.last.rows.sum() == 4


@pytest.mark.parametrize("column, kind", [("labels", int), ("label", float), ("score", float)])
def test_labels_may_be_floats_that_are_whole(column, kind, make, data, tmp_path):
    renamed = data.map(lambda row: {column: kind(row["label"])}, remove_columns=[] if column == "label" else ["label"])
    proxy, loss = make()
    trainer(proxy, loss, renamed, tmp_path, max_steps=1).train()
    assert loss.last.rows.sum() == 6


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data.remove_columns("label"), "a label column with each row's task"),
        (lambda data: data.remove_columns("negative"), "at least one hard negative"),
        (lambda data: data.map(lambda row: {"label": row["label"] + 1}), "names task 3, but the learner has 3"),
        (lambda data: data.map(lambda row: {"label": row["label"] / 2}), "names task 0.5"),
    ],
    ids=["no label", "no negative", "no such task", "half a task"],
)
def test_rows_that_cannot_be_used_are_refused_in_words(change, message, make, data, tmp_path):
    proxy, loss = make()
    with pytest.raises(ValueError, match=message):
        trainer(proxy, loss, change(data), tmp_path, per_device_train_batch_size=24).train()
    assert loss.learner.step == 0


class Wrapped(torch.nn.Module):
    """As DataParallel holds a model, without its GPUs."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, features):
        return self.module(features)


@pytest.mark.parametrize("wrap", [Wrapped, torch.nn.DataParallel])
@pytest.mark.parametrize("caching", [False, True])
def test_a_model_in_a_wrapper_learns_the_same(wrap, caching, make, data):
    found = []
    for wrapper in (lambda model: model, wrap):
        proxy, loss = make("encoder", gradient_caching=caching)
        loss.model = wrapper(proxy)
        for columns, labels in batches(proxy, data.select(range(6))):
            loss(columns, labels).backward()
        found.append((loss.last.alpha, next(proxy.parameters()).grad.norm().item()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-5)


@pytest.mark.slow
def test_torch_compile_in_the_trainer(make, data, tmp_path):
    proxy, loss = make("encoder")
    trainer(proxy, loss, data, tmp_path, max_steps=2, torch_compile=True, torch_compile_backend="eager").train()
    assert loss.learner.step == 2


def test_the_reference_runs_in_the_precision_of_the_model_that_is_trained(make, data, tmp_path):
    """Also where the trainer makes the model itself, and puts it into the loss."""
    proxy = tiny.encoder(tmp_path)
    loss = TDROLoss(proxy, WeightLearner(NAMES), copy.deepcopy(proxy), TAU, mini_batch_size=4)
    fresh = copy.deepcopy(proxy)
    trainer(None, loss, data, tmp_path, model_init=lambda: fresh, bf16=True, max_steps=1).train()
    assert np.nanmax(np.abs(loss.last.measure - 1)) < 1e-3
    assert loss._live._enabled


def test_a_feature_that_cannot_be_cut_is_refused_by_name(make, data):
    proxy, loss = make("encoder")
    columns, labels = next(batches(proxy, data))
    columns[0]["pixel_values"] = torch.zeros(6, 3)
    with pytest.raises(ValueError, match="'pixel_values' of shape"):
        loss(columns, labels)


# ---- data sets that are streamed


def test_a_static_model_on_a_stream_says_what_to_set(make, data, tmp_path):
    """accelerate cuts each tensor of a streamed batch to the number of rows, a static model's flat tokens too."""
    stream = data.to_iterable_dataset()
    with pytest.raises(ValueError, match="dispatch_batches"):
        trainer(*make(), stream, tmp_path).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer(*make(), stream, tmp_path, accelerator_config={"dispatch_batches": False}).train()
