"""From names to BEIR folders: the benchmarks' test sets, local copies, and mteb's data written as BEIR folders."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import read_beir
from tdro.data.testsets.benchmarks import GROUPS, BenchmarkSet, benchmark
from tdro.data.testsets.find import folder_of_split
from tdro.data.testsets.mteb_task import mteb_folder, wanted_of, write_folder
from tdro.data.testsets.test_texts import find_test_texts
from tdro.errors import UserError
from tdro.evaluation.formats.mteb_results import write_mteb, write_mteb_whole
from tdro.evaluation.scoring.find_benchmark import find_benchmark, without_repeats
from tdro.evaluation.scoring.metrics import Judgements
from tdro.files import read_json


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def write_beir(folder, split="test", query="q"):
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "p", "title": "", "text": "w1"}) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": query, "text": "w2"}) + "\n")
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{query}\tp\t1\n")
    return folder


def test_groups_have_the_test_sets_of_the_papers():
    assert {name: len(of) for name, of in GROUPS.items()} == {"beir": 14 + 12, "miracl": 18, "nano-beir": 13}
    assert len({each.whole or each.name for each in GROUPS["beir"]}) == 15
    assert [each.split for each in GROUPS["beir"] if each.name == "MSMARCO"] == ["dev"]
    assert {each.split for each in GROUPS["miracl"]} == {"dev"}
    assert benchmark("scifact") == benchmark("SciFact")
    assert len(benchmark("cqadupstack")) == 12
    assert benchmark("unheard-of") == []


def test_groups_are_those_of_mteb():
    """Task, subset, split, languages and main score of every test set, and what the groups leave out."""
    mteb = pytest.importorskip("mteb")
    groups = {group: mteb.get_benchmark(name).tasks for group, name in (("beir", "BEIR"), ("nano-beir", "NanoBEIR"))}
    groups["miracl"] = [mteb.get_task("MIRACLRetrieval")]
    for group, tasks in groups.items():
        asked = [part for task in tasks for part in getattr(task, "tasks", None) or [task]]
        theirs = {
            (part.metadata.name, subset, split, *part.metadata.hf_subsets_to_langscripts[subset])
            for part in asked
            for subset in part.hf_subsets
            for split in part.eval_splits
        }
        assert {(each.task, each.subset, each.split, *each.languages) for each in GROUPS[group]} == theirs
        assert {part.metadata.main_score for part in asked} == {each.main_score for each in GROUPS[group]}
        wholes = [each.whole or each.task for each in GROUPS[group]]
        assert list(dict.fromkeys(wholes)) == [task.metadata.name for task in tasks]
    assert [(each.task, each.whole) for each in wanted_of("CQADupstackRetrieval")] == [
        (each.task, each.whole) for each in benchmark("cqadupstack")
    ]
    assert wanted_of("MIRACLRetrievalHardNegatives:sw")[0].split == "dev"  # by its own name, not in the group


def test_local_copies_in_beirs_layout_need_no_mteb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    data = tmp_path / "data"
    for wanted in GROUPS["beir"]:
        write_beir(data / wanted.folders[0], "test", "other" if wanted.split == "dev" else "q")
        write_beir(data / wanted.folders[0], wanted.split)
    found = find_benchmark("beir", data)
    assert [part.wanted for part in found.parts] == GROUPS["beir"]
    (msmarco,) = [part for part in found.parts if part.wanted.name == "MSMARCO"]
    assert read_beir(msmarco.folder).query_ids == ["q"]  # of the dev split
    assert find_benchmark("MSMARCO", data).parts == (msmarco,)
    # The same folders without a group, also in one of the group's name.
    data = data.rename(tmp_path / "beir")
    again = find_benchmark(str(data)).parts
    assert {part.wanted for part in again} == set(GROUPS["beir"])
    (msmarco,) = find_benchmark(str(data / "msmarco")).parts
    assert read_beir(msmarco.folder).query_ids == ["q"]
    (own,) = find_benchmark(str(write_beir(tmp_path / "mine"))).parts
    assert (own.names, own.folder) == (["mine"], tmp_path / "mine")

    write_beir(data / "miracl" / "de", "dev")
    with pytest.raises(
        UserError, match=r"(?s)pip install 'tdro\[mteb\]'.*miracl: 16 more .* not in .*: miracl/bn, miracl/en,"
    ):
        find_benchmark("miracl", data)
    (german,) = find_benchmark(str(data / "miracl")).parts
    assert german.wanted.name == "MIRACLRetrieval-de"
    assert read_beir(german.folder).query_ids == ["q"]


def test_what_is_not_there_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no BEIR folder"):
        find_benchmark(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"needs English passages"):
        find_benchmark(f"mkqa:{tmp_path / 'empty'}")
    folder = write_beir(tmp_path / "scifact")
    write_beir(folder, "train")
    with pytest.raises(UserError, match=r"dev\.tsv: no such file; x is judged on dev, and there is only test, train"):
        folder_of_split(folder, BenchmarkSet("x", "", split="dev"))
    other = find_benchmark(str(write_beir(tmp_path / "other" / "scifact")))
    with pytest.raises(UserError, match="SciFact"):
        without_repeats([find_benchmark(str(folder)), other])


def test_msmarco_is_not_judged_on_its_test_split_unasked(tmp_path, caplog):
    folder = write_beir(tmp_path / "msmarco", "test", "other")
    for group in ("beir", "MSMARCO"):
        with pytest.raises(UserError, match=r"dev\.tsv: no such file; MSMARCO is judged on dev.*only test") as refused:
            for wanted in GROUPS["beir"]:
                if wanted.task != "MSMARCO":
                    write_beir(tmp_path / wanted.folders[0])
            find_benchmark(group, tmp_path)
    assert str(folder) in str(refused.value)
    (part,) = find_benchmark(str(folder)).parts
    assert (part.wanted.name, part.wanted.split, part.folder) == ("MSMARCO-test", "test", folder)
    assert "qrels/test.tsv is read" in caplog.text
    # Whoever wrote MIRACL in BEIR's layout had no other judgements.
    swahili = next(each for each in GROUPS["miracl"] if each.subset == "sw")
    assert folder_of_split(write_beir(tmp_path / "sw"), swahili) == tmp_path / "sw"


class FakeTask:
    """A task with the attributes of mteb's."""

    skip_first_result = False
    loaded = 0

    def __init__(self, split, subsets=(), ignore=False, old=False, kind="Retrieval", loads=True):
        self.metadata = SimpleNamespace(
            type=kind, modalities=["text"], is_multilingual=bool(subsets), name="Fake",
            dataset={"path": "mteb/fake", "revision": "1"}, model_copy=self._copy, main_score="ndcg_at_10",
            hf_subsets_to_langscripts={key: ["und-Zyyy"] for key in subsets or ["default"]},
        )  # fmt: skip
        self.hf_subsets, self.eval_splits, self.ignore_identical_ids = list(subsets) or ["default"], ["test"], ignore
        self._split, self._old, self._loads = split, old, loads

    def _copy(self, update):
        return SimpleNamespace(**{**vars(self.metadata), **update})

    def load_data(self):
        if not self._loads:
            raise ConnectionError("no hub\nhere")
        FakeTask.loaded += 1
        if self._old:
            for part in ("corpus", "queries", "relevant_docs"):
                of_split = {"test": self._split[part]}
                multilingual = self.metadata.is_multilingual
                setattr(self, part, dict.fromkeys(self.hf_subsets, of_split) if multilingual else of_split)
        else:
            self.dataset = {subset: {"test": self._split} for subset in self.hf_subsets}


