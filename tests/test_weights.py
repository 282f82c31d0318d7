"""Task weights: the released selections, round trips, caps, and everything that is refused."""

import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.data.plan.task_order import draw_tasks, most_steps
from tdro.errors import UserError
from tdro.weights import TaskWeights

TOP = json.loads((Path(__file__).parent / "goldens" / "top_percent.json").read_text())
RELEASED = [(case["percent"], case["names_in_order"], case["weight"]) for case in TOP["report"]]

weights_of_tasks = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40).map(
    lambda xs: TaskWeights(tuple(f"task{i}" for i in range(len(xs))), np.array(xs) / sum(xs))
)


# ---- the released weights


@pytest.mark.parametrize(("percent", "names", "weight"), RELEASED)
def test_top_of_the_paper_matches_the_released_selection(percent, names, weight):
    top = TaskWeights.paper().top(percent)
    assert list(top.names) == names
    assert top.values == pytest.approx(weight)


def test_paper_top_70_keeps_17_of_25_tasks_and_87_percent_of_the_rows():
    paper = TaskWeights.paper()
    sizes = paper.provenance["size"]
    top = paper.transfer("top-70", sizes)
    assert (len(paper), len(top)) == (25, 17)
    assert sum(sizes[name] for name in top.names) / sum(sizes.values()) == pytest.approx(0.87, abs=0.005)
    assert TaskWeights.paper().epochs(sizes, 1000 * 2048)["miracl"] == pytest.approx(8.3, abs=0.05)


@pytest.mark.parametrize("case", TOP["edge_cases"])
@pytest.mark.parametrize("percent", [20, 30, 40, 50, 60, 70, 80, 90])
@pytest.mark.filterwarnings("ignore:top")
def test_few_tasks(case, percent, tmp_path):
    (tmp_path / "released.json").write_text(json.dumps(case["input"]))
    weights = TaskWeights.load(tmp_path / "released.json")
    top, expected = weights.top(percent), case["top"][str(percent)]["domain_weights"]
    assert len(top) == max(1, len(expected))
    ours, theirs = ([weights.as_dict()[name] for name in names] for names in (top.names, expected))
    assert sorted(ours) == sorted(theirs) or not theirs  # the order of tied weights is not compared
    epochs = weights.epochs(case["input"]["size"], sum(case["input"]["size"].values()))
    assert epochs == pytest.approx(case["curr"]["epoch"], rel=1e-6)


def test_top_keeps_at_least_one_task_and_says_so():
    with pytest.warns(UserWarning, match="keeping 'a'"):
        assert TaskWeights.from_dict({"a": 0.5, "b": 0.3, "c": 0.2}).top(20).as_dict() == {"a": 1.0}


def test_ties_go_to_the_earlier_task():
    weights = TaskWeights.uniform("abcd")
    assert weights.top(50).names == weights.bottom(50).names == ("a", "b")


@given(weights_of_tasks, st.floats(0.1, 100))
def test_top_keeps_the_largest_and_bottom_the_smallest(weights, percent):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top, bottom = weights.top(percent), weights.bottom(percent)
    count = max(1, math.floor(len(weights) * percent / 100 + 1e-9))
    for kept, largest_first in ((top, True), (bottom, False)):
        values = [weights.as_dict()[name] for name in kept.names]
        assert values == sorted(weights.values.tolist(), reverse=largest_first)[:count]
        assert kept == TaskWeights.uniform(kept.names)


@pytest.mark.parametrize("percent", [0, -5, 100.1, math.nan])
def test_top_refuses_impossible_percentages(percent):
    with pytest.raises(UserError, match="above 0 and at most 100"):
        TaskWeights.uniform("ab").top(percent)


def test_floor_is_not_fooled_by_rounding():
    names = [f"t{i}" for i in range(1000)]
    assert len(TaskWeights.uniform(names).top(0.7)) == 7  # 1000 * 0.7 / 100 in floats is 7 - 1e-15
    assert len(TaskWeights.uniform(names).top(100)) == 1000


