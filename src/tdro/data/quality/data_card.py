"""Makes a data card: what the tasks of a mixture hold, in numbers and a few samples.

Rows, negatives and duplicates are counted over all rows, a batch at a time, keeping 8 bytes of each text. Lengths come
from at most ``LENGTH_ROWS`` and languages from at most ``LANGUAGE_ROWS`` rows, spread evenly over the task: tokenizing
10 M rows would take hours and change no digit.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tdro.console import progress_bar
from tdro.data.quality.languages import LANGUAGE_ROWS, Languages, languages_of
from tdro.data.quality.outliers import repeated
from tdro.data.same_text import normalise_all
from tdro.data.task import Mixture, Task
from tdro.data.tokens.cuts import Cutter, TaskCut
from tdro.files import write_json

TokenCounter = Callable[[list[str]], NDArray[np.int64]]  # gives each text's number of tokens
FORMAT = "tdro-data-card/1"
LENGTH_ROWS = 20_000  # at most so many rows of a task are measured
_SAMPLES = 3  # rows of a task that are shown
_BATCH = 5_000  # rows that are counted at once
_AT_ONCE = 2_000  # texts that are tokenized at once


@dataclass(frozen=True)
class Lengths:
    """The median length of a task's texts, and the length that 95 % of them do not exceed."""

    median: float
    most: float


@dataclass(frozen=True)
class Counts:
    """How many positives, or negatives, the rows have: the least, the mean and the most."""

    least: int
    mean: float
    most: int


@dataclass(frozen=True)
class TaskCard:
    """What a task holds.

    Attributes:
        name: of the task.
        rows: how many rows it has.
        instruction: what a query asks for.
        licence: the licence of the texts.
        source: where the texts come from.
        query_languages: the share of the queries in each language, by ISO 639 code, largest first; ``und`` if it is
            not known.
        passage_languages: the same of the first positives.
        query_lengths: lengths of the queries, in the card's unit.
        passage_lengths: lengths of the positives and hard negatives.
        positives: how many positives a row has.
        negatives: how many hard negatives a row has.
        without_negatives: rows that have no hard negative.
        same_query: rows whose query, after normalisation, an earlier row has too.
        same_positive: rows of which a positive is also a positive of an earlier row.
        samples: query, first positive and first hard negative (or None) of three rows.
        cut: how much of the texts training does not read; None if no tokens are counted.
    """

    name: str
    rows: int
    instruction: str
    licence: str
    source: str
    query_languages: dict[str, float]
    passage_languages: dict[str, float]
    query_lengths: Lengths
    passage_lengths: Lengths
    positives: Counts
    negatives: Counts
    without_negatives: int
    same_query: int
    same_positive: int
    samples: list[dict[str, str | None]]
    cut: TaskCut | None = None


@dataclass(frozen=True)
class DataCard:
    """What a mixture holds.

    Attributes:
        unit: what lengths count: ``tokens`` (special ones included) or ``characters``.
        tokenizer: the model whose tokens are counted, or empty.
        length_rows: at most so many rows of a task were measured.
        tasks: a card for each task.
        query_tokens: tokens after which the recipe cuts a query; None without a recipe.
        passage_tokens: tokens after which the recipe cuts a passage; None without a recipe.
        longest: the most tokens that the model reads, prompt included; None if it has no limit, or no tokens are
            counted.
    """

    unit: str
    tokenizer: str
    length_rows: int
    tasks: list[TaskCard]
    query_tokens: int | None = None
    passage_tokens: int | None = None
    longest: int | None = None

    def save(self, path: Path | str, fingerprint: str = "") -> None:
        """Write the card as JSON, with the fingerprint of the data and settings that it was made from."""
        write_json(path, {"format": FORMAT, "fingerprint": fingerprint, **asdict(self)})


