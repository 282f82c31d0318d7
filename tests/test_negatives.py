"""Mining by BM25: it agrees with a slow version, scripts without spaces work, answers are never taken."""

import json
import math

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.same_answer import same_answer
from tdro.data.same_text import normalise
from tdro.data.search_words import tokens
from tdro.data.task import Mixture, Task
from tdro.errors import UserError
from tdro.mining.mine_mixture import mine_mixture
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.search.bm25 import BM25Index

TEXTS = List(Value("string"))
FEATURES = Features({"id": Value("string"), "query": Value("string"), "positives": TEXTS, "negatives": TEXTS})


def task(rows, name="toy"):
    """A task of (query, positives) or (query, positives, negatives)."""
    dicts = [
        {
            "id": str(i),
            "query": row[0],
            "positives": row[1],
            "negatives": list(row[2]) if len(row) > 2 else [],
        }
        for i, row in enumerate(rows)
    ]
    return Task(name, Dataset.from_list(dicts, features=FEATURES))


def mine_bm25(task, per_row, *, seed, **settings):
    """As a recipe mines: half of what a row lacks by chance."""
    return mine_task(task, MiningSettings("bm25", per_row, **{"random": True, **settings}), seed=seed)


def slow_bm25(documents, query):
    """Lucene's BM25 of a bag of distinct query tokens, in float64, one passage at a time."""
    mean_length = np.mean([len(document) for document in documents])
    scores = []
    for document in documents:
        score = 0.0
        for token in query:
            containing = sum(token in other for other in documents)
            count = document.count(token)
            if count:
                idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
                length = 1 - 0.75 + 0.75 * len(document) / mean_length
                score += idf * count / (count + 1.5 * length)
        scores.append(score)
    return np.array(scores)


CORPUS = [
    "set the volume of the zone",
    "set the volume of the room to the value",
    "the lamp is broken",
    "the lamp in the room is dim dim dim",
    "a zone has a lamp",
    "no common word",
]


def test_scores_are_bm25():
    index = BM25Index(CORPUS)
    documents = [tokens(text) for text in CORPUS]
    queries = ["volume of a lamp", "dim room zone", "set the lamp", "nothing here"]
    ids = [[index.vocabulary[t] for t in dict.fromkeys(tokens(q)) if t in index.vocabulary] for q in queries]
    scores = index.score_many(ids).toarray()
    for row, query in zip(scores, queries, strict=True):
        np.testing.assert_allclose(row, slow_bm25(documents, set(tokens(query))), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        index.score_pairs(ids, [0, 3, 1, 2]),
        [scores[0, 0], scores[1, 3], scores[2, 1], scores[3, 2]],
        rtol=1e-6,
    )


def test_ranks_are_those_of_brute_force():
    """Every shared token is searched here, so the hard half is brute force's best without the answers."""
    rows = [(f"q{i}", [text]) for i, text in enumerate(CORPUS)]
    mined = mine_bm25(task(rows), 4, seed=0, relative_margin=None)
    documents = [tokens(text) for text in CORPUS]
    for i, row in enumerate(mined.rows):
        scores = slow_bm25(documents, set(documents[i]))
        scores[i] = -1
        best = [CORPUS[j] for j in np.argsort(-scores, kind="stable")[:2] if scores[j] > 0]
        assert row["negatives"][: len(best)] == best
        assert len(row["negatives"]) == 4


