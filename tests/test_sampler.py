"""WeightedTaskSampler inside stock trainers, by hand, and sharded over ranks."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SkipBatchSampler
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.utils.data import ConcatDataset, RandomSampler

import tdro
import tiny
from launch import in_ranks
from tdro import TaskWeights, WeightedTaskSampler
from tdro.errors import UserError

SIZES = {"a": 70, "b": 40, "c": 24}
WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
STARTS = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]).tolist(), strict=False))


def data(sizes: dict[str, int] = SIZES) -> DatasetDict:
    """A data set per task; a row's label is its place in the concatenation."""
    made, label = {}, 0
    for name, rows in sizes.items():
        columns = [tiny.task(name, max(rows, 1), negatives=0).rows[key] for key in ("query", "positives")]
        made[name] = Dataset.from_dict({
            "query": columns[0][:rows],
            "positive": [texts[0] for texts in columns[1]][:rows],
            "label": list(range(label, label + rows)),
        })  # fmt: skip
        label += rows
    return DatasetDict(made)


def sampler(
    parts: DatasetDict | None = None,
    inside: str = "default",
    batch: int = 8,
    drop_last: bool = True,
    seed: int = 0,
    generator: torch.Generator | None = None,
    **options: Any,
) -> WeightedTaskSampler:
    """As the trainer makes it: one generator for all, and label columns known."""
    parts = data() if parts is None else parts
    generator = torch.Generator() if generator is None else generator
    common = {"batch_size": batch, "drop_last": drop_last, "generator": generator, "seed": seed}
    inner = [
        NoDuplicatesBatchSampler(part, valid_label_columns=["label"], **common)
        if inside == "no duplicates"
        else DefaultBatchSampler(RandomSampler(part, generator=generator), **common)
        for part in parts.values()
    ]
    options = {"names": parts, "weights": WEIGHTS, "steps": 40} | options
    return WeightedTaskSampler.using(**options)(
        ConcatDataset(parts.values()), batch_samplers=inner, generator=generator, seed=seed
    )


def task_of(batch: list[int]) -> str:
    tasks = {next(name for name in reversed(STARTS) if row >= STARTS[name]) for row in batch}
    assert len(tasks) == 1, "a batch of several tasks"
    return tasks.pop()


def own_epochs(batches: list[list[int]], name: str, per_epoch: int) -> list[list[int]]:
    rows = [batch for batch in batches if task_of(batch) == name]
    return [[row for batch in rows[i : i + per_epoch] for row in batch] for i in range(0, len(rows), per_epoch)]


# ---- what is drawn


@pytest.mark.parametrize("inside", ["default", "no duplicates"])
def test_batches_are_of_one_task_and_counts_follow_the_weights(inside: str):
    made = sampler(inside=inside)
    batches = list(made)
    assert len(batches) == len(made) == 40
    assert all(len(batch) == 8 for batch in batches)
    counts = Counter(map(task_of, batches))
    assert counts == {"a": 20, "b": 12, "c": 8}
    assert made.rows_drawn == {name: 8 * count for name, count in counts.items()}
    assert made.epochs == {"a": 160 / 70, "b": 96 / 40, "c": 64 / 24}


@pytest.mark.parametrize("inside", ["default", "no duplicates"])
def test_each_task_is_without_replacement_and_reshuffled_in_each_epoch_of_its_own(inside: str):
    for name, per_epoch in {"a": 8, "b": 5, "c": 3}.items():
        epochs = own_epochs(list(sampler(inside=inside)), name, per_epoch)[:2]
        assert len(epochs) == 2
        assert all(len(set(epoch)) == len(epoch) for epoch in epochs)
        assert epochs[0] != epochs[1]
        # Another order, not the same batches in another order.
        assert set(epochs[0][:8]) != set(epochs[1][:8])


