"""Hard negatives for the rows of a task that have fewer than they should: searched for, picked, and kept on disk.

The passages of the task itself (its rows' positives), and those of a corpus if one is given, are searched by BM25, by
an embedding model, or by both in turn. Never taken: a passage whose normalised text is the row's query, one of its
positives, a positive of any row with the same query, or a negative that the row has; such a positive in another
wrapping, with a title before it or cut (:mod:`tdro.data.same_answer`); and one that scores within the margins of the
row's positive, which is most likely the same answer in other words. Of the rest the best ranks are taken, or any by
chance among some ranks. With both, BM25's candidates must stay below the model's limit too, for two wordings of one
answer may share few words; the model's need not stay below BM25's, for shared words make no answer.

Rejected: an LLM or a cross-encoder as a judge of candidates (hours on a CPU for what margins do in no time).
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from tdro.data.mixtures.content import rows_content
from tdro.data.same_text import normalise
from tdro.data.task import Mixture, Task
from tdro.data.tokens.stored_texts import negative_counts
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, read_jsonl, write_json, write_jsonl
from tdro.machine import Machine, in_turn, wait_for_everyone
from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.bm25_candidates import BM25Candidates
from tdro.mining.choose_negatives import NegativeChooser, alternate
from tdro.mining.dense_candidates import DenseCandidates, Embedder
from tdro.mining.mining_settings import MiningSettings
from tdro.mining.task_passages import TaskPassages, passages_of

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS_AT_ONCE = 16_384
_PAIRS_AT_ONCE = 1 << 31  # of a row and a passage: the bar moves every few seconds, however large the corpus is
VERSION = 4  # of the algorithm: a change of what is mined changes it


@dataclass(frozen=True)
class _Lacking:
    """What is needed to mine a task.

    Attributes:
        queries: of all its rows.
        negatives: that the rows have.
        rows: numbers of those that have too few.
        passages: to choose from.
    """

    queries: list[str]
    negatives: list[list[str]]
    rows: list[int]
    passages: TaskPassages

    @property
    def searched(self) -> list[str]:
        """The queries of the rows that have too few."""
        return [self.queries[row] for row in self.rows]


def mine_task(
    task: Task,
    settings: MiningSettings,
    *,
    seed: int = 0,
    corpus: Mapping[str, str] | None = None,
    embedder: Embedder | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> Task:
    """Fill the negatives of the rows that have fewer than ``settings.per_row``; the others stay as they are.

    Args:
        task: its rows' own positives are passages to choose from.
        settings: how. A row ends up with fewer negatives where no more passages are left within the settings; one all
            of whose passages are its own answers keeps none.
        seed: row i's chance is a function of (seed, task name, i) and the task's passages.
        corpus: more passages to choose from, each with what it is without its title.
        embedder: for dense mining; this process encodes everything that is not there yet.
        done: called with the number of rows that were searched for, now and then.

    Raises:
        ValueError: dense mining without an embedder.
        UserError: a task with fewer than two distinct passages, or a model that cannot be read.
    """
    if settings.dense and embedder is None:
        raise ValueError(f"mining by {settings.by} needs an embedder")
    check_minable(task, settings, corpus)
    lacking = _lacking(task, settings, corpus)
    if lacking is None:
        return task
    passages, negatives = lacking.passages, [list(own) for own in lacking.negatives]
    wrappings = AnswerCopies(passages)
    dense = words = None
    if embedder and settings.dense:
        dense = embedder.search(task, lacking.rows, lacking.searched, passages, wrappings)
    if settings.by != "dense":
        words = BM25Candidates(passages, [normalise(query) for query in lacking.queries], wrappings)
    picker = NegativeChooser(settings, len(passages.texts), len(task), seed, task.name)
    at_once = min(max(_PAIRS_AT_ONCE // len(passages.texts), 1024), _ROWS_AT_ONCE)
    for start in range(0, len(lacking.rows), at_once):
        rows = lacking.rows[start : start + at_once]
        taken = [{passages.number.get(normalise(text), -1) for text in negatives[row]} for row in rows]
        barred = [passages.barred[row] | own - {-1} for row, own in zip(rows, taken, strict=True)]
        missing = [settings.per_row - len(negatives[row]) for row in rows]
        ranked = _ranked(dense, words, rows, barred, missing, settings)
        for row, lacks, best, never in zip(rows, missing, ranked, barred, strict=True):
            picked = picker.pick(row, lacks, best, never, partial(wrappings.is_answer, row))
            negatives[row] += [passages.texts[index] for index in picked]
        done(len(rows))
    return replace(task, rows=_with_negatives(task, negatives), fingerprint="")


def _ranked(
    dense: DenseCandidates | None,
    words: BM25Candidates | None,
    rows: Sequence[int],
    barred: Sequence[set[int]],
    missing: Sequence[int],
    settings: MiningSettings,
) -> list[list[int]]:
    """Each row's candidates, best first."""
    by_words = words.candidates(rows, barred, missing, settings) if words else []
    if dense is None:
        return by_words
    by_model = dense.candidates(rows, barred, settings)
    if words is None:
        return by_model
    below = dense.below(rows, by_words, settings)
    return [alternate(one, other) for one, other in zip(by_model, below, strict=True)]