# ---- values


@given(weights_of_tasks)
def test_sum_entropy_and_effective_tasks(weights):
    assert weights.values.sum() == pytest.approx(1, abs=1e-12)
    assert weights.entropy == pytest.approx(-sum(w * math.log(w) for w in weights.values), abs=1e-9)
    assert 1 <= weights.effective_tasks <= len(weights) + 1e-9


def test_effective_tasks_at_the_ends():
    assert TaskWeights.uniform("abcd").effective_tasks == pytest.approx(4)
    assert TaskWeights.from_dict({"a": 1.0, "b": 0.0}).effective_tasks == 1


def test_proportional_and_transfer_baselines():
    sizes = {"a": 10, "b": 30}
    weights = TaskWeights.from_dict({"a": 0.9, "b": 0.1})
    assert weights.transfer("proportional", sizes).as_dict() == {"a": 0.25, "b": 0.75}
    assert weights.transfer("uniform", sizes) == TaskWeights.uniform("ab")
    assert weights.transfer("reweight", sizes) == weights
    assert weights.transfer("bottom-50", sizes).names == ("b",)
    assert weights.transfer("top-50").provenance["transfer"] == "top-50"


@pytest.mark.parametrize(
    "spec", ["top", "top-", "top70", "best", "top--5", "", "Uniform", "reweight^1", "top-70^0", "gain", "gain^0.5"]
)
def test_unknown_transfer(spec):
    with pytest.raises(UserError, match=re.escape(repr(spec))):
        TaskWeights.uniform("ab").transfer(spec, {"a": 1, "b": 1})


def plain_power(values, exponent):
    """``values ** exponent``, normalised, one number after the other; by logarithms, where nothing underflows."""
    logs = [exponent * math.log(value) if value > 0 else -math.inf for value in values]
    powers = [math.exp(log - max(logs)) for log in logs]
    return [power / sum(powers) for power in powers]


@pytest.mark.filterwarnings("ignore:top-")  # of less than one task
@given(weights_of_tasks, st.floats(0.01, 10), st.integers(1, 100))
def test_tempered_transfers_are_the_plain_formula(weights, exponent, percent):
    exponent, sizes = round(exponent, 3), {name: 3**at for at, name in enumerate(weights.names)}
    text = f"{exponent:g}"
    close = {"rtol": 1e-9, "atol": 1e-12}
    if exponent != 1:
        by_alpha = weights.transfer(f"reweight^{text}")
        np.testing.assert_allclose(by_alpha.values, plain_power(weights.values, exponent), **close)
        by_rows = weights.transfer(f"proportional^{text}", sizes)
        np.testing.assert_allclose(by_rows.values, plain_power(sizes.values(), exponent), **close)
        assert by_rows.provenance["transfer"] == f"proportional^{text}"
    plain, tempered = weights.transfer(f"top-{percent}"), weights.transfer(f"top-{percent}^{text}")
    assert tempered.names == plain.names
    np.testing.assert_allclose(tempered.values, plain_power([weights[n] for n in plain], exponent), **close)
    assert tempered.provenance["transfer"] == f"top-{percent}^{text}"


def test_an_exponent_of_1_within_a_selection_keeps_the_ratios_of_the_weights():
    weights = TaskWeights.from_dict({"a": 0.6, "b": 0.1, "c": 0.3})
    assert weights.transfer("top-70^1").as_dict() == pytest.approx({"a": 2 / 3, "c": 1 / 3})
    assert weights.transfer("top-100^1").as_dict() == pytest.approx(weights.as_dict())
    assert weights.transfer("bottom-70^1").as_dict() == pytest.approx({"b": 0.25, "c": 0.75})