def test_finds_what_brute_force_finds_on_a_built_corpus():
    """Queries share words with their passages, some passages answer several queries; margins and ranks hold."""
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(50)]
    passages = [list(draw.choice(words, draw.integers(3, 8))) for _ in range(60)]
    rows = [
        (
            " ".join(draw.choice(passages[number], 2)),
            [" ".join(passages[number])] + ([CORPUS[0]] if number % 9 == 0 else []),
        )
        for number in range(60)
    ]
    documents = list({normalise(text): tokens(text) for _, own in rows for text in own}.values())
    texts = [" ".join(document) for document in documents]
    settings = MiningSettings("bm25", 4, ranks=(2, 9), margin=0.1, relative_margin=0.2)
    for row, (query, own) in zip(mine_task(task(rows), settings).rows, rows, strict=True):
        scores = slow_bm25(documents, {*tokens(query), *tokens(own[0])})
        positive = scores[texts.index(own[0])]
        answers = {text for other, of_other in rows if other == query for text in of_other} | {query}
        best = np.argsort(-scores.round(5), kind="stable")
        ranked = [texts[place] for place in best if 0 < scores[place] <= min(positive - 0.1, positive * 0.8)]
        assert row["negatives"] == [text for text in ranked if text not in answers][1:9][:4]