def describe(
    mixture: Mixture,
    count: TokenCounter | None = None,
    tokenizer: str = "",
    length_rows: int = LENGTH_ROWS,
    cutter: Cutter | None = None,
) -> DataCard:
    """Make the data card of a mixture.

    Args:
        mixture: tasks that have rows.
        count: gives each text's number of tokens. None: lengths are in characters.
        tokenizer: the name of the model whose tokens are counted.
        length_rows: at most so many rows of a task are measured.
        cutter: cuts texts as training does. None: the card does not say how much is cut.

    Raises:
        UserError: an instruction is so long that nothing of its task's texts is read.
    """
    with progress_bar(total=sum(mixture.sizes), title="describing", unit=" rows", unit_scale=True) as bar:
        tasks = [_task_card(task, count or _characters, length_rows, cutter, bar) for task in mixture.tasks]
    unit, tokenizer = ("tokens", tokenizer) if count else ("characters", "")
    limits = (cutter.query_tokens, cutter.passage_tokens, cutter.longest) if cutter else ()
    return DataCard(unit, tokenizer, length_rows, tasks, *limits)


def _task_card(task: Task, count: TokenCounter, length_rows: int, cutter: Cutter | None, bar: tqdm[Any]) -> TaskCard:
    sampled = task.rows.select(spread(len(task), length_rows))[:]
    passages = [text for side in ("positives", "negatives") for texts in sampled[side] for text in texts]
    passages = [passages[place] for place in spread(len(passages), length_rows)]
    # This comes before the long pass over all rows, so that a wrong tokenizer fails at once.
    query_lengths, passage_lengths = _lengths(sampled["query"], count), _lengths(passages, count)
    cut = cutter.of(task, sampled["query"], passages) if cutter else None
    positives, negatives, same_query, same_positive = _pass_over_all_rows(task, bar)
    return TaskCard(
        *(task.name, len(task), task.instruction, task.licence, task.source),
        query_languages=_languages(sampled["query"]).shares(),
        passage_languages=_languages([texts[0] for texts in sampled["positives"]]).shares(),
        query_lengths=query_lengths,
        passage_lengths=passage_lengths,
        positives=_counts(positives),
        negatives=_counts(negatives),
        without_negatives=int((negatives == 0).sum()),
        same_query=same_query,
        same_positive=same_positive,
        samples=_samples(task),
        cut=cut,
    )


def _languages(texts: list[str]) -> Languages:
    return languages_of([texts[place] for place in spread(len(texts), LANGUAGE_ROWS)])


def spread(size: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``size`` places, evenly from the first to the last."""
    return np.unique(np.linspace(0, max(size - 1, 0), min(wanted, size)).astype(int)).tolist()


def _pass_over_all_rows(task: Task, bar: tqdm[Any]) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Read all rows of a task once, and count what a sample could not tell.

    Returns:
        How many positives each row has, int64 [n_rows]; how many negatives each row has, int64 [n_rows]; how many rows
        have the query of an earlier row; how many rows have a positive of an earlier row.
    """
    import pyarrow.compute as compute

    queries, answers = array("q"), array("q")
    numbers: dict[str, list[np.ndarray]] = {"positives": [], "negatives": []}
    for table in task.rows.with_format("arrow").iter(batch_size=_BATCH):
        queries.extend(map(hash, normalise_all(table["query"].to_pylist())))
        answers.extend(map(hash, normalise_all(compute.list_flatten(table["positives"]).to_pylist())))
        for side, found in numbers.items():
            found.append(compute.list_value_length(table[side]).to_numpy())
        bar.update(table.num_rows)
    positives, negatives = (np.concatenate(numbers[side]).astype(np.int64) for side in ("positives", "negatives"))
    again, first = repeated(np.array(answers, dtype=np.int64))
    rows = np.repeat(np.arange(len(positives)), positives)
    shared = rows[again][rows[again] != rows[first]]
    return positives, negatives, len(repeated(np.array(queries, dtype=np.int64))[0]), len(np.unique(shared))


def _characters(texts: list[str]) -> np.ndarray:
    return np.array([len(text) for text in texts], dtype=np.int64)


def _lengths(texts: list[str], count: TokenCounter) -> Lengths:
    found = np.concatenate([count(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)])
    return Lengths(float(np.median(found)), float(np.percentile(found, 95, method="higher")))


def _counts(found: np.ndarray) -> Counts:
    return Counts(int(found.min()), float(found.mean()), int(found.max()))


def _samples(task: Task) -> list[dict[str, str | None]]:
    rows: Sequence[int] = sorted({(2 * number + 1) * len(task) // (2 * _SAMPLES) for number in range(_SAMPLES)})
    return [
        {
            "query": row["query"],
            "positive": row["positives"][0],
            "negative": row["negatives"][0] if row["negatives"] else None,
        }
        for row in (task.rows[number] for number in rows)
    ]
