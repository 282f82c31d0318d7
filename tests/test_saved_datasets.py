"""Folders that ``save_to_disk`` made: one data set, a dictionary of splits, and what is wrong with a copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import messy
import tiny
from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read.sources import open_source
from tdro.errors import UserError
from tdro.recipe.data_sections import Source
from tdro.recipe.schema import load_recipe

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def source(path: Path | str, **keys: Any) -> Source:
    return Source.model_construct(source=str(path), **keys)


def rows(name: str, count: int = 4) -> Any:
    return datasets.Dataset.from_list([{"anchor": f"{name} {row}", "positive": f"p{row}"} for row in range(count)])


def saved(place: Path, *splits: str) -> Path:
    datasets.DatasetDict({split: rows(split) for split in splits}).save_to_disk(str(place))
    return place


def queries(path: Path, **keys: Any) -> list[str]:
    return list(built_task(source(path, **keys), "t").open()["query"][:])


def test_one_data_set_in_several_files(tmp_path: Path) -> None:
    datasets.Dataset.from_list(messy.ROWS).save_to_disk(str(tmp_path / "one"), num_shards=3)
    built = built_task(source(tmp_path / "one"), "t")
    assert built.open().to_list() == messy.ROWS and not built.problems and not built.beside
    (part,) = open_source(str(tmp_path / "one")).parts()
    assert part.size == 4
    assert [line for line, _, _ in part.read(2, 3)] == [3, 4]


def test_rows_that_were_chosen_and_put_in_order(tmp_path: Path) -> None:
    rows("a", 900).select(range(899, 0, -2)).save_to_disk(str(tmp_path / "one"))
    assert queries(tmp_path / "one") == [f"a {row}" for row in range(899, 0, -2)]


def test_of_a_dictionary_the_training_split_is_read(tmp_path: Path) -> None:
    place = saved(tmp_path / "dd", "test", "train", "dev")
    built = built_task(source(place), "t")
    assert built.beside == [f"{place}: the split train is read; not read: test, dev"]
    assert queries(place) == [f"train {row}" for row in range(4)]
    assert queries(place, split="validation") == queries(place, split="dev") == queries(place / "dev")
    with pytest.raises(UserError, match="dd: no split 'sample'; there are test, train, dev"):
        queries(place, split="sample")


@pytest.mark.parametrize("splits", [("test",), ("validation", "test"), ("train_sft", "train_prefs")])
def test_which_split_is_asked(tmp_path: Path, splits: tuple[str, ...]) -> None:
    place = saved(tmp_path / "dd", *splits)
    with pytest.raises(UserError, match=f"dd: which split is to be trained on\\? There are {', '.join(splits)}"):
        queries(place)
    assert queries(place, split=splits[0])[0] == f"{splits[0]} 0"


def test_a_split_of_one_data_set_is_none(tmp_path: Path) -> None:
    rows("a").save_to_disk(str(tmp_path / "one"))
    with pytest.raises(UserError, match="one: one data set, without splits; there is none named 'train'"):
        queries(tmp_path / "one", split="train")


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_a_file_that_was_cut(tmp_path: Path, cut: int) -> None:
    place = saved(tmp_path / "dd", "train", "test")
    file = place / "train" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"train/data-00000-of-00001\.arrow: breaks off; copy or save it again"):
        queries(place)
    assert queries(place, split="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/data-00000-of-00001.arrow": None}, r"arrow: no such file, though state\.json names it"),
        ({"train/state.json": None}, r"dd/train: no data set of save_to_disk \(state\.json and dataset_info\.json\)"),
        ({"train/state.json": "{"}, r"state\.json"),
        ({"train/state.json": "[]"}, r"state\.json: names no files"),
        ({"dataset_dict.json": "{}"}, r"dataset_dict\.json: names no splits"),
        ({"dataset_dict.json": '{"splits": ["train", "dev"], "x": 1}'}, None),
        ({"train/dataset_info.json": "{"}, r"dd/train: cannot be loaded by datasets|dataset_info"),
    ],
)
def test_a_copy_that_is_not_whole(tmp_path: Path, change: dict[str, str | None], message: str | None) -> None:
    place = saved(tmp_path / "dd", "train", "test")
    for name, content in change.items():
        if content is None:
            (place / name).unlink()
        else:
            (place / name).write_text(content)
    if message is None:
        assert len(queries(place)) == 4
        return
    with pytest.raises(UserError, match=message):
        queries(place)


def test_an_empty_data_set(tmp_path: Path) -> None:
    rows("a").select([]).save_to_disk(str(tmp_path / "one"))
    with pytest.raises(UserError, match="one: an empty data set"):
        queries(tmp_path / "one")


def test_classes_and_nested_columns(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "query": datasets.Value("large_string"),
            "kind": datasets.ClassLabel(names=["a", "b"]),
            "pos": datasets.List(datasets.Value("string")),
        }
    )
    table = {"query": ["q1", "q2"], "kind": [0, 1], "pos": [["p1"], ["p2", "p3"]]}
    datasets.Dataset.from_dict(table, features=features).save_to_disk(str(tmp_path / "one"))
    assert built_task(source(tmp_path / "one"), "t").open()["positives"][:] == [["p1"], ["p2", "p3"]]


def test_every_command_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base").mkdir()
    tiny.tokenizer(eos=False).save("base/tokenizer.json")
    saved(Path("dd"), "train", "test")
    for command in (
        ["data", "check", "dd"],
        ["data", "describe", "dd"],
        ["init", "dd", "--base", "base"],
        ["data", "build", "recipe.yaml"],
    ):
        assert main(command) == 0
        assert "dd: the split train is read; not read: test" in capsys.readouterr().out
    sources = load_recipe("recipe.yaml").data.sources
    assert sources is not None and json.loads(sources["dd"].model_dump_json())["source"] == "dd"