def test_tempered_weights_draw_by_their_powers():
    """Weights of 0.64, 0.32 and 0.04: to the power of 0.5 they are 0.8, 0.57 and 0.2."""
    weights = TaskWeights.from_dict({"a": 0.64, "b": 0.32, "c": 0.04})
    powers = np.sqrt(weights.values)
    for spec, shares in {
        "reweight^0.5": powers / powers.sum(),
        "top-70^0.5": np.array([*powers[:2], 0]) / powers[:2].sum(),
        "proportional^0.5": np.sqrt([70, 40, 24]) / np.sqrt([70, 40, 24]).sum(),
    }.items():
        made = sampler(weights=weights.transfer(spec, {"a": 70, "b": 40, "c": 24}))
        counts = Counter(map(task_of, made))
        assert np.abs(np.array([counts[name] for name in "abc"]) - 40 * shares).max() < 1, spec


def test_tempered_weights_of_all_tasks_are_no_selection():
    weights = TaskWeights.from_dict({"a": 0.6, "b": 0.4})
    assert sampler(weights=weights.transfer("top-100^0.5")).weights["c"] == 0
    with pytest.raises(UserError, match="no weight for data set 'c'"):
        sampler(weights=weights.transfer("reweight^0.5"))


def test_no_duplicates_keeps_its_promise():
    rows = {"query": ["q"] * 20 + [f"q{i}" for i in range(20)], "positive": [f"p{i}" for i in range(40)]}
    parts = DatasetDict({"a": Dataset.from_dict(rows), "b": Dataset.from_dict(rows)})
    for batch in sampler(parts, "no duplicates", batch=4, drop_last=False, weights=None):
        queries = [rows["query"][row % 40] for row in batch]
        assert len(set(queries)) == len(queries)


def test_no_weights_are_uniform_weights_and_weights_change_only_which_task_comes():
    bare, uniform = sampler(weights=None), sampler(weights=TaskWeights.uniform(reversed(SIZES)))
    assert list(bare) == list(uniform)
    weighted = list(sampler())
    for name in SIZES:
        ours, theirs = ([batch for batch in each if task_of(batch) == name] for each in (list(bare), weighted))
        assert ours[: len(theirs)] == theirs[: len(ours)]


def test_no_weights_need_no_names():
    made = sampler(weights=None, names=None)
    assert made.names == ("0", "1", "2")
    assert list(made) == list(sampler(weights=None))


def test_order_depends_on_the_seed_and_the_pass_only():
    made = sampler()
    first = list(made)
    assert list(made) == first
    made.set_epoch(1)
    second = list(made)
    assert second != first
    assert Counter(map(task_of, second)) == Counter(map(task_of, first))
    made.set_epoch(0)
    assert list(made) == first
    assert list(sampler(seed=1)) != first


def test_nobody_elses_random_numbers_are_touched():
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    list(sampler(generator=generator))
    assert torch.equal(generator.get_state(), before)
    # With no generator at all the batch samplers draw from torch's own, and the order is as pure.
    parts = data()
    inner = [DefaultBatchSampler(RandomSampler(part), batch_size=8, drop_last=True) for part in parts.values()]
    made = WeightedTaskSampler(ConcatDataset(parts.values()), inner, weights=WEIGHTS, steps=40, names=parts)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    order = list(made)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert list(made) == order


def test_random_draws_are_independent_and_near_the_weights():
    made = sampler(draw="random", steps=600)
    counts = Counter(map(task_of, made))
    assert counts != {"a": 300, "b": 180, "c": 120}
    assert all(abs(counts[name] - 600 * weight) < 60 for name, weight in WEIGHTS.items())


def test_short_batches_only_at_the_end_of_a_tasks_epoch():
    batches = list(sampler(drop_last=False))
    assert Counter(len(batch) for batch in batches if task_of(batch) == "a") == {8: 18, 6: 2}
    assert sorted(own_epochs(batches, "a", 9)[0]) == list(range(70))


def test_a_task_of_weight_zero_never_comes_and_may_be_tiny():
    parts = data({"a": 70, "b": 40, "c": 2})
    assert "c" not in set(map(task_of, sampler(parts, weights={"a": 0.5, "b": 0.5, "c": 0})))
    empty = data({"a": 70, "b": 40, "c": 0})
    assert len(list(sampler(empty, "no duplicates", weights={"a": 0.5, "b": 0.5, "c": 0}))) == 40


