"""The measurements for a GPU, rehearsed on the CPU with tiny sizes: every finding is made, and none is wrong."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    """The modules of benchmarks/gpu; they find each other by their names alone, as scripts do."""
    before = list(sys.path)
    sys.path += [str(ROOT / "gpu"), str(ROOT)]
    try:
        import run

        yield run
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def rehearsed(benchmark, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu")
    code = benchmark.main(
        ["right", "fast", "result", "--out", str(out / "out"), "--work", str(out / "w"), "--rehearse"]
    )
    return code, {name: json.loads((out / "out" / f"{name}.json").read_text()) for name in benchmark.MINUTES}


def test_every_part_ends_and_nothing_is_wrong(rehearsed):
    code, parts = rehearsed
    for name, part in parts.items():
        assert part["ended"] == "all was looked for", name
        assert part["rehearsed_on_a_cpu"] is True
        wrong = {key: found for key, found in part["findings"].items() if "error" in found or "left_out" in found}
        assert not wrong, wrong
        assert all(found.get("ok", True) for found in part["findings"].values())
    assert code == 0


def test_the_parts_find_what_they_are_for(rehearsed):
    _, parts = rehearsed
    right, fast, result = (parts[name]["findings"] for name in ("right", "fast", "result"))
    assert {"goldens", "gradients_fp32", "alpha_fp32", "twice_and_resumed", "ranking", "memory_lora"} <= right.keys()
    assert right["gradients_fp32"]["worst"] < 1e-5
    for model in ("base", "half-billion"):
        assert fast[f"{model}: ratios"]["ratios"].keys() >= {"stage_1 / floor", "finetune / stock"}
        assert 0 <= fast[f"{model}: finetune"]["padding"] < 1
    assert set(result["weights"]["weights"]) == {"task0", "task1", "task2"}
    names = json.dumps(result["comparison"])
    assert all(mixture in names for mixture in ("uniform", "top-70", "top-70^0.5"))


def test_a_part_ends_when_its_time_is_up_and_keeps_what_it_found(benchmark, tmp_path):
    import time

    part = benchmark.Part("right", tmp_path, 0.5 / 60, "cpu", rehearsed=True)
    with part.within_time():
        part.find("quick", lambda: {"ok": True})
        part.find("broken", lambda: {"ok": 1 / 0})
        part.find("slow", lambda: time.sleep(30) or {})
    content = json.loads((tmp_path / "right.json").read_text())
    assert content["ended"] == "after its 0.00833333 minutes"
    assert content["findings"]["quick"]["ok"] is True
    assert content["findings"]["broken"]["error"].startswith("ZeroDivisionError")
    assert content["findings"]["slow"]["left_out"] == "the part's time was up"
    assert part.find("later", lambda: {}, needs=60)["left_out"].startswith("-")
