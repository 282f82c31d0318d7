"""InfoNCE over hard negatives: released losses and gradients, one whole step, slow version, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tdro.dro.infonce import (
    hard_negative_infonce,
    hard_negative_similarities,
    infonce_from_similarities,
    row_weights,
)
from tdro.dro.learner import WeightLearner
from tdro.dro.measures import measure
from tdro.weights import TaskWeights

GOLDENS = Path(__file__).parent / "goldens"
INFONCE, ONE_STEP, ROBUST = (
    json.loads((GOLDENS / f"{name}.json").read_text()) for name in ("infonce_hard_negatives", "one_step", "robust_loss")
)


def dtype_of(case):
    return getattr(torch, case["dtype"].removeprefix("torch."))


def tolerance(case):
    """Relative and absolute, float32 or float64 as the goldens' README asks."""
    return {"rtol": 1e-5, "atol": 1e-5} if dtype_of(case) == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}


def close(ours, golden, case, scale=1.0):
    bounds = tolerance(case)
    np.testing.assert_allclose(
        ours.detach().double().numpy(), np.array(golden), rtol=bounds["rtol"], atol=bounds["atol"] * scale
    )


def tangential(gradient, x):
    """A gradient at the normalised x, without its part along x, which normalising again takes away."""
    return gradient - (gradient * x).sum(-1, keepdim=True) * x


@pytest.mark.parametrize("case", INFONCE["cases"], ids=lambda c: f"{c['temperature']}-{c['dtype']}")
def test_golden_losses_and_gradients(case):
    n, tau = INFONCE["n_passages"], case["temperature"]
    q_raw = torch.tensor(INFONCE["q_raw"], dtype=dtype_of(case))
    p_raw = torch.tensor(INFONCE["p_raw"], dtype=dtype_of(case)).view(INFONCE["B"], n, -1)
    q, p = (F.normalize(x, dim=-1).requires_grad_() for x in (q_raw, p_raw))
    scale = 1 / tau  # scores are similarities over τ, so errors are too; gradients twice

    close(hard_negative_infonce(q_raw, p_raw, tau), case["losses"], case)
    losses = infonce_from_similarities((q[:, None] * p).sum(-1), tau)
    close(losses, case["losses"], case)
    losses.sum().backward()
    golden_q, golden_p = (torch.tensor(case[f"grad_{x}_of_sum"], dtype=dtype_of(case)) for x in "qp")
    close(q.grad, golden_q, case, scale)
    close(p.grad.flatten(0, 1), golden_p, case, scale)

    q.grad = p.grad = None
    hard_negative_infonce(q, p, tau).sum().backward()
    close(q.grad, tangential(golden_q, q.detach()), case, scale)
    close(p.grad.flatten(0, 1), tangential(golden_p, p.detach().flatten(0, 1)), case, scale)


@pytest.mark.parametrize("case", ONE_STEP["cases"], ids=lambda c: c["dtype"])
def test_golden_whole_step(case):
    """Representations, losses, measure, α, weighted loss, gradients."""
    n, tau, ids = ONE_STEP["n_passages"], ONE_STEP["temperature"], ONE_STEP["domain_ids"]
    raw = {key: torch.tensor(ONE_STEP[f"{key}_raw"], dtype=dtype_of(case)) for key in ("q", "p", "q_ref", "p_ref")}
    unit = {key: F.normalize(x, dim=-1) for key, x in raw.items()}
    q, p = (unit[key].requires_grad_() for key in "qp")
    proxy = infonce_from_similarities((q[:, None] * p.view(len(q), n, -1)).sum(-1), tau)
    reference = hard_negative_infonce(raw["q_ref"], raw["p_ref"].view(len(q), n, -1), tau)
    close(proxy, case["loss_proxy"], case)
    close(reference, case["loss_ref"], case)

    k = len(case["alpha_new"])
    measures = measure("relative_per_row", proxy, reference, ids, k)
    # Their measures are float32 states times 1e2, printed in full: relative 1e-5.
    assert np.nan_to_num(measures) == pytest.approx(case["measurement"], rel=1e-5)
    alpha = WeightLearner([f"t{i}" for i in range(k)], absent="zero").update(measures)
    assert alpha.values == pytest.approx(case["alpha_new"], abs=1e-6)

    weights = row_weights(torch.tensor(alpha.values, dtype=proxy.dtype)[ids])
    loss = (weights * proxy).sum()
    assert loss.item() == pytest.approx(case["robust_loss"], abs=1e-5)
    loss.backward()
    for ours, golden in ((q.grad, case["grad_q"]), (p.grad, case["grad_p"])):
        np.testing.assert_allclose(ours.numpy(), np.array(golden), atol=1e-6)