def test_max_epochs_hands_the_rest_to_the_others():
    free, capped = sampler(), sampler(max_epochs=2.4)
    list(free), list(capped)
    assert free.epochs["c"] > 2.5
    assert 2 <= capped.epochs["c"] <= 2.4
    assert capped.epochs["a"] > free.epochs["a"]
    assert sum(capped.rows_drawn.values()) == 320
    assert capped.weights.provenance["max_epochs"] == 2.4
    with pytest.raises(UserError, match="allow 2"):
        sampler(max_epochs=1)


@pytest.mark.parametrize("draw", ["systematic", "random"])
@pytest.mark.parametrize("world", [1, 2])
def test_max_epochs_is_never_exceeded(draw: str, world: int):
    capped = sampler(max_epochs=3.2, draw=draw, world=world, steps=40 if world == 1 else 18)
    list(capped)
    assert max(capped.epochs.values()) <= 3.2 and sum(capped.rows_drawn.values()) > 0.9 * len(capped) * 8


def test_max_epochs_lets_a_task_with_less_than_a_batch_come_as_often():
    capped = sampler(data({"a": 70, "b": 40, "c": 5}), drop_last=False, max_epochs=4.5)
    list(capped)
    assert capped.epochs["c"] == 4


# ---- ranks and resuming, as accelerate does it


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("inside", ["default", "no duplicates"])
def test_every_rank_is_in_the_same_task_at_a_step(world: int, inside: str):
    shards = [
        list(BatchSamplerShard(sampler(inside=inside, batch=4, drop_last=False, world=world, max_epochs=20),
                               world, rank, even_batches=False))
        for rank in range(world)
    ]  # fmt: skip
    assert [len(shard) for shard in shards] == [40] * world
    for step in zip(*shards, strict=True):
        assert len(set(map(task_of, step))) == 1
        assert all(len(batch) == 4 for batch in step)
        assert len({row for batch in step for row in batch}) == 4 * world
    # No row comes twice before its task is exhausted, over all ranks (a's 70 rows make 16 batches for all).
    in_order = [batch for step in zip(*shards, strict=True) for batch in step]
    first = own_epochs(in_order, "a", 16)[0]
    assert len(set(first)) == len(first) == 64


def test_a_task_with_too_few_rows_for_all_ranks_goes_on_with_its_next_epoch():
    made = sampler(batch=16, world=4, weights={"a": 0, "b": 0, "c": 1}, steps=3)
    batches = list(made)
    assert len(batches) == 12
    assert all(len(batch) == 16 for batch in batches)
    assert made.epochs["c"] == 12 * 16 / 24


def test_stock_sampler_mixes_tasks_over_ranks_which_is_why_this_one_is_here():
    shards = [list(BatchSamplerShard(sampler(world=1), 2, rank, even_batches=False)) for rank in range(2)]
    assert any(task_of(a) != task_of(b) for a, b in zip(*shards, strict=True))


def test_skipping_continues_with_the_batches_that_would_have_come():
    assert list(SkipBatchSampler(sampler(inside="no duplicates"), 17)) == list(sampler(inside="no duplicates"))[17:]


def test_a_second_pass_on_several_ranks_is_warned_of():
    with pytest.warns(UserWarning, match="a second time"):
        sampler(world=2).set_epoch(1)


# ---- weights, names and options that are wrong


def test_weights_from_a_file_and_a_selection_of_tasks(tmp_path: Path):
    path = tmp_path / "weights.json"
    TaskWeights.from_dict(WEIGHTS).save(path)
    assert list(sampler(weights=path)) == list(sampler(weights=str(path))) == list(sampler())
    TaskWeights.from_dict(WEIGHTS).top(70).save(path)
    made = sampler(weights=path)
    assert made.weights.as_dict() == {"a": 0.5, "b": 0.5, "c": 0}


