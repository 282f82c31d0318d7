"""A row's own answer in another wrapping is never mined as its negative: the rule, and every way of mining."""

from __future__ import annotations

import json
import random
import unicodedata

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import tiny
from tdro.cli import main
from tdro.data.quality.check import check_files
from tdro.data.read.titled import titled
from tdro.data.same_answer import count_copies, same_answer
from tdro.data.same_text import normalise, normalise_all
from tdro.data.task import Task
from tdro.files import write_jsonl
from tdro.machine import Machine
from tdro.mining.corpus import read_corpus
from tdro.mining.embedder import Embedder
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings

POSITIVE = "Limpets scrape algae off the rocks with a tongue called the radula."
WRAPPED = (
    "Patella vulgata (gastropod, seashore fauna) Limpets scrape algae off the rocks with a tongue called the radula.",
    "Limpet: Limpets scrape algae off the rocks with a tongue called the radula.",
    "Limpet\n\nLIMPETS SCRAPE ALGAE OFF THE ROCKS WITH A TONGUE CALLED THE RADULA",
    "Limpets scrape algae off the rocks with a tongue called the radula. (Source: Limpet, 2nd ed.)",
    "The shore has many animals. Limpets scrape algae off the rocks with a tongue called the radula. So do chitons.",
    "Limpets scrape algae off the rocks",
    "Limpets scrape algae off the rocks with a tong…",
    "...scrape algae off the rocks with a tongue called the radula",
    "Limpet - Limpets scrape algae off the rocks with a tongue ca...",
    "Limpets\u00a0scrape  algae\toff the rocks with a tongue called the radula !",
    "Limpets scrape algae off the rocks with a tongue called the ra\u00addula.",
    "**Limpets scrape algae off the rocks with a tongue called the radula.**",
    "\uff2c\uff49\uff4d\uff50\uff45\uff54\uff53 scrape algae off the rocks with a tongue called the radula.",  # NFKC
)
OTHERS = (
    "Limpets scrape algae off the rocks with a foot called the sole.",  # another answer in the same words
    "Mussels filter plankton out of the water.",
    "The radula is a tongue.",
    "Limpets are molluscs.",
    "algae",
)


@pytest.mark.parametrize("text", WRAPPED)
def test_another_wrapping_is_the_same_answer(text):
    assert same_answer(normalise(text), normalise(POSITIVE)) and same_answer(normalise(POSITIVE), normalise(text))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        *((text, POSITIVE, False) for text in OTHERS),
        ("Yes.", "yes", True),
        ("Yes", "Yes, and the tower in Paris was built by Eiffel.", False),
        ("Paris", "Paris is the capital of France.", False),
        ("the red lamp", "the red lamp of the hall", False),
        ("Cats chase mice.", "Zoology: cats chase mice", True),
        ("Cats chase mice.", "Cats chase micetro players", False),
        ("It costs 5 pounds 10", "It costs 5 pounds 100", False),
        ("Save the file as PDF from the menu", "Save the file as CSV from the menu", False),
        ("\u201cIt\u2019s a known \u2013 fact\u201d of cats and mice", "it's a known - fact\" of cats and mice", True),
        ("rocks , with a tongue called the radula .", "Rocks, with a tongue called the radula.", True),
        ("東京は日本の首都です。", "日本の首都: 東京は日本の首都です。", True),
        ("東京都", "東京都は日本の首都です。", False),
        ("", "", True),
        ("?", "a question?", False),
    ],
)  # fmt: skip
def test_what_is_the_same_answer(one, other, same):
    assert same_answer(normalise(one), normalise(other)) is same
    assert same_answer(normalise(other), normalise(one)) is same


PIECES = (
    *(
        "Limpets scrape algae",
        "off the rocks",
        "with a tongue",
        "LIMPETS",
        "scrape  algae\x1coff",
        "yes",
        "“",
        "’s",
        "...",
        " ",
    ),
    *("\n", "\x0b", "(", "-", "\u00a0", "東京は日本の首都です", "ﬁsh", "İstanbul", "straße", "\u200b", "?!", ""),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.sampled_from([*WRAPPED, *OTHERS, POSITIVE])


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=3))
def test_copies_are_counted_by_the_rule(texts, answers):
    by_rule = [any(same_answer(normalise(text), normalise(answer)) for answer in answers) for text in texts]
    assert count_copies(texts, answers) == sum(by_rule)


@given(st.text(st.characters(codec="ascii")))
def test_a_text_in_ascii_is_normalised_like_any_other(text):
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    kept = [place for place, character in enumerate(words) if character.isalnum()]
    assert normalise(text) == (words[kept[0] : kept[-1] + 1] if kept else words)


