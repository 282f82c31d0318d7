"""Near-duplicates: the same question is found however it is written, another question of the same form is not."""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.neardup.near_duplicates import leaks, near_duplicates
from tdro.data.neardup.same_words import difference
from tdro.data.neardup.words import hash_words, words_of
from tdro.data.same_text import normalise

# Enough text around the pairs to know which words there are.
FUNCTION_WORDS = ["in", "the", "a", "not", "to", "of"]
KNOWN = [
    f"{start} {name}?"
    for start in ("what is the capital of", "how many people live in", "which languages are spoken in", "flights to")
    for name in ("France", "Germany", "Iran", "Iraq", "Niger", "Nigeria", "Austria", "Australia", "Poland", "Japan")
] + [f"the world cup of {year}" for year in range(2000, 2010)]
KNOWN += [f"{word} {word * 9} {number}" for word in FUNCTION_WORDS for number in range(20)]

SAME = [
    ("What is the capital of France?", "what is the capital of france"),
    ("What is the capital of France?", "what is the captial of France?"),
    ("What is the capital of France?", "what is the capital of Frannce"),
    ("What is the capital of France?", "of France, what is the capital"),
    ("What is the capital of France?", "“What is the capital -- of FRANCE”"),
    ("how to set up an e-mail account on my phone", "how to set up an email account on my phone"),
    ("who won the world cup in 2018", "who won the wrold cup in 2018"),
    ("Wie heißt die Hauptstadt von Österreich?", "wie heisst die hauptstadt von österreich"),
    ("où se trouve la bibliothèque nationale", "où se trouve la bibliotheque nationale"),
    ("Какая столица самой большой страны мира?", "какая столца самой большой страны мира"),
    ("日本の首都はどこですか？", "日本の首都はどこですか"),
    ("日本で一番高い山はどこですか", "日本で一番高い山はどこでですか"),
    ("北京大学的校长是谁，他是哪里人", "北京大学的校长是谁他是哪里人"),
    ("北京大学的校长是谁", "北京大学的校长谁是"),
    ("ประเทศไทยมีกี่จังหวัดในปัจจุบัน", "ประเทศไทยมีกี่จังหวัดในปัจุบัน"),
    ("ประเทศไทยมีกี่จังหวัดในปัจจุบัน", "ประเทศไทยมีกี่จังหวัดในปัจฉุบัน"),
    ("대한민국의 수도는 어디입니까", "대한민국의 수도는 어디 입니까"),
    ("대한민국의 수도는 어디입니까", "대한민국의 수도는 어디입니끼"),
    ("भारत की राजधानी क्या है और वहाँ कितने लोग रहते हैं", "भारत की राजधानी क्या है और वहाँ कितने लोग रहते है"),
    ("ＦＵＬＬ width ｔｅｘｔ here", "full width text here"),
    ("remaining time of the battery", "time remaining of the battery"),
    ("salt and pepper for the soup", "pepper and salt for the soup"),
    ("???", "???"),
    ("🙂🙂", "🙂🙂"),
]

OTHER = [
    ("What is the capital of France?", "What is the capital of Poland?"),
    ("What is the capital of Iran?", "What is the capital of Iraq?"),
    ("What is the capital of Niger?", "What is the capital of Nigeria?"),
    ("What is the capital of Austria?", "What is the capital of Australia?"),
    ("who won the world cup in 2018", "who won the world cup in 2014"),
    ("the population of york in england", "the population of new york in england"),
    ("is it safe to take aspirin daily", "is it safe to take ibuprofen daily"),
    ("vitamin b deficiency", "vitamin d deficiency"),
    ("diabetes mellitus type 1 treatment", "diabetes mellitus type 2 treatment"),
    ("what does a <= b mean in python", "what does a >= b mean in python"),
    ("learn c++ in ten days or less", "learn c# in ten days or less"),
    ("日本の首都はどこですか", "中国の首都はどこですか"),
    ("东京到大阪的火车要多久", "东京到京都的火车要多久"),
    ("フランスの首都はどこですか", "スペインの首都はどこですか"),
    ("เมืองหลวงของฝรั่งเศสคืออะไร", "เมืองหลวงของเยอรมนีคืออะไร"),
    ("한국의 수도는 어디입니까", "중국의 수도는 어디입니까"),
    ("the price is 5 dollars per month", "the price is 50 dollars per month"),
    ("cheap flights from Rome to Oslo", "cheap flights from Oslo to Rome"),
    ("第一组第二个按钮已按下", "第二组第一个按钮已按下"),
    ("process a header of version 1.0", "process a header of version 0.1"),
    ("is it allowed to park here on sunday", "is it not allowed to park here on sunday"),
    ("这种药物对怀孕的妇女是安全的", "这种药物对怀孕的妇女是不安全的"),
    ("the causes of acute viral hepatitis", "the causes of acute viral hepatitis a"),
    ("???", "!!!"),
    ("🙂🙂", "🙃🙃"),
    ("", "a"),
]