def test_weights_that_do_not_sum_to_one_are_normalised_and_it_is_said():
    with pytest.warns(UserWarning, match="sum to 10, not 1: normalised"):
        made = sampler(weights={"a": 5, "b": 3, "c": 2})
    assert list(made) == list(sampler())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": WEIGHTS | {"d": 0.1}}, ["'d'", "not among the tasks"]),
        ({"weights": {"a": 0.5, "b": 0.5}}, ["no weight for data set 'c'"]),
        ({"weights": {"a": 1.5, "b": -0.5, "c": 0}}, ["'b'", "-0.5"]),
        ({"weights": {"a": float("nan"), "b": 0.5, "c": 0.5}}, ["'a'", "nan"]),
        ({"weights": {"a": "0.5", "b": 0.5, "c": 0.5}}, ["'a'", "not a number"]),
        ({"weights": {"a": 0, "b": 0, "c": 0}}, ["all of them are zero"]),
        ({"weights": {}}, ["no task"]),
        ({"weights": "nowhere.json"}, ["nowhere.json", "no such file"]),
        ({"names": None}, ["names=train_dataset"]),
        ({"names": ["a", "b"]}, ["3 different ones"]),
        ({"names": ["a", "b", "b"]}, ["3 different ones"]),
        ({"steps": 0}, ["steps", "0"]),
        ({"steps": 2.5}, ["steps", "2.5"]),
        ({"draw": "sometimes"}, ["draw", "sometimes"]),
        ({"world": 0}, ["world"]),
        ({"batch": 32}, ["'c'", "24 rows", "full batch of 32", "weight 0"]),
    ],
)
@pytest.mark.filterwarnings("ignore:weights sum")
def test_what_is_wrong_is_said(options: dict[str, Any], words: list[str]):
    with pytest.raises(UserError) as error:
        sampler(**options)
    for word in words:
        assert word in str(error.value)


def test_a_task_that_makes_no_full_batch_for_the_ranks_is_an_error_and_no_endless_loop():
    with pytest.raises(UserError, match="'c'"):
        list(sampler(batch=32, drop_last=False, world=2))


def test_it_is_a_public_name():
    assert tdro.WeightedTaskSampler.__module__ == "tdro.sampler"


# ---- inside stock trainers


