"""Mining by an embedding model: what NumPy finds by brute force, with margins, prompts, two ranks and a kill."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import tdro.mining.dense_candidates
import tdro.mining.mine_task
import tdro.search.exact
import tiny
import tiny_mixture
from tdro.cli import main
from tdro.data.mixtures.folder import read_mixture
from tdro.data.same_text import normalise
from tdro.data.task import Task
from tdro.errors import UserError
from tdro.files import write_jsonl
from tdro.machine import Machine
from tdro.mining.choose_negatives import alternate
from tdro.mining.corpus import read_corpus
from tdro.mining.embedder import Embedder, embedder_of
from tdro.mining.mine_files import samples_text
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.run.workspace import Workspace

MACHINE = Machine("cpu", bf16=False)


@pytest.fixture(scope="module")
def model():
    return tiny.static_model()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def embedder(tmp_path, model):
    return Embedder(lambda: model, "tiny", tmp_path / "embeddings", MACHINE)


def rows_of(texts):
    """A task of (query, positives, negatives)."""
    return Task("toy", Dataset.from_list([
        {"id": str(number), "query": query, "positives": positives, "negatives": negatives}
        for number, (query, positives, negatives) in enumerate(texts)
    ]))  # fmt: skip


def built(rows=60, seed=0):
    """Random words; some queries come twice, some rows have several positives, some passages are written twice."""
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(tiny.WORDS[:40], draw.integers(2, 7))) for _ in range(3 * rows)]
    made = []
    for number in range(rows):
        query = texts[number // 2] if number % 6 == 1 else texts[number]
        positives = texts[rows + number : rows + number + 1 + number % 3]
        if number % 10 == 3:
            positives = [*positives, made[0][1][0].upper() + "."]
        made.append((query, positives, [texts[2 * rows + number]] if number % 7 == 0 else []))
    return rows_of(made)


def answers_of(task):
    """For each row the normalised positives of all rows with its query."""
    answers = {}
    for row in task.rows:
        answers.setdefault(normalise(row["query"]), set()).update(map(normalise, row["positives"]))
    return [answers[normalise(query)] for query in task.rows["query"]]


def limit_of(mining, positives):
    """The highest score of a negative, for the scores of a row's positives."""
    limits, hardest = [np.inf], min(positives)
    if mining.margin is not None:
        limits.append(hardest - mining.margin)
    if mining.relative_margin is not None:
        limits.append(hardest - abs(hardest) * mining.relative_margin)
    return min(limits)


def brute_force(task, model, mining, corpus=(), prompt="", passage_prompt=""):
    """One row at a time, every passage looked at."""
    passages = {}
    for text in [*corpus, *(text for own in task.rows["positives"] for text in own)]:
        passages.setdefault(normalise(text), text)
    names, texts = list(passages), list(passages.values())
    vectors = model.encode([passage_prompt + text for text in texts], normalize_embeddings=True)
    found = []
    for row, answers in zip(task.rows, answers_of(task), strict=True):
        scores = vectors @ model.encode(prompt + row["query"], normalize_embeddings=True)
        limit = limit_of(mining, [scores[names.index(answer)] for answer in answers])
        barred = {*answers, normalise(row["query"]), *map(normalise, row["negatives"])}
        places = [place for place in np.argsort(-scores, kind="stable") if scores[place] <= limit]
        ranked = [texts[place] for place in places if names[place] not in barred]
        missing = max(0, mining.per_row - len(row["negatives"]))
        found.append(row["negatives"] + ranked[mining.ranks[0] - 1 : mining.ranks[1]][:missing])
    return found