@given(st.lists(TEXTS | st.sampled_from([" A b.", "a\0b", " !? "]), max_size=5))
def test_many_texts_are_normalised_as_each(texts):
    assert normalise_all(texts) == [normalise(text) for text in texts]


def rows_of(rows):
    columns = {"id": [str(number) for number in range(len(rows))], "query": [query for query, _ in rows]}
    columns |= {"positives": [own for _, own in rows], "negatives": [[] for _ in rows]}
    return Task("shore", Dataset.from_dict(columns))


ROWS = [("what do limpets eat", [POSITIVE]), *((f"on the shore, part {n}", [text]) for n, text in enumerate(OTHERS))]


@pytest.fixture
def embedder(tmp_path):
    """It knows none of these words, so all passages score the same: whatever is not left out is mined."""
    model = tiny.static_model()
    return Embedder(lambda: model, "tiny", tmp_path / "embeddings", Machine("cpu", bf16=False))


@pytest.mark.parametrize("random_ones", [False, True])
@pytest.mark.parametrize("settings", [{}, {"ranks": (2, 20)}, {"draw": "random"}])
@pytest.mark.parametrize("by", ["bm25", "dense", "both"])
def test_none_is_mined_whatever_the_way(embedder, by, settings, random_ones):
    mining = MiningSettings(by, 4, relative_margin=None, random=random_ones, **settings)
    corpus = dict.fromkeys(WRAPPED, "")
    mined = mine_task(rows_of(ROWS), mining, corpus=corpus, embedder=embedder).rows
    assert not set(mined[0]["negatives"]) & {*WRAPPED, POSITIVE}
    assert 1 <= len(mined[0]["negatives"]) <= 4 and set(mined[0]["negatives"]) <= set(OTHERS)
    assert any(set(row["negatives"]) & set(WRAPPED) for row in mined)  # of other rows they are


@pytest.mark.parametrize("by", ["bm25", "dense"])
def test_many_wrappings_before_the_first_negative(embedder, by):
    """More than a search looks at: the ranks are counted over what is left."""
    wrapped = [f"Limpet {number}: {POSITIVE}" for number in range(60)]
    mining = MiningSettings(by, 2, (1, 2), relative_margin=None)
    mined = mine_task(rows_of(ROWS), mining, corpus=dict.fromkeys(wrapped, ""), embedder=embedder).rows
    assert len(mined[0]["negatives"]) == 2 and set(mined[0]["negatives"]) <= set(OTHERS)


def test_of_an_equal_query_and_of_any_number_of_answers():
    """Two rows of one query, and one label with 40 texts: all are answers of each of its rows, however they come."""
    texts = [f"{number} penguins were counted on island number {number} last spring" for number in range(40)]
    rows = [("penguins", [text]) for text in texts] + [("What eats mice?", ["Cats chase and eat mice."])]
    rows += [("what eats  MICE", ["Owls hunt mice at night."]), ("cats", ["Dogs chase cats and owls."])]
    corpus = {f"Report. {text}": text for text in texts} | {"Owl facts: owls hunt mice at night": ""}
    mined = mine_task(rows_of(rows), MiningSettings("bm25", 5, relative_margin=None, random=True), corpus=corpus).rows
    for row in mined:
        if row["query"] == "penguins":
            assert not any("penguins" in text for text in row["negatives"])
        elif "mice" in row["query"].lower():
            assert row["negatives"] and not any("hunt mice" in text or "eat mice" in text for text in row["negatives"])


def test_a_short_answer_is_known_by_the_title_before_it(tmp_path):
    """ "Paris" may stand in any passage; but the title "Capital of France" before the text "Paris" is no other one."""
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "1", "title": "Capital of France", "text": "Paris."},
            {"_id": "2", "title": "", "text": "Paris has many bridges."},
            {"_id": "3", "title": None, "text": "The capital of Spain is Madrid."},
        ],
    )
    corpus = read_corpus(str(tmp_path))
    assert list(corpus) == ["Capital of France Paris.", "Paris has many bridges.", "The capital of Spain is Madrid."]
    rows = [("capital of france", ["Paris"]), ("capital of peru", ["Lima"])]
    mined = mine_task(rows_of(rows), MiningSettings("bm25", 3, relative_margin=None), corpus=corpus).rows
    assert mined[0]["negatives"] == ["The capital of Spain is Madrid.", "Paris has many bridges."]
    assert "Capital of France Paris." in mined[1]["negatives"]