@pytest.mark.parametrize("exponent", ["0.5", "2", "10", "0.001"])
@pytest.mark.parametrize("tiny", [1e-300, 5e-324])
def test_powers_of_tiny_and_zero_weights(tiny, exponent):
    weights = TaskWeights(("a", "b", "none"), np.array([1 - tiny, tiny, 0.0]))
    tempered = weights.transfer(f"reweight^{exponent}")
    assert tempered.values.sum() == pytest.approx(1) and tempered["none"] == 0
    assert tempered["b"] == pytest.approx(plain_power(weights.values, float(exponent))[1], rel=1e-9)
    both = weights.transfer(f"bottom-70^{exponent}")  # of nothing and hardly anything
    assert both.as_dict() == {"none": 0.0, "b": 1.0}
    assert TaskWeights(("a",), [1.0]).transfer(f"reweight^{exponent}")["a"] == 1


def test_a_selection_of_zero_weights_has_no_powers():
    weights = TaskWeights(("a", "b"), np.array([1.0, 0.0]))
    assert weights.transfer("bottom-50").as_dict() == {"b": 1.0}
    with pytest.raises(UserError, match="all have the weight 0"):
        weights.transfer("bottom-50^0.5")


@pytest.mark.parametrize("exponent", [0, -1, math.inf, math.nan])
def test_an_exponent_is_above_0(exponent):
    with pytest.raises(UserError, match="above 0"):
        TaskWeights.uniform("ab").tempered(exponent)
    with pytest.raises(UserError, match="above 0"):
        TaskWeights.uniform("ab").top(50, exponent)


def test_proportional_needs_every_size():
    with pytest.raises(UserError, match="task 'b'"):
        TaskWeights.uniform("ab").transfer("proportional", {"a": 1})


def test_values_are_read_only_and_copied():
    array = np.array([0.5, 0.5])
    weights = TaskWeights(("a", "b"), array)
    array[0] = 9
    assert weights.as_dict() == {"a": 0.5, "b": 0.5}
    with pytest.raises(ValueError, match="read-only"):
        weights.values[0] = 1


def test_equality_ignores_order_and_provenance():
    one = TaskWeights.from_dict({"a": 0.25, "b": 0.75}, {"step": 1})
    other = TaskWeights.from_dict({"b": 0.75, "a": 0.25})
    assert one == other and hash(one) == hash(other)
    assert one != TaskWeights.from_dict({"a": 0.25, "c": 0.75})
    assert one != {"a": 0.25, "b": 0.75}


def test_it_is_read_like_the_mapping_that_it_is():
    weights = TaskWeights(("a", "b"), [0.25, 0.75], {"seed": 1})
    assert weights["b"] == 0.75 and isinstance(weights["b"], float)
    assert list(weights) == ["a", "b"] and len(weights) == 2 and "a" in weights and "c" not in weights
    assert list(weights.keys()) == ["a", "b"] and list(weights.items()) == [("a", 0.25), ("b", 0.75)]
    assert dict(weights) == {**weights} == weights.as_dict()
    assert weights.get("c") is None and weights.get("c", 0.0) == 0.0 and weights.get("a") == 0.25
    assert max(weights, key=weights.get) == "b"
    with pytest.raises(KeyError, match="c"):
        weights["c"]
    assert isinstance(weights, Mapping)
    assert TaskWeights.from_dict(weights) == weights and hash(TaskWeights.from_dict(weights)) == hash(weights)
    assert isinstance(weights.values, np.ndarray)


def test_repr_shows_the_largest_and_the_effective_number():
    assert repr(TaskWeights.from_dict({"a": 0.2, "b": 0.8})) == (
        "TaskWeights(b: 0.8000, a: 0.2000; 1.6 effective of 2)"
    )
    assert "2 more" in repr(TaskWeights.uniform([f"t{i}" for i in range(10)]))


def test_on_another_order():
    weights = TaskWeights.from_dict({"a": 0.25, "b": 0.75})
    assert weights.on(["b", "c", "a"]).tolist() == [0.75, 0, 0.25]
    with pytest.raises(UserError, match="'b' not among the tasks; there are 'a', 'c'"):
        weights.on(["a", "c"])


# ---- files


