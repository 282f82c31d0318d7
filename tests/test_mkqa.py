"""MKQA: which passages hold an answer, and the accuracies that follow, against arithmetic."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

import tiny
from tdro.errors import UserError
from tdro.evaluation.scoring.evaluate_mkqa import evaluate_mkqa
from tdro.evaluation.scoring.mkqa import (
    LANGUAGES,
    NEVER,
    accuracies,
    answer_ranks,
    mkqa_file,
    read_mkqa,
    tokens,
)


def example(number, answers, kind="entity", languages=("en", *LANGUAGES), **texts):
    queries = {language: texts.get(language, f"w{number}") for language in languages}
    return {
        "example_id": number,
        "queries": queries,
        "answers": {"en": [{"type": kind, "entity": "Q1", "text": answers[0], "aliases": answers[1:]}]},
    }


def write(path, rows, pack=False):
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if pack else text.encode())
    return path


@pytest.mark.parametrize(
    ("answer", "passage", "holds"),
    [
        ("art", "a party", False),  # not within a token
        ("art", "Modern ART, they say", True),  # whatever the case
        ("café", "the cafe\u0301 here", True),  # composed or not
        ("cafe", "the café here", False),  # DPR keeps the accent
        ("new york", "in New\u00a0York\tCity", True),  # any white space
        ("new york", "new, york", False),  # a comma is a token
        ("york new", "new york", False),
        ("u.s.", "the U.S. Army", True),
        ("3.5", "costs 3 . 5 dollars", True),  # the same tokens
        ("C++", "written in c++11", True),  # every + is a token
        ("1984", "in 1984.", True),
        ("東京", "東京都", False),  # a run of letters is one token
        ("नमस्ते", "नमस्ते!", True),  # marks belong to the token
    ],
)
def test_tokens_decide_whether_a_passage_holds_an_answer(answer, passage, holds):
    (rank,) = answer_ranks(np.zeros((1, 1), np.int64), [[answer]], [passage])
    assert rank == (0 if holds else NEVER)


def test_tokens_are_runs_of_letters_digits_and_marks_and_single_other_characters():
    assert tokens("O'Neil's e-mail, №5\u200b!") == ["o", "'", "neil", "'", "s", "e", "-", "mail", ",", "№", "5", "!"]


def test_ranks_of_the_first_passage_with_an_answer():
    texts = ["nothing", "the answer is Paris", "paris again", "London"]
    top = np.array([[0, 3, 1, 2], [3, 2, 1, 0], [0, 3, -1, -1], [2, 1, 3, 0]])
    ranks = answer_ranks(top, [["Paris"], ["Rome", "London"], ["Paris"], ["Rome"]], texts)
    assert ranks.tolist() == [2, 0, NEVER, NEVER]
    assert accuracies(ranks)["accuracy@100"].tolist() == [1, 1, 0, 0]  # with fewer passages than 100, too


def test_accuracy_at_10_and_100():
    found = accuracies(np.array([0, 9, 10, 99, 100]))
    assert found["accuracy@10"].tolist() == [1, 1, 0, 0, 0]
    assert found["accuracy@100"].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("pack", [False, True])
def test_questions_without_a_short_answer_are_left_out(tmp_path, pack):
    rows = [
        example(1, ["Paris", "City of Light"]),
        example(2, ["yes"], "binary"),
        example(3, [None], "unanswerable"),
        example(4, [""], "long_answer"),
        example(5, ["..", " "], "date"),
        example(6, [" "]),
    ]
    path = write(tmp_path / ("mkqa.jsonl.gz" if pack else "mkqa.jsonl"), rows, pack)
    assert mkqa_file(tmp_path) == path
    questions = read_mkqa(path)
    assert questions.ids == ["1", "5"]
    assert questions.answers == [["Paris", "City of Light"], [".."]]
    assert list(questions.texts) == list(LANGUAGES)
    assert questions.texts["ar"] == ["w1", "w5"]


def test_what_is_wrong_is_named_by_file_and_line(tmp_path):
    with pytest.raises(UserError, match=r"mkqa\.jsonl\.gz there.*\n.*github"):
        mkqa_file(tmp_path)
    path = write(tmp_path / "mkqa.jsonl", [example(1, ["a"]), {"example_id": 2}])
    with pytest.raises(UserError, match=r"line 2: not a line of MKQA"):
        read_mkqa(path)
    with pytest.raises(UserError, match=r"line 1: .*'ar'"):
        read_mkqa(write(path, [example(1, ["a"], languages=("en", "de"))]))
    with pytest.raises(UserError, match="no question has a short"):
        read_mkqa(write(path, [example(1, ["no"], "binary")]))


def test_a_model_is_evaluated_in_each_language(tmp_path):
    # Question w1 in German finds passage w1 first; in other languages it is w0, whose passage holds no answer.
    passages = [
        f"w{number} w{number} is {'Paris' if number == 1 else 'art' if number == 2 else 'party'}"
        for number in range(150)
    ]
    corpus = "".join(f"{json.dumps({'_id': f'p{n}', 'title': '', 'text': text})}\n" for n, text in enumerate(passages))
    (tmp_path / "corpus.jsonl").write_text(corpus)
    rows = [example(1, ["PARIS"], da="w0", de="w1"), example(2, ["Art", "none"], da="w0", de="w2")]
    write(tmp_path / "mkqa.jsonl", rows)
    model = tiny.static_model()
    found = evaluate_mkqa(model, tmp_path, tmp_path / "out", model_name="tiny", languages=["de", "da"], bf16=False)
    german, danish = found
    assert (german["test"], german["queries"], german["passages"]) == ("mkqa-de", ["1", "2"], 150)
    assert german["accuracy@10"] == [1, 1]
    assert german["mean"] == {"accuracy@10": 1, "accuracy@100": 1}
    # By the vectors themselves: where are passages 1 and 2 for the query w0?
    vectors = model.encode(passages, normalize_embeddings=True) @ model.encode("w0", normalize_embeddings=True)
    rank = [int((vectors > vectors[place]).sum()) for place in (1, 2)]
    assert danish["accuracy@10"] == [float(place < 10) for place in rank]
    assert danish["accuracy@100"] == [float(place < 100) for place in rank]
    lines = (tmp_path / "out/tiny/mkqa-de.trec").read_text().splitlines()
    assert lines[0].split()[:4] == ["1", "Q0", "p1", "1"]
    assert len(lines) == 200

    before = (tmp_path / "out/tiny/mkqa-de.json").stat().st_mtime_ns
    again = evaluate_mkqa(model, tmp_path, tmp_path / "out", model_name="tiny", languages=["de"], bf16=False)
    assert again == [german]
    assert (tmp_path / "out/tiny/mkqa-de.json").stat().st_mtime_ns == before
