"""The measurements for a GPU, rehearsed on the CPU with tiny sizes: every finding is made, and none is wrong."""

import json
import random
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tdro.weights import TaskWeights

ROOT = Path(__file__).parent.parent / "benchmarks"
# All findings; of the second model only what is compared, for the other contestants are the code of the first again.
OF_THE_SECOND = [f"half-billion: {name}" for name in ("stage_1", "floor", "finetune", "stock")]
ONLY = ["[!h]*", *OF_THE_SECOND]


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
    TaskWeights.uniform([f"task{number}" for number in range(3)]).save(out / "w" / "result" / "other-weights.json")
    code = benchmark.main(
        ["right", "fast", "result", "--out", str(out / "out"), "--work", str(out / "w"), "--rehearse", "--only", *ONLY]
    )
    return code, {name: json.loads((out / "out" / f"{name}.json").read_text()) for name in benchmark.MINUTES}, out


def test_every_part_ends_and_nothing_is_wrong(rehearsed):
    code, parts, _ = rehearsed
    for name, part in parts.items():
        assert part["ended"] == "all was looked for", name
        assert part["rehearsed"] is True
        wrong = {key: found for key, found in part["findings"].items() if "error" in found or "left_out" in found}
        assert not wrong, wrong
        assert all(found.get("ok", True) for found in part["findings"].values())
    assert code == 0


def test_the_parts_find_what_they_are_for(rehearsed):
    _, parts, _ = rehearsed
    right, fast, result = (parts[name]["findings"] for name in ("right", "fast", "result"))
    assert {"goldens", "gradients_fp32", "alpha_fp32", "twice_and_resumed", "ranking", "memory_lora"} <= right.keys()
    assert right["gradients_fp32"]["worst"] < 1e-5
    for model in ("base", "half-billion"):
        assert fast[f"{model}: ratios"]["ratios"].keys() >= {"stage_1 / floor", "finetune / stock"}
        assert 0 <= fast[f"{model}: finetune"]["padding"] < 1
    assert set(result["weights"]["weights"]) == {"task0", "task1", "task2"}
    names = json.dumps(result["comparison"])
    assert all(mixture in names for mixture in ("uniform", "top-70", "top-70^0.5"))


def test_all_that_is_needed_to_compute_the_result_again_is_brought_back(rehearsed):
    with tarfile.open(rehearsed[2] / "out" / "result.tar.gz") as archive:
        names = archive.getnames()
    for run, mixtures in {"run": ["uniform", "top-70", "top-70^0.5"], "run-other": ["top-70^0.5"]}.items():
        assert f"{run}/recipe.yaml" in names and f"{run}/weights/weights.json" in names
        for mixture in mixtures:
            assert any(name.startswith(f"{run}/evaluation/main/{mixture}-seed1/") for name in names)


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


# ---- the bundle


def wheel(folder, name, version, *needs):
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    return path


def test_wheels_that_the_machine_has_are_left_out_and_too_old_ones_are_not(benchmark, tmp_path):
    pytest.importorskip("tomllib")  # Python 3.11
    import pack

    wheels = [
        wheel(tmp_path, "transformers", "5.23.0", "numpy>=2"),
        wheel(tmp_path, "numpy", "2.3.0"),
        wheel(tmp_path, "datasets", "5.1.0", "numpy>=1; extra == 'x'", "pyarrow>=21"),
        wheel(tmp_path, "pyarrow", "21.0"),
    ]
    wanted = [pack.Requirement(line) for line in ("transformers>=5.20,<6", "datasets>=5")]
    machine = pack.frozen(["transformers==5.17.0", "NumPy==2.1.0", "pyarrow==20.0", "local @ file:///x"])
    assert [path.name.split("-")[0] for path in pack.not_needed(wheels, wanted, machine)] == ["numpy"]


def test_pyprojects_requirements_are_packed_with_the_extras(benchmark):
    pytest.importorskip("tomllib")  # Python 3.11
    import pack

    names = {requirement.name for requirement in pack.requirements()}
    assert {"transformers", "datasets", "peft", "gguf"} <= names and "pytest" not in names


def test_the_parts_are_small_and_join_to_what_was_packed(benchmark, tmp_path, capsys):
    pytest.importorskip("tomllib")  # Python 3.11
    import pack
    import unpack

    tree, bundle, into = (tmp_path / name for name in ("tree", "bundle", "into"))
    (tree / "cache").mkdir(parents=True)
    (tree / "wheels").mkdir()
    (tree / "cache" / "model").write_bytes(random.Random(0).randbytes(5000))
    parts = pack.cut(tree, bundle, 2000)
    assert len(parts) == 3 and all(part.stat().st_size <= 2000 for part in parts)
    run = ["--into", str(into), "--bundle", str(bundle), "--no-install"]

    away = parts[1].rename(tmp_path / parts[1].name)  # it comes with a later call, and the others do not
    assert unpack.main(run) == 1 and "still missing: part-001" in capsys.readouterr().out
    for part in (parts[0], parts[2]):
        part.unlink()
    away.rename(parts[1])
    whole = parts[1].read_bytes()
    parts[1].write_bytes(whole[:-1])
    assert unpack.main(run) == 2 and "part-001 is not the part" in capsys.readouterr().err
    parts[1].write_bytes(whole)
    assert unpack.main(run) == 0 and f"TDRO_CACHE={into / 'cache'}" in capsys.readouterr().out
    assert (into / "cache" / "model").read_bytes() == (tree / "cache" / "model").read_bytes()
