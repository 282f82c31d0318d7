"""Cross-lingual MKQA as the paper measures it: questions in 25 languages are to find English passages with the answer.

MKQA (Longpre et al., 2021, arXiv 2007.15207) asks the same questions in 26 languages; no passages were judged for it.
A passage counts as relevant if it, or its title, holds one of the question's *English* answers (text or alias). To
compare them, both are decomposed (NFD), cut into tokens and lower-cased; the answer's tokens must stand next to each
other in the passage. Tokens are those of DPR (Karpukhin et al., 2020): runs of letters, digits and marks, and every
other visible character by itself. So "art" is not in "party", and "cafe" is not "café", however that is encoded.

Questions without a short answer (``unanswerable``, ``long_answer``, and ``binary`` for yes or no) are left out: about a
third of the 10,000. The user chooses the passages, which change the numbers a lot; the paper's are from Wikipedia. See
docs/decisions.md, mkqa-by-answers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.problem import Problem
from tdro.data.testsets.passages import STOPS, TextsOfFile, clean
from tdro.errors import UserError

LANGUAGES = (
    *("ar", "da", "de", "es", "fi", "fr", "he", "hu", "it", "ja", "km", "ko", "ms", "nl", "no", "pl", "pt", "ru"),
    *("sv", "th", "tr", "vi", "zh_cn", "zh_hk", "zh_tw"),
)
FILES = ("mkqa.jsonl.gz", "mkqa.jsonl")
CUTS = (10, 100)
NEVER = np.iinfo(np.int64).max  # the rank of an answer that is not found; larger than every k of CUTS
NO_SHORT_ANSWER = {"unanswerable", "long_answer", "binary"}
_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_CELLS_AT_ONCE = 1 << 16  # of `top`, between two moves of the progress bar


@dataclass(frozen=True)
class Questions:
    """The questions with a short answer.

    Attributes:
        ids: MKQA's ``example_id`` as text.
        texts: language to its questions, in the order of the ids.
        answers: for each question, its English answers and their aliases.
    """

    ids: list[str]
    texts: dict[str, list[str]]
    answers: list[list[str]]


def mkqa_file(*folders: Path | None) -> Path:
    """MKQA's file in the first of the folders that has one. Raises :class:`UserError` that says where to get it."""
    for folder in filter(None, folders):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"{folders[0]}: no {FILES[0]} there beside the passages.\n"
        "Get it from https://github.com/apple/ml-mkqa/raw/main/dataset/mkqa.jsonl.gz"
    )


def read_mkqa(path: Path, languages: Sequence[str] = LANGUAGES) -> Questions:
    """Read MKQA's own file, possibly compressed by gzip.

    Each line is ``{"example_id", "queries": {language: text}, "answers": {language: [{"type", "text", "aliases"}]}}``.

    Raises:
        UserError: the file is missing, a line is broken (named by its number), or no question has a short answer.
    """
    found = Questions([], {language: [] for language in languages}, [])
    for line, _, value in raw_rows(path):
        where = f"{path}, line {line}"
        if isinstance(value, Problem):
            raise UserError(f"{where}: {value.message}; {STOPS}")
        try:
            identity, queries, answers = _example(value, languages)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{where}: not a line of MKQA (example_id, queries, answers.en), wrong: {error}; {STOPS}"
            ) from error
        if answers:
            found.ids.append(identity)
            found.answers.append(answers)
            for language, text in zip(languages, queries, strict=True):
                found.texts[language].append(clean(text).strip())
    if not found.ids:
        raise UserError(f"{path}: no question has a short English answer")
    return found


def _example(value: Any, languages: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Id, question in each language, and short English answers (there may be none), of one line."""
    queries = [value["queries"][language] for language in languages]
    if not all(isinstance(text, str) for text in queries):
        raise TypeError("a query is not text")
    short = [answer for answer in value["answers"]["en"] if answer["type"] not in NO_SHORT_ANSWER]
    texts = [text for answer in short for text in (answer["text"], *(answer.get("aliases") or ()))]
    # A blank answer has no token and would be in every passage.
    return str(value["example_id"]), queries, [text for text in texts if text and tokens(text)]


def tokens(text: str) -> list[str]:
    """The text's tokens as DPR cuts them, in lower case; see the top of this file."""
    return [token.lower() for token in _TOKEN.findall(unicodedata.normalize("NFD", text))]


def answer_ranks(
    top: NDArray[np.int64], answers: Sequence[Sequence[str]], texts: TextsOfFile | list[str]
) -> NDArray[np.int64]:
    """For each question, the rank from 0 of the first passage that holds an answer; :data:`NEVER` if none does.

    Every passage is read once, in the order of the file, however many questions found it.

    Args:
        top: places of the passages that were found, by rank, -1 where there are no more; (questions, ranks).
        answers: of each question.
        texts: of the passages, with their titles.

    Returns:
        Shape (questions,).
    """
    first = np.full(len(top), NEVER)
    wanted = [[_spaced(answer) for answer in own] for own in answers]
    order = np.argsort(top, axis=None, kind="stable")
    order = order[np.searchsorted(top.ravel()[order], 0) :]  # without the places that are -1
    place, inside = -1, ""
    with progress_bar(total=len(order), title="answers", unit=" passages") as bar:
        for start in range(0, len(order), _CELLS_AT_ONCE):
            part = order[start : start + _CELLS_AT_ONCE]
            for cell, found in zip(part.tolist(), top.ravel()[part].tolist(), strict=True):
                question, rank = divmod(cell, top.shape[1])
                if rank >= first[question]:
                    continue
                if found != place:
                    place, inside = found, _spaced(texts[found : found + 1][0])
                if any(answer in inside for answer in wanted[question]):
                    first[question] = rank
            bar.update(len(part))
    return first


def accuracies(ranks: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """``accuracy@10`` and ``accuracy@100``: 1 if one of the first k passages holds an answer, else 0; (questions,)."""
    return {f"accuracy@{k}": np.asarray(ranks < k, dtype=np.float64) for k in CUTS}


def _spaced(text: str) -> str:
    """The text's tokens with a space before, between and after them. No token has a space in it, so one text's tokens
    stand in another's next to each other if this text is in that one."""
    return f" {' '.join(tokens(text))} "
