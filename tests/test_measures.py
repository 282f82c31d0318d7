"""Measures: the released values, an independent slow version, the guards near zero, the rolling means."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tdro.dro.measures import RollingMeans, measure, relative_of_means

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "measures.json").read_text())
OURS = {"raw": "raw", "minus_ref": "excess", "normalize_ref_p1": "relative_per_row"}
CASES = [case for case in GOLDEN["cases"] if case["setting"] in OURS]
NAN = math.nan

loss = st.one_of(st.floats(0, 20), st.floats(0, 1e-3), st.just(0.0))
batches = st.integers(1, 6).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(loss, loss, st.integers(0, k - 1)), min_size=1, max_size=30))
)


@pytest.mark.parametrize("case", CASES, ids=[f"{case['batch']}-{case['setting']}" for case in CASES])
def test_goldens(case):
    ours = measure(OURS[case["setting"]], case["loss_proxy"], case["loss_ref"], case["domain_ids"], case["n_groups"])
    absent = [g not in case["domain_ids"] for g in range(case["n_groups"])]
    assert np.isnan(ours).tolist() == absent  # theirs is 0 for these
    assert np.nan_to_num(ours) == pytest.approx(case["group_measurement_fp64"], rel=1e-12)


@pytest.mark.parametrize("contrast", GOLDEN["contrast_not_reference"], ids=lambda c: c["batch"])
def test_relative_is_the_papers_ratio_of_means(contrast):
    case = next(c for c in GOLDEN["cases"] if c["batch"] == contrast["batch"])
    ours = measure("relative", case["loss_proxy"], case["loss_ref"], case["domain_ids"], case["n_groups"])
    paper = [NAN if x is None else x for x in contrast["paper_ratio_of_means"]]
    assert ours == pytest.approx(paper, rel=1e-12, nan_ok=True)


def slow(kind, rows, k, offset, floor):
    """One task after the other, in plain Python."""
    total = sum(r for _, r, _ in rows)
    result = []
    for g in range(k):
        mine = [(p, r) for p, r, task in rows if task == g]
        if not mine:
            result.append(NAN)
            continue
        n = len(mine)
        proxy, reference = sum(p for p, _ in mine) / n, sum(r for _, r in mine) / n
        if kind == "raw":
            result.append(proxy)
        elif kind == "excess":
            result.append(sum(max(p - r, 0) for p, r in mine) / n)
        elif kind == "relative":
            solved = proxy < floor and reference < floor
            result.append(1.0 if solved else (proxy + offset) / max(reference + offset, floor))
        else:
            shares = [r / max(total, 1e-12) for _, r in mine]  # as torch.nn.functional.normalize(p=1) divides
            scaled = [p if s < 1e-4 else p / s for (p, _), s in zip(mine, shares, strict=True)]
            result.append(sum(scaled) / n)
    return result


@given(batches, st.sampled_from(["raw", "excess", "relative", "relative_per_row"]), st.sampled_from([0.0, 1.0]))
def test_slow_version(batch, kind, offset):
    k, rows = batch
    proxy, reference, ids = (list(column) for column in zip(*rows, strict=True))
    total = max(sum(reference), 1e-12)
    if kind == "relative_per_row" and any(abs(r - 1e-4 * total) < 1e-9 * total for r in reference):
        return  # on the edge of the guard, where rounding decides
    ours = measure(kind, proxy, reference, ids, k, offset=offset)
    assert ours == pytest.approx(slow(kind, rows, k, offset, 1e-3), rel=1e-9, abs=1e-12, nan_ok=True)


@given(batches)
def test_equal_models_have_measure_one(batch):
    k, rows = batch
    proxy, _, ids = (np.array(column) for column in zip(*rows, strict=True))
    means = measure("raw", proxy, None, ids, k)
    ours = measure("relative", proxy, proxy, ids, k)
    there = means >= 1e-3
    assert ours[there] == pytest.approx(1)
    assert (ours[means < 1e-3] == 1).all()


def test_near_zero():
    one = lambda p, r, **kw: relative_of_means(np.array([p]), np.array([r]), **kw)[0]  # noqa: E731
    assert one(0.0, 0.0) == 1  # solved
    assert one(5e-4, 1e-9) == 1  # solved, though the ratio is huge
    assert one(0.5, 0.0) == pytest.approx(500)  # divided by the floor
    assert one(0.5, 2e-3) == pytest.approx(250)
    assert one(0.0, 0.5) == 0  # the proxy alone has solved it
    assert one(0.3, 0.01, offset=1.0) == pytest.approx(1.3 / 1.01)
    assert math.isnan(one(NAN, NAN))
    for bad in ({"offset": -1.0}, {"floor": 0.0}):
        with pytest.raises(ValueError, match="offset"):
            one(1.0, 1.0, **bad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors(dtype):
    proxy = torch.tensor([2.0, 4.0, 1.0], dtype=dtype, requires_grad=True)
    reference = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
    ours = measure("relative", proxy, reference, torch.tensor([0, 0, 2]), 3)
    assert ours.dtype == np.float64
    assert ours == pytest.approx([2.0, NAN, 0.25], nan_ok=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ratio", [1.0], [1.0], [0], 1), "must be one of relative, excess, raw"),
        (("relative", [1.0], None, [0], 1), "needs the reference"),
        (("relative", [1.0, 2.0], [1.0], [0, 0], 1), "1 losses but 2 task ids"),
        (("excess", [1.0, 2.0], [1.0], [0, 0], 1), "2 proxy losses but 1 reference"),
        (("relative_per_row", [1.0, 2.0], [1.0], [0, 0], 1), "2 proxy losses but 1 reference"),
        (("raw", [1.0], None, [0, 0], 1), "1 losses but 2 task ids"),
        (("raw", [1.0], None, [1], 1), "from 0 to 0"),
        (("raw", [1.0], None, [-1], 1), "from 0 to 0"),
        (("raw", [1.0, NAN], None, [0, 0], 1), "proxy loss of row 1 is nan"),
        (("relative", [1.0], [math.inf], [0], 1), "reference loss of row 0 is inf"),
        (("raw", [[1.0]], None, [0], 1), r"must be \(B,\)"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


# ---- rolling means


@given(st.lists(batches.map(lambda b: b[1]), min_size=1, max_size=8), st.integers(1, 4))
def test_rolling_means_are_the_means_over_the_windows_rows(steps, window):
    rolling = RollingMeans(6, window)
    for rows in steps:
        means = rolling.update(*(list(column) for column in zip(*rows, strict=True)))
    joined = [row for rows in steps[-window:] for row in rows]
    proxy, reference, ids = (list(column) for column in zip(*joined, strict=True))
    for mean, losses in zip(means, (proxy, reference), strict=True):
        expected = slow("raw", list(zip(losses, losses, ids, strict=True)), 6, 0, 0)
        assert mean == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
    if window == 1:
        assert relative_of_means(*means) == pytest.approx(measure("relative", proxy, reference, ids, 6), nan_ok=True)


def test_rolling_means_resume_to_the_bit():
    random = np.random.default_rng(0)
    steps = [(random.exponential(size=9), random.exponential(size=9), random.integers(0, 4, 9)) for _ in range(12)]
    whole, before, after = (RollingMeans(4, 5) for _ in range(3))
    results = [whole.update(*step) for step in steps]
    for step in steps[:7]:
        before.update(*step)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for step, expected in zip(steps[7:], results[7:], strict=True):
        np.testing.assert_array_equal(after.update(*step), expected)
    with pytest.raises(ValueError, match="of 4 tasks, not 3"):
        RollingMeans(3, 5).load_state_dict(before.state_dict())


def test_rolling_means_bad_input():
    with pytest.raises(ValueError, match="at least 1"):
        RollingMeans(3, 0)
    rolling = RollingMeans(2, 3)
    with pytest.raises(ValueError, match="reference loss of row 0 is nan"):
        rolling.update([1.0], [NAN], [0])
    assert rolling.state_dict() == {"steps": []}
