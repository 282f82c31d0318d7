"""The losses: one step against a slow version in NumPy, exact at any micro-batch size, and bad input by name."""

import copy
import json

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses as st_losses

import tiny
from tdro.data.plan.row_plans import MixedPlan
from tdro.dro.infonce import hard_negative_infonce
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.stage_one.learn import learn, reference_labels
from tdro.dro.stage_one.scoring import score_plan
from tdro.errors import UserError
from tdro.machine import Machine
from tdro.recipe.training_sections import LearnWeights
from tdro.training.checkpoints import newest_checkpoint
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.stacking import embed_columns
from tdro.training.steps import PlannedSteps, text_labels

NAMES = ["a", "b", "c"]
TAU = 0.05
BATCH = 12


def planned(model, names=NAMES, batch=BATCH, negatives=3, sampling="random"):
    """Steps over small tasks, and the labels (B,) of the simplest kind."""
    tasks = [tiny.task(name, rows=6 + 3 * i) for i, name in enumerate(names)]
    plan = MixedPlan([len(task) for task in tasks], batch, 20, 1, sampling)
    return PlannedSteps(tiny.tokenized(model, tasks), plan, negatives, lambda step, rows, texts: rows.task)


def embeddings(model, columns):
    """Each column embedded alone, as a plain script would: the graph is kept."""
    return [model({key: value.clone() for key, value in column.items()})["sentence_embedding"] for column in columns]


def gradients(model):
    return {n: p.grad.to_dense().clone() for n, p in model.named_parameters() if p.grad is not None}


def relative_difference(one, other):
    """The largest difference of a parameter's gradient, relative to the whole gradient's norm."""
    assert one.keys() == other.keys() and one
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in other.values()))
    return max(float((one[name] - other[name]).abs().max() / norm) for name in one)


# ---- a slow version in NumPy, float64


def slow_losses(parts):
    """Per row: -log of the softmax at the positive, over the row's own passages."""
    query, *passages = (np.asarray(part.detach(), dtype=np.float64) for part in parts)
    losses = []
    for row in range(len(query)):
        cosines = [query[row] @ p[row] / (np.linalg.norm(query[row]) * np.linalg.norm(p[row])) for p in passages]
        shares = [np.exp(c / TAU) for c in cosines]
        losses.append(-np.log(shares[0] / sum(shares)))
    return np.array(losses)


class SlowLearner:
    """The paper's α, one task at a time."""

    def __init__(self, count, eta):
        self.log_alpha, self.eta, self.last = [float(np.log(1 / count))] * count, eta, [None] * count

    @staticmethod
    def ratio(proxy, reference):
        """With the floor of 1e-3 nats: below it in both models a task is solved."""
        return 1.0 if max(proxy, reference) < 1e-3 else proxy / max(reference, 1e-3)

    def step(self, proxy, reference, tasks):
        """The measures (None: absent) and the new α."""
        measures = []
        for task in range(len(self.last)):
            own = [i for i, t in enumerate(tasks) if t == task]
            measures.append(self.ratio(np.mean(proxy[own]), np.mean(reference[own])) if own else None)
            self.last[task] = self.last[task] if measures[task] is None else measures[task]
        known = [m for m in self.last if m is not None]
        gradient = np.array([np.mean(known) if m is None else m for m in self.last])
        gradient = gradient / max(1, np.sqrt((gradient**2).sum()))
        moved = [a + self.eta * g for a, g in zip(self.log_alpha, gradient, strict=True)]
        alpha = np.exp(moved) / np.exp(moved).sum()
        self.log_alpha = [float(x) for x in np.log(alpha)]
        return measures, alpha


