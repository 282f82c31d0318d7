"""Texts as numbers and as tokens, and the split of rows between the stages."""

import operator
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset, List, Value, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

import tiny
from tdro.data.plan.holdout import part_of, split_rows
from tdro.data.plan.row_plans import HomogeneousPlan, MixedPlan, StepRows
from tdro.data.task import Mixture, Task
from tdro.data.tokens import index_files, token_files
from tdro.data.tokens.index_files import kept_index
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.token_files import kept_tokens
from tdro.data.tokens.tokenize import tokenize
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels

TEXTS = ["w1", "w2 w3 w4", "w5 w6 nowhere w7 w8", "w9 " * 40, "w1 w1"]


def made(name="a", rows=None, **settings):
    rows = rows or [("q", ["p"], ["n"])]
    columns = {
        "id": [f"{name}{i}" for i in range(len(rows))],
        **{key: [row[i] for row in rows] for i, key in enumerate(("query", "positives", "negatives"))},
    }
    return Task(name, Dataset.from_dict(columns), **settings)


def read(stored):
    """All texts of a ``StoredTexts``, by number."""
    return [text for _, texts in stored.by_prompt(slice(None)) for text in texts]


def texts_of(lists, row):
    return lists.values[lists.starts[row] : lists.starts[row + 1]].tolist()


# ---- the index


def test_the_same_text_has_the_same_number_everywhere():
    first = made("a", [("q1", ["x", "y"], ["z"]), ("q2", ["y"], ["x", "z", "z"])])
    index = index_mixture([first, made("b", [("q1", ["z"], ["y"])])])
    assert sorted(read(index.queries)) == ["q1", "q2"] and sorted(read(index.passages)) == ["x", "y", "z"]
    x, y, z = (read(index.passages).index(text) for text in "xyz")
    a, b = index.tasks
    assert texts_of(a.positives, 0) == [x, y] and texts_of(a.negatives, 1) == [x, z, z]
    assert texts_of(b.positives, 0) == [z] and texts_of(b.negatives, 0) == [y]
    assert a.queries[0] == b.queries[0]


def test_a_positive_among_its_own_negatives_is_left_out():
    task = made(rows=[("q", ["x", "y"], ["y", "z", "x", "x"]), ("r", ["z"], ["x"])])
    index = index_mixture([task])
    passages = read(index.passages)
    assert [passages[i] for i in texts_of(index.tasks[0].negatives, 0)] == ["z"]
    assert [read(index.passages)[i] for i in texts_of(index.tasks[0].negatives, 1)] == [
        "x"
    ]  # no positive of *this* row


@pytest.mark.parametrize("symmetric", [False, True])
def test_prompts(symmetric):
    index = index_mixture([made(instruction="Find it", symmetric=symmetric)])
    prompt = "Instruct: Find it\nQuery: "
    assert read(index.queries) == [prompt + "q"]
    assert sorted(read(index.passages)) == sorted((prompt if symmetric else "") + text for text in "pn")
    assert read(index_mixture([made(instruction="Find it", symmetric=symmetric)], prompts=False).queries) == ["q"]


def test_the_same_passage_in_a_symmetric_task_is_another_text():
    index = index_mixture([made("a"), made("b", instruction="Same?", symmetric=True)])
    assert len(index.passages) == 4


def test_gather_reads_the_planned_rows():
    tasks = [tiny.task(f"t{i}", rows=5 + i, negatives=2 + i) for i in range(3)]
    index = index_mixture(tasks)
    rows = MixedPlan([len(task) for task in tasks], 8, 2, 1).step(1)
    texts = index.gather(rows, 1, 2)
    for place in range(8):
        row = tasks[rows.task[place]].rows[int(rows.row[place])]
        passages = [read(index.passages)[i] for i in texts.passages[place]]
        assert read(index.queries)[texts.query[place]] == row["query"]
        assert passages[0] in row["positives"]
        assert set(passages[1:]) <= set(row["negatives"]) and len(set(passages[1:])) == 2
    order = np.array([7, 0, 3, 3])
    some = index.gather(StepRows(rows.task[order], rows.row[order], rows.visit[order]), 1, 2)
    assert np.array_equal(some.passages, texts.passages[order])


def test_fewer_negatives_than_asked_are_repeated():
    index = index_mixture([made(rows=[("q", ["p"], ["n", "m"])])])
    passages = index.gather(MixedPlan([1], 1, 1, 0).step(0), 0, 5).passages[0]
    assert [read(index.passages)[i] for i in passages] == ["p", "n", "m", "n", "m", "n"]