def mine_mixture(
    mixture: Mixture,
    settings: MiningSettings,
    seed: int,
    folder: Path | str,
    *,
    corpus: Mapping[str, str] | None = None,
    embedder: Embedder | None = None,
    machine: Machine | None = None,
) -> Mixture:
    """Mine every task, keeping each task's rows in ``folder/<task>.jsonl``; what is there already is read.

    A task all of whose rows have enough stays as it is. Another is mined again where its rows, its name, the settings
    or the model changed (``folder/<task>.json`` has their fingerprint, and is written last). Under torchrun every rank
    calls this, with one folder: they share the encoding, the first one searches. Raises as :func:`mine_task`, before
    the first task is mined where one has too few passages.
    """
    run = _Run(settings, seed, Path(folder), corpus, embedder if settings.dense else None, machine or Machine())
    for task in mixture.tasks:  # before the first one is mined
        check_minable(task, settings, corpus)
    done = []
    with tqdm(
        total=sum(mixture.sizes), desc="hard negatives", unit=" rows", unit_scale=True, disable=not run.machine.main
    ) as bar:
        for task in mixture.tasks:
            bar.set_postfix_str(task.name)
            end = bar.n + len(task)
            done.append(_mined(task, run, bar.update))
            bar.update(end - bar.n)
            if not corpus:  # whose embeddings the next tasks need
                _forget_embeddings(run)
    _forget_embeddings(run)
    return replace(mixture, tasks=done)


def check_minable(task: Task, settings: MiningSettings, corpus: Mapping[str, str] | None = None) -> None:
    """Raise :class:`UserError` for a task whose rows need negatives and that has fewer than two distinct passages."""
    if (negative_counts(task.rows) >= settings.per_row).all():
        return
    distinct: set[str] = set()
    for positives in chain([corpus or {}], (row["positives"] for row in task.rows)):
        for text in positives:
            distinct.add(normalise(text))
            if len(distinct) > 1:
                return
    raise UserError(
        f"task '{task.name}' has {len(distinct)} distinct passage(s): too few to mine.\n"
        "Give its rows negatives, or leave the task out."
    )


def _lacking(task: Task, settings: MiningSettings, corpus: Mapping[str, str] | None) -> _Lacking | None:
    """What is needed to mine a task; None where all its rows have enough."""
    rows = np.flatnonzero(negative_counts(task.rows) < settings.per_row).tolist()
    if not rows:
        return None
    queries = task.rows["query"][:]
    passages = passages_of([normalise(query) for query in queries], task.rows["positives"][:], corpus)
    return _Lacking(queries, task.rows["negatives"][:], rows, passages)


@dataclass(frozen=True)
class _Run:
    """What the tasks of a mixture have in common: the arguments of :func:`mine_mixture`."""

    settings: MiningSettings
    seed: int
    folder: Path
    corpus: Mapping[str, str] | None
    embedder: Embedder | None
    machine: Machine

    @functools.cached_property
    def content(self) -> str:
        """A fingerprint of it."""
        model = self.embedder and [self.embedder.fingerprint, self.embedder.machine.bf16, self.embedder.prompts]
        return fingerprint([VERSION, asdict(self.settings), self.seed, corpus_digest(self.corpus or {}), model])


def _mined(task: Task, run: _Run, done: Callable[[int], object]) -> Task:
    if (negative_counts(task.rows) >= run.settings.per_row).all():
        return task  # without a copy of it
    rows, key_file = run.folder / f"{task.name}.jsonl", run.folder / f"{task.name}.json"
    prompt = [task.prompt, task.symmetric] if run.embedder and run.embedder.prompts else None
    key = fingerprint([run.content, task.name, rows_content(task), prompt])

    def there() -> bool:
        return rows.exists() and key_file.exists() and read_json(key_file).get("key") == key

    missing = not there()
    wait_for_everyone(run.machine)  # all have looked before anyone writes
    if missing and run.embedder and run.machine.world > 1:
        lacking = _lacking(task, run.settings, run.corpus)
        if lacking is not None:
            run.embedder.share(task, lacking.searched, lacking.passages)
        wait_for_everyone(run.machine)
    with in_turn(run.machine):
        if there():
            negatives = [row["negatives"] for row in read_jsonl(rows)]
            return replace(task, rows=_with_negatives(task, negatives), fingerprint="")
        mined = mine_task(task, run.settings, seed=run.seed, corpus=run.corpus, embedder=run.embedder, done=done)
        key_file.unlink(missing_ok=True)  # until the new rows are whole, no key says that they are
        write_jsonl(rows, mined.rows)
        write_json(key_file, {"key": key})
        return mined


def corpus_digest(corpus: Mapping[str, str]) -> str:
    """Of many texts, one at a time."""
    digest = hashlib.sha256()
    for text in chain.from_iterable(corpus.items()):
        content = text.encode()
        digest.update(b"%d " % len(content) + content)
    return digest.hexdigest()


def _forget_embeddings(run: _Run) -> None:
    """Remove the embeddings, when no rank reads them any more."""
    if run.embedder is not None:
        wait_for_everyone(run.machine)
        if run.machine.main:
            shutil.rmtree(run.embedder.folder, ignore_errors=True)
        wait_for_everyone(run.machine)


def _with_negatives(task: Task, negatives: list[list[str]]) -> Dataset:
    """The task's rows with other negatives, by way of Arrow (``from_dict`` encodes every text by itself)."""
    import pyarrow
    from datasets import Dataset

    table = task.rows.with_format("arrow")[:]
    place = table.column_names.index("negatives")
    column = pyarrow.array(negatives, type=table.schema.field("positives").type)
    return Dataset(table.set_column(place, "negatives", column))
