"""A folder as one source: which of its files are read, what is named as unread, and what is asked about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import messy
import tiny
from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read.sources import open_source
from tdro.data.read.splits import split_of, split_to_read
from tdro.errors import UserError
from tdro.recipe.data_sections import Source
from tdro.recipe.schema import load_recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def folder(place: Path, *names: str) -> Path:
    """A folder with these files, each of two rows that have its name; Parquet and CSV by their ending."""
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"query": f"{name} {row}", "positive": f"p{row}"} for row in range(2)]
        if name.endswith(".parquet"):
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif name.endswith(".csv"):
            path.write_text("query,positive\n" + "".join(f"{row['query']},{row['positive']}\n" for row in rows))
        elif name.endswith((".jsonl", ".json")):
            path.write_bytes(messy.lines(list(rows)))
        else:
            path.write_text("{}")
    return place


def read(place: Path, split: str | None = None) -> tuple[list[str], list[str]]:
    """The files that are read, relative to the folder, and what is said of the others."""
    opened = open_source(str(place), split=split)
    said = [line.replace(f"{place}", ".") for line in opened.beside]
    return [str(file.relative_to(place)) for file in opened.files], said


# ---- one meaning


@pytest.mark.parametrize(
    ("names", "train", "others"),
    [
        ("train.jsonl validation.jsonl test.jsonl", "train.jsonl", "test.jsonl, validation.jsonl"),
        ("train.csv dev.csv", "train.csv", "dev.csv"),
        ("training_set.csv val_set.csv heldout.csv", "training_set.csv", "heldout.csv, val_set.csv"),
        ("faq_train.jsonl faq_test.jsonl", "faq_train.jsonl", "faq_test.jsonl"),
        ("TrainData.csv TestData.csv", "TrainData.csv", "TestData.csv"),
        ("data/train-00000-of-00001.parquet data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet",
         "data/test-00000-of-00001.parquet"),
        ("train/0000.parquet test/0000.parquet valid/0000.parquet", "train/0000.parquet",
         "test/0000.parquet, valid/0000.parquet"),
        ("en/train.jsonl en/eval.jsonl", "en/train.jsonl", "en/eval.jsonl"),
        ("train.jsonl held-out/a.jsonl", "train.jsonl", "held-out/a.jsonl"),
        ("data/train.csv data/test.csv dataset_infos.json", "data/train.csv", "data/test.csv, dataset_infos.json"),
    ],
)  # fmt: skip
def test_train_is_read_and_what_is_held_out_is_named(tmp_path: Path, names: str, train: str, others: str) -> None:
    place = folder(tmp_path / "set", *names.split(), "README.md", ".gitattributes", ".git/x.json", "LICENSE")
    assert read(place) == ([train], [f".: {train} is read; not read: {others}"])


def test_shards_of_a_split_are_one_task(tmp_path: Path) -> None:
    names = [f"data/train-0000{shard}-of-00003.parquet" for shard in range(3)]
    place = folder(tmp_path / "set", *names, "data/test-00000-of-00001.parquet", "README.md")
    assert read(place) == (names, [".: 3 files are read, the split train; not read: data/test-00000-of-00001.parquet"])
    built = built_task(Source(source=str(place)), "set")
    assert built.open()["query"][:] == [f"{name} {row}" for name in names for row in range(2)]


@pytest.mark.parametrize("names", ["1.jsonl 2.jsonl", "train_1.jsonl train_2.jsonl", "contest.jsonl latest.jsonl"])
def test_parts_of_a_task_are_read_as_before_without_a_word(tmp_path: Path, names: str) -> None:
    assert read(folder(tmp_path / "set", *names.split(), "README.md")) == (names.split(), [])


def test_what_lies_beside_the_data_is_named(tmp_path: Path) -> None:
    place = folder(tmp_path / "set", "a.jsonl", "notes.txt", "old/b.jsonl", "beir/corpus.jsonl", "readme.txt")
    (place / "empty.jsonl").touch()
    files, said = read(place)
    assert files == ["a.jsonl", "empty.jsonl"]
    assert said == [".: 2 files are read; not read: beir, notes.txt, old/b.jsonl", "./empty.jsonl: is empty"]


def test_another_split_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    place = folder(tmp_path / "set", "train.jsonl", "dev.jsonl", "test.jsonl")
    for split in ("dev", "validation"):
        assert read(place, split) == (["dev.jsonl"], [".: dev.jsonl is read; not read: test.jsonl, train.jsonl"])
    with pytest.raises(UserError, match="no file is of the split 'sample'; there are train, validation, test"):
        read(place, "sample")
    with pytest.raises(UserError, match="no file is of the split 'train'; there are no splits"):
        read(folder(tmp_path / "other", "a.jsonl"), "train")


def test_a_copy_of_the_training_files_alone_is_the_same_data(tmp_path: Path) -> None:
    whole = built_task(Source(source=str(folder(tmp_path / "a", "train.jsonl", "test.jsonl"))), "a")
    alone = built_task(Source(source=str(folder(tmp_path / "b", "train.jsonl"))), "a")
    assert whole.folder == alone.folder and whole.beside and not alone.beside


# ---- none, or several


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("test.jsonl", r"holds no training data, by its names \(test\).\nTo train on test.jsonl all the same"),
        ("data/test.csv data/dev.csv", r"no training data, by its names \(validation, test\)(.|\n)*split: validation"),
        ("faq.jsonl faq_test.jsonl", "is faq.jsonl to be trained on beside faq_test.jsonl, which is held out"),
        ("train.jsonl more.jsonl test.jsonl", "is more.jsonl to be trained on beside test.jsonl"),
        ("en/train.jsonl de/train.jsonl", r"holds several data sets \(.*/de, .*/en\).\nGive one"),
        ("en/a.jsonl de/b.jsonl", "holds several data sets"),
        ("en-train-00000-of-00001.parquet de-train-00000-of-00001.parquet test.csv", "holds several data sets"),
        ("train.jsonl train.csv test.csv", "are train.csv and train.jsonl the same rows"),
        ("a.parquet a.jsonl", "are a.jsonl and a.parquet the same rows"),
        ("corpus.parquet queries.parquet", r"in BEIR's layout, they are corpus\.jsonl"),
        ("corpus/a.parquet queries/b.parquet", r"in BEIR's layout, they are corpus\.jsonl"),
        ("a/corpus.jsonl b/corpus.jsonl", "holds no data file, but a folder in BEIR's layout in it: .*/a; give that"),
        ("README.md notes.txt", r"holds no data file \(\.jsonl"),
        ("data-00000-of-00001.arrow", r"\.arrow: no known format; of save_to_disk's folders, dataset_info\.json"),
    ],
)  # fmt: skip
def test_what_can_mean_two_things_is_asked(tmp_path: Path, names: str, message: str) -> None:
    place = folder(tmp_path / "set", *names.split())
    with pytest.raises(UserError, match=message) as caught:
        read(place)
    assert str(place) in str(caught.value)


def test_a_folder_without_anything(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="set: holds no data file"):
        read(tmp_path / "set")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    place = folder(tmp_path / "set", "data/train.jsonl", "data/test.jsonl")
    (place / "data" / "again").symlink_to(place)
    (place / "loop").symlink_to(place / "loop")
    assert read(place)[0] == ["data/train.jsonl"]
    with pytest.raises(UserError, match="loop: is a link that leads nowhere, or in a circle"):
        read(place / "loop")


def test_a_folder_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path / "set", "data/train.jsonl")
    scan = __import__("os").scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "data":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("tdro.data.read.folders.os.scandir", refuse)
    with pytest.raises(UserError, match="set/data: cannot be read"):
        read(place)


# ---- names


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "faq.train", "train-0-of-2", "Training_Set", "train2017", "aTrain")),
        *((name, "validation") for name in ("dev", "val_v2", "VALID", "news-validation")),
        *((name, "test") for name in ("test", "eval", "hold_out", "held-out", "TestSet")),
        *((name, None) for name in ("contest", "trainer", "developer", "détest", "value", "train_test", "1", "")),
    ],
)  # fmt: skip
def test_the_split_of_a_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_the_split_that_is_trained_on() -> None:
    assert split_to_read(["test", "train"], None, "x") == "train"
    assert split_to_read(["train_sft", "test_sft"], None, "x") == "train_sft"
    assert split_to_read(["all", "test"], None, "x") == "all"
    assert split_to_read(["train", "dev"], "validation", "x") == "dev"
    for names, wanted in ((["test"], None), (["train_a", "train_b"], None), (["train"], "test")):
        with pytest.raises(UserError, match="x: "):
            split_to_read(names, wanted, "x")


# ---- every command says it


def test_every_command_says_what_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    tiny.tokenizer(eos=False).save("base/tokenizer.json")
    folder(tmp_path / "faq", "train.jsonl", "test.jsonl")
    said = "faq: train.jsonl is read; not read: test.jsonl"
    for command in (
        ["data", "check", "faq"],
        ["data", "describe", "faq"],
        ["data", "dedup", "faq", "--within", "--out", "left"],
        ["data", "mine", "faq", "--by", "bm25", "--out", "mined"],
        ["init", "faq", "--base", "base"],
        ["data", "check", "recipe.yaml"],
        ["data", "build", "recipe.yaml"],
        ["data", "describe", "recipe.yaml"],
        ["train", "reference", "recipe.yaml"],
    ):
        if command[0] == "train":
            from tdro.data.mixtures.from_recipe import source_mixture

            lines: list[str] = []
            source_mixture(load_recipe("recipe.yaml").data, lines.append)
            assert said in "\n".join(lines).split("\n")
            continue
        assert main(command) == 0, command
        assert said in "".join(capsys.readouterr()), command
    rows = [json.loads(line) for line in Path("left/train/faq.jsonl").read_text().splitlines()]
    assert [row["query"] for row in rows] == ["train.jsonl 0", "train.jsonl 1"]


def test_a_recipe_names_a_split_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "faq", "train.jsonl", "test.jsonl")
    Path("r.yaml").write_text(
        "name: small\nbase: {kind: static, source: smollm2}\ndata: {sources: {a: {source: faq, split: test}}}\n"
    )
    source = (load_recipe("r.yaml").data.sources or {})["a"]
    assert built_task(source, "a").open()["query"][:] == ["test.jsonl 0", "test.jsonl 1"]
