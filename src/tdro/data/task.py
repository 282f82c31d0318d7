"""A task (one training data set), a test set, and a mixture of both.

A row is a query, the passages that answer it (at least one), and hard negatives (possibly none yet). The rows are a
``datasets.Dataset`` that is memory-mapped from Arrow files, so a large task takes no memory. Whatever format they came
in, they have the four columns :data:`COLUMNS`. See docs/decisions.md, four-columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from tdro.data.testsets.benchmarks import BenchmarkSet

COLUMNS = ("id", "query", "positives", "negatives")


def prompt_of(instruction: str) -> str:
    """The text before a query, by the paper's template: ``Instruct: …\\nQuery: ``; empty without an instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""


@dataclass(frozen=True)
class Task:
    """One training data set.

    Example::

        rows = Dataset.from_list([
            {"id": "1", "query": "what do limpets eat", "positives": ["Limpets scrape algae."], "negatives": []},
        ])
        task = Task("shore", rows, instruction="Find the passage that answers the question")
        task.prompt  # "Instruct: Find the passage that answers the question\\nQuery: "

    Attributes:
        name: unique in its mixture; letters, digits, ``_``, ``-`` and ``.``.
        rows: columns ``id`` (str), ``query`` (str), ``positives`` (list of str, at least one) and ``negatives``
            (list of str, hard negatives, possibly empty).
        instruction: what a query asks for; see :attr:`prompt`. Empty for none.
        symmetric: whether queries and passages are of one kind (duplicates, paraphrases, NLI), so that both get the
            prompt.
        in_batch_negatives: whether the passages of other rows serve as negatives. They should not if one answer fits
            many queries, as a class label does.
        licence: the licence of the texts, as the source states it.
        source: where the texts come from, for people.
        fingerprint: the digest of the rows' content (see :mod:`tdro.data.mixtures.content`), empty if it is not known.
            Code that changes the rows must empty it.
    """

    name: str
    rows: Dataset
    instruction: str = ""
    symmetric: bool = False
    in_batch_negatives: bool = True
    licence: str = ""
    source: str = ""
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def prompt(self) -> str:
        """The text before every query, by the paper's template; empty without an instruction."""
        return prompt_of(self.instruction)


@dataclass(frozen=True)
class TestSet:
    """One held-out test set: a BEIR folder (``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``).

    Example::

        test = TestSet("shore", "tests/shore", task="shore", instruction="Find the passage that answers the question")
        data = read_beir(test.folder)  # its queries, passages and judgements

    Attributes:
        name: unique in its mixture.
        folder: the path of the BEIR folder.
        task: the training task whose held-out part this is; empty if no task of the mixture is of its kind.
        instruction: what a query asks for, the same as in training.
        symmetric: whether passages get the prompt too, the same as in training.
        prompts: the texts before queries and before passages, if the model has its own. They replace the instruction.
        wanted: which test set of a benchmark this is; None if it belongs to none.
        revision: the hub's revision of the data; empty if they do not come from the hub.
    """

    __test__ = False  # pytest: not a test class

    name: str
    folder: str
    task: str = ""
    instruction: str = ""
    symmetric: bool = False
    prompts: tuple[str, str] | None = None
    wanted: BenchmarkSet | None = None
    revision: str = ""

    @property
    def trained(self) -> bool:
        """Whether some training task is of this test set's kind."""
        return bool(self.task)

    @property
    def prompt(self) -> str:
        """The text before every query, the same as in training."""
        return self.prompts[0] if self.prompts else prompt_of(self.instruction)

    @property
    def passage_prompt(self) -> str:
        """The text before every passage: nothing, unless both sides are of one kind or the model has one."""
        if self.prompts:
            return self.prompts[1]
        return self.prompt if self.symmetric else ""


@dataclass(frozen=True)
class Mixture:
    """The tasks to train on and the test sets to judge models by, in a fixed order.

    Example::

        mixture = read_mixture("my-mixture")  # or Mixture([task], [test])
        dict(zip(mixture.names, mixture.sizes))  # {"shore": 1200, "faq": 300}

    Attributes:
        tasks: the training tasks. Every array over tasks (weights, losses) has their order.
        tests: the test sets; possibly none.
    """

    tasks: list[Task]
    tests: list[TestSet] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The tasks' names, in the order that every array over tasks uses."""
        return [task.name for task in self.tasks]

    @property
    def sizes(self) -> list[int]:
        """Rows of each task."""
        return [len(task) for task in self.tasks]

    @property
    def hard_negatives_only(self) -> tuple[int, ...]:
        """The tasks, by their place in :attr:`tasks`, whose rows use no other row's passages as negatives."""
        return tuple(number for number, task in enumerate(self.tasks) if not task.in_batch_negatives)