def test_cross_lingual_rows_get_hard_negatives():
    rows = [("電池の残量", ["battery level of the sensor"]), ("電池", ["battery of the sensor is low"])]
    rows += [(f"その他{i}", [f"unrelated words number {i}"]) for i in range(30)]
    assert mine_bm25(task(rows), 2, seed=3).rows[0]["negatives"][0] == "battery of the sensor is low"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("猫", ["猫"]),
        ("use 東京 now", ["use", "東京", "now"]),
        ("배터리 부족", ["배터", "터리", "부족"]),
        ("กินข้าว", ["กิ", "ิน", "นข", "ข้", "้า", "าว"]),
        ("क्षत्रिय", ["क्षत्रिय"]),
        ("l'été 2024, snake_case", ["l", "été", "2024", "snake_case"]),
        ("?!", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


def test_chinese_and_thai_find_their_neighbours():
    passages = [
        "打开客厅的灯",
        "关闭客厅的灯光",
        "今天天气很好",
        "เปิดไฟในห้องนอน",
        "ปิดไฟในห้องครัว",
        "อากาศดีมาก",
    ]
    rows = [(f"q{i}", [text]) for i, text in enumerate(passages)]
    mined = mine_bm25(task(rows), 2, seed=0).rows
    assert mined[0]["negatives"][0] == passages[1]
    assert mined[3]["negatives"][0] == passages[4]


def test_answers_are_never_taken():
    rows = [
        ("What is it?", ["the red lamp", "a red lamp in a room"]),
        ("what  is it", ["the red lamp of the hall"]),  # the same query, normalised
        ("The red  LAMP on the wall", ["the red lamp at home"]),
        ("wall", ["the red lamp on the wall"]),  # the query before, as a passage
        ("other", ["THE RED LAMP"]),  # the first passage, normalised
        ("more", ["something else"]),
    ]
    mined = mine_bm25(task(rows), 6, seed=1, relative_margin=None).rows
    same_query = {normalise(text) for text in [*rows[0][1], *rows[1][1]]}
    for place in (0, 1):
        found = {normalise(text) for text in mined[place]["negatives"]}
        assert not found & same_query
        assert len(found) == len(mined[place]["negatives"]) == 3  # of six distinct passages, three are answers
    assert "the red lamp on the wall" not in mined[2]["negatives"]
    assert "the red lamp" not in mined[4]["negatives"]


def test_margin_skips_near_copies_but_not_a_telling_word():
    rows = [
        ("a", ["turn the kitchen radio volume up now"]),
        ("b", ["turn the kitchen radio volume up, now"]),  # the same words
        ("c", ["turn the kitchen radio volume up today"]),  # one word differs
        *[(f"d{i}", [f"filler text number {i}"]) for i in range(20)],
    ]
    # "now" stands in a and b: only they share it, so c has less than a's score and stays.
    hard = mine_bm25(task(rows), 2, seed=0).rows[0]["negatives"][0]
    assert hard == "turn the kitchen radio volume up today"
    assert mine_bm25(task(rows), 2, seed=0, relative_margin=None).rows[0]["negatives"][0] == rows[1][1][0]


def test_ranks():
    rows = [(f"q{i}", [f"lamp {'lamp ' * i}word{i}"]) for i in range(12)]
    all_hard = mine_bm25(task(rows), 4, seed=0, relative_margin=None).rows[5]["negatives"][:2]
    skipped = mine_bm25(task(rows), 4, seed=0, relative_margin=None, ranks=(2, 50)).rows[5]["negatives"]
    assert skipped[0] == all_hard[1]
    assert len(mine_bm25(task(rows), 4, seed=0, ranks=(1, 1), relative_margin=None).rows[5]["negatives"]) == 4


def test_given_negatives_stay_and_count():
    rows = [(f"q{i}", [f"passage number {i}"], []) for i in range(10)]
    rows[0] = ("q0", ["passage number 0"], ["given", "Passage  number 3"])
    rows[1] = ("q1", ["passage number 1"], ["one", "two", "three", "four"])
    mined = mine_bm25(task(rows), 3, seed=0).rows
    assert mined[0]["negatives"][:2] == ["given", "Passage  number 3"]
    assert len(mined[0]["negatives"]) == 3
    assert "passage number 3" not in mined[0]["negatives"]
    assert mined[1]["negatives"] == ["one", "two", "three", "four"]


def test_deterministic_and_different_by_seed_and_name():
    rows = [(f"query {i}", [f"passage {i} about thing {i % 7}"]) for i in range(80)]
    one = mine_bm25(task(rows), 6, seed=5).rows["negatives"][:]
    assert mine_bm25(task(rows), 6, seed=5).rows["negatives"][:] == one
    assert mine_bm25(task(rows), 6, seed=6).rows["negatives"][:] != one
    assert mine_bm25(task(rows, "other"), 6, seed=5).rows["negatives"][:] != one
    # A row's own result does not depend on which other rows lack negatives.
    full = [(query, positives, ["x"] * 6) for query, positives in rows]
    full[41] = (*rows[41], [])
    assert mine_bm25(task(full), 6, seed=5).rows[41]["negatives"] == one[41]


def test_rows_keep_their_other_columns_and_source_is_untouched():
    before = task([("q0", ["a b"]), ("q1", ["c d"])])
    after = mine_bm25(before, 1, seed=0)
    assert after.rows.remove_columns("negatives")[:] == before.rows.remove_columns("negatives")[:]
    assert after.rows.features == before.rows.features
    assert before.rows["negatives"][:] == [[], []]
    assert after.rows["negatives"][:] == [["c d"], ["a b"]]


def test_one_passage_is_an_error_naming_the_task():
    with pytest.raises(UserError, match="'echo' has 1 distinct passage"):
        mine_bm25(task([("a", ["same"]), ("b", ["Same "])], "echo"), 1, seed=0)


def test_row_that_owns_all_passages_keeps_none():
    mined = mine_bm25(task([("a", ["one thing", "two things"]), ("b", ["one thing"])]), 3, seed=0).rows
    assert mined["negatives"][:] == [[], ["two things"]]


def test_passages_without_any_word():
    mined = mine_bm25(task([("a", ["?!"]), ("b", ["…"]), ("c", ["!!"])]), 2, seed=0).rows
    assert [len(own) for own in mined["negatives"][:]] == [2, 2, 2]


@pytest.mark.parametrize(
    "wrong",
    [{"per_row": 0}, {"ranks": (0, 5)}, {"ranks": (5, 4)}, {"margin": -0.1}, {"relative_margin": float("nan")}],
)
def test_impossible_settings(wrong):
    with pytest.raises(UserError, match="mining negatives"):
        MiningSettings("bm25", **{"per_row": 2, **wrong})


def test_ranks_that_cannot_give_a_rows_negatives():
    with pytest.raises(UserError, match="ranks 10-12 are fewer than a row's 4 negatives"):
        MiningSettings("bm25", 4, ranks=(10, 12))


def test_without_chance_short_lists_stay_short():
    rows = [("a", ["red lamp"]), ("b", ["red door"]), ("c", ["blue sky"])]
    mined = mine_bm25(task(rows), 2, seed=0, random=False).rows["negatives"][:]
    assert mined == [["red door"], ["red lamp"], []]


def test_drawn_from_the_ranks_by_chance():
    rows = [(f"q{i}", [f"lamp number {i}"]) for i in range(40)]
    chosen = {"relative_margin": None, "random": False, "ranks": (3, 12)}
    window = mine_bm25(task(rows), 10, seed=0, **chosen).rows[7]["negatives"]
    drawn = mine_bm25(task(rows), 4, seed=0, draw="random", **chosen).rows[7]["negatives"]
    assert set(drawn) <= set(window)
    assert drawn == sorted(drawn, key=window.index)
    assert drawn != window[:4]
    assert drawn == mine_bm25(task(rows), 4, seed=0, draw="random", **chosen).rows[7]["negatives"]


def test_a_corpus_gives_more_passages():
    rows = [("a", ["red lamp"], ["Red lamp shade!"]), ("b", ["blue door"])]
    corpus = dict.fromkeys(["red lamp shade", "red lamp bulb", "RED LAMP", "a", "blue door key"], "")
    mined = mine_task(task(rows), MiningSettings("bm25", 3, relative_margin=None), corpus=corpus).rows["negatives"][:]
    assert mined == [["Red lamp shade!", "red lamp bulb"], ["blue door key"]]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.text("xyz 猫犬", min_size=1, max_size=4), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=12,
    ),
    per_row=st.integers(1, 6),
    seed=st.integers(0, 3),
)
def test_any_rows_get_distinct_passages_that_are_no_answer(rows, per_row, seed):
    passages = {normalise(text) for _, own in rows for text in own}
    if len(passages) < 2:
        with pytest.raises(UserError):
            mine_bm25(task(rows), per_row, seed=seed)
        return
    answers = {}
    for query, own in rows:
        answers.setdefault(query, set()).update(map(normalise, own))
    for row in mine_bm25(task(rows), per_row, seed=seed).rows:
        found = [normalise(text) for text in row["negatives"]]
        own = answers[row["query"]]
        barred = {text for text in passages if any(same_answer(text, answer) for answer in own)} | {row["query"]}
        assert not barred & set(found)
        assert len(found) == len(set(found)) == min(per_row, len(passages - barred))