def split(ids=("d1", "d2"), queries=("q1", "q2", "q3"), **columns):
    rows = [{"id": query, "text": f"w{number}", **columns} for number, query in enumerate(queries)]
    return {
        "corpus": Dataset.from_list([{"id": key, "title": None if key == "d2" else "w5", "text": "w6"} for key in ids]),
        "queries": Dataset.from_list(rows),
        "relevant_docs": {queries[0]: {ids[0]: 2, ids[1]: 0}, queries[1]: {ids[1]: 1}, queries[2]: {}},
    }


@pytest.fixture
def mteb_has(monkeypatch):
    def install(**tasks):
        def get_task(name, **chosen):
            if name not in tasks:
                raise KeyError("not found. Did you mean: 'Fake'?")
            return tasks[name]

        monkeypatch.setitem(sys.modules, "mteb", SimpleNamespace(get_task=get_task))

    return install


@pytest.mark.parametrize("old", [False, True])
def test_a_task_of_mteb_becomes_a_beir_folder_once(tmp_path, mteb_has, old):
    data = split()
    if old:
        corpus = {"d1": {"title": "w5", "text": "w6"}, "d2": "w6"}
        data |= {"corpus": corpus, "queries": {row["id"]: row["text"] for row in data["queries"]}}
    mteb_has(Fake=FakeTask(data, subsets=("ar", "de"), old=old))
    assert [each.name for each in wanted_of("Fake")] == ["Fake-ar", "Fake-de"]
    assert [each.name for each in wanted_of("Fake:de")] == ["Fake-de"]
    before = FakeTask.loaded
    found = find_benchmark("Fake:ar")
    read = read_beir(found.parts[0].folder)
    assert read.query_ids == ["q1", "q2"]
    assert read.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert read.passages.texts[:2] == ["w5 w6", "w6"]
    assert find_benchmark("Fake:ar") == found
    assert FakeTask.loaded == before + 1
    assert [path.name for path in (tmp_path / "cache" / "benchmarks").iterdir()] == [found.parts[0].folder.name]


