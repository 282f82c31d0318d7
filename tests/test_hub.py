"""What tdro downloads from the hub, through the real client, from a server of the hub's protocol."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import messy
import tiny
import tiny_lm
from hub_server import LARGE, TOKEN, Fault, Hub
from tdro.data.mixtures.build import built_task
from tdro.data.read.sources import open_source
from tdro.data.testsets.find import find_test_sets
from tdro.errors import UserError
from tdro.evaluation.leaks.trained_on import TrainedDataSet, trained_on
from tdro.evaluation.leaks.training_queries import TrainingQueries
from tdro.models.base_tokens import base_tokens
from tdro.models.inspect.look import inspect_model
from tdro.models.load import load_model
from tdro.planning.base_kind import base_of
from tdro.planning.shape import read_shape
from tdro.recipe.data_sections import Source

ROWS = [{"anchor": f"question {n}", "positive": f"answer {n} {'x' * 40}", "negative": f"no {n}"} for n in range(120)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TWO_SUBSETS = """---
configs:
- {config_name: pair, data_files: [{split: train, path: pair/train.parquet}]}
- config_name: triplet
  default: true
  data_files: [{split: train, path: triplet/train.parquet}, {split: dev, path: triplet/dev.parquet}]
---
"""
LOG_IN = r"`hf auth login`, or HF_TOKEN"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written, row_group_size=30)
    return written.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models in folders: static, a bare decoder, a bare encoder."""
    folder = tmp_path_factory.mktemp("models")
    tiny.static_model(dimension=8).save(str(folder / "static"))
    tiny_lm.write_causal_lm(folder / "decoder")
    tiny_lm.write_encoder(folder / "bare")
    return {name: folder / name for name in ("static", "decoder", "bare")}


# ---- models


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("plain", []),
        ("busy", [Fault("busy", times=1, status=429)]),
        ("down", [Fault("down", times=2, status=503)]),
        ("cut", [Fault("storage/model.safetensors", times=2, cut=5000), Fault("cut/resolve", cut=10)]),
    ],
)
def test_a_model_is_downloaded(hub: Hub, models: dict[str, Path], name: str, faults: list[Fault]) -> None:
    repo = hub.add("models", f"right/{name}", files(models["static"]))
    assert len(repo.files["model.safetensors"]) > LARGE
    hub.faults = faults
    found = load_model(f"right/{name}", device="cpu").encode(["w1 w2"])
    assert (found == load_model(models["static"], device="cpu").encode(["w1 w2"])).all()
    assert not any(fault.times for fault in faults)