@given(weights_of_tasks)
def test_round_trips_are_exact(tmp_path_factory, weights):
    path = tmp_path_factory.mktemp("weights") / "weights.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TaskWeights.from_dict(weights.as_dict()) == weights
        weights.save(path)
        loaded = TaskWeights.load(path)
    assert loaded == weights and loaded.names == weights.names


def test_save_keeps_the_provenance(tmp_path):
    TaskWeights.from_dict({"a": 1}, {"seed": 3, "models": ["x"]}).save(tmp_path / "sub" / "w.json")
    assert json.loads((tmp_path / "sub" / "w.json").read_text())["format"] == "tdro-weights/1"
    assert TaskWeights.load(tmp_path / "sub" / "w.json").provenance == {"seed": 3, "models": ["x"]}


def test_load_a_plain_dict_and_normalise_with_a_warning(tmp_path):
    (tmp_path / "w.json").write_text('{"a": 1, "b": 3}')
    with pytest.warns(UserWarning, match="sum to 4, not 1"):
        assert TaskWeights.load(tmp_path / "w.json").as_dict() == {"a": 0.25, "b": 0.75}


def test_float32_rounding_is_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = TaskWeights.from_dict({"a": 0.30000001192092896, "b": 0.70000001})
    assert weights.values.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "expected a JSON object"),
        ("{", "line 1: not JSON"),
        ("{}", "no task given"),
        ('{"a": -1, "b": 2}', "task 'a' has weight -1"),
        ('{"a": NaN}', "task 'a' has weight nan"),
        ('{"a": Infinity}', "task 'a' has weight inf"),
        ('{"a": 0, "b": 0}', "all of them are zero"),
        ('{"a": "0.5"}', "not a number"),
        ('{"a": true}', "not a number"),
        ('{"format": "tdro-weights/2", "weights": {"a": 1}}', "format 'tdro-weights/2'"),
        ('{"format": "tdro-weights/1"}', "'weights' must be an object"),
        ('{"domain_weights": [1]}', "'weights' must be an object"),
    ],
)
def test_load_names_the_file_and_the_fault(tmp_path, content, message):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        TaskWeights.load(tmp_path / "w.json")
    assert "w.json" in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        TaskWeights.load(tmp_path / "missing.json")


def test_bad_names_and_shapes():
    with pytest.raises(UserError, match="'a' is there twice"):
        TaskWeights.uniform(["a", "b", "a"])
    with pytest.raises(UserError, match="no task"):
        TaskWeights.uniform([])
    with pytest.raises(UserError, match="2 tasks but values of shape"):
        TaskWeights(("a", "b"), np.ones(3))
    with pytest.raises(UserError, match="all of them are zero"):
        TaskWeights.proportional({"a": 0})
    with pytest.raises(UserError, match="'b' has weight -1"):
        TaskWeights.proportional({"a": 5, "b": -1})


def test_huge_and_tiny_weights():
    with pytest.warns(UserWarning, match="normalised"):
        assert TaskWeights.from_dict({"a": 1e308, "b": 1e308}).as_dict() == {"a": 0.5, "b": 0.5}
    with pytest.warns(UserWarning, match="normalised"):
        assert TaskWeights.from_dict({"a": 5e-324, "b": 5e-324}).as_dict() == {"a": 0.5, "b": 0.5}


# ---- epochs and caps


@given(weights_of_tasks, st.data())
def test_capped_never_exceeds_and_keeps_proportions(weights, data):
    rows = data.draw(st.lists(st.integers(1, 10_000), min_size=len(weights), max_size=len(weights)))
    sizes = dict(zip(weights.names, rows, strict=True))
    drawn = data.draw(st.integers(1, 20_000))
    cap = data.draw(st.floats(0.1, 20))
    if cap * sum(rows) < drawn * 1.001:
        if cap * sum(rows) < drawn * 0.999:
            with pytest.raises(UserError, match="fewer than"):
                weights.capped(sizes, drawn, cap)
        return
    capped = weights.capped(sizes, drawn, cap)
    assert capped.values.sum() == pytest.approx(1, abs=1e-12)
    epochs = capped.epochs(sizes, drawn)
    assert max(epochs.values()) <= cap * (1 + 1e-9)
    free = np.array([epochs[name] < cap * (1 - 1e-9) for name in weights.names])
    gain = capped.values[free] / weights.values[free]
    assert np.allclose(gain, gain[:1], rtol=1e-6) and (gain >= 1 - 1e-9).all()