@pytest.mark.parametrize(
    "mining",
    [
        MiningSettings("dense", 4),
        MiningSettings("dense", 4, margin=0.1, relative_margin=None),
        MiningSettings("dense", 3, ranks=(5, 9), margin=0.02, relative_margin=0.2),
        MiningSettings("dense", 6, ranks=(1, 6), relative_margin=None),
    ],
)
def test_finds_what_brute_force_finds(mining, embedder, model, monkeypatch):
    monkeypatch.setattr(tdro.search.exact, "_PASSAGES_AT_ONCE", 13)
    monkeypatch.setattr(tdro.search.exact, "_QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(tdro.mining.mine_task, "_ROWS_AT_ONCE", 17)
    monkeypatch.setattr(tdro.mining.dense_candidates, "_PAIRS_AT_ONCE", 5)
    task = built()
    assert mine_task(task, mining, embedder=embedder).rows["negatives"][:] == brute_force(task, model, mining)


def test_finds_what_brute_force_finds_in_a_corpus(embedder, model):
    task, mining = built(20), MiningSettings("dense", 5)
    corpus = [" ".join(np.random.default_rng(number).choice(tiny.WORDS[:40], 4)) for number in range(80)]
    corpus += [task.rows[0]["positives"][0], task.rows[0]["query"]]
    mined = mine_task(task, mining, corpus=dict.fromkeys(corpus, ""), embedder=embedder).rows["negatives"][:]
    assert mined == brute_force(task, model, mining, corpus)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), per_row=st.integers(1, 5), margin=st.sampled_from([None, 0.0, 0.3]))
def test_no_answer_is_ever_mined(seed, per_row, margin, tmp_path_factory, model):
    task = built(12, seed)
    embedder = Embedder(lambda: model, "tiny", tmp_path_factory.mktemp("embeddings"), MACHINE)
    mining = MiningSettings("both", per_row, relative_margin=margin, random=bool(seed % 2))
    mined = mine_task(task, mining, embedder=embedder).rows
    for row, answers in zip(mined, answers_of(task), strict=True):
        found = list(map(normalise, row["negatives"]))
        assert not {*answers, normalise(row["query"])} & set(found)
        assert len(found) == len(set(found)) <= per_row


def test_a_candidate_stays_below_every_positive(embedder, model):
    texts = ["w1 w9", "w1", "w1 w3", "w7 w8"]
    scores = cosines(model, "w1 w2", texts)
    best, *between, last = sorted(texts, key=lambda text: -scores[texts.index(text)])
    mining, others = MiningSettings("dense", 2, relative_margin=0.0), ("other", between, [])

    def mined(*rows):
        return mine_task(rows_of([*rows, others]), mining, embedder=embedder).rows[0]["negatives"]

    assert mined(("w1 w2", [best], [])) == between
    assert mined(("w1 w2", [last], [])) == []
    assert mined(("w1 w2", [last, best], [])) == []
    assert mined(("w1 w2", [best], []), ("W1 w2", [last], [])) == []  # positives of another row with the query


def test_equal_scores_come_in_the_passages_order(tmp_path):
    """Vectors of halves and noughts, so that every score is exact and many are equal."""
    model, draw = tiny.static_model(), np.random.default_rng(0)
    weight = model[0].embedding.weight.data.zero_()
    for vector in weight:
        vector[draw.choice(16, 4, replace=False)] = 0.5
    rows = [(f"w{number}", [f"w{number + 100}"], []) for number in range(60)]
    rows += [(f"w{number + 60}", [text], []) for number, text in enumerate(["zz", "yy", "xx", "vv"])]  # unknown words
    task, mining = rows_of(rows), MiningSettings("dense", 20, ranks=(3, 30), relative_margin=None)
    embedder = Embedder(lambda: model, "exact", tmp_path, MACHINE)
    assert mine_task(task, mining, embedder=embedder).rows["negatives"][:] == brute_force(task, model, mining)


def test_bm25_candidates_stay_below_the_models_limit_too(embedder, model):
    task, settings = built(40), {"per_row": 6, "relative_margin": 0.1}
    dense, words, both = (
        mine_task(task, MiningSettings(by, **settings), embedder=embedder).rows["negatives"][:]
        for by in ("dense", "bm25", "both")
    )
    above = 0
    for number, answers in enumerate(answers_of(task)):
        query, given = task.rows[number]["query"], task.rows[number]["negatives"]
        limit = limit_of(MiningSettings("dense", **settings), cosines(model, query, list(answers))) + 1e-5
        above += sum(score > limit for score in cosines(model, query, words[number]))
        assert all(score <= limit for score in cosines(model, query, both[number][len(given) :]))
        assert both[number][: len(given) + 1] == dense[number][: len(given) + 1] or len(dense[number]) == len(given)
    assert above
    assert both not in (dense, words)


