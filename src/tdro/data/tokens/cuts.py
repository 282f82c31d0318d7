"""How much of a task's texts a recipe's limits cut away, and how many texts become equal by it.

Most trainings cut the ends of long passages, and little is lost. If two queries become the same row of tokens, it is
worse: the answer to one is then a false negative of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tdro.data.task import Task
from tdro.data.tokens.limits import row_length

# Turns texts into token ids. The second argument is where they are cut; None leaves them whole.
Encode = Callable[[list[str], int | None], list[list[int]]]
_TEXTS_AT_ONCE = 2_000


@dataclass(frozen=True)
class SideCut:
    """What is cut of the queries, or of the passages, of a task.

    Attributes:
        limit: how many tokens of a text are read, special ones included; None for all.
        prompt: how many tokens the prompt has, which come on top.
        cut: the share of the texts that are longer than that, 0 to 1.
        same: the share of the different texts that become equal to another one by the cut, 0 to 1.
    """

    limit: int | None
    prompt: int
    cut: float
    same: float


@dataclass(frozen=True)
class TaskCut:
    """What is cut of a task's queries, and what of its passages."""

    query: SideCut
    passage: SideCut


def percent(share: float) -> str:
    """A share in whole percents: ``41 %``. Between 0 and 1 % it says ``<1 %``, not ``0 %``."""
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


@dataclass(frozen=True)
class Cutter:
    """Cuts texts where training cuts them, and counts what is lost.

    Attributes:
        encode: the base's tokenizer, as a function.
        longest: the most tokens that the base reads of a row, prompt included; None for no limit.
        query_tokens: the recipe's limit for queries; None: as far as the base reads.
        passage_tokens: the recipe's limit for passages; None: as far as the base reads.
        prompts: whether instructions stand before texts.
    """

    encode: Encode
    longest: int | None
    query_tokens: int | None = None
    passage_tokens: int | None = None
    prompts: bool = False

    def of(self, task: Task, queries: Sequence[str], passages: Sequence[str]) -> TaskCut:
        """What is cut of a task's texts, or of a sample of them.

        Raises:
            UserError: the task's instruction is so long that nothing is left of the texts.
        """
        prompt = task.prompt if self.prompts else ""
        return TaskCut(
            self.side(queries, prompt, self.query_tokens, f"queries of task '{task.name}'"),
            self.side(
                passages, prompt if task.symmetric else "", self.passage_tokens, f"passages of task '{task.name}'"
            ),
        )

    def row(self, prompt: str, limit: int | None, whose: str = "") -> tuple[int | None, int]:
        """Where rows that begin with a prompt are cut (None: nowhere), and how many tokens the prompt has in them."""
        bare, before = map(len, self.encode(["", prompt], None))
        wanted = self.longest if limit is None else limit
        return None if wanted is None else row_length(wanted, before - bare, bare, self.longest, whose), before - bare

    def side(self, texts: Sequence[str], prompt: str, limit: int | None, whose: str) -> SideCut:
        """What is cut of some texts, each with the prompt before it. Errors as :meth:`of`."""
        row, before = self.row(prompt, limit, whose)
        if row is None or not texts:
            return SideCut(None if row is None else row - before, before, 0.0, 0.0)
        different_before: set[int] = set()
        different_after: set[int] = set()
        cut = 0
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = [prompt + text for text in texts[start : start + _TEXTS_AT_ONCE]]
            rows = [tuple(ids) for ids in self.encode(part, None)]
            long = [text for text, ids in zip(part, rows, strict=True) if len(ids) > row]
            different_before.update(map(hash, rows))
            different_after.update(hash(ids) for ids in rows if len(ids) <= row)
            different_after.update(hash(tuple(ids)) for ids in (self.encode(long, row) if long else ()))
            cut += len(long)
        return SideCut(row - before, before, cut / len(texts), 1 - len(different_after) / len(different_before))
