"""What is wrong with training data, by file and line, and what is done about it; nothing is changed.

Every row goes through :func:`tdro.data.read.rows.row_from`, as it does when it is read for training, so a check says
what a
run does. Rows are streamed: besides a thousand rows at hand, 36 bytes of each are kept, to compare it with its task in
the end (:mod:`tdro.data.quality.outliers`). Rejected: stopping at the first wrong row, and loading a data set to look
at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tdro.console import progress_bar
from tdro.data.mixtures.paths import Input, find_inputs
from tdro.data.quality.languages import language_name
from tdro.data.quality.outliers import odd_lengths, odd_ones, repeated
from tdro.data.quality.row_facts import TaskFacts
from tdro.data.read.column_names import is_negative, shown_key
from tdro.data.read.layout import Unclear
from tdro.data.read.reader import Reader, notes
from tdro.data.read.rows import Action, Problem, Row
from tdro.data.read.sources import Part
from tdro.data.same_answer import same_answer
from tdro.data.same_text import normalise

Sink = Callable[[Problem, object], None]  # takes a problem and the raw value that has it, None where there is none

_SHOWN = 5  # problems of a kind that a report keeps
_LOST = ("dropped", "refused")
_BAR_STEP = 1000
# What read_mixture bears in a task's file, and reads as it is. It refuses the file for everything else.
_BORNE = {
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


@dataclass
class TaskReport:
    """What was found in one task.

    Attributes:
        name: of the task.
        read: rows in its files, those that are none (not JSON) counted.
        kept: rows that training will read, with the repaired ones.
        repaired: kept rows that are changed when they are read.
        dropped: rows that training will not read.
        duplicates: kept rows whose query an earlier one has, after normalisation.
        query_characters: median over the kept rows.
        positive_characters: of the first positive, median over the kept rows.
        query_languages: shares of the kept rows' queries by language, largest first; ``und`` where it is not told.
        positive_languages: of the first positives.
    """

    name: str
    read: int = 0
    kept: int = 0
    repaired: int = 0
    dropped: int = 0
    duplicates: int = 0
    query_characters: float = 0.0
    positive_characters: float = 0.0
    query_languages: dict[str, float] = field(default_factory=dict)
    positive_languages: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """What was found in all tasks.

    Attributes:
        tasks: a report each.
        kinds: of problems, and how many of each had which action.
        shown: the first few problems of each kind.
        notes: files and columns that are not read, a line each.
    """

    tasks: list[TaskReport] = field(default_factory=list)
    kinds: dict[str, Counter[Action]] = field(default_factory=dict)
    shown: dict[str, list[Problem]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.kinds

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self.kinds.setdefault(problem.kind, Counter())[problem.action] += 1
        shown = self.shown.setdefault(problem.kind, [])
        if len(shown) < _SHOWN:
            shown.append(problem)


def check_files(paths: Sequence[str], batch: int | None = None, sink: Sink | None = None) -> Report:
    """Check data files, sources, mixture folders and recipes.

    Args:
        paths: each a data file, a folder of them, a BEIR folder, a hub id, a mixture folder, or a recipe.
        batch: rows a step; tasks with fewer are told. None: the recipe's largest, without a recipe none.
        sink: is given every problem.

    Raises:
        UserError: one of the paths is none of these, or cannot be opened.
    """
    report = Report()
    for task in [task for path in paths for task in find_inputs(path)]:
        report.notes += task.beside
        report.tasks.append(check_task(task, report, batch or task.batch, sink))
    return report


def check_task(task: Input, report: Report, batch: int | None = None, sink: Sink | None = None) -> TaskReport:
    """Check one task's files. Its problems go to ``report`` and ``sink``, its numbers are returned."""
    numbers = TaskReport(task.name)
    facts = TaskFacts()
    parts = task.parts()
    reader = Reader(task.columns)
    negatives = False
    for part, line, raw in _values(task, parts, numbers, reader):
        row, problems = (None, [raw]) if isinstance(raw, Problem) else reader.row(raw, line)
        if task.mixture:
            problems = _as_mixture(problems) + _other_negatives(raw, part.file, line)
        if row is not None and row.negatives:
            problems = [*problems, *_false_negatives(row, part.file, line)]
        for problem in problems:
            _tell(problem, raw, report, sink)
        if isinstance(raw, Problem) and raw.action != "dropped":  # of the file, not of a row
            continue
        actions = {problem.action for problem in problems}
        lost = not actions.isdisjoint(_LOST)
        numbers.read += 1
        numbers.dropped += lost
        numbers.kept += not lost
        numbers.repaired += "repaired" in actions and not lost
        if row is not None and not lost:
            facts.add(row, part.file, line)
            negatives = negatives or bool(row.negatives)
    facts.tell_languages()
    if unclear := reader.end():
        _tell(_asked(parts[-1].file, unclear), None, report, sink)
    if task.mixture and (judges := reader.unread.judges(negatives)):
        message = f"key {shown_key(judges)} judges the rows; keep those whose positives are answers, without it"
        _tell(Problem(parts[-1].file, None, "unclear-columns", message, "refused"), None, report, sink)
    report.notes += [f"{task.name}: {note}" for note in notes(list(reader.unread.seen), reader.lists)]
    for problem in _compared(facts, numbers, batch, parts[0].file):
        _tell(problem, None, report, sink)
    return numbers