@pytest.mark.parametrize("negatives", [[], ["p"]], ids=["none", "only its own positive"])
def test_a_row_without_negatives_is_refused_by_name(negatives):
    task = made("small", [("q", ["o"], ["n"]), ("r", ["p"], negatives)])
    index = index_mixture([task])
    with pytest.raises(UserError, match=r"task 'small': 1 of 2 rows .* 'small1'"):
        index.require_negatives(Mixture([task]))
    rows = MixedPlan([2], 2, 1, 0).step(0)
    with pytest.raises(UserError, match="task 'small', row 1: no hard negative"):
        index.gather(rows, 0, 1)
    assert index.gather(rows, 0, 0).passages.shape == (2, 1)  # in-batch negatives only


def test_no_task_has_any_negative():
    index = index_mixture([made(rows=[("q", ["p"], [])])])
    assert texts_of(index.tasks[0].negatives, 0) == []


def test_a_task_without_rows_is_refused_by_name():
    with pytest.raises(UserError, match="task 'empty' has no rows"):
        index_mixture([made(), Task("empty", made().rows.select([]))])


def same_index(found, expected):
    assert read(found.queries) == read(expected.queries) and found.queries.digest == expected.queries.digest
    assert read(found.passages) == read(expected.passages) and found.passages.digest == expected.passages.digest
    for one, other in zip(found.tasks, expected.tasks, strict=True):
        assert one.name == other.name
        for name in ("queries", "positives.values", "positives.starts", "negatives.values", "negatives.starts"):
            arrays = [operator.attrgetter(name)(task) for task in (one, other)]
            assert arrays[0].dtype == arrays[1].dtype and np.array_equal(*arrays), name


def test_numbers_are_given_in_the_order_in_which_texts_come():
    rows = [("q", ["x", ""], ["z"]), ("p", ["y"], ["x", "z", "ü 猫"]), ("q", ["p q"], [])]
    tasks = [made("a", rows, instruction="i", symmetric=True), made("b", rows), made("c", rows[::-1])]
    prompt = tasks[0].prompt
    index = index_mixture(tasks)
    texts = ["x", "", "y", "p q", "z", "ü 猫"]
    assert read(index.queries) == [prompt + "q", prompt + "p", "q", "p"]
    assert read(index.passages) == [*(prompt + text for text in texts), *texts]
    some = slice(4, 8)  # of both prompts
    assert list(index.passages.by_prompt(some)) == [(prompt, [prompt + "z", prompt + "ü 猫"]), ("", ["x", ""])]
    assert index.tasks[2].queries.tolist() == [2, 3, 2]


def test_rows_in_many_parts_or_picked_from_others_are_the_same_texts():
    task = tiny.task("a", rows=9, negatives=3)
    parts = [task.rows.select(range(start, end)) for start, end in ((0, 4), (4, 5), (5, 9))]
    inputs = [concatenate_datasets([part.flatten_indices() for part in parts]), concatenate_datasets(parts)]
    inputs.append(task.rows.cast_column("negatives", List(Value("large_string"))))
    for rows in inputs:
        same_index(index_mixture([replace(task, rows=rows)]), index_mixture([task]))


def test_an_index_is_kept_on_disk(tmp_path, monkeypatch):
    tasks = [made("a", [("q", ["x"], ["z", "x"]), ("p", ["y"], [])], instruction="i"), made("b")]
    for prompts in (True, False):
        same_index(kept_index(tasks, tmp_path, "content", prompts), index_mixture(tasks, prompts))
    with monkeypatch.context() as patched:
        patched.setattr(index_files, "index_mixture", lambda *args: pytest.fail("numbered again"))
        again = kept_index(tasks, tmp_path, "content")
    same_index(again, index_mixture(tasks))
    assert isinstance(again.tasks[0].negatives.values.base, np.memmap)
    kept_index(tasks[:1], tmp_path, "other content")
    assert len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.glob("*/1-positives.npy"):
        file.unlink()
    with pytest.raises(UserError, match="remove the folder"):
        kept_index(tasks, tmp_path, "content")


# ---- tokens