def test_ids_that_are_alike_by_chance_are_told_apart(tmp_path):
    data = split(queries=("d1", "q2", "q3"))
    write_folder(data, tmp_path / "asked", leave_out_own=True)
    write_folder(data, tmp_path / "by-chance", leave_out_own=False)
    assert read_beir(tmp_path / "asked").query_ids == ["d1", "q2"]
    assert read_beir(tmp_path / "by-chance").query_ids == ["query-d1", "query-q2"]


def test_a_querys_own_instruction_stands_after_it(tmp_path):
    write_folder(split(instruction="w9"), tmp_path / "made", leave_out_own=False)
    assert read_beir(tmp_path / "made").queries == ["w0 w9", "w1 w9"]


def test_local_copy_of_mtebs_repository(tmp_path, mteb_has):
    task = FakeTask(split())
    mteb_has(Fake=task)
    (tmp_path / "data" / "fake").mkdir(parents=True)
    wanted = BenchmarkSet("Fake", "Fake")
    folder, revision = mteb_folder(wanted, tmp_path / "data")
    assert revision == ""
    assert mteb_folder(wanted)[1] == "1"
    assert task.metadata.dataset["path"] == str(tmp_path / "data" / "fake")
    (tmp_path / "data" / "fake" / "README.md").write_text("changed")
    assert mteb_folder(wanted, tmp_path / "data")[0] != folder


def test_what_cannot_be_taken_from_mteb_is_said(tmp_path, mteb_has):
    wrong = FakeTask(split() | {"top_ranked": {"q1": ["d1"]}})
    mteb_has(Offline=FakeTask(split(), loads=False), Other=FakeTask(split(), kind="STS"), Again=wrong)
    for name, message in {
        "Nothing": "Nothing: no folder, no benchmark .* Did you mean: 'Fake'",
        "Other": "Other: a task of the type STS",
        "Offline:xx": "no subset 'xx'; it has default",
        "Offline": r"Offline: its data cannot be loaded \(mteb/fake: not here and .*OFFLINE.*\).\n.*--data FOLDER",
        "Again": "ranks given passages again",
    }.items():
        with pytest.raises(UserError, match=message):
            find_benchmark(name)
    with pytest.raises(UserError, match="conversations"):
        rows = Dataset.from_list([{"id": "q1", "text": ["w1", "w2"]}])
        write_folder(split() | {"queries": rows}, tmp_path / "talk", leave_out_own=False)
    assert not (tmp_path / "talk").exists()