@pytest.mark.parametrize("kind", ["static", "encoder"])
def test_several_steps_against_the_slow_version(kind, tmp_path):
    """Losses, measures, α, row weights, the weighted loss, and its gradient by plain autograd; both models move."""
    model, plain = (tiny.model(kind, tmp_path) for _ in range(2))
    reference = tiny.model(kind, tmp_path, seed=1)
    steps = planned(model, batch=4)  # some tasks are absent from some steps
    learner, slow = WeightLearner(NAMES, eta=0.3), SlowLearner(3, 0.3)
    loss = TDROLoss(model, learner, reference, temperature=TAU, mini_batch_size=5)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, plain)]
    absent = 0
    for step in range(8):
        batch = steps[step]
        value = loss(tiny.columns(batch), batch["label"])
        tasks = batch["label"].tolist()
        parts = embeddings(plain, tiny.columns(batch))
        proxy, ref = slow_losses(parts), slow_losses(embeddings(reference, tiny.columns(batch)))
        measures, alpha = slow.step(proxy, ref, tasks)
        weights = np.array([alpha[t] for t in tasks]) / sum(alpha[t] for t in tasks)

        record = loss.last
        assert record.step == step and record.rows.tolist() == [tasks.count(t) for t in range(3)]
        np.testing.assert_allclose(record.measure, [np.nan if m is None else m for m in measures], rtol=2e-5)
        np.testing.assert_allclose(record.alpha, alpha, rtol=1e-5)
        np.testing.assert_allclose([value.item(), record.loss], (weights * proxy).sum(), rtol=1e-5)
        absent += measures.count(None)

        plain_losses = hard_negative_infonce(parts[0], torch.stack(parts[1:], 1), TAU)
        for optimizer, total in zip(
            optimizers, (value, (torch.tensor(weights).float() * plain_losses).sum()), strict=True
        ):
            optimizer.zero_grad()
            total.backward()
        assert relative_difference(gradients(model), gradients(plain)) < 1e-5
        for optimizer in optimizers:
            optimizer.step()
    assert absent


def one_step(model, columns, labels, size, caching):
    """α and the gradient after two steps (the second starts from weights that are not uniform)."""
    loss = TDROLoss(model, WeightLearner(NAMES, 0.5), temperature=TAU, mini_batch_size=size, gradient_caching=caching)
    for _ in range(2):
        model.zero_grad()
        value = loss([dict(column) for column in columns], labels)
        value.backward()
    return value.item(), loss.last.alpha, gradients(model)


@pytest.mark.parametrize("kind", tiny.MODELS)
def test_micro_batches_and_gradient_caching_change_nothing(kind, tmp_path):
    model = tiny.model(kind, tmp_path).train()
    if kind == "lora":
        assert model.transformers_model.is_gradient_checkpointing
    steps = planned(model)
    columns, tasks = tiny.columns(steps[0]), steps[0]["label"]
    reference = torch.linspace(0.5, 3, BATCH).double()
    labels = torch.stack([tasks.double(), reference], dim=1)
    expected = one_step(model, columns, labels, 10_000, False)
    for size in (16, 3):
        for caching in (False, True):
            value, alpha, gradient = one_step(model, columns, labels, size, caching)
            assert value == pytest.approx(expected[0], rel=1e-5)
            np.testing.assert_allclose(alpha, expected[1], atol=1e-6)
            assert relative_difference(gradient, expected[2]) < 1e-5
    if kind == "lora":
        assert all("lora" in name for name in expected[2])


def test_a_live_reference_and_its_losses_as_labels_are_the_same(tmp_path):
    model, reference = tiny.encoder(tmp_path / "a"), tiny.encoder(tmp_path / "b", seed=1)
    batch = planned(model)[0]
    columns, tasks = tiny.columns(batch), batch["label"]
    ready = torch.from_numpy(slow_losses(embeddings(reference, columns)))
    row_ids = torch.arange(BATCH).double() + 100
    found = []
    for labels, live in (
        (tasks, reference),
        (torch.stack([tasks.double(), ready], 1), None),
        (torch.stack([tasks.double(), ready, row_ids], 1), None),
    ):
        loss = TDROLoss(model, WeightLearner(NAMES), live, temperature=TAU)
        found.append((loss([dict(c) for c in columns], labels).item(), *loss.last.alpha, *loss.last.measure))
    np.testing.assert_allclose(found, [found[0]] * 3, rtol=1e-5)
    assert not any(p.requires_grad for p in reference.parameters())
    assert len(list(TDROLoss(model, WeightLearner(NAMES), reference).parameters())) == len(list(model.parameters()))


@pytest.mark.parametrize("measure", ["raw", "excess", "relative_per_row", "relative"])
def test_measures_of_a_step(measure, tmp_path):
    model = tiny.static_model()
    batch = planned(model, sampling="stratified")[0]
    columns, tasks = tiny.columns(batch), batch["label"].numpy()
    proxy = slow_losses(embeddings(model, columns))
    ref = np.linspace(0.2, 4, BATCH)
    labels = torch.from_numpy(tasks if measure == "raw" else np.stack([tasks, ref], 1))
    loss = TDROLoss(model, WeightLearner(NAMES), temperature=TAU, measure=measure)
    loss(columns, labels)
    per_row = {
        "raw": proxy,
        "excess": np.maximum(proxy - ref, 0),
        "relative_per_row": proxy / (ref / ref.sum()),
        "relative": proxy,
    }[measure]
    expected = np.array([per_row[tasks == task].mean() for task in range(3)])
    if measure == "relative":
        expected /= [ref[tasks == task].mean() for task in range(3)]
    np.testing.assert_allclose(loss.last.measure, expected, rtol=2e-5)


