"""Learning rates: the released values, the torch scheduler, bad input."""

import json
from pathlib import Path

import pytest
import torch

from tdro.training.schedules import learning_rate_multiplier, schedule

CASES = json.loads((Path(__file__).parent / "goldens" / "schedules.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_goldens(case):
    for step, multiplier, rate in case["points_step_mult_lr"]:
        ours = learning_rate_multiplier(
            case["kind"], step, case["num_training_steps"], case["num_warmup_steps"], case["min_lr_ratio"]
        )
        assert ours == pytest.approx(multiplier, abs=1e-12)
        assert ours * case["base_lr"] == pytest.approx(rate, abs=1e-16)


def test_constant_warms_up_and_stays():
    assert [learning_rate_multiplier("constant", s, 10, 4) for s in (0, 2, 4, 9, 50)] == [0, 0.5, 1, 1, 1]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_torch_scheduler(kind):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scheduler = schedule(optimizer, kind, steps=20, warmup=5, floor=0.1)
    for step in range(25):
        expected = 0.5 * learning_rate_multiplier(kind, step, 20, 5, 0.1)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        if step == 12:  # a resumed scheduler goes on where it was
            state = scheduler.state_dict()
            scheduler = schedule(optimizer, kind, steps=20, warmup=5, floor=0.1)
            scheduler.load_state_dict(state)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    "arguments", [("cosin", 0, 10), ("linear", 0, 0), ("linear", 0, 10, -1), ("cosine", 0, 10, 0, 1.5)]
)
def test_bad_input(arguments):
    with pytest.raises(ValueError, match=r"schedule 'cosin'|steps \d+ must be"):
        learning_rate_multiplier(*arguments)