def test_a_cut_file_goes_on_where_it_was(hub: Hub, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add("models", "right/ranges", files(models["static"]))
    hub.faults = [Fault("storage/model.safetensors", times=1, cut=4500)]
    load_model("right/ranges", device="cpu")
    ranges = [headers.get("range") for _, path, headers in hub.requests if "storage/model.safetensors" in path]
    assert ranges == [None, "bytes=4000-"]


def test_private_and_renamed_models(hub: Hub, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("models", "right/private", files(models["static"]), private=True)
    hub.renamed["old/name"] = "right/private"
    with pytest.raises(UserError, match=f"^old/name: right/private: no such file or folder here, and no .*{LOG_IN}"):
        load_model("old/name")
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # the server refuses it where files are stored
    load_model("old/name", device="cpu")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.add("models", "right/private2", files(models["static"]), private=True)
    with pytest.raises(UserError, match=f"^right/private2: the hub does not know your token; .*{LOG_IN}"):
        load_model("right/private2")


REFUSED = {  # what is on the hub as owner/<name>, what is wrong with it, and the line's beginning and end
    "gone": ({}, [], "no such file or folder here, and no such model on the hub; for a private one, log in"),
    "closed": ({"gated": True}, [], "gated on the hub; ask for access at http://127.0.0.1"),
    "busy": ({}, [Fault("busy", 1000, status=429)], "too many requests, says the hub (429); run the same"),
    "down": ({}, [Fault("down", 1000, status=500)], "the hub has a fault (500); run the same command again later"),
    "cut": ({}, [Fault("cut", 1000, cut=3)], "the connection to http://127.0.0.1"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("ask", [load_model, base_of, inspect_model], ids=lambda ask: ask.__name__)
def test_a_model_that_cannot_be_had(hub: Hub, models: dict[str, Path], name: str, ask: Any) -> None:
    about, faults, line = REFUSED[name]
    if name != "gone":
        hub.add("models", f"owner/{name}", files(models["static"]), **about)
    hub.faults = [Fault(fault.path, fault.times, fault.status, fault.cut) for fault in faults]
    with pytest.raises(UserError) as raised:
        ask(f"owner/{name}")
    assert str(raised.value).startswith(f"owner/{name}: {line}") and "\n" not in str(raised.value)
    assert len(hub.requests) < 12  # not each file six times


def test_an_adapter_and_its_base_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model = tiny.lora_decoder(tmp_path / "base")
    for config in model.transformers_model.peft_config.values():
        config.base_model_name_or_path = "lora/base"
    model.save_pretrained(str(tmp_path / "adapter"))
    base = hub.add("models", "lora/base", files(tmp_path / "base"), gated=True)
    hub.add("models", "lora/adapter", files(tmp_path / "adapter"))
    for source in ("lora/adapter", str(tmp_path / "adapter")):
        with pytest.raises(UserError, match=f"^{source}: lora/base: gated on .* at {hub.endpoint}/lora/base, then"):
            load_model(source, device="cpu")
        with pytest.raises(UserError, match=r"lora/base: gated on the hub"):
            inspect_model(source)
    base.gated = False
    assert (load_model("lora/adapter", device="cpu").encode(["w1"]) == model.eval().encode(["w1"])).all()
    assert inspect_model("lora/adapter").form == "adapter"


def test_a_model_is_read_offline_once_it_was_downloaded(
    hub: Hub, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("models", "right/kept", files(models["static"]))
    load_model("right/kept", device="cpu")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_model("right/kept", device="cpu")
    with pytest.raises(UserError, match=r"^right/new: not here and never downloaded, and HF_HUB_OFFLINE forbids"):
        load_model("right/new", device="cpu")


@pytest.mark.parametrize(("name", "kind"), [("static", "encoder"), ("decoder", "decoder"), ("bare", "encoder")])
def test_a_base_on_the_hub_is_planned_as_the_same_in_a_folder(
    hub: Hub, models: dict[str, Path], name: str, kind: str
) -> None:
    hub.add("models", f"planned/{name}", files(models[name]))
    here, there = base_of(str(models[name])), base_of(f"planned/{name}")
    assert here.kind == there.kind == kind
    assert read_shape(there) == read_shape(here)
    texts = ["w1 w2 lamp", "the lamp " * 99]
    assert base_tokens(there).encode(texts, 50) == base_tokens(here).encode(texts, 50)
    assert base_tokens(there).longest == base_tokens(here).longest


# ---- data sets


def build(**source: Any) -> list[str]:
    return list(built_task(Source.model_validate(source), "task").open()["query"][:])


def test_subsets_and_splits_of_a_data_set(hub: Hub) -> None:
    data = {"README.md": TWO_SUBSETS, "triplet/train.parquet": parquet(ROWS), "triplet/dev.parquet": parquet(ROWS[:9])}
    hub.add("datasets", "data/both", {**data, "pair/train.parquet": parquet(ROWS[:20])})
    assert build(source="data/both") == [row["anchor"] for row in ROWS]
    assert len(build(source="data/both", split="dev")) == 9
    assert len(build(source="data/both", subset="pair")) == 20
    assert len(build(source="data/both", subset="pair", limit=7)) == 7
    asked = len(hub.requests)
    assert len(build(source="data/both", subset="pair")) == 20
    assert len(hub.requests) == asked + 1  # whether it has a new commit
    with pytest.raises(UserError, match=r"^data/both:other: split 'train' cannot be loaded .*'pair', 'triplet'"):
        build(source="data/both", subset="other")
    with pytest.raises(UserError, match=r"^data/both: split 'test' cannot be loaded .*train.*dev"):
        build(source="data/both", split="test")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", LINES),
        ("data/train.jsonl.gz", gzip.compress(LINES.encode())),
        ("train.csv", "query,positive\n" + "".join(f"question {n},answer {n}\n" for n in range(120))),
    ],
)
def test_formats_of_a_data_set(hub: Hub, name: str, content: Any) -> None:
    hub.add("datasets", f"data/{name.rpartition('.')[2]}", {name: content})
    assert len(build(source=f"data/{name.rpartition('.')[2]}")) == 120


def test_a_part_is_read_from_any_row_and_known_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add("datasets", "data/parts", {"train.parquet": parquet(ROWS)})
    opened = open_source("data/parts")
    assert opened.content == ["data/parts", repo.sha, "", "train"]
    assert not hub.asked("GET", "resolve")  # nothing is loaded before it is read
    (part,) = opened.parts()
    assert [(line, row) for line, _, row in part.read(117, 118)] == [(n + 1, ROWS[n]) for n in (117, 118, 119)]
    built = build(source="data/parts")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert open_source("data/parts").content == opened.content
    assert build(source="data/parts") == built
    with pytest.raises(UserError, match=r"^data/other: not here and never downloaded, and HF_HUB_OFFLINE forbids"):
        build(source="data/other")


def test_a_new_commit_is_another_data_set(hub: Hub) -> None:
    repo = hub.add("datasets", "data/grows", {"train.jsonl": LINES})
    assert len(build(source="data/grows")) == 120
    repo.commit({"train.jsonl": LINES + LINES.replace("question", "more")})
    assert len(build(source="data/grows")) == 240


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(hub: Hub, status: int) -> None:
    hub.add("datasets", f"data/busy{status}", {"train.parquet": parquet(ROWS)})
    hub.faults = [Fault(f"api/datasets/data/busy{status}", 2, status=status)]
    assert len(build(source=f"data/busy{status}")) == 120


def test_a_cut_stream_goes_on(hub: Hub) -> None:
    rows = [{**row, "negative": f"{row['negative']} {n}"} for n, row in enumerate(ROWS)]
    hub.add("datasets", "data/cut", {"train.parquet": parquet(rows)})
    hub.faults = [Fault("storage/train.parquet", 1, cut=100)]
    assert build(source="data/cut") == [row["anchor"] for row in ROWS]
    hub.add("datasets", "data/cut2", {"train.parquet": parquet(rows)})
    hub.faults = [Fault("storage/train.parquet", 1000, cut=100)]
    with pytest.raises(UserError, match=r"^data/cut2.*: the connection to http://127.* failed; run the same command"):
        build(source="data/cut2")
    hub.faults = []
    assert build(source="data/cut2") == [row["anchor"] for row in ROWS]


@pytest.mark.parametrize("name", [*REFUSED, "empty", "code"])
def test_a_data_set_that_cannot_be_had(hub: Hub, name: str) -> None:
    about, faults, line = REFUSED.get(name, ({}, [], "split 'train' cannot be loaded ("))
    if name != "gone":
        content = {"empty": {"README.md": "# x\n"}, "code": {"code.py": "print(1)\n"}}
        hub.add("datasets", f"lost/{name}", content.get(name, {"train.jsonl": LINES + f"\n{name}"}), **about)
    hub.faults = [Fault(fault.path, fault.times, fault.status, fault.cut) for fault in faults]
    with pytest.raises(UserError) as raised:
        build(source=f"lost/{name}")
    assert str(raised.value).startswith(f"lost/{name}: {line}".replace("model", "data set"))
    assert "\n" not in str(raised.value)
    assert name != "closed" or "/datasets/lost/closed, then log in" in str(raised.value)


def test_a_file_of_a_data_set(hub: Hub, tmp_path: Path) -> None:
    hub.add("datasets", "data/file", {"sub folder/rows.jsonl": LINES})
    hub.faults = [Fault("storage", 1, cut=2000)]
    place = "hf://datasets/data/file/sub folder/rows.jsonl"
    assert len(build(source=place)) == 120
    with pytest.raises(UserError, match=r"rows2.jsonl: cannot be downloaded \(data/file: the hub has no such file\)"):
        build(source=place.replace("rows", "rows2"))
    packed = messy.write(tmp_path, "rows.jsonl.tar.gz").read_bytes()
    hub.add("datasets", "data/pr", {"rows.jsonl.tar.gz": packed}, revisions=("refs/pr/1",))
    assert len(build(source="hf://datasets/data/pr@refs%2Fpr%2F1/rows.jsonl.tar.gz")) == len(messy.ROWS)
    with pytest.raises(UserError, match=r"cannot be downloaded \(data/file: the hub has no such revision of it\)"):
        build(source=place.replace("file", "file@v2", 1))


# ---- test sets


def as_mteb(hub: Hub, task: str, split: str, subset: str = "") -> str:
    """Put a small data set where mteb looks for a task's; returns its id."""
    mteb = pytest.importorskip("mteb")
    known = mteb.get_task(task).metadata.dataset
    rows = {
        "corpus": [{"_id": f"d{n}", "title": f"title {n}", "text": f"passage {n} {'y' * 40}"} for n in range(150)],
        "queries": [{"_id": f"q{n}", "text": f"query {n}"} for n in range(9)],
        "qrels": [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(7)],
    }
    configs, data = [], {}
    for part, of_part in rows.items():
        name = f"{subset}-{part}" if subset else {"qrels": "default"}.get(part, part)
        own_split = split if subset or part == "qrels" else part
        configs.append(f"- {{config_name: {name}, data_files: [{{split: {own_split}, path: {name}.parquet}}]}}\n")
        data[f"{name}.parquet"] = parquet(of_part)
    card = f"---\nconfigs:\n{''.join(configs)}---\n"
    hub.add("datasets", known["path"], {"README.md": card, **data}, sha=known["revision"])
    return str(known["path"])


@pytest.mark.parametrize(
    ("asked", "task", "split", "subset"),
    [
        ("scifact", "SciFact", "test", ""),
        ("MIRACLRetrieval:de", "MIRACLRetrieval", "dev", "de"),
        ("NanoNQRetrieval", "NanoNQRetrieval", "train", ""),
    ],
)
def test_a_benchmark_is_downloaded_once(hub: Hub, asked: str, task: str, split: str, subset: str) -> None:
    as_mteb(hub, task, split, subset)
    hub.faults = [Fault("corpus.parquet", 1, cut=500), Fault("default.parquet", 1, status=429)]
    (found,) = find_test_sets(asked)
    lines = {name: (found.folder / name).read_text().count("\n") for name in ("corpus.jsonl", "queries.jsonl")}
    assert lines == {"corpus.jsonl": 150, "queries.jsonl": 7} and found.revision
    assert (found.folder / "qrels/test.tsv").read_text().splitlines()[1] in {f"q{n}\td{n}\t1" for n in range(7)}
    asked_for = len(hub.requests)
    assert find_test_sets(asked) == [found] and len(hub.requests) == asked_for


def test_a_benchmark_that_cannot_be_had(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place = as_mteb(hub, "NFCorpus", "test")
    for about, line in (
        ({"gated": True}, f"gated on the hub; ask for access at {hub.endpoint}/datasets/{place}"),
        ({"private": True}, "no such file or folder here, and no such data set on the hub"),
    ):
        for key in ("gated", "private"):
            setattr(hub.repos["datasets", place], key, about.get(key, False))
        with pytest.raises(UserError) as raised:
            find_test_sets("nfcorpus")
        assert str(raised.value).startswith(f"NFCorpus: its data cannot be loaded ({place}: {line}")
        assert "--data FOLDER" in str(raised.value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids asking the hub"):
        find_test_sets("nfcorpus")


# ---- what a model on the hub was trained on


def test_training_data_that_a_card_on_the_hub_names(hub: Hub) -> None:
    hub.add("models", "known/model", {"README.md": "---\ndatasets: [known/data, known/gone]\n---\n"})
    hub.add("datasets", "known/data", {"train.parquet": parquet(ROWS)})
    known = trained_on("known/model")
    assert [data.hub_id for data in known.data] == ["known/data", "known/gone"]
    found, missing = TrainingQueries().read(known.data[0])
    assert found == [row["anchor"] for row in ROWS] and not missing
    with pytest.raises(UserError, match=r"^no such file or folder here, and no such data set on the hub"):
        TrainingQueries().read(TrainedDataSet("gone", "known/gone"))
    assert not trained_on("known/nothing").data