def cosines(model, query, texts):
    return model.similarity(model.encode([query]), model.encode(texts))[0].tolist() if texts else []


def test_alternating():
    assert alternate([1, 2, 3], [2, 4]) == [1, 2, 4, 3]
    assert alternate([], [5, 6]) == [5, 6]


def test_prompts_stand_where_training_puts_them(embedder, model):
    task, mining = replace(built(20), instruction="w3 w9"), MiningSettings("dense", 3)
    prompted = replace(embedder, prompts=True, folder=embedder.folder / "prompted")
    bare, with_prompts, symmetric = (
        mine_task(one, mining, embedder=by).rows["negatives"][:]
        for one, by in ((task, embedder), (task, prompted), (replace(task, symmetric=True), prompted))
    )
    assert bare == brute_force(task, model, mining)
    assert with_prompts == brute_force(task, model, mining, prompt=task.prompt)
    assert symmetric == brute_force(task, model, mining, prompt=task.prompt, passage_prompt=task.prompt)
    assert bare != with_prompts


def test_row_independent_of_the_others_embeddings_are_removed(embedder, tmp_path):
    mixture = read_mixture(tiny_mixture.mixture(tmp_path / "mixture"))
    mining = MiningSettings("dense", 3)
    mined = mine_mixture(mixture, mining, 0, tmp_path / "kept", embedder=embedder, machine=MACHINE)
    assert not embedder.folder.exists()
    alone = mine_task(mixture.tasks[1], mining, embedder=embedder).rows["negatives"][:]
    assert mined.tasks[1].rows["negatives"][:] == alone