def test_mteb_reads_a_local_copy_of_its_repository(tmp_path, monkeypatch):
    pytest.importorskip("mteb")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    copy = tmp_path / "data" / "mteb" / "scifact"
    (copy / "qrels").mkdir(parents=True)
    rows = {
        "corpus.jsonl": [{"_id": "1", "title": "w1", "text": "w2"}, {"_id": "2", "title": "", "text": "w3"}],
        "queries.jsonl": [{"_id": "1", "text": "w2"}, {"_id": "7", "text": "w9"}],
        "qrels/test.jsonl": [{"query-id": "1", "corpus-id": "2", "score": 1}],
    }
    for name, lines in rows.items():
        (copy / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (copy / "README.md").write_text(
        "---\nconfigs:\n"
        "- {config_name: default, data_files: [{split: test, path: qrels/test.jsonl}]}\n"
        "- {config_name: corpus, data_files: [{split: corpus, path: corpus.jsonl}]}\n"
        "- {config_name: queries, data_files: [{split: queries, path: queries.jsonl}]}\n---\n"
    )
    (part,) = find_benchmark("SciFact", tmp_path / "data").parts
    read = read_beir(part.folder)
    assert read.qrels == {"query-1": {"2": 1}}  # the passage 1 is another thing than the query 1
    assert read.passages.texts[:2] == ["w1 w2", "w3"]


def test_training_data_are_compared_with_what_is_evaluated(tmp_path, mteb_has):
    """The split, the subsets, the local copies and the errors of evaluation."""
    mteb_has(Fake=FakeTask(split(), subsets=("ar", "de")), Other=FakeTask(split(), kind="STS"))
    read = find_test_texts("mteb:Fake", passages=True)
    assert [test.name for test in read] == ["Fake-ar", "Fake-de"]
    assert read[0].queries.keys() == {"q1", "q2"}
    assert read[0].passages == {"d1": "w5 w6", "d2": "w6"}
    data = tmp_path / "data"
    write_beir(data / "msmarco", "test", "other")
    write_beir(data / "msmarco", "dev", "q")
    for source in ("mteb:MSMARCO", str(data / "msmarco"), str(data)):
        (texts,) = find_test_texts(source, data=data)
        assert (texts.name, texts.queries) == ("MSMARCO", {"q": "w2"})
    with pytest.raises(UserError, match="Other: a task of the type STS"):
        find_test_texts("mteb:Other")


def of_mteb(name, revision="", **chosen):
    (wanted,) = [each for group in GROUPS.values() for each in group if each.name == name]
    return TestSet(name, "", wanted=wanted, revision=revision, **chosen)


def test_mteb_reads_the_results(tmp_path):
    """Main score, subset, languages, split and revision; of another model nothing is left; of one's own, no file."""
    found, judged = np.array([[0, 1], [1, 0]]), Judgements(*np.array([[0, 1], [1, 2], [1, 1]]))
    folder, model = tmp_path / "results" / "mine" / "mteb", ("mine", "f00d")
    write_mteb(folder, of_mteb("SciFact"), "c", found, judged, ("other", "beef"))
    for name in ("MIRACLRetrieval-sw", "MIRACLRetrieval-ar", "MSMARCO"):
        write_mteb(folder, of_mteb(name, "r1"), "c", found, judged, model)
    write_mteb(folder, of_mteb("MIRACLRetrieval-sw", "r1"), "c", found * 0, judged, model)  # again
    write_mteb(folder, TestSet("own", "", wanted=BenchmarkSet("own", "")), "c", found, judged, model)
    forums = [of_mteb(each.name) for each in benchmark("cqadupstack")]
    write_mteb_whole(folder, "CQADupstackRetrieval", forums[1:], 0.25, model)
    assert not (folder / "CQADupstackRetrieval.json").exists()
    write_mteb_whole(folder, "CQADupstackRetrieval", forums, 0.25, model)
    names = ["CQADupstackRetrieval", "MIRACLRetrieval", "MSMARCO", "model_meta"]
    assert sorted(path.stem for path in folder.iterdir()) == names

    mteb = pytest.importorskip("mteb")
    (read,) = mteb.ResultCache(tmp_path).load_results(include_remote=False, validate_and_filter=False).model_results
    assert (read.model_name, read.model_revision) == model
    results = {each.task_name: each for each in read.task_results}
    miracl = results["MIRACLRetrieval"]
    assert (miracl.dataset_revision, miracl.eval_splits) == ("r1", ["dev"])
    ar, sw = miracl.scores["dev"]
    assert (ar["hf_subset"], ar["languages"], sw["languages"]) == ("ar", ["ara-Arab"], ["swa-Latn"])
    assert ar["main_score"] == ar["ndcg_at_10"] == read_json(folder / "MSMARCO.json")["scores"]["dev"][0]["ndcg_at_10"]
    assert sw["main_score"] == 0
    assert results["CQADupstackRetrieval"].get_score() == 0.25
    table = read.to_dataframe(aggregation_level="subset").set_index(["task_name", "subset"])["mine"]
    assert table["MIRACLRetrieval", "ar"] == ar["main_score"]
    filtered = miracl.validate_and_filter_scores(mteb.get_task("MIRACLRetrieval", hf_subsets=["ar", "sw"]))
    assert filtered.get_score() == pytest.approx(ar["main_score"] / 2)