def test_golden_row_weights_and_loss():
    """α moves by the measures of each batch, and the rows of that batch are weighed by the new α."""
    cases = [case for case in ROBUST["cases"] if case["ga"] == 1]
    assert len(cases) == len(ROBUST["cases"])
    k = len(cases[0]["alpha_before"])
    names = [f"t{i}" for i in range(k)]
    learner = WeightLearner(names, initial=TaskWeights(tuple(names), cases[0]["alpha_before"]), absent="zero")
    for case in cases:
        measures = measure("relative_per_row", case["loss"], case["loss_ref"], case["domain_ids"], k)
        assert np.nan_to_num(measures) == pytest.approx(case["accumulated_measurement_before_div"], rel=1e-5)
        alpha = learner.update(measures)
        assert alpha.values == pytest.approx(case["alpha_used"], abs=1e-6)
        weights = row_weights(torch.tensor(alpha.values)[case["domain_ids"]])
        assert weights.numpy() == pytest.approx(case["per_sample_coef"], abs=1e-6)
        loss = (weights * torch.tensor(case["loss"])).sum()
        assert loss.item() == pytest.approx(case["robust_loss"], abs=1e-5)


def slow_losses(query, passages, temperature, mask):
    """Row by row, passage by passage, in NumPy float64."""
    losses = []
    for q, row, out in zip(query, passages, mask, strict=True):
        scores = [
            float(q @ p) / float(np.linalg.norm(q) * np.linalg.norm(p)) / temperature
            for p, left_out in zip(row, out, strict=True)
            if not left_out
        ]
        top = max(scores)
        losses.append(top + math.log(sum(math.exp(s - top) for s in scores)) - scores[0])
    return losses


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(2, 6),
    st.integers(1, 9),
    st.floats(0.002, 2),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_slow_version(seed, rows, n, width, temperature, dtype):
    random = np.random.default_rng(seed)
    query, passages = random.normal(size=(rows, width)), random.normal(size=(rows, n, width))
    mask = random.random((rows, n)) < 0.4
    mask[:, :2] = False
    expected = np.array(slow_losses(query, passages, temperature, mask))
    q, p = (torch.tensor(x, dtype=dtype) for x in (query, passages))
    ours = hard_negative_infonce(q, p, temperature, torch.tensor(mask))
    assert ours.dtype == dtype
    bound = 2e-6 if dtype == torch.float32 else 1e-14
    np.testing.assert_allclose(ours.numpy(), expected, atol=bound / temperature + bound, rtol=10 * bound)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 1000))
def test_row_weights_slow_version(ids, seed):
    alpha = np.random.default_rng(seed).dirichlet(np.ones(5)) + 1e-9
    total = sum(alpha[g] for g in ids)
    ours = row_weights(torch.tensor(alpha)[ids])
    assert ours.tolist() == pytest.approx([alpha[g] / total for g in ids])
    assert ours.sum().item() == pytest.approx(1)


