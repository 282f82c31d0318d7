"""Changes of the training data that a study can set: fewer tasks, fewer rows, a task that is disturbed.

The rows are those of the user's recipe after mining, so a variant differs in what the study sets and not in its
negatives. What is drawn is drawn by the recipe's seed. The disturbed task is the one of the middle size, unless
``tasks.disturbed`` names another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tdro.data.search_words import tokens
from tdro.data.task import Mixture, Task
from tdro.errors import UserError
from tdro.recipe.messages import nearest
from tdro.study.weight_changes import not_a_count, not_a_number, not_a_switch

_ALIKE_ROWS = 300  # first rows of a task, by whose words it is said how alike two tasks are
FEWEST_ROWS = 8  # that a task keeps when it is cut


@dataclass(frozen=True)
class TaskChange:
    """A change of the tasks.

    Attributes:
        what: it does, for the docs.
        problem: what is wrong with a value, or an empty text.
        apply: makes the changed tasks, from the tasks, all settings and a random generator.
    """

    what: str
    problem: Callable[[Any], str]
    apply: Callable[[list[Task], Mapping[str, Any], np.random.Generator], list[Task]]


def changed_mixture(mixture: Mixture, changes: Mapping[str, Any], seed: int) -> Mixture:
    """A mixture after all changes. A test set whose task is left out becomes one of no task in training.

    Args:
        mixture: the recipe's, after mining.
        changes: ``{"tasks.zipf": 1.0}``, see :data:`TASK_CHANGES`.
        seed: of what is drawn.

    Raises:
        UserError: a task that is not there, or more tasks than there are.
    """
    tasks = list(mixture.tasks)
    for number, (key, change) in enumerate(TASK_CHANGES.items()):
        if key in changes:
            draw = [changes["tasks.draw"]] if "tasks.draw" in changes else []
            tasks = change.apply(tasks, changes, np.random.default_rng([number, seed, *draw]))
    names = {task.name for task in tasks}
    tests = [test if test.task in names else replace(test, task="") for test in mixture.tests]
    return Mixture(tasks, tests)


def disturbed_task(tasks: list[Task], changes: Mapping[str, Any]) -> str:
    """The name of the task that is disturbed: the one that is named, else the one of the middle size."""
    names = [task.name for task in tasks]
    named = changes.get("tasks.disturbed")
    if named is not None:
        if named not in names:
            raise UserError(f"tasks.disturbed: no task {named!r}{nearest(str(named), names)}")
        return str(named)
    return sorted(tasks, key=lambda task: (len(task), task.name))[len(tasks) // 2].name


# ---- fewer tasks, fewer rows


def _count(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    count = changes["tasks.count"]
    if count > len(tasks):
        raise UserError(f"tasks.count: {count} tasks are wanted, and there are {len(tasks)}")
    return _some(tasks, count, changes, random)


def _share(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    return _some(tasks, max(1, round(changes["tasks.share"] * len(tasks))), changes, random)


def _some(tasks: list[Task], count: int, changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    alike = changes.get("tasks.alike")
    if alike is None:
        kept = random.permutation(len(tasks))[:count].tolist()
    else:
        kept = _by_likeness(_likeness(tasks), count, alike)
    return [tasks[number] for number in sorted(kept)]


def _by_likeness(likeness: np.ndarray, count: int, alike: bool) -> list[int]:
    """Start from the two that are most (un)like, and add the one that is most (un)like all of those, one by one."""
    sign = 1.0 if alike else -1.0
    signed = np.where(np.eye(len(likeness), dtype=bool), -np.inf, sign * likeness)
    first, second = np.unravel_index(int(signed.argmax()), signed.shape)
    kept = [int(first), int(second)][:count]
    while len(kept) < count:
        to_all = signed[:, kept].mean(axis=1) if alike else signed[:, kept].min(axis=1)
        to_all[kept] = -np.inf
        kept.append(int(to_all.argmax()))
    return kept


def _likeness(tasks: list[Task]) -> np.ndarray:
    """The cosine of the tasks' word counts (square roots of them), from 0 to 1; (k, k)."""
    counts = []
    for task in tasks:
        rows = task.rows[: min(_ALIKE_ROWS, len(task))]
        texts = [*rows["query"], *(passages[0] for passages in rows["positives"])]
        counts.append(Counter(word for text in texts for word in tokens(text.lower())))
    lengths = [max(sum(count.values()), 1) for count in counts]
    alike = np.eye(len(tasks))
    for one in range(len(tasks)):
        for other in range(one):
            common = counts[one].keys() & counts[other].keys()
            products = sum((counts[one][word] * counts[other][word]) ** 0.5 for word in common)
            alike[one, other] = alike[other, one] = products / (lengths[one] * lengths[other]) ** 0.5
    return alike


