"""A data card as text for a terminal: a line a task, licences and sources, and samples cut to the terminal's width."""

from __future__ import annotations

import shutil
import unicodedata

from tdro.data.describe import Counts, DataCard, Lengths, TaskCard
from tdro.data.languages import UNDETERMINED

_HEAD = (
    "task",
    "rows",
    "queries",
    "passages",
    "positives",
    "negatives",
    "none",
    "same query",
    "same positive",
    "languages",
)
_LEFT = ("task", "languages")
_FEW = 0.1  # share of texts of a known language below which the others' is not guessed
SHARES = "shares of the texts whose language can be told; –: fewer than a tenth"


def describe_text(card: DataCard, width: int | None = None) -> str:
    """The card, with samples of at most ``width`` columns (None: the terminal's)."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = [*_table([_HEAD, *map(_cells, card.tasks)]), *_legend(card), ""]
    lines += [
        f"{task.name}: {task.licence or 'no licence given'}; {task.source or 'no source given'}" for task in card.tasks
    ]
    for task in card.tasks:
        lines += ["", task.name, *(_cut(line, width) for line in _samples(task))]
    return "\n".join(lines)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for cell, width, name in zip(row, widths, _HEAD, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cells(task: TaskCard) -> tuple[str, ...]:
    counts = (task.without_negatives, task.same_query, task.same_positive)
    return (
        *(task.name, f"{task.rows:,}", _lengths(task.query_lengths), _lengths(task.passage_lengths)),
        *(_counts(task.positives), _counts(task.negatives)),
        *(f"{count:,}" for count in counts),
        f"{languages(task.query_languages)} / {languages(task.passage_languages)}",
    )


def _legend(card: DataCard) -> list[str]:
    unit = f"tokens of {card.tokenizer}" if card.tokenizer else card.unit
    looked = max((task.rows for task in card.tasks), default=0) > card.length_rows
    return [
        f"queries, passages: median / 95 % of the lengths in {unit}"
        + (f", from {card.length_rows:,} rows a task" if looked else ""),
        "positives, negatives: a row, on average (least to most); none: rows without a negative",
        "same query, same positive: rows that share it with an earlier row",
        f"languages: of queries / first positives; {SHARES}",
    ]


def _lengths(lengths: Lengths) -> str:
    return f"{lengths.median:.0f} / {lengths.most:.0f}"


def _counts(counts: Counts) -> str:
    if counts.least == counts.most:
        return str(counts.least)
    return f"{counts.mean:.1f} ({counts.least} to {counts.most})"


def languages(shares: dict[str, float]) -> str:
    """The two largest of those that are told: ``de 98 %, en 2 %``, or the only one; a dash for too few."""
    known = {language: share for language, share in shares.items() if language != UNDETERMINED}
    total = sum(known.values())
    if total < _FEW:
        return "–"
    told = [(language, share / total) for language, share in known.items() if share >= 0.005 * total]
    if len(told) == 1:
        return told[0][0]
    return ", ".join(f"{language} {100 * share:.0f} %" for language, share in told[:2])


def _samples(task: TaskCard) -> list[str]:
    return [
        f"  {sign} {text}"
        for sample in task.samples
        for sign, text in (("?", sample["query"]), ("+", sample["positive"]), ("-", sample["negative"]))
        if text is not None
    ]


def _cut(line: str, width: int) -> str:
    """A line of printable characters of at most so many columns; Chinese and Japanese ones take two."""
    shown = "".join(character if character.isprintable() else " " for character in line)
    taken = 0
    for place, character in enumerate(shown):
        taken += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if taken > width:
            return shown[: max(place - 2, 0)].rstrip() + "…"
    return shown