def test_capped_hands_the_excess_on():
    weights = TaskWeights.from_dict({"small": 0.5, "big": 0.25, "other": 0.25})
    capped = weights.capped({"small": 10, "big": 1000, "other": 1000}, 100, 2)
    assert capped.as_dict() == pytest.approx({"small": 0.2, "big": 0.4, "other": 0.4})
    assert weights.capped({"small": 500, "big": 500, "other": 500}, 100, 2) == weights


@pytest.mark.parametrize("draw", ["systematic", "random"])
@given(weights_of_tasks, st.data())
def test_a_cap_holds_to_the_last_row_where_batches_are_of_one_task(draw, weights, data):
    """A recipe's 1.2 epochs gave 1.43: a limit of 5.9 batches was rounded up to 6."""
    batch, cap, seed = data.draw(st.integers(1, 64)), data.draw(st.floats(0.5, 5)), data.draw(st.integers(0, 9))
    rows = data.draw(st.lists(st.integers(1, 2000), min_size=len(weights), max_size=len(weights)))
    sizes = dict(zip(weights.names, rows, strict=True))
    room = int(sum(cap * count // batch for count in rows))
    if room < 1:
        return
    steps = data.draw(st.integers(1, min(room, 500)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tasks that are left out
        capped = weights.capped(sizes, steps * batch, cap, batch)
    tasks = draw_tasks(capped.values, steps, seed, draw, most_steps(rows, batch, cap))
    assert len(tasks) == steps
    assert (np.bincount(tasks, minlength=len(rows)) * batch <= cap * np.array(rows) * (1 + 1e-9)).all()


def test_a_task_with_less_than_a_batch_under_the_cap_is_left_out_and_it_is_said():
    weights, sizes = TaskWeights.uniform(["small", "big"]), {"small": 26, "big": 1000}
    with pytest.warns(UserWarning, match=r"cap: 'small' left out, as one batch of 32 rows is over 1.2 epochs"):
        capped = weights.capped(sizes, 320, 1.2, 32)
    for draw in ("systematic", "random"):
        assert set(draw_tasks(capped.values, 10, 1, draw, most_steps([26, 1000], 32, 1.2))) == {1}


def test_the_epochs_that_a_cap_asks_for_are_enough():
    weights, sizes = TaskWeights.uniform(["a", "b", "c"]), {"a": 40, "b": 70, "c": 33}
    with pytest.raises(
        UserError, match=r"in whole batches of 32, fewer than the 160 to be drawn.* allow ([\d.]+)"
    ) as error:
        weights.capped(sizes, 160, 1.0, 32)
    needed = float(str(error.value).split("allow ")[1].split()[0])
    assert weights.capped(sizes, 160, needed, 32)
    with pytest.raises(UserError):
        weights.capped(sizes, 160, needed - 0.01, 32)


def test_capped_does_not_revive_a_task_without_weight():
    weights = TaskWeights.from_dict({"a": 1.0, "b": 0.0})
    with pytest.raises(UserError, match="allow 10 epochs"):
        weights.capped({"a": 10, "b": 1000}, 100, 2)


@pytest.mark.parametrize("sizes", [{"a": 5}, {"a": 5, "b": 0}])
def test_epochs_need_sizes(sizes):
    with pytest.raises(UserError, match="task 'b'"):
        TaskWeights.uniform("ab").epochs(sizes, 10)


def test_capped_refuses_nonsense():
    with pytest.raises(UserError, match="must be above 0"):
        TaskWeights.uniform("ab").capped({"a": 5, "b": 5}, 10, 0)


def test_import_brings_no_torch():
    code = (
        "import sys, tdro.weights, tdro.dro.learner, tdro.dro.measures, tdro.dro.health; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