def test_a_killed_run_goes_on(embedder, tmp_path, monkeypatch):
    mixture, mining = read_mixture(tiny_mixture.mixture(tmp_path / "mixture")), MiningSettings("dense", 3)
    whole = mine_mixture(mixture, mining, 0, tmp_path / "whole", embedder=embedder)
    real, names = mine_task, []

    def until_third(task, *arguments, **more):
        names.append(task.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        return real(task, *arguments, **more)

    monkeypatch.setattr("tdro.mining.mine_mixture.mine_task", until_third)
    with pytest.raises(KeyboardInterrupt):
        mine_mixture(mixture, mining, 0, tmp_path / "again", embedder=embedder)
    done = mine_mixture(mixture, mining, 0, tmp_path / "again", embedder=embedder)
    assert names == ["task0", "task1", "task2", "task2", "task3"]
    assert [task.rows[:] for task in done.tasks] == [task.rows[:] for task in whole.tasks]
    other = replace(embedder, fingerprint="another model")
    mine_mixture(mixture, mining, 0, tmp_path / "again", embedder=other)
    assert names[5:] == mixture.names


def test_command(tmp_path, model_folder, capsys):
    mixture = tiny_mixture.mixture(tmp_path / "mixture")
    out = tmp_path / "mined"
    command = ["data", "mine", str(mixture), "--out", str(out), "--model", str(model_folder), "--per-row", "3"]
    assert main([*command, "--ranks", "2-20", "--samples", "4"]) == 0
    printed = capsys.readouterr().out
    before, after = read_mixture(mixture), read_mixture(out)
    assert after.names == before.names
    assert [test.name for test in after.tests] == [test.name for test in before.tests]
    samples = (out / "samples.txt").read_text("utf-8")
    assert samples in printed
    row = next(row for row in after.tasks[0].rows if row["negatives"])
    assert f"query     {row['query']}\npositive  {row['positives'][0]}\nnegative  {row['negatives'][0]}\n" in samples
    assert samples.count("query   ") == 16
    assert {path.name for path in tmp_path.iterdir()} == {"mixture", "mined"}

    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--force", "--by", "both", "--random"]) == 0
    assert all(len(own) == 3 for task in read_mixture(out).tasks for own in task.rows["negatives"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ranks", "5-6", "--per-row", "3"], "ranks 5-6 are fewer than a row's 3 negatives"),
        (["--by", "bm25", "--corpus", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--model", "smollm2.gguf"], "GGUF"),
    ],
)
def test_command_says_what_is_wrong(more, message, tmp_path, capsys):
    mixture = tiny_mixture.mixture(tmp_path / "mixture", tasks=1)
    assert main(["data", "mine", str(mixture), "--out", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ranks_are_two_numbers(capsys):
    with pytest.raises(SystemExit):
        main(["data", "mine", "x", "--out", "y", "--ranks", "10"])
    assert "expected FROM-TO" in capsys.readouterr().err


def test_samples_come_from_everywhere():
    before = rows_of([(f"q{n}", [f"p {n}"], ["given"] if n == 4 else []) for n in range(9)])
    negatives = [["given"] if n == 4 else [f"n {n}"] for n in range(9)]
    after = replace(before, rows=before.rows.remove_columns("negatives").add_column("negatives", negatives))
    text = samples_text(before, after, 4)
    assert "4 of 8 rows that got negatives" in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("query")] == ["q0", "q2", "q5", "q7"]
    assert "given" not in text
    assert "0 of 0 rows" in samples_text(before, before, 4)
    loud = rows_of([("red \x1b[31m\n" + "long " * 99, ["p"], ["n"])])
    bare = replace(loud, rows=loud.rows.remove_columns("negatives").add_column("negatives", [[]]))
    (line,) = (line for line in samples_text(bare, loud, 1).splitlines() if line.startswith("query"))
    assert line.startswith("query     red \ufffd[31m long")
    assert line.endswith("...")
    assert len(line) == 170


def test_corpus_files(tmp_path):
    write_jsonl(tmp_path / "beir" / "corpus.jsonl", [{"_id": "1", "title": "T", "text": "one"}])
    (tmp_path / "some.jsonl").write_text('"two"\n{"text": "three", "title": null}\n"two"\n" "\n', "utf-8")
    (tmp_path / "lines.txt").write_text("four\n\nfive\n", "utf-8")
    assert read_corpus(str(tmp_path / "beir")) == {"T one": "one"}
    assert read_corpus(str(tmp_path / "some.jsonl")) == {"two": "two", "three": "three"}
    assert read_corpus(str(tmp_path / "lines.txt")) == {"four": "four", "five": "five"}
    (tmp_path / "wrong.jsonl").write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"words": "b"}) + "\n", "utf-8")
    with pytest.raises(UserError, match=r"wrong\.jsonl, line 2: expected a string"):
        read_corpus(str(tmp_path / "wrong.jsonl"))
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    with pytest.raises(UserError, match="holds no passage"):
        read_corpus(str(tmp_path / "empty.txt"))


def test_recipe_mines_with_a_model(tmp_path, model_folder, model):
    recipe = tiny_mixture.recipe(tmp_path, negatives={"per_row": 3, "mine": "dense", "model": str(model_folder)})
    mixture = Workspace(recipe, tmp_path / "run", MACHINE).data.mixture
    for task, bare in zip(mixture.tasks, read_mixture(tmp_path / "mixture").tasks, strict=True):
        hardest = brute_force(bare, model, MiningSettings("dense", 2))
        assert all(len(own) == 3 for own in task.rows["negatives"])
        assert [own[: len(best)] for own, best in zip(task.rows["negatives"], hardest, strict=True)] == hardest


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ({"ranks": [5, 4]}, r"expected \[FROM, TO\] with 1 <= FROM <= TO, found \[5, 4\]"),
        ({"model": "smollm2"}, "is a language model, not an embedding model"),
        ({"relative_margin": -1.0}, "greater than or equal to 0"),
    ],
)
def test_recipe_keys_that_cannot_be(negatives, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tiny_mixture.recipe(tmp_path, negatives=negatives)


def test_embedder_of_a_folder(model_folder, tmp_path):
    embedder = embedder_of(str(model_folder), tmp_path, MACHINE)
    assert embedder.load() is embedder.load()
    with pytest.raises(UserError, match="no such folder"):
        embedder_of(str(tmp_path / "nowhere"), tmp_path, MACHINE)