def test_measures_may_be_averaged_over_steps(tmp_path):
    model = tiny.static_model()
    steps = planned(model)
    loss = TDROLoss(model, WeightLearner(NAMES), tiny.static_model(seed=1), temperature=TAU, average_steps=3)
    sums = []
    for step in range(4):
        columns, tasks = tiny.columns(steps[step]), steps[step]["label"].numpy()
        loss([dict(c) for c in columns], steps[step]["label"])
        both = [slow_losses(embeddings(m, columns)) for m in (model, tiny.static_model(seed=1))]
        sums.append([np.bincount(tasks, weights=x, minlength=3) for x in (*both, np.ones(BATCH))])
    proxy, ref, rows = np.sum(sums[-3:], axis=0)
    np.testing.assert_allclose(loss.last.measure, (proxy / rows) / (ref / rows), rtol=2e-5)


# ---- proxy = reference


def deviation(model, machine, tmp_path, live, size=16, steps=3):
    """The largest |M_g - 1| over some steps, with an untouched copy of the proxy as the reference."""
    planned_steps = planned(model)
    if not live:
        similarities = score_plan({"same": lambda: model}, planned_steps, tmp_path, machine, chunk_rows=size)
        planned_steps.labels = reference_labels(similarities, TAU)
    loss = TDROLoss(
        model, WeightLearner(NAMES), copy.deepcopy(model) if live else None, temperature=TAU, mini_batch_size=size
    )
    worst = 0.0
    for step in range(steps):
        batch = planned_steps[step]
        with torch.autocast("cpu", torch.bfloat16, enabled=machine.bf16):
            loss(tiny.columns(batch), batch["label"])
        worst = max(worst, float(np.nanmax(np.abs(loss.last.measure - 1))))
    return worst


@pytest.mark.parametrize("live", [True, False], ids=["live", "ahead"])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["static", "encoder", "decoder"])
def test_where_proxy_is_reference_every_measure_is_one(kind, bf16, live, tmp_path):
    model = tiny.model(kind, tmp_path).train()
    assert deviation(model, Machine(bf16=bf16), tmp_path, live) <= (1e-3 if bf16 else 1e-6)


# ---- evaluation, and bad input


def test_evaluation_does_not_move_the_weights():
    model = tiny.static_model()
    batch = planned(model)[0]
    learner = WeightLearner(NAMES)
    loss = TDROLoss(model, learner, tiny.static_model(seed=1))
    with torch.no_grad():
        first = loss(tiny.columns(batch), batch["label"])
    assert learner.step == 0 and loss.last is None and torch.isfinite(first)
    loss(tiny.columns(batch), batch["label"])
    assert learner.step == 1


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("where", ["proxy", "reference"])
def test_a_loss_that_is_not_finite_names_step_task_and_row(where, caching, tmp_path):
    model = tiny.encoder(tmp_path)
    batch = planned(model, sampling="stratified")[0]
    labels = torch.stack([batch["label"].double(), torch.ones(BATCH).double(), torch.arange(BATCH) + 70.0], 1)
    learner = WeightLearner(NAMES)
    loss = TDROLoss(model, learner, gradient_caching=caching)
    loss(tiny.columns(batch), labels)
    if where == "reference":
        labels[4, 1] = torch.inf
        expected = r"step 1: the loss is not finite in b row 74\."
    else:
        with torch.no_grad():
            next(model.parameters())[:] = torch.nan
        expected = "step 1: the loss is not finite in a row 70, b row 71, c row 72.* and 4 more"
    before = learner.state_dict()
    with pytest.raises(UserError, match=expected):
        loss(tiny.columns(batch), labels)
    assert learner.state_dict() == before


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "label column"),
        (torch.zeros(5, dtype=torch.long), r"B = 12, not \(5,\)"),
        (torch.zeros(BATCH, 4), r"not \(12, 4\)"),
        (torch.full((BATCH,), 3), "task 3, but the learner has 3"),
        (torch.full((BATCH,), -1), "task -1, but the learner has 3"),
        (torch.full((BATCH,), torch.nan), "names task (nan|0.5), but"),
        (torch.full((BATCH,), 0.5), "names task (nan|0.5), but"),
        (torch.zeros(BATCH, dtype=torch.long), "needs a reference"),
    ],
)
def test_bad_labels(labels, message):
    model = tiny.static_model()
    with pytest.raises(ValueError, match=message):
        TDROLoss(model, WeightLearner(NAMES))(tiny.columns(planned(model)[0]), labels)