def test_mixture_is_kept_and_resumed(tmp_path, monkeypatch):
    rows = [(f"query {i}", [f"passage {i} about {i % 5}"]) for i in range(20)]
    mixture = Mixture([task(rows, "one"), task(rows[:10], "two")])
    three, four = (MiningSettings("bm25", per_row, random=True) for per_row in (3, 4))
    first = mine_mixture(mixture, three, 7, tmp_path)
    assert first.names == ["one", "two"]
    lines = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text("utf-8").splitlines()]
    assert lines == list(first.tasks[1].rows)

    calls = []
    monkeypatch.setattr(
        "tdro.mining.mine_mixture.mine_task", lambda t, *a, **k: calls.append(t.name) or mine_task(t, *a, **k)
    )
    again = mine_mixture(mixture, three, 7, tmp_path)
    assert calls == []
    assert [t.rows[:] for t in again.tasks] == [t.rows[:] for t in first.tasks]
    assert again.tasks[0].rows.features == first.tasks[0].rows.features

    (tmp_path / "two.json").unlink()  # as after a kill between the two files
    mine_mixture(mixture, three, 7, tmp_path)
    assert calls == ["two"]
    mine_mixture(mixture, four, 7, tmp_path)
    assert calls == ["two", "one", "two"]
    changed = Mixture([task([("new", ["a new passage"]), *rows], "one"), mixture.tasks[1]])
    mine_mixture(changed, four, 7, tmp_path)
    assert calls == ["two", "one", "two", "one"]
