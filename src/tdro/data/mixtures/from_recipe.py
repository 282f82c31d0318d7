"""The mixture of a recipe with sources: every source is built, and every test set is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tdro.data.mixtures.build import built_task
from tdro.data.mixtures.built import BuiltTask
from tdro.data.task import Mixture, Task, TestSet
from tdro.terminal_table import terminal_table

if TYPE_CHECKING:
    from tdro.recipe.data_sections import Data, Source, TestFolder


def build_sources(data: Data, say: Callable[[str], None] = lambda _: None) -> dict[str, BuiltTask]:
    """Build the recipe's sources (those that ``data.tasks`` names, if it is given), in the recipe's order.

    Args:
        data: the recipe's section ``data``, with ``sources``.
        say: is given a text for each task some of whose rows were dropped or changed, or columns not read.

    Returns:
        The built tasks by name.

    Raises:
        UserError: as :func:`tdro.data.mixtures.build.built_task`, for the first source that cannot be built.
    """
    built = {}
    for name, source in (data.sources or {}).items():
        if data.tasks is None or name in data.tasks:
            built[name] = built_task(source, name)
            if built[name].notable:
                say(built[name].summary(name))
    return built


def sources_table(built: Mapping[str, BuiltTask]) -> str:
    """A table for the terminal: rows and problems of each built task. Below it, the files that list every problem."""
    rows = []
    for name, task in built.items():
        kinds = ", ".join(f"{sum(counts.values()):,} {kind}" for kind, counts in sorted(task.problems.items()))
        rows.append([name, f"{task.rows:,}", f"{task.dropped:,}", kinds or "-"])
    rows.append(["all", f"{sum(task.rows for task in built.values()):,}"])
    lines = [terminal_table(["task", "rows", "dropped", "problems"], rows, left=["problems"])]
    lines += [line for name, task in built.items() for line in task.not_read(name)]
    lines += [f"{name}: {task.folder / 'problems.jsonl'}" for name, task in built.items() if task.problems]
    return "\n".join(lines)


def source_mixture(data: Data, say: Callable[[str], None] = lambda _: None) -> Mixture:
    """The mixture of a recipe's sources, with memory-mapped rows. Arguments and errors as :func:`build_sources`."""
    sources = data.sources or {}
    tasks = [_task(name, sources[name], built) for name, built in build_sources(data, say).items()]
    return Mixture(tasks, source_tests(data))


def _task(name: str, source: Source, built: BuiltTask) -> Task:
    return Task(
        name,
        built.open(),
        source.instruction,
        source.symmetric,
        source.in_batch_negatives,
        licence=source.licence,
        source=f"{source.source}, {source.subset}" if source.subset else source.source,
        fingerprint=built.fingerprint,
    )


def source_tests(data: Data) -> list[TestSet]:
    """The recipe's test sets. Their files are not read.

    A test set without an instruction takes that of the task it belongs to, even if this run does not train the task.
    The same goes for whether it is symmetric.
    """
    return [as_test_set(name, test, data) for name, test in (data.test_sets or {}).items()]


def as_test_set(name: str, test: TestFolder, data: Data) -> TestSet:
    """A folder that the recipe names as a test set; see :func:`source_tests`."""
    trained = set(data.sources or {}) if data.tasks is None else set(data.tasks)
    own = (data.sources or {}).get(test.task or "")
    instruction = test.instruction if test.instruction is not None else own.instruction if own else ""
    symmetric = test.symmetric if test.symmetric is not None else bool(own and own.symmetric)
    task = test.task if test.task in trained else ""
    return TestSet(name, str(Path(test.folder).expanduser()), task or "", instruction, symmetric)