def pairs(texts, others=None, **options):
    return [(one, other) for one, other, _ in near_duplicates(texts, others, **options)]


def copies(found):
    return {(first, place) for place, first in enumerate(found.firsts.tolist()) if first != place}


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_question_written_otherwise(one, other):
    found = near_duplicates([*KNOWN[1:], one], ["nothing like it", other])
    assert (len(KNOWN) - 1, 1) in list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert found.similarity.min() >= 0.9


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_question_of_the_same_form(one, other):
    place = len(KNOWN)
    assert (place, 0) not in pairs([*KNOWN, one], [other])
    assert (0, place) not in pairs([other], [*KNOWN, one])


def test_similarity_is_the_share_of_letters_that_agree():
    found = near_duplicates(
        ["abcdefghij klmnopqrst"], ["abcdefghij klmnopqrst", "klmnopqrst abcdefghij", "abcdefghij klmnopqrxt"]
    )
    assert found.similarity.tolist() == pytest.approx([1, 1, 0.95])
    assert len(near_duplicates(["abcdefghij klmnopqrst"], ["abcdefghij klmnopqrxt"], 0.96)) == 0


def test_added_words_must_be_common():
    texts = [f"the {word} of the {other}" for word, other in itertools.permutations("abcdefg", 2)]
    asked = ["where is the famous tower of london bridge museum"]
    assert pairs(asked, ["where is the famous tower of the london bridge museum"]) == []
    assert pairs([*texts, *asked], ["where is the famous tower of the london bridge museum"]) == [(len(texts), 0)]


def test_a_slip_makes_a_word_that_nobody_else_writes():
    angles = [f"angle number {'x' * n} of a triangle" for n in range(1, 6)]
    angels = [f"angel number {'y' * n} of heaven" for n in range(1, 6)]
    asked = ["what does the angle mean in general"]
    assert pairs([*angles, *angels, *asked], ["what does the angel mean in general"]) == []


def test_within_one_collection_the_smaller_place_is_first_and_the_first_copy_stands_for_all():
    texts = [
        "a red house stands here",
        "other",
        "A red house stands here!",
        "stands here a red house",
        "a red house stands here",
    ]
    found = near_duplicates(texts)
    assert list(found) == [(0, 3, 1.0)]
    assert found.firsts.tolist() == found.seconds.tolist() == [0, 1, 0, 3, 0]


def test_copies_on_both_sides_make_one_pair():
    found = near_duplicates(["c d", "a b", "A B"] * 5000, ["x", "a b", "a b."] * 5000)
    assert list(found) == [(1, 1, 1.0)]
    assert found.firsts.tolist() == found.seconds.tolist() == [0, 1, 1] * 5000


def test_what_normalises_alike_is_found():
    texts = ["what is c++", "  Hello,  World! ", "ＡＢＣ", "(x)", "ก็"]
    others = ["What is C", "hello, world", "abc", "X", "ก"]
    assert [normalise(text) for text in texts] == [normalise(text) for text in others]
    assert pairs(texts, others) == [(number, number) for number in range(5)]


def test_long_texts_with_several_slips():
    text = (
        "the quick brown foxes jumped over seventeen sleeping animals behind the university library yesterday evening"
    )
    slipped = (
        text.replace("seventeen", "seventen").replace("university", "univresity").replace("yesterday", "yessterday")
    )
    assert pairs([text], [slipped]) == [(0, 0)]
    assert pairs([f"{text} " * 8], [f"{text} " * 7 + slipped]) == [(0, 0)]


