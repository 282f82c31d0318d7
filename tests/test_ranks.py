"""Any number of ranks: the same α, the same gradient, the same parameters."""

import numpy as np
import pytest

import rank_worker
from launch import in_ranks
from tdro.files import read_json
from tdro.machine import Machine
from tdro.models.load import load_model


@pytest.fixture(scope="module")
def results(two_ranks):
    """Folder with the results of 1, 2 and 4 ranks."""
    rank_worker.run(two_ranks, Machine())
    in_ranks(4, lambda machine: rank_worker.run(two_ranks, machine), two_ranks / "output")
    return two_ranks


def read(results, name, world, rank):
    with np.load(results / f"{name}-{world}-{rank}.npz", allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize(
    ("name", "world"), [*((name, 2) for name in rank_worker.SCENARIOS), *((name, 4) for name in rank_worker.ON_FOUR)]
)
def test_ranks_change_nothing(name, world, results):
    alone = read(results, name, 1, 0)
    first = read(results, name, world, 0)
    for rank in range(1, world):  # every rank holds the same, to the bit
        other = read(results, name, world, rank)
        assert all(np.array_equal(first[key], other[key]) for key in first)
    np.testing.assert_allclose(first["alpha"], alone["alpha"], atol=1e-6)
    for step, (gradient, expected) in enumerate(zip(first["gradients"], alone["gradients"], strict=True)):
        assert abs(gradient - expected).max() / np.linalg.norm(expected) < 1e-5, step
    for key in alone.keys() - {"alpha", "gradients"}:
        if "key.bias" in key:
            continue  # attention does not see it: its gradient is rounding, and Adam makes a step of its sign
        difference = np.linalg.norm(first[key] - alone[key]) / max(np.linalg.norm(alone[key]), 1e-3)
        assert difference < 2e-5, key


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_mine_what_one_does(world, results):
    alone = read_json(results / "mined-1-0.json")
    assert alone != [task.rows["negatives"][:] for task in rank_worker.TASKS]
    for rank in range(world):
        assert read_json(results / f"mined-{world}-{rank}.json") == alone
    one, several = ({file.name: file.read_bytes() for file in (results / f"mined-{n}").iterdir()} for n in (1, world))
    assert one == several


def test_something_has_been_learned(results):
    alpha = read(results, "learn", 1, 0)["alpha"]
    assert alpha.max() - alpha.min() > 0.05
    start = load_model(results / "static-0", device="cpu").state_dict()
    for name, value in start.items():
        assert abs(read(results, "learn, static", 1, 0)[name] - value.numpy()).max() > 1e-4


def test_a_rank_may_lack_a_task():
    rows = rank_worker.MixedPlan([5] * 4, 8, 1, 1).step(0)
    assert len(set(rows.task[:2].tolist())) == 2