def test_a_batch_without_negatives_is_refused():
    model = tiny.static_model()
    batch = planned(model, negatives=0)[0]
    with pytest.raises(ValueError, match="at least one hard negative"):
        TDROLoss(model, WeightLearner(NAMES))(tiny.columns(batch), batch["label"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"temperature": 0}, "temperature"),
        ({"measure": "ratio"}, "ratio"),
        ({"measure": "raw", "average_steps": 2}, "average_steps"),
        ({"mini_batch_size": 0}, "mini_batch_size"),
        ({"average_steps": 0}, "window"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TDROLoss(tiny.static_model(), WeightLearner(NAMES), **settings)


def test_the_proxy_itself_cannot_be_the_reference():
    model = tiny.static_model()
    with pytest.raises(ValueError, match="copy"):
        TDROLoss(model, WeightLearner(NAMES), model)


def test_one_task_keeps_all_the_weight():
    model = tiny.static_model()
    batch = planned(model, ["only"])[0]
    loss = TDROLoss(model, WeightLearner(["only"]), tiny.static_model(seed=1), temperature=TAU)
    value = loss(tiny.columns(batch), batch["label"])
    assert loss.last.alpha.tolist() == [1.0] and loss.last.warnings == []
    assert value.item() == pytest.approx(slow_losses(embeddings(model, tiny.columns(batch))).mean(), rel=1e-5)


def test_left_padded_inputs_give_the_same_loss(tmp_path):
    model = tiny.encoder(tmp_path)
    batch = planned(model)[0]
    right = tiny.columns(batch)
    left = []
    for column in right:
        order = torch.argsort(column["attention_mask"], dim=1, stable=True)
        left.append({key: value.gather(1, order) for key, value in column.items()})
    assert not all(bool(column["attention_mask"][:, 0].all()) for column in left)
    values = []
    for columns in (right, left):
        loss = TDROLoss(model, WeightLearner(NAMES), tiny.encoder(tmp_path / "r", seed=1), TAU, mini_batch_size=7)
        values.append([loss(columns, batch["label"]).item(), *loss.last.measure])
    np.testing.assert_allclose(values[1], values[0], rtol=1e-6)


def test_flattened_inputs_are_refused():
    columns = [{"input_ids": torch.ones(1, 5), "cu_seq_lens_q": torch.tensor([0, 5])}] * 3
    with pytest.raises(ValueError, match="flattening"):
        embed_columns(torch.nn.Identity(), columns, 8)


# ---- stage 1 as a whole


def learned(model, folder, machine=Machine(), spoil=lambda x: x, sizes=(20, 20), **settings):  # noqa: B008
    """``learn`` over small tasks, the reference being the untouched model; the lines of its log."""
    tasks = [tiny.task(name, rows=rows) for name, rows in zip(NAMES, sizes, strict=False)]
    settings = LearnWeights(**{"steps": 6, "batch": 8, "negatives": 2, "chunk_rows": 5, "temperature": TAU} | settings)
    plan = MixedPlan(sizes, 8, settings.steps, 1)
    steps = PlannedSteps(tiny.tokenized(model, tasks), plan, 2, lambda *args: None)
    load = lambda: copy.deepcopy(model)  # noqa: E731
    similarities = score_plan({"same": load}, steps, folder / "scores", machine, chunk_rows=5)
    learn(load, steps, spoil(np.array(similarities)), settings, folder, machine, 1)
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_stage_1_starts_from_measures_of_one_where_proxy_is_reference(bf16, caching, tmp_path):
    """Through the trainer too, whose autocast is not the one of the reference's scoring."""
    lines = learned(tiny.encoder(tmp_path / "e"), tmp_path, Machine(bf16=bf16), gradient_caching=caching, steps=2)
    assert abs(np.array(lines[0]["measure"]) - 1).max() <= (1e-3 if bf16 else 1e-6)


def test_stage_1_stops_at_a_loss_that_is_not_finite_and_keeps_the_checkpoint(tmp_path):
    def spoil(similarities):
        similarities[5, 3] = np.nan
        return similarities

    with pytest.raises(UserError, match=r"step 5: the loss is not finite in b row \d+\."):
        learned(tiny.static_model(), tmp_path, spoil=spoil, checkpoint_steps=2)
    assert newest_checkpoint(tmp_path / "training").name == "checkpoint-4"
    lines = learned(tiny.static_model(), tmp_path, checkpoint_steps=2)  # mended, it goes on from there
    assert [line["step"] for line in lines] == list(range(6))


@pytest.mark.parametrize("sizes", [(5,), (1, 9), (1,), (1, 1, 30)])
def test_few_tasks_and_few_rows(sizes, tmp_path):
    lines = learned(tiny.static_model(), tmp_path, sizes=sizes)
    assert len(lines) == 6 and all(sum(line["alpha"]) == pytest.approx(1) for line in lines)
    if len(sizes) == 1:
        assert lines[-1]["alpha"] == [1.0]


# ---- the fine-tuning loss


def in_batch(model, batch, **settings):
    labels = batch.get("label")
    return InBatchLoss(model, TAU, **settings)(tiny.columns(batch), labels)


def fine_tuning_batch(model, negatives=2):
    steps = planned(model, ["a"], batch=6, negatives=negatives)  # six rows, all different
    batch = steps[0]
    batch["label"] = torch.from_numpy(text_labels(0, *steps.rows(0)))
    return batch


@pytest.mark.parametrize("kind", ["static", "encoder"])
@pytest.mark.parametrize("negatives", [0, 2])
def test_without_equal_texts_it_is_the_librarys_loss(kind, negatives, tmp_path):
    model = tiny.model(kind, tmp_path)
    batch = fine_tuning_batch(model, negatives)
    assert all(len(part.unique()) == part.numel() for part in (batch["label"][:, 1], batch["label"][:, 2:]))
    library = [st_losses.MultipleNegativesRankingLoss(model, scale=1 / TAU)]
    if kind == "encoder":
        library.append(st_losses.CachedMultipleNegativesRankingLoss(model, scale=1 / TAU, mini_batch_size=4))
    for theirs in library:
        for settings in ({}, {"mini_batch_size": 4}, {"mini_batch_size": 4, "gradient_caching": True}):
            found = []
            for value in (theirs(tiny.columns(batch), None), in_batch(model, batch, **settings)):
                model.zero_grad()
                value.backward()
                found.append((value.item(), gradients(model)))
            assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
            assert relative_difference(found[1][1], found[0][1]) < 1e-5


def test_a_text_equal_to_the_positive_is_no_negative():
    """Row 0's positive is also row 1's, and a negative of row 2: neither counts for row 0 (or 1). Rows 4 and 5 ask one
    query: the positive of one is no negative of the other."""
    model = tiny.static_model()
    batch = fine_tuning_batch(model)
    labels = batch["label"].clone()
    labels[1, 2] = labels[2, 4] = labels[0, 2]
    labels[5, 1] = labels[4, 1]
    query, *passages = (
        torch.nn.functional.normalize(x, dim=1).double() for x in embeddings(model, tiny.columns(batch))
    )
    scores = (query @ torch.cat(passages).T / TAU).detach().numpy()
    texts = labels[:, 2:].T.flatten().tolist()
    same_query = {(4, 5), (5, 4)}
    expected = []
    for row in range(6):
        candidates = [
            score
            for i, score in enumerate(scores[row])
            if i == row or (texts[i] != labels[row, 2] and (row, i) not in same_query)
        ]
        expected.append(np.log(np.exp(candidates).sum()) - scores[row, row])
    batch["label"] = labels
    assert in_batch(model, batch).item() == pytest.approx(np.mean(expected), rel=1e-5)
    batch["label"] = None
    assert in_batch(model, batch).item() > np.mean(expected) + 1e-3


def test_all_rows_with_one_positive_leave_nothing_to_learn():
    model = tiny.static_model()
    batch = fine_tuning_batch(model, negatives=0)
    batch["label"] = torch.zeros(6, 3, dtype=torch.long)
    assert in_batch(model, batch).item() == 0


@pytest.mark.parametrize("caching", [False, True])
def test_rows_of_some_tasks_see_their_own_negatives_only(caching, tmp_path):
    model = tiny.model("encoder", tmp_path)
    batch = fine_tuning_batch(model)
    labels = batch["label"].clone()
    labels[:, 0] = torch.tensor([0, 1, 0, 1, 2, 0])
    batch["label"] = labels
    query, *passages = (
        torch.nn.functional.normalize(x, dim=1).double() for x in embeddings(model, tiny.columns(batch))
    )
    scores = (query @ torch.cat(passages).T / TAU).detach().numpy()
    expected = []
    for row, task in enumerate(labels[:, 0].tolist()):
        seen = [score for i, score in enumerate(scores[row]) if task != 1 or i % 6 == row]
        expected.append(np.log(np.exp(seen).sum()) - scores[row, row])
    settings = {"hard_negatives_only": [1], "gradient_caching": caching, "mini_batch_size": 4}
    assert in_batch(model, batch, **settings).item() == pytest.approx(np.mean(expected), rel=1e-5)
