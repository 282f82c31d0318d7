"""Prints a data card: a line a task, licences and sources, and samples cut to the terminal's width."""

from __future__ import annotations

import shutil
import unicodedata

from tdro.data.quality.data_card import Counts, DataCard, Lengths, TaskCard
from tdro.data.quality.languages import LANGUAGE_ROWS, SHARES_LEGEND, shares_text
from tdro.data.tokens.cuts import percent
from tdro.terminal_table import terminal_table

_HEAD = ("task", "rows", "queries", "passages")
_CUT = "cut"
_TAIL = ("positives", "negatives", "none", "same query", "same positive", "languages")


def describe_text(card: DataCard, width: int | None = None) -> str:
    """The card as text for a terminal of ``width`` columns (None: of this one), at which samples are cut."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = [_table(card), *_legend(card), *_cut_warnings(card), ""]
    lines += [
        f"{task.name}: {task.licence or 'no licence given'}; {task.source or 'no source given'}" for task in card.tasks
    ]
    for task in card.tasks:
        lines += ["", task.name, *(_cut(line, width) for line in _samples(task))]
    return "\n".join(lines)


def _table(card: DataCard) -> str:
    head = (*_HEAD, *([_CUT] if _has_cuts(card) else []), *_TAIL)
    return terminal_table(head, [_cells(task) for task in card.tasks], left=["languages"])


def _has_cuts(card: DataCard) -> bool:
    return any(task.cut for task in card.tasks)


def _cells(task: TaskCard) -> tuple[str, ...]:
    counts = (task.without_negatives, task.same_query, task.same_positive)
    return (
        *(task.name, f"{task.rows:,}", _lengths(task.query_lengths), _lengths(task.passage_lengths)),
        *([f"{percent(task.cut.query.cut)} / {percent(task.cut.passage.cut)}"] if task.cut else []),
        *(_counts(task.positives), _counts(task.negatives)),
        *(f"{count:,}" for count in counts),
        f"{shares_text(task.query_languages)} / {shares_text(task.passage_languages)}",
    )


def _legend(card: DataCard) -> list[str]:
    unit = f"tokens of {card.tokenizer}" if card.tokenizer else card.unit
    looked = max((task.rows for task in card.tasks), default=0) > card.length_rows
    sampled = max((task.rows for task in card.tasks), default=0) > LANGUAGE_ROWS
    return [
        f"queries, passages: median / 95 % of the lengths in {unit}"
        + (f", from {card.length_rows:,} rows a task" if looked else ""),
        *(
            [f"cut: queries / passages that are longer than what is read of them, {cut_at(card)}"]
            if _has_cuts(card)
            else []
        ),
        "positives, negatives: a row, on average (least to most); none: rows without a negative",
        "same query, same positive: rows that share it with an earlier row",
        f"languages: of queries / first positives; {SHARES_LEGEND}"
        + (f"; from {LANGUAGE_ROWS:,} rows a task" if sampled else ""),
    ]


def cut_at(card: DataCard) -> str:
    """After how many tokens queries and passages are cut, such as ``20 / 40 tokens, instructions not counted``."""
    limits = [
        card.longest if wanted is None else wanted if card.longest is None else min(wanted, card.longest)
        for wanted in (card.query_tokens, card.passage_tokens)
    ]
    if limits[0] is None or limits[1] is None:
        return "which is all"
    prompted = any(task.cut and (task.cut.query.prompt or task.cut.passage.prompt) for task in card.tasks)
    return f"{limits[0]} / {limits[1]} tokens" + (", instructions not counted" if prompted else "")


def _cut_warnings(card: DataCard) -> list[str]:
    """A warning for each task whose texts are cut earlier than the recipe says, or become equal once they are cut."""
    lines = []
    for task in card.tasks:
        for what, side, wanted in (
            ("queries", task.cut and task.cut.query, card.query_tokens),
            ("passages", task.cut and task.cut.passage, card.passage_tokens),
        ):
            if side and wanted and side.limit is not None and side.limit < wanted:
                instruction = f", {side.prompt} of them for the instruction" if side.prompt else ""
                lines.append(
                    f"warning: {task.name}: {what} are cut at {side.limit} tokens instead of {wanted}: the model reads "
                    f"{card.longest}{instruction}"
                )
            if side and side.same:
                lines.append(f"warning: {task.name}: cut, {percent(side.same)} of the different {what} become equal")
    return lines


def _lengths(lengths: Lengths) -> str:
    return f"{lengths.median:.0f} / {lengths.most:.0f}"


def _counts(counts: Counts) -> str:
    if counts.least == counts.most:
        return str(counts.least)
    return f"{counts.mean:.1f} ({counts.least} to {counts.most})"


def _samples(task: TaskCard) -> list[str]:
    return [
        f"  {sign} {text}"
        for sample in task.samples
        for sign, text in (("?", sample["query"]), ("+", sample["positive"]), ("-", sample["negative"]))
        if text is not None
    ]


def _cut(line: str, width: int) -> str:
    """The beginning of a line that fits into so many columns; Chinese and Japanese characters take two."""
    shown = "".join(character if character.isprintable() else " " for character in line)
    taken = 0
    for place, character in enumerate(shown):
        taken += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if taken > width:
            return shown[: max(place - 2, 0)].rstrip() + "…"
    return shown
