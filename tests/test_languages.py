"""Languages: for any text, in any company, and of a sample of a long stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.quality.even_sample import EvenSample
from tdro.data.quality.languages import language_name, languages_of
from tdro.disk import cache_folder
from tdro.files import read_jsonl

TEXTS = {
    "en": "Where do I find the invoices of the last year?",
    "de": "Wo finde ich die Rechnungen des letzten Jahres?",
    "fr": "Où puis-je trouver les factures de l'année dernière ?",
    "es": "¿Dónde puedo encontrar las facturas del año pasado?",
    "pt": "Onde posso encontrar as faturas do ano passado?",
    "ru": "Где мне найти счета за прошлый год?",
    "ja": "昨年の請求書はどこにありますか",
    "zh": "我在哪里可以找到去年的发票",
    "ko": "작년 청구서는 어디에서 찾을 수 있나요",
    "th": "ฉันจะหาใบแจ้งหนี้ของปีที่แล้วได้ที่ไหน",
    "ar": "أين أجد فواتير العام الماضي؟",
    "no": "Kvar finn eg fakturaene frå i fjor? Dei skulle ha vore her.",  # Nynorsk
}


def told(texts: list[str]) -> list[str]:
    return [language_name(number) for number in languages_of(texts).likely]


def test_languages_of_questions() -> None:
    assert told(list(TEXTS.values())) == list(TEXTS)
    assert told([text.upper() for text in TEXTS.values()]) == list(TEXTS)


@pytest.mark.parametrize("text", ["", " ", "OK", "12:30 – 17:45", "\ud800", "\0\n", "a1 b2 c3", "😀😀"])
def test_none_is_told_of_what_is_none(text: str) -> None:
    assert told([text]) == ["und"]


def test_shares_count_all_texts() -> None:
    found = languages_of([TEXTS["de"]] * 3 + ["OK"])
    assert found.shares() == {"de": 0.75, "und": 0.25}
    assert languages_of([]).shares() == {}
    assert (found.sure <= found.likely).all()


@settings(max_examples=20)
@given(st.lists(st.text(max_size=60) | st.sampled_from(list(TEXTS.values())), max_size=12))
def test_any_text_has_a_language_or_none_and_is_told_in_any_company(texts: list[str]) -> None:
    found = languages_of(texts)
    assert len(found.likely) == len(found.sure) == len(texts)
    assert told(texts) == [language for text in texts for language in told([text])]
    assert set(found.sure.tolist()) <= {0, *found.likely.tolist()}


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 9))
def test_an_even_sample_is_every_so_manyth_text(batches: list[int], most: int) -> None:
    stream = [str(number) for number in range(sum(batches))]
    sample, start = EvenSample(most, characters=100), 0
    for size in batches:
        sample.add(stream[start : start + size])
        start += size
    assert sample.texts == stream[:: sample.step] == [stream[place] for place in sample.places]
    assert len(sample.texts) <= most and (sample.step == 1 or 2 * len(sample.texts) >= most)


@pytest.mark.real
@pytest.mark.parametrize(("task", "language"), [("dict_de", "de"), ("dict_fr", "fr"), ("api_aws", "en")])
def test_real_passages_of_one_language(task: str, language: str) -> None:
    file = cache_folder() / "sample-mixture" / "train" / f"{task}.jsonl"
    if not file.exists():
        pytest.skip("the sample mixture is not built here")
    found = languages_of([row["positives"][0] for row in read_jsonl(file)[:2000]])
    sure = found.sure[found.sure > 0]
    assert len(sure) > 1000 and np.mean(sure == np.argmax(np.bincount(sure))) > 0.998
    assert next(iter(found.shares())) == language