@pytest.mark.parametrize("kind", ["static", "encoder", "decoder"])
@pytest.mark.parametrize("length", [3, 30])
def test_features_are_what_the_model_itself_would_make(kind, length, tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.data.tokens.tokenize._TEXTS_PADDED_TOGETHER", 2)
    model = tiny.model(kind, tmp_path)
    tokens = tokenize(model, TEXTS, length)
    if kind == "static":
        model.tokenizer.enable_truncation(length)
    else:
        model.max_seq_length = length
    for chosen in ([0, 1, 2, 3, 4], [3], [4, 0, 4]):
        expected = model.preprocess([TEXTS[i] for i in chosen])
        found = tokens.features(np.array(chosen))
        for key, value in found.items():
            assert torch.equal(value, expected[key].to(value.dtype)), key
        together = model({k: v.clone() for k, v in found.items()})["sentence_embedding"]
        assert torch.allclose(together, model.encode([TEXTS[i] for i in chosen], convert_to_tensor=True), atol=1e-6)


def test_the_end_of_sequence_survives_truncation(tmp_path):
    tokens = tokenize(tiny.decoder(tmp_path), TEXTS, 4)
    last = tokens.ids[tokens.starts[1:] - 1]
    assert tokens.lengths.max() == 4 and (last == 2).all()


def test_left_padding_gives_the_same_tokens(tmp_path):
    model = tiny.encoder(tmp_path)
    right = tokenize(model, TEXTS, 20)
    model.tokenizer.padding_side = "left"
    left = tokenize(model, TEXTS, 20)
    assert np.array_equal(left.ids, right.ids) and np.array_equal(left.starts, right.starts)


def test_tokenizing_leaves_the_models_length_alone(tmp_path):
    model = tiny.encoder(tmp_path)
    tokenize(model, TEXTS, 5)
    assert model.max_seq_length == 32


@pytest.mark.parametrize("kind", ["static", "encoder"])
def test_an_empty_passage_is_embedded_like_any_other(kind, tmp_path):
    model = tiny.model(kind, tmp_path)
    tokens = tokenize(model, ["", "w1"], 8)
    assert tokens.lengths.tolist() == ([0, 1] if kind == "static" else [1, 2])
    embedding = model(tokens.features(np.array([0, 1])))["sentence_embedding"]
    assert torch.isfinite(embedding).all()
    alone = model(tokens.features(np.array([0])))["sentence_embedding"]
    assert torch.allclose(alone, embedding[:1], atol=1e-6)


def kept(model, texts, length, folder):
    return kept_tokens(model, texts, length, folder, content=fingerprint(texts))


def same_tokens(found, expected):
    arrays = ((found.ids, expected.ids), (found.starts, expected.starts))
    return found.padding == expected.padding and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


@pytest.mark.parametrize("kind", ["static", "encoder"])
def test_tokens_are_kept_on_disk(kind, tmp_path, monkeypatch):
    model = tiny.model(kind, tmp_path)
    for texts, length in ((TEXTS, 9), (TEXTS[:3], 5), ([""], 5), ([], 5)):
        assert same_tokens(kept(model, texts, length, tmp_path / "kept"), tokenize(model, texts, length))
    assert len(list((tmp_path / "kept").iterdir())) == 4

    # Again with a fresh model: whatever it was used for before, nothing is tokenized anew, nor read into memory.
    model = tiny.model(kind, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(token_files, "tokenized", lambda *args: pytest.fail("tokenized again"))
        again = kept(model, TEXTS, 9, tmp_path / "kept")
    assert same_tokens(again, tokenize(model, TEXTS, 9)) and isinstance(again.ids.base, np.memmap)


def test_other_texts_lengths_or_tokenizers_are_kept_apart(tmp_path):
    model, folder = tiny.encoder(tmp_path / "model"), tmp_path / "kept"
    kept(model, TEXTS, 9, folder)
    kept(model, TEXTS[::-1], 9, folder)
    kept(model, TEXTS, 8, folder)
    kept(tiny.static_model(), TEXTS, 9, folder)
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("left", ["ids ahead", "torn", "zeros", "ids lost", "nothing"])
def test_tokenizing_goes_on_where_a_kill_left_it(left, tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.data.tokens.tokenize._TEXTS_AT_ONCE", 2)
    model, folder = tiny.encoder(tmp_path / "model"), tmp_path / "kept"
    tokenized, batches = token_files.tokenized, []

    def killed(*args):
        for batch in tokenized(*args):
            batches.append(batch)
            if len(batches) == 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(token_files, "tokenized", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(model, TEXTS, 9, folder)
    (place,) = folder.iterdir()
    ids, starts = place / "ids.raw", place / "starts.raw"
    if left == "ids ahead":
        ids.write_bytes(ids.read_bytes() + b"more")
    elif left == "torn":
        starts.write_bytes(starts.read_bytes()[:-3])
    elif left == "zeros":
        starts.write_bytes(starts.read_bytes() + bytes(24))
    elif left == "ids lost":
        ids.write_bytes(ids.read_bytes()[:-2])
    else:
        starts.write_bytes(b"")
    assert same_tokens(kept(model, TEXTS, 9, folder), tokenize(model, TEXTS, 9))
    # Texts in all, of two in a batch: those of whole starts are not tokenized again.
    assert len(batches) == 2 + {"torn": 2, "ids lost": 2, "nothing": 4}.get(left, 2)


def test_a_vocabulary_of_more_than_16_bits(tmp_path, monkeypatch):
    model = tiny.encoder(tmp_path)
    assert tokenize(model, TEXTS, 9).ids.dtype == np.uint16
    few = model.tokenizer.get_vocab()
    monkeypatch.setattr(type(model.tokenizer), "get_vocab", lambda self: {**few, "another": 1 << 16})
    assert tokenize(model, TEXTS, 9).ids.dtype == np.int32


def test_kept_tokens_that_were_damaged_are_named(tmp_path):
    kept(tiny.static_model(), TEXTS, 9, tmp_path)
    (ids,) = tmp_path.glob("*/ids.raw")
    ids.write_bytes(ids.read_bytes()[2:])
    with pytest.raises(UserError, match=f"{ids.parent}: .* remove the folder"):
        kept(tiny.static_model(), TEXTS, 9, tmp_path)


# ---- planned steps


def test_steps_have_the_columns_and_labels_of_their_rank(tmp_path):
    model = tiny.encoder(tmp_path)
    tasks = [tiny.task("a"), tiny.task("b", rows=7)]
    data = tiny.tokenized(model, tasks)
    plan = HomogeneousPlan([20, 7], 8, np.array([0, 1, 1]), 3)
    whole = PlannedSteps(data, plan, 2, text_labels)
    batch = whole[1]
    rows, texts = whole.rows(1)
    assert len(whole) == 3 and len(tiny.columns(batch)) == 4
    assert np.array_equal(batch["label"].numpy(), np.column_stack([rows.task, texts.query, texts.passages]))
    decoded = model.tokenizer.batch_decode(batch["negative_2_input_ids"], skip_special_tokens=True)
    assert decoded == [read(data.index.passages)[i] for i in texts.passages[:, 2]]
    parts = [PlannedSteps(data, plan, 2, text_labels, rank, 4)[1] for rank in range(4)]
    assert torch.equal(torch.cat([part["label"] for part in parts]), batch["label"])


def test_a_batch_that_the_ranks_cannot_share_equally_is_refused(tmp_path):
    data = TokenizedMixture(index_mixture([made()]), None, None)
    with pytest.raises(UserError, match="multiple of 4"):
        PlannedSteps(data, MixedPlan([1], 6, 1, 0), 1, text_labels, 0, 4)


def test_a_subset_restricts_the_rows(tmp_path):
    data = tiny.tokenized(tiny.static_model(), [tiny.task("a"), tiny.task("b")])
    subset = [np.array([3, 5, 11]), np.array([19])]
    steps = PlannedSteps(data, MixedPlan([3, 1], 4, 6, 0), 1, text_labels, subset=subset)
    read = [steps.rows(step)[0] for step in range(6)]
    assert {int(r) for rows in read for r in rows.row[rows.task == 0]} == {3, 5, 11}
    assert {int(r) for rows in read for r in rows.row[rows.task == 1]} == {19}


# ---- holding rows back


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_held_out_rows_are_a_share_of_each_task(sizes, share, seed):
    first, second = split_rows(sizes, share, seed)
    for size, kept, held in zip(sizes, first, second, strict=True):
        assert len(kept) and len(held)
        assert sorted({*kept.tolist(), *held.tolist()}) == list(range(size))
        if size == 1:
            assert kept.tolist() == held.tolist() == [0]  # nothing to hold back
            continue
        assert len(kept) + len(held) == size
        assert abs(len(held) - size * share) <= 1
        assert kept.tolist() == sorted(kept.tolist()) and held.tolist() == sorted(held.tolist())
    again = split_rows(sizes, share, seed)
    assert all(
        np.array_equal(a, b)
        for one, other in zip((first, second), again, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_a_tasks_split_does_not_depend_on_the_other_tasks_sizes():
    one, other = split_rows([30, 40], 0.3, 5)[1], split_rows([30, 9], 0.3, 5)[1]
    assert np.array_equal(one[0], other[0])


def test_part_of_says_which_half_holds_a_row():
    halves = split_rows([10, 1], 0.5, 1)
    parts = part_of(halves, [10, 1])
    for number, half in enumerate(halves):
        assert (parts[0][half[0]] == number).all()
    assert parts[1].tolist() == [1]  # a single row is in both; the last one counts