class Recorder(MultipleNegativesRankingLoss):
    """The stock loss, keeping the labels (here: row numbers) of each batch."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__(model)
        self.seen: list[list[int]] = []

    def forward(self, sentence_features: Any, labels: torch.Tensor) -> torch.Tensor:
        self.seen.append(labels.tolist())
        return super().forward(sentence_features, labels)


def trainer(model: SentenceTransformer, folder: Path, steps: int = 14, **options: Any) -> SentenceTransformerTrainer:
    """A stock trainer; checkpoints after step 9, in the second epoch of task c."""
    parts = data()
    arguments = {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": 8, "use_cpu": True,
        "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 9, "report_to": "none",
        "disable_tqdm": True, "batch_sampler": "no_duplicates", "logging_strategy": "no",
        "multi_dataset_batch_sampler": WeightedTaskSampler.using(WEIGHTS, steps=steps, names=parts),
    }  # fmt: skip
    return SentenceTransformerTrainer(
        model=model, args=SentenceTransformerTrainingArguments(**arguments | options), train_dataset=parts,
        loss=Recorder(model),
    )  # fmt: skip


def same(left: SentenceTransformer, right: SentenceTransformer) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_stock_trainer_resumes_to_the_bit(tmp_path: Path):
    whole = trainer(tiny.encoder(tmp_path / "base", dropout=0.1), tmp_path / "out")
    whole.train()
    assert whole.state.global_step == len(whole.loss.seen) == 14
    assert [task_of(batch) for batch in whole.loss.seen].count("a") == 7
    again = trainer(tiny.encoder(tmp_path / "base", dropout=0.1), tmp_path / "out")
    (tmp_path / "out" / "checkpoint-14").rename(tmp_path / "last")
    again.train(resume_from_checkpoint=True)
    assert again.loss.seen == whole.loss.seen[9:]
    assert same(whole.model, again.model)
    made = again.callback_handler.train_dataloader.batch_sampler
    while not isinstance(made, WeightedTaskSampler):
        made = made.batch_sampler
    assert made.rows_drawn == {"a": 56, "b": 32, "c": 24}


@pytest.mark.parametrize("given", [True, False])
def test_names_come_from_the_trainer_where_it_tells_them(tmp_path: Path, given: bool):
    names = list(SIZES) if given else None
    using = WeightedTaskSampler.using(WEIGHTS, steps=14, names=names)
    prompts = {name: {"query": f"{name}: "} for name in SIZES}
    made = trainer(tiny.static_model(), tmp_path, prompts=prompts, multi_dataset_batch_sampler=using)
    assert made.get_train_dataloader().batch_sampler.names == ("a", "b", "c")


def test_rows_to_a_power_need_no_names_and_no_file():
    by_rows = sampler(weights="proportional^0.5")
    roots = np.sqrt(list(SIZES.values()))
    assert np.allclose(by_rows.weights.values, roots / roots.sum())
    again = WeightedTaskSampler.using("proportional^0.5", steps=14)
    assert pickle.loads(pickle.dumps(again)).keywords["weights"] == again.keywords["weights"]  # noqa: S301


@pytest.mark.parametrize(
    ("spec", "message"),
    [("top-70", "needs learned weights"), ("size^0.5", "did you mean 'proportional^0.5'"), ("w.json", "no such file")],
)
def test_a_name_that_is_no_weights_says_what_is(spec: str, message: str):
    with pytest.raises(UserError, match=re.escape(message)):
        WeightedTaskSampler.using(spec, steps=14)


def test_names_in_another_order_than_the_trainers_are_an_error(tmp_path: Path):
    using = WeightedTaskSampler.using(WEIGHTS, steps=14, names=["b", "a", "c"])
    made = trainer(tiny.static_model(), tmp_path, prompts={"a": "a: "}, multi_dataset_batch_sampler=using)
    with pytest.raises(UserError, match="'b' stands where the trainer's data set is 'a'"):
        made.get_train_dataloader()


def test_what_using_gives_can_be_pickled_as_the_trainer_does_with_its_arguments():
    using = WeightedTaskSampler.using(WEIGHTS, steps=14, names=data())
    copied = pickle.loads(pickle.dumps(using))  # noqa: S301
    assert copied.keywords["weights"] == using.keywords["weights"]
    assert len(pickle.dumps(using)) < 2000


def test_two_ranks_of_a_stock_trainer(tmp_path: Path):
    """By gloo: one task at a step, each row once an epoch, a resume to the bit."""
    in_ranks(2, lambda _: _rank(tmp_path), tmp_path)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert all(rank["world"] == 2 and rank["same"] for rank in ranks)
    for whole, again in ((rank["whole"], rank["again"]) for rank in ranks):
        assert len(whole) == 14
        assert again == whole[9:]
    steps = list(zip(ranks[0]["whole"], ranks[1]["whole"], strict=True))
    assert all(task_of(left) == task_of(right) for left, right in steps)
    assert Counter(task_of(left) for left, _ in steps) == {"a": 7, "b": 4, "c": 3}
    for name, per_epoch in {"a": 8, "b": 4, "c": 2}.items():
        for rows in own_epochs([batch for step in steps for batch in step], name, per_epoch):
            assert len(set(rows)) == len(rows)


def _rank(folder: Path) -> None:
    """What each process of the test above does."""
    whole = trainer(tiny.static_model(), folder / "out")
    whole.train()
    whole.accelerator.wait_for_everyone()
    again = trainer(tiny.static_model(), folder / "out")
    again.train(resume_from_checkpoint=str(folder / "out" / "checkpoint-9"))
    seen = {
        "world": torch.distributed.get_world_size(), "whole": whole.loss.seen, "again": again.loss.seen,
        "same": same(whole.model, again.model),
    }  # fmt: skip
    (folder / f"rank{torch.distributed.get_rank()}.json").write_text(json.dumps(seen))