def _zipf(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    """The r-th largest task keeps c / r^s rows. c is as large as the tasks allow; s = 0 makes all tasks equal."""
    exponent = float(changes["tasks.zipf"])
    order = sorted(range(len(tasks)), key=lambda at: -len(tasks[at]))
    rank = {at: place for place, at in enumerate(order, 1)}
    scale = min(len(task) * rank[at] ** exponent for at, task in enumerate(tasks))
    return [_cut(task, int(scale / rank[at] ** exponent), random) for at, task in enumerate(tasks)]


def _rows(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    return [_cut(task, round(changes["tasks.rows"] * len(task)), random) for task in tasks]


def _cut(task: Task, rows: int, random: np.random.Generator) -> Task:
    rows = min(max(rows, FEWEST_ROWS), len(task))
    kept = np.sort(random.permutation(len(task))[:rows])
    return task if rows == len(task) else replace(task, rows=task.rows.select(kept), fingerprint="")


# ---- a disturbed task


def _exchanged(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    """A share of the disturbed task's rows get the positives of one another."""
    share = changes["tasks.exchanged"]

    def exchange(task: Task) -> Task:
        moved = random.permutation(len(task))[: round(share * len(task))]
        positives = list(task.rows["positives"])
        for to, source in zip(moved, np.roll(moved, 1), strict=True):
            positives[to] = task.rows[int(source)]["positives"]
        return _with_positives(task, positives) if len(moved) > 1 else task

    return _disturb(tasks, changes, exchange)


def _solved(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    """The disturbed task's positives become its queries: nothing is left to learn."""
    if not changes["tasks.solved"]:
        return tasks
    return _disturb(tasks, changes, lambda task: _with_positives(task, [[query] for query in task.rows["query"]]))


def _duplicated(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    """The disturbed task is there a second time, under another name."""
    if not changes["tasks.duplicated"]:
        return tasks
    name = disturbed_task(tasks, changes)
    copy = next(task for task in tasks if task.name == name)
    return [*tasks, replace(copy, name=f"{name}-copy")]


def _disturb(tasks: list[Task], changes: Mapping[str, Any], change: Callable[[Task], Task]) -> list[Task]:
    name = disturbed_task(tasks, changes)
    return [change(task) if task.name == name else task for task in tasks]


def _with_positives(task: Task, positives: list[list[str]]) -> Task:
    columns = {name: list(task.rows[name]) for name in ("id", "query", "negatives")}
    from datasets import Dataset

    rows = Dataset.from_dict({**columns, "positives": positives}, features=task.rows.features)
    return replace(task, rows=rows, fingerprint="")


def _not_a_share(value: Any) -> str:
    return not_a_number(value) or ("" if value <= 1 else "must be at most 1")


def _no_count(value: Any) -> str:
    return not_a_count(value) or ("" if value else "must be at least 1")


def _no_share_of_tasks(value: Any) -> str:
    return _not_a_share(value) or ("" if value else "must be above 0")


def _unchanged(tasks: list[Task], changes: Mapping[str, Any], random: np.random.Generator) -> list[Task]:
    return tasks


TASK_CHANGES: dict[str, TaskChange] = {  # in the order in which they are made
    "tasks.count": TaskChange("train on so many tasks, drawn by chance", _no_count, _count),
    "tasks.share": TaskChange("train on this share of the tasks, drawn by chance", _no_share_of_tasks, _share),
    "tasks.draw": TaskChange(
        "another number draws other tasks (and, with the keys below, other rows)", not_a_count, _unchanged
    ),
    "tasks.alike": TaskChange(
        "with tasks.count or tasks.share: true takes tasks that are alike in their words, false unlike ones",
        not_a_switch,
        _unchanged,
    ),
    "tasks.disturbed": TaskChange(
        "the task that the next three disturb (else the one of the middle size)",
        lambda value: "" if isinstance(value, str) else "must be the name of a task",
        _unchanged,
    ),
    "tasks.exchanged": TaskChange("this share of its positives are exchanged", _not_a_share, _exchanged),
    "tasks.solved": TaskChange("true: its positives are its queries", not_a_switch, _solved),
    "tasks.duplicated": TaskChange("true: it is there twice, under two names", not_a_switch, _duplicated),
    "tasks.zipf": TaskChange(
        "the r-th largest task keeps rows in proportion to 1 / r^s; the value is s", not_a_number, _zipf
    ),
    "tasks.rows": TaskChange("each task keeps this share of its rows, drawn by chance", _not_a_share, _rows),
}

DISTURBING = {"tasks.exchanged", "tasks.solved", "tasks.duplicated"}