def test_low_precision_in_float32_out_even_under_autocast():
    torch.manual_seed(0)
    query, passages = torch.randn(8, 64), torch.randn(8, 4, 64)
    exact = hard_negative_infonce(query.double(), passages.double(), 0.002)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = hard_negative_infonce(query, passages, 0.002)
        assert hard_negative_infonce(query.double(), passages.double(), 0.002).dtype == torch.float64
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), exact, atol=1e-3)
    halves = query.bfloat16(), passages.bfloat16()
    rounded = hard_negative_infonce(*halves, 0.002)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, hard_negative_infonce(*(x.float() for x in halves), 0.002))


def test_tiny_losses_are_not_rounded_to_zero():
    similarities = torch.tensor([[1.0, -0.99]])
    loss = infonce_from_similarities(similarities, 0.05).item()
    assert loss == pytest.approx(math.exp(-1.99 / 0.05), rel=1e-5)


def test_extreme_scores_stay_finite():
    similarities = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]], requires_grad=True)
    losses = infonce_from_similarities(similarities, 1e-4)
    assert losses.tolist() == pytest.approx([20000 + math.log(2), 0])
    losses.sum().backward()
    assert similarities.grad.isfinite().all()


def test_zero_vectors_have_a_defined_loss_and_gradient():
    query = torch.zeros(1, 3, requires_grad=True)
    loss = hard_negative_infonce(query, torch.randn(1, 4, 3), 0.02)
    assert loss.item() == pytest.approx(math.log(4))
    loss.sum().backward()
    assert query.grad.isfinite().all()


def test_mask_leaves_a_negative_out_of_loss_and_gradient():
    torch.manual_seed(0)
    query, passages = torch.randn(2, 5), torch.randn(2, 4, 5, requires_grad=True)
    mask = torch.tensor([[False, False, True, False], [True, True, False, False]])  # a positive always stays
    ours = hard_negative_infonce(query, passages, 0.1, mask)
    assert ours[0].item() == pytest.approx(hard_negative_infonce(query[:1], passages[:1, [0, 1, 3]], 0.1).item())
    assert ours[1].item() == pytest.approx(hard_negative_infonce(query[1:], passages[1:, [0, 2, 3]], 0.1).item())
    ours.sum().backward()
    assert (passages.grad[0, 2] == 0).all() and (passages.grad[0, 1] != 0).any()


def test_similarities_are_cosines():
    query, passages = torch.randn(3, 5) * 7, torch.randn(3, 2, 5) * 0.1
    expected = F.cosine_similarity(query[:, None], passages, dim=-1)
    assert torch.allclose(hard_negative_similarities(query, passages), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [0, -0.1, math.nan])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="must be above 0"):
        hard_negative_infonce(torch.randn(2, 3), torch.randn(2, 3, 3), temperature)


@pytest.mark.parametrize("shapes", [((2, 3), (3, 4, 3)), ((2, 3), (2, 4, 5)), ((2, 3), (8, 3)), ((3,), (1, 2, 3))])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match="expected query"):
        hard_negative_infonce(torch.randn(*shapes[0]), torch.randn(*shapes[1]), 0.1)


def test_a_row_needs_a_negative():
    with pytest.raises(ValueError, match="N >= 2"):
        hard_negative_infonce(torch.randn(2, 3), torch.randn(2, 1, 3), 0.1)
    mask = torch.tensor([[False, False, True], [False, True, True]])
    with pytest.raises(ValueError, match="row 1 of the batch has no negative left"):
        hard_negative_infonce(torch.randn(2, 3), torch.randn(2, 3, 3), 0.1, mask)


def test_bad_mask_and_row_weights():
    with pytest.raises(ValueError, match="mask must be bool"):
        infonce_from_similarities(torch.randn(2, 3), 0.1, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="mask must be bool"):
        infonce_from_similarities(torch.randn(2, 3), 0.1, torch.zeros(2, 2, dtype=torch.bool))
    for bad in (torch.zeros(3), torch.ones(2, 2), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="row weights"):
            row_weights(bad)
