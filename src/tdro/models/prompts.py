"""The prompts that a trained model is saved with, so that ``encode(query, prompt_name="nq")`` is what training did.

A prompt is a name and the text before a query. A trained model has one for each task and test set, and the two that
sentence-transformers' ``encode_query`` and ``encode_document`` look for, ``query`` and ``document``. mteb would put a
task's prompt before its documents as well; an empty prompt ``<name>-document`` prevents that where only queries have
prompts. See docs/decisions.md, no-default-prompt.
"""

from __future__ import annotations

from tdro.data.task import Mixture, Task, TestSet, prompt_of
from tdro.errors import UserError

# For queries of no known task, if the tasks' instructions differ and training has read no query without one.
GENERIC_INSTRUCTION = "Given a query, retrieve passages that answer it"
_QUERY, _DOCUMENT = "query", "document"


def saved_prompts(mixture: Mixture) -> dict[str, str]:
    """Name → text of every prompt of a mixture; empty if no task and no test set has an instruction.

    For example, a mixture of ``nq`` (queries have an instruction) and ``quora`` (symmetric: passages have it too)::

        {"query": "Instruct: Given a query, ...", "document": "", "nq-document": "",
         "nq": "Instruct: Given a question, ...", "quora": "Instruct: Find questions ..."}

    - Each task's name has the text before its queries, and so has each test set's. Where a test set has a task's name
      but other prompts, its prompt is called ``<name>-test``.
    - ``query`` is for queries of no known task; see :func:`neutral_prompt`.
    - ``document`` is empty, unless every task is symmetric.

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
    """The prompt of a query whose task is not known.

    Empty if training has read some queries without an instruction, the tasks' instruction if all have the same one, and
    else a generic one.
    """
    if "" in instructions or not instructions:
        return ""
    return prompt_of(next(iter(instructions)) if len(instructions) == 1 else GENERIC_INSTRUCTION)