def test_nothing_and_empty_texts():
    assert pairs([], []) == pairs([]) == pairs(["a"], []) == pairs([], ["a"]) == []
    assert near_duplicates(["", "  ", "x"]).firsts.tolist() == [0, 0, 2]


@pytest.mark.parametrize("threshold", [0.5, 1.01, float("nan")])
def test_a_threshold_out_of_range(threshold):
    with pytest.raises(ValueError, match="threshold must be"):
        near_duplicates(["a"], ["a"], threshold)


def test_leaks_are_train_then_test():
    found = leaks(["x y z", "who wrote hamlet"], ["Who wrote Hamlet?"])
    assert list(found) == [(1, 0, 1.0)]


def test_the_result_depends_on_nothing_else():
    texts = [*KNOWN, *(text for pair in SAME + OTHER for text in pair)]
    first, second = near_duplicates(texts), near_duplicates(texts)
    assert list(first) == list(second) and len(first)
    assert np.all(first.first < first.second)


def slipped(draw: random.Random, text: str) -> str:
    """The text with one letter of a longer word doubled, dropped, changed or exchanged."""
    words = text.split()
    place = draw.choice([number for number, word in enumerate(words) if len(word) >= 7])
    word = words[place]
    at = draw.randrange(1, len(word) - 1)
    words[place] = draw.choice(
        [
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1 :],
            word[:at] + draw.choice("qxz") + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        ]
    )
    return " ".join(words)


def test_the_keys_lose_no_slip():
    draw = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.sample(letters, k=draw.randint(2, 11))) for _ in range(4000)]
    texts = []
    while len(texts) < 1500:
        text = " ".join(draw.choices(words, k=draw.randint(2, 14)))
        if len(text) >= 18 and any(len(word) >= 7 for word in text.split()):
            texts.append(text)
    changed, written = [], set(words)
    for text in texts:
        while (slip := set((other := slipped(draw, text)).split()) - set(text.split())) & written:
            pass  # a slip that somebody else makes, too, is a word
        changed.append(other)
        written |= slip
    found = set(pairs(texts, changed))
    assert [number for number in range(len(texts)) if (number, number) not in found] == []


def test_all_pairs_that_a_comparison_of_all_would_find():
    draw = random.Random(5)
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "1", "2", "東", "京"]
    texts = list(dict.fromkeys(" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(600)))
    read = [words_of(text) for text in texts]
    expected = set()
    for one, other in itertools.combinations(range(len(texts)), 2):
        found = difference(read[one], read[other])
        if found is not None and found.similarity >= 0.9 and not found.slips and not found.added:
            expected.add((one, other))
    assert set(pairs(texts)) | copies(near_duplicates(texts)) == expected
    assert len(expected) > 20


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_text_can_be_compared(texts):
    found = near_duplicates(texts, texts)
    assert set(zip(found.firsts.tolist(), found.seconds.tolist(), strict=True)) <= set(pairs(texts, texts))
    hashed = hash_words(texts)
    assert hashed.counts.tolist() == [len(words_of(text)) for text in texts]


def test_of_many_that_are_alike_each_meets_a_few():
    draw = random.Random(2)
    text = "where is the largest international airport of northern continental europe"
    texts = list(dict.fromkeys([text, *(slipped(draw, text) for _ in range(400))]))
    found = near_duplicates(texts)
    told = set(found.second.tolist()) | {place for _, place in copies(found)}
    assert len(told) > 0.9 * (len(texts) - 1)
    assert len(found) < 0.2 * len(texts) ** 2


@pytest.mark.parametrize(
    ("template", "letters", "size"),
    [
        ("please turn on the light in the room that we call {} now", "abcdefghijklmnopqrst", 8),
        ("请问您知道在这个世界上{}的首都叫作什么名字以及它在哪里吗", "".join(map(chr, range(0x4E00, 0x5000))), 2),
        ("เมืองหลวงของ{}คืออะไร", "".join(map(chr, range(0x0E01, 0x0E2F))), 3),
    ],
)
def test_a_template_does_not_take_the_square_of_its_size(template, letters, size):
    draw = random.Random(1)
    texts = [template.format("".join(draw.choices(letters, k=size))) for _ in range(2000)]
    started = time.process_time()
    found = near_duplicates(texts)
    assert time.process_time() - started < 4
    assert len(found) <= 12 * len(texts)
