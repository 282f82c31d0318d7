"""Checks training data: finds what is wrong, by file and line, and says what a run would do about it.

Nothing is changed. Every row is read by :class:`tdro.data.read.reader.Reader`, exactly as for training, so that a
check tells what a run does. Rows are streamed: a few bytes of each are kept (:mod:`tdro.data.quality.row_facts`) to
compare it with the rest of its task in the end. See docs/decisions.md, check-row-by-row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from tdro.console import progress_bar
from tdro.data.mixtures.paths import RawTask, find_raw_tasks
from tdro.data.quality.check_report import CheckReport, TaskReport
from tdro.data.quality.misfits import misfits, repeated_queries
from tdro.data.quality.row_facts import TaskFacts
from tdro.data.read.column_names import is_negative, shown_key
from tdro.data.read.layout import Unclear
from tdro.data.read.problem import Problem
from tdro.data.read.reader import Reader, at_once, notes
from tdro.data.read.rows import Row
from tdro.data.read.sources import Part
from tdro.data.same_answer import count_copies

Sink = Callable[[Problem, object], None]  # is given each problem, and the raw row that has it (None if there is none)

# A mixture folder is read strictly: a row with one of these faults is read as it is, and any other fault refuses the
# whole file (tdro.data.mixtures.strict_rows).
_HARMLESS_IN_MIXTURES = {
    "control-character",
    "duplicate-text",
    "list-like",
    "not-finite",
    "null-word",
    "overlong",
    "positive-is-negative",
    "positive-is-query",
    "whitespace",
    "wrong-encoding",
}


def check_files(paths: Sequence[str], batch: int | None = None, sink: Sink | None = None) -> CheckReport:
    """Check data files, sources, mixture folders and recipes.

    Args:
        paths: each a data file, a folder of them, a BEIR folder, a hub id, a mixture folder, or a recipe.
        batch: rows of a training step; a task with fewer rows is a problem. None: the recipe's largest batch, and
            without a recipe no task is too small.
        sink: is given every problem as it is found; the report keeps the first few of each kind only.

    Raises:
        UserError: one of the paths is none of these, or cannot be opened.
    """
    report = CheckReport()
    for task in [task for path in paths for task in find_raw_tasks(path)]:
        report.notes += task.beside
        report.tasks.append(_check_task(task, report, batch or task.batch, sink))
    return report


def _check_task(task: RawTask, report: CheckReport, batch: int | None, sink: Sink | None) -> TaskReport:
    """Check one task's files. Its problems go to ``report`` and ``sink``, its numbers are returned."""
    numbers = TaskReport(task.name)
    facts = TaskFacts()
    parts = task.parts()
    reader = Reader(task.columns)
    has_negatives = False

    def tell(problem: Problem, raw: object = None) -> None:
        report.add(problem)
        if sink is not None:
            sink(problem, None if isinstance(raw, Problem) else raw)

    for file, lines, raws in _values(task, parts, numbers, reader):
        kept = []
        for raw, line, (row, problems) in zip(raws, lines, reader.rows(raws, lines), strict=True):
            if task.mixture:
                problems = _in_a_mixture(problems) + _misnamed_negatives(raw, file, line)
            if row is not None and row.negatives:
                has_negatives = True
                problems += _false_negatives(row, file, line)
            for problem in problems:
                tell(problem, raw)
            if isinstance(raw, Problem) and raw.action != "dropped":  # about the file, not about a row
                continue
            if numbers.count_row(problems) and row is not None:
                kept.append((line, row))
        facts.add(kept, file)

    for problem in _of_the_columns(task, reader, has_negatives, parts[-1].file):
        tell(problem)
    report.notes += [f"{task.name}: {note}" for note in notes(list(reader.unread.seen), reader.lists)]
    for problem in _of_the_whole_task(facts, numbers, batch, parts[0].file):
        tell(problem)
    return numbers


