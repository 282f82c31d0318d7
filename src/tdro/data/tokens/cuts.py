"""How much of a task's texts a recipe's limits cut away, and how many texts become equal by it.

Most trainings cut the ends of long passages, and little is lost. If two queries become the same row of tokens, it is
worse: the answer to one is then a false negative of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tdro.data.task import Task
from tdro.data.tokens.limits import row_length

Encode = Callable[[list[str], int | None], list[list[int]]]  # texts to token ids, cut or (None) whole
_AT_ONCE = 2_000


@dataclass(frozen=True)
class SideCut:
    """Of the queries or the passages of a task.

    Attributes:
        limit: tokens of a text that are read, special ones included; None: all.
        prompt: tokens of the prompt that come on top.
        cut: share of the texts that are longer.
        same: share of the distinct rows of tokens that are another's once they are cut.
    """

    limit: int | None
    prompt: int
    cut: float
    same: float


@dataclass(frozen=True)
class TaskCut:
    """Of both sides of a task."""

    query: SideCut
    passage: SideCut


def percent(share: float) -> str:
    """A share in whole percents; what is less than one is not called nothing."""
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


@dataclass(frozen=True)
class Cutter:
    """Cuts as training does.

    Attributes:
        encode: of the base's tokenizer.
        longest: the most tokens that the base reads of a row, prompt included; None: all.
        query_tokens: the recipe's limit; None: as far as the base reads.
        passage_tokens: the same.
        prompts: whether instructions stand before texts.
    """

    encode: Encode
    longest: int | None
    query_tokens: int | None = None
    passage_tokens: int | None = None
    prompts: bool = False

    def of(self, task: Task, queries: Sequence[str], passages: Sequence[str]) -> TaskCut:
        """What is cut of some of a task's texts. Raises :class:`UserError` if its instruction leaves nothing."""
        prompt = task.prompt if self.prompts else ""
        return TaskCut(
            self.side(queries, prompt, self.query_tokens, f"queries of task '{task.name}'"),
            self.side(
                passages, prompt if task.symmetric else "", self.passage_tokens, f"passages of task '{task.name}'"
            ),
        )

    def row(self, prompt: str, limit: int | None, whose: str = "") -> tuple[int | None, int]:
        """Where rows with a prompt are cut (None: nowhere), and the prompt's tokens in them."""
        bare, before = map(len, self.encode(["", prompt], None))
        wanted = self.longest if limit is None else limit
        return None if wanted is None else row_length(wanted, before - bare, bare, self.longest, whose), before - bare

    def side(self, texts: Sequence[str], prompt: str, limit: int | None, whose: str) -> SideCut:
        """What is cut of some texts with a prompt before each. Raises as :meth:`of`."""
        row, before = self.row(prompt, limit, whose)
        if row is None or not texts:
            return SideCut(None if row is None else row - before, before, 0.0, 0.0)
        whole: set[int] = set()
        read: set[int] = set()
        cut = 0
        for start in range(0, len(texts), _AT_ONCE):
            part = [prompt + text for text in texts[start : start + _AT_ONCE]]
            rows = [tuple(ids) for ids in self.encode(part, None)]
            long = [text for text, ids in zip(part, rows, strict=True) if len(ids) > row]
            whole.update(map(hash, rows))
            read.update(hash(ids) for ids in rows if len(ids) <= row)
            read.update(hash(tuple(ids)) for ids in (self.encode(long, row) if long else ()))
            cut += len(long)
        return SideCut(row - before, before, cut / len(texts), 1 - len(read) / len(whole))