def _tell(problem: Problem, raw: object, report: Report, sink: Sink | None) -> None:
    report.add(problem)
    if sink is not None:
        sink(problem, None if isinstance(raw, Problem) else raw)


def _asked(file: str, unclear: Unclear) -> Problem:
    return Problem(file, None, "unclear-columns", unclear.question, "refused")


def _values(task: Input, parts: list[Part], numbers: TaskReport, reader: Reader) -> Iterator[tuple[Part, int, object]]:
    """All values of a task's files with their lines, until it has as many rows as it may; with a progress bar."""
    for part in parts:
        if unclear := reader.open(part):
            yield part, 0, _asked(part.file, unclear)
            continue
        done = 0
        unit = part.unit if part.unit == "B" else f" {part.unit}"
        with progress_bar(total=part.size, title=task.name, unit=unit, unit_scale=True) as bar:
            for number, (line, position, value) in enumerate(part.read(0, 1), 1):
                if numbers.kept == task.limit:
                    return
                if not number % _BAR_STEP:
                    bar.update(position - done)
                    done = position
                yield part, line, value


def _as_mixture(problems: list[Problem]) -> list[Problem]:
    """What becomes of a row in a mixture's file: it is read as it is, or the file is refused for it."""
    if any(problem.kind == "positive-is-query" for problem in problems):
        problems = [problem for problem in problems if problem.kind != "no-positive"]
    return [replace(problem, action="kept" if problem.kind in _BORNE else "refused") for problem in problems]


def _false_negatives(row: Row, file: str, line: int) -> Iterator[Problem]:
    """Negatives that are a positive of the row in another wrapping."""
    positives = [normalise(text) for text in row.positives]
    count = sum(any(same_answer(text, own) for own in positives) for text in map(normalise, row.negatives))
    if count:
        what = "a negative is" if count == 1 else f"{count} negatives are"
        message = f"{what} a positive in another wrapping: with a title, cut, or in a longer passage"
        yield Problem(file, line, "false-negative", message, "kept")


def _other_negatives(raw: object, file: str, line: int) -> list[Problem]:
    """Negatives under another name in a mixture's file, which is refused for it."""
    if not isinstance(raw, dict) or "negatives" in raw:
        return []
    message = "no key 'negatives'; did you mean it by {}?"
    return [
        Problem(file, line, "unknown-columns", message.format(shown_key(key)), "refused")
        for key in raw
        if is_negative(key)
    ][:1]


def _compared(facts: TaskFacts, numbers: TaskReport, batch: int | None, file: str) -> Iterator[Problem]:
    """The problems that only the whole task shows; fills in the numbers that only the whole task has."""
    yield from _repeated_queries(facts, numbers)
    for what in ("query", "positive"):
        yield from _odd(facts, what)
    if len(facts.line):
        query, positive = facts.sides["query"], facts.sides["positive"]
        numbers.query_characters = float(np.median(np.array(query.lengths)))
        numbers.positive_characters = float(np.median(np.array(positive.lengths)))
        numbers.query_languages, numbers.positive_languages = query.languages.shares(), positive.languages.shares()
    if not numbers.kept:
        yield Problem(file, None, "no-rows", "no usable row", "refused")
    elif batch and numbers.kept < batch:
        message = f"{numbers.kept} rows, fewer than a batch of {batch}: they are read more than once a step"
        yield Problem(file, None, "small-task", message, "kept")


def _repeated_queries(facts: TaskFacts, numbers: TaskReport) -> Iterator[Problem]:
    rows, firsts = repeated(np.array(facts.query_hash, dtype=np.int64))
    numbers.duplicates = len(rows)
    for row, first in zip(rows.tolist(), firsts.tolist(), strict=True):
        (file, line), (other, earlier) = facts.place(row), facts.place(first)
        where = f"line {earlier}" if other == file else f"{other}, line {earlier}"
        yield Problem(file, line, "duplicate-query", f"the same query as {where}", "kept")


def _odd(facts: TaskFacts, what: str) -> Iterator[Problem]:
    """Texts that fall out of their task, by script, by language and by length."""
    side = facts.sides[what]
    scripts, languages = np.array(side.scripts), side.languages
    by_script, usual = odd_ones(scripts)
    for row in by_script.tolist():
        message = f"the {what} is in {facts.scripts[scripts[row]]}, nearly all others in {facts.scripts[usual]}"
        yield Problem(*facts.place(row), "odd-script", message, "kept")
    by_language, usual = odd_ones(languages.sure)
    for row in np.setdiff1d(by_language, by_script).tolist():
        language = language_name(languages.sure[row])
        message = f"the language of the {what} is {language}, of nearly all others {language_name(usual)}"
        yield Problem(*facts.place(row), "odd-language", message, "kept")
    lengths = np.array(side.lengths)
    odd = odd_lengths(lengths).tolist()
    median = np.median(lengths) if odd else 0
    for row in odd:
        message = f"the {what} has a length of {lengths[row]}, the median is {median:.0f} characters"
        yield Problem(*facts.place(row), "odd-length", message, "kept")