def _of_the_columns(task: RawTask, reader: Reader, has_negatives: bool, file: str) -> Iterator[Problem]:
    """The problems of columns that judge the rows, which only shows after the last row."""
    if unclear := reader.end():
        yield _question(file, unclear)
    if task.mixture and (judges := reader.unread.judges(has_negatives)):
        message = f"key {shown_key(judges)} judges the rows; keep those whose positives are answers, without it"
        yield Problem(file, None, "unclear-columns", message, "refused")


def _question(file: str, unclear: Unclear) -> Problem:
    """The problem of a file whose columns the user must explain first."""
    return Problem(file, None, "unclear-columns", unclear.question, "refused")


def _values(
    task: RawTask, parts: list[Part], numbers: TaskReport, reader: Reader
) -> Iterator[tuple[str, Sequence[int], Sequence[object]]]:
    """Lines and raw values of a task, in batches with their file, up to the task's limit of kept rows; with a bar."""
    for part in parts:
        if numbers.kept == task.limit:
            return
        if unclear := reader.open(part):
            yield part.file, [0], [_question(part.file, unclear)]
            continue
        done = 0
        values = part.read(0, 1)
        unit = part.unit if part.unit == "B" else f" {part.unit}"
        with progress_bar(total=part.size, title=task.name, unit=unit, unit_scale=True) as bar:
            while batch := [*islice(values, at_once(task.limit, numbers.kept))]:
                lines, ends, raws = zip(*batch, strict=True)
                yield part.file, lines, raws
                bar.update(ends[-1] - done)
                done = ends[-1]


def _in_a_mixture(problems: list[Problem]) -> list[Problem]:
    """The problems of a row in a mixture's file, with what is done about them there.

    A mixture is read strictly: such a row is either read as it is (``kept``), or the whole file is ``refused``.
    """
    if any(problem.kind == "positive-is-query" for problem in problems):
        problems = [problem for problem in problems if problem.kind != "no-positive"]
    return [
        replace(problem, action="kept" if problem.kind in _HARMLESS_IN_MIXTURES else "refused") for problem in problems
    ]


def _misnamed_negatives(raw: object, file: str, line: int) -> list[Problem]:
    """The problem of a row in a mixture's file that has its negatives under another name than ``negatives``.

    A mixture would be read without these negatives, so the file is refused.
    """
    if not isinstance(raw, dict) or "negatives" in raw:
        return []
    message = "no key 'negatives'; did you mean it by {}?"
    return [
        Problem(file, line, "unknown-columns", message.format(shown_key(key)), "refused")
        for key in raw
        if is_negative(key)
    ][:1]


def _false_negatives(row: Row, file: str, line: int) -> list[Problem]:
    """The problem of a row in which some negatives are one of its positives in another wrapping."""
    count = count_copies(row.negatives, row.positives)
    what = "a negative is" if count == 1 else f"{count} negatives are"
    message = f"{what} a positive in another wrapping: with a title, cut, or in a longer passage"
    return [Problem(file, line, "false-negative", message, "kept")] if count else []


def _of_the_whole_task(facts: TaskFacts, numbers: TaskReport, batch: int | None, file: str) -> Iterator[Problem]:
    """The problems that only the whole task shows. Fills in the numbers that only the whole task has."""
    for problem in repeated_queries(facts):
        numbers.duplicates += 1
        yield problem
    for what in ("query", "positive"):
        yield from misfits(facts, what)
    if len(facts):
        query, positive = facts.texts["query"], facts.texts["positive"]
        numbers.query_characters, numbers.positive_characters = map(facts.median_length, ("query", "positive"))
        numbers.query_languages, numbers.positive_languages = query.languages.shares(), positive.languages.shares()
        numbers.language_rows = len(query.sample.texts)
    if not numbers.kept:
        yield Problem(file, None, "no-rows", "no usable row", "refused")
    elif batch and numbers.kept < batch:
        message = f"{numbers.kept} rows, fewer than a batch of {batch}: they are read more than once a step"
        yield Problem(file, None, "small-task", message, "kept")
