"""The prompts that a trained model keeps, so that ``encode(query, prompt_name=...)`` gives what training fed it.

A prompt is a name and the text before a query: one for every task, one for every test set, and the two that
sentence-transformers' ``encode_query`` and ``encode_document`` look for. In mteb a prompt under a task's bare name
stands before that task's documents too; an empty one under ``<name>-document`` keeps it off where a task is not
symmetric. Rejected: a default prompt, which ``encode`` would put before passages as well.
"""

from __future__ import annotations

from tdro.data.task import Mixture, Task, TestSet, prompt_of
from tdro.errors import UserError

# Asked of a query whose task nobody names, by a model that has never read a query without an instruction.
GENERIC_INSTRUCTION = "Given a query, retrieve passages that answer it"
_QUERY, _DOCUMENT = "query", "document"


def saved_prompts(mixture: Mixture) -> dict[str, str]:
    """Name → text of every prompt of a mixture; empty where it has no instruction at all.

    Each task's name gives the text before its queries (none for a task without an instruction). So does each test
    set's name; where a task has this name and other prompts, the test set's is ``<name>-test``. ``query`` is what
    suits a query of no known task: nothing if training read some queries bare, the instruction if all tasks have the
    same, else a generic one. ``document`` is empty, unless every task is symmetric.

    Raises:
        UserError: a task or test set with an instruction is named ``query`` or ``document``.
    """
    parts: list[Task | TestSet] = [*mixture.tasks, *mixture.tests]
    if not any(part.instruction for part in parts):
        return {}
    if reserved := [part.name for part in parts if part.name in (_QUERY, _DOCUMENT)]:
        raise UserError(
            f"task '{reserved[0]}': a model's prompt of this name is that of all queries or passages.\n"
            "Give the task or test set another name, or set data.prompts to false."
        )
    sides = {task.name: _sides(task) for task in mixture.tasks}
    for test in mixture.tests:
        same = sides.get(test.name, _sides(test)) == _sides(test)
        sides[test.name if same else f"{test.name}-test"] = _sides(test)
    names = {name: on_queries for name, (on_queries, _) in sides.items()}
    documents = {
        f"{name}-document": "" for name, (on_queries, on_passages) in sides.items() if on_queries != on_passages
    }
    query = neutral_prompt({task.instruction for task in mixture.tasks})
    both_sides = all(task.symmetric for task in mixture.tasks)
    return {_QUERY: query, _DOCUMENT: query if both_sides else "", **documents, **names}


def _sides(part: Task | TestSet) -> tuple[str, str]:
    """The prompts before queries and before passages."""
    return part.prompt, part.prompt if part.symmetric else ""


def neutral_prompt(instructions: set[str]) -> str:
    """The prompt of a query whose task is not known, by the tasks' instructions."""
    if "" in instructions or not instructions:
        return ""
    return prompt_of(next(iter(instructions)) if len(instructions) == 1 else GENERIC_INSTRUCTION)