def test_the_same_negatives_as_a_look_at_every_pair():
    """Against brute force on random texts that are cut, joined and wrapped at random."""
    rng = random.Random(0)
    words = [f"{tiny.WORDS[number]}" for number in range(25)]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(60)]
    wrapped = []
    for text in texts:
        start, end = sorted(rng.sample(range(len(text) + 1), 2)) if rng.random() < 0.4 else (0, len(text))
        before, after = rng.choice(["", "Title: ", f"{rng.choice(words)} - "]), rng.choice(["", "…", " end of it"])
        wrapped.append(before + text[start:end] + after)
    rows = [(f"query {number // 2}", [text]) for number, text in enumerate(texts)]
    mining = MiningSettings("bm25", 200, (1, 200), relative_margin=None, random=True)
    mined = mine_task(rows_of(rows), mining, corpus=dict.fromkeys(wrapped, "")).rows
    distinct = {normalise(text): text for text in reversed([*wrapped, *texts]) if text.strip()}
    for number, row in enumerate(mined):
        own = [normalise(text) for text in texts[number // 2 * 2 : number // 2 * 2 + 2]]
        left = {text for key, text in distinct.items() if not any(same_answer(key, answer) for answer in own)}
        assert set(row["negatives"]) == left - {row["query"]}


@pytest.mark.parametrize(
    ("title", "text", "joined"),
    [
        *[("T", "t", "T t"), (" T ", "\tt\n", "T t"), ("", "t", "t"), (None, "t", "t"), ("  ", "t", "t")],
        *[("T", "", "T"), ("T", None, "T"), (None, None, "")],
    ],
)
def test_title_and_text_are_joined_in_one_way(tmp_path, title, text, joined):
    """As the evaluation does (mteb's), in training rows, corpora and test sets alike."""
    from tdro.data.read.rows import row_from
    from tdro.data.testsets.passages import read_passages
    from tdro.data.testsets.test_texts import beir_texts

    assert titled(title, text) == joined
    if not (text and joined):
        return
    row, _ = row_from({"query": "q", "positives": [{"title": title, "text": text}]}, "f", 1)
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "title": title, "text": text}])
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "what"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    passages, _ = read_passages(tmp_path / "corpus.jsonl")
    found = {row.positives[0], *read_corpus(str(tmp_path)), *passages.texts[0:1]}
    found.update(beir_texts(tmp_path, "t", passages=True).passages.values())
    assert found == {joined}


def test_check_tells_negatives_that_are_the_positive(tmp_path):
    lines = [
        {"query": "what do limpets eat", "positives": [POSITIVE], "negatives": [WRAPPED[0], OTHERS[0]]},
        {"query": "what do mussels do", "positives": [OTHERS[1]], "negatives": [OTHERS[0]]},
        {"query": "what are limpets", "positives": [POSITIVE], "negatives": [WRAPPED[4], WRAPPED[5]]},
    ]
    write_jsonl(tmp_path / "rows.jsonl", lines)
    report = check_files([str(tmp_path / "rows.jsonl")])
    assert [(problem.line, problem.action) for problem in report.shown["false-negative"]] == [(1, "kept"), (3, "kept")]
    assert "2 negatives are a positive in another wrapping" in report.shown["false-negative"][1].message


def test_the_case(tmp_path, capsys):
    """`tdro data mine` with a corpus of titles, as it was typed."""
    facts = [
        ("what do limpets eat", POSITIVE, "Patella vulgata (gastropod, seashore fauna)"),
        ("why are flamingos pink", "Carotenoids in shrimps colour the feathers of flamingos.", "Phoenicopteridae"),
        ("how do swifts sleep", "Swifts rest on the wing, one half of the brain at a time.", "Apus apus - part four"),
    ]
    write_jsonl(tmp_path / "faq.jsonl", [{"query": query, "positive": text} for query, text, _ in facts])
    passages = [{"_id": str(n), "title": title, "text": text} for n, (_, text, title) in enumerate(facts)]
    passages += [{"_id": "m", "title": "Mussel", "text": "Mussels eat plankton that they filter."}]
    write_jsonl(tmp_path / "wiki" / "corpus.jsonl", passages)
    arguments = [str(tmp_path / "faq.jsonl"), "--corpus", str(tmp_path / "wiki"), "--out", str(tmp_path / "mined")]
    assert main(["data", "mine", *arguments, "--by", "bm25", "--per-row", "2"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "mined" / "train" / "faq.jsonl").read_text().splitlines()]
    for row, (_, text, title) in zip(rows, facts, strict=True):
        assert row["negatives"] and titled(title, text) not in row["negatives"]
