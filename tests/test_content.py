"""A fingerprint is of the rows, never of the way that they came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

import plain_content
from tdro.data.mixtures import content, row_files
from tdro.data.mixtures.build import built_task
from tdro.data.mixtures.content import queries_content, rows_content
from tdro.data.mixtures.folder import mixture_fingerprint, read_mixture
from tdro.data.mixtures.write import write_mixture
from tdro.data.task import Mixture, Task
from tdro.evaluation.leaks.trained_on import task_fingerprint
from tdro.files import write_jsonl
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mining_settings import MiningSettings
from tdro.recipe.data_sections import Source

ROWS = [
    {"id": f"r{n}", "query": f"query {n} ü", "positives": [f"answer {n}"], "negatives": [f"no {n}", "never"][: n % 3]}
    for n in range(25)
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
lists = st.lists(texts, max_size=3)
row = st.fixed_dictionaries({"id": texts, "query": texts, "positives": lists, "negatives": lists})
rows = st.lists(row, min_size=1, max_size=6)


def task(made: Dataset) -> Task:
    return Task("a", made)


def _large(made: list[dict[str, Any]]) -> Dataset:
    wide = pa.large_list(pa.large_string())
    kinds = {"id": pa.string(), "query": pa.large_string(), "positives": wide, "negatives": pa.list_(pa.large_string())}
    return Dataset(pa.table({key: pa.array([row[key] for row in made], kind) for key, kind in kinds.items()}))


LAYOUTS: dict[str, Callable[[list[dict[str, Any]]], Dataset]] = {
    "plain": Dataset.from_list,
    "large": _large,
    "chunks": lambda made: concatenate_datasets([_large(made[:7]), _large(made[7:])]),
    "selected": lambda made: Dataset.from_list([*made, *made]).select(range(len(made), 2 * len(made))),
    "slice": lambda made: Dataset(Dataset.from_list([*made, *made]).data.table.slice(len(made), len(made))),
    "more columns": lambda made: Dataset.from_list([{"extra": 1, **row} for row in made]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shard", [100_000, 10])
def test_it_is_that_of_the_plain_values_in_every_layout(
    layout: str, shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SHARD_ROWS", shard)
    made = LAYOUTS[layout](ROWS)
    assert rows_content(task(made)) == plain_content.content(ROWS, shard=shard)
    assert queries_content(made) == plain_content.content(ROWS, ["query"], shard)


@given(rows, rows)
def test_it_is_equal_for_equal_rows_only(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    found = [rows_content(task(_large(made))) for made in (one, other)]
    assert (found[0] == found[1]) == (one == other)
    assert found[0] == plain_content.content(one)


def test_whatever_way_rows_come_their_fingerprint_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built from a source in odd batches, written to a mixture and read, copied through by mining, and mined."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    for module in (row_files, content):
        monkeypatch.setattr(module, "SHARD_ROWS", 10)
    monkeypatch.setattr(row_files, "BATCH_CHARACTERS", 70)
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    built = built_task(Source(source=str(tmp_path / "a.jsonl")), "a")
    source = Task("a", built.open(), fingerprint=built.fingerprint)
    assert built.fingerprint == plain_content.content(ROWS, shard=10) == rows_content(task(built.open()))
    assert built.queries == queries_content(built.open())
    write_mixture(Mixture([source]), tmp_path / "mixture")
    read = read_mixture(tmp_path / "mixture")
    assert mixture_fingerprint(Mixture([source])) == mixture_fingerprint(read)
    assert task_fingerprint(source) == task_fingerprint(read.tasks[0])
    folder = tmp_path / "negatives"
    through = mine_mixture(read, MiningSettings("bm25", 1), 1, folder)
    assert mixture_fingerprint(through) != mixture_fingerprint(read)  # some rows had none
    again = mine_mixture(Mixture([source]), MiningSettings("bm25", 1), 1, folder)
    assert mixture_fingerprint(again) == mixture_fingerprint(through)
    assert task_fingerprint(again.tasks[0]) == task_fingerprint(source)
    enough = mine_mixture(again, MiningSettings("bm25", 1), 1, tmp_path / "enough")
    assert mixture_fingerprint(enough) == mixture_fingerprint(again)
    assert not (tmp_path / "enough").exists()  # rows that have enough are not copied
