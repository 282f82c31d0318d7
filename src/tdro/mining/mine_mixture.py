"""Mines all tasks of a mixture and keeps each finished task on disk, so that a kill loses one task at most."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from tdro.console import progress_bar
from tdro.data.mixtures.content import rows_content
from tdro.data.task import Mixture, Task
from tdro.files import fingerprint, read_json, read_jsonl, write_json, write_jsonl
from tdro.machine import Machine, in_turn, wait_for_everyone
from tdro.mining.embedder import Embedder
from tdro.mining.mine_task import VERSION, check_minable, has_enough, mine_task, to_mine, with_negatives
from tdro.mining.mining_settings import MiningSettings


@dataclass(frozen=True)
class _Arguments:
    """The arguments of :func:`mine_mixture`, the same for all its tasks."""

    settings: MiningSettings
    seed: int
    folder: Path
    corpus: Mapping[str, str] | None
    embedder: Embedder | None
    machine: Machine

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of everything that decides which negatives a task gets, but for the task itself."""
        model = self.embedder and [self.embedder.fingerprint, self.embedder.machine.bf16, self.embedder.prompts]
        return fingerprint([VERSION, asdict(self.settings), self.seed, corpus_digest(self.corpus or {}), model])


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
    """Mine every task as :func:`tdro.mining.mine_task.mine_task` does, and keep its rows in ``folder/<task>.jsonl``.

    Rows that are in the folder already are read, unless the task's rows, its name, the settings or the model changed:
    their fingerprint is in ``folder/<task>.json``, which is written last. A task all of whose rows have enough
    negatives is not written. Under torchrun every rank calls this with one folder: the ranks share the encoding, the
    first rank searches.

    Raises:
        UserError: a task has too few passages (said before any task is mined), or the model cannot be read.
    """
    common = _Arguments(
        settings, seed, Path(folder), corpus, embedder if settings.dense else None, machine or Machine()
    )
    for task in mixture.tasks:
        check_minable(task, settings, corpus)
    mined = []
    with progress_bar(
        total=sum(mixture.sizes), title="hard negatives", unit=" rows", unit_scale=True, disable=not common.machine.main
    ) as bar:
        for task in mixture.tasks:
            bar.set_postfix_str(task.name)
            end = bar.n + len(task)
            mined.append(_mined(task, common, bar.update))
            bar.update(end - bar.n)
            if not corpus:  # the embeddings of a corpus serve the next tasks too
                _remove_embeddings(common)
    _remove_embeddings(common)
    return replace(mixture, tasks=mined)


def mine_alone(task: Task, settings: MiningSettings, seed: int, folder: Path) -> None:
    """Mine one task of a mixture by BM25 and keep its rows, where :func:`mine_mixture` then finds them.

    So several processes can mine a mixture together.
    """
    _mined(task, _Arguments(settings, seed, folder, None, None, Machine()), lambda rows: None)


def corpus_digest(corpus: Mapping[str, str]) -> str:
    """The SHA-256 of a corpus, computed text by text: as one JSON text it would be as large as the corpus."""
    digest = hashlib.sha256()
    for text in chain.from_iterable(corpus.items()):
        content = text.encode()
        digest.update(b"%d " % len(content) + content)
    return digest.hexdigest()


def _mined(task: Task, common: _Arguments, done: Callable[[int], object]) -> Task:
    """One task, mined or read from the folder."""
    if has_enough(task, common.settings):
        return task
    rows, key_file = common.folder / f"{task.name}.jsonl", common.folder / f"{task.name}.json"
    prompt = [task.prompt, task.symmetric] if common.embedder and common.embedder.prompts else None
    key = fingerprint([common.fingerprint, task.name, rows_content(task), prompt])

    def is_kept() -> bool:
        return rows.exists() and key_file.exists() and read_json(key_file).get("key") == key

    missing = not is_kept()
    wait_for_everyone(common.machine)  # every rank has looked before one writes
    if missing and common.embedder and common.machine.world > 1:
        selected = to_mine(task, common.settings, common.corpus)
        if selected is not None:
            common.embedder.share(task, selected.searched, selected.passages)
        wait_for_everyone(common.machine)
    with in_turn(common.machine):
        if is_kept():
            return with_negatives(task, [row["negatives"] for row in read_jsonl(rows)])
        mined = mine_task(
            task, common.settings, seed=common.seed, corpus=common.corpus, embedder=common.embedder, done=done
        )
        key_file.unlink(missing_ok=True)  # while the new rows are written, no key may say that they are whole
        write_jsonl(rows, mined.rows)
        write_json(key_file, {"key": key})
        return mined


def _remove_embeddings(common: _Arguments) -> None:
    """Remove the embeddings, once no rank reads them any more."""
    if common.embedder is not None:
        wait_for_everyone(common.machine)
        if common.machine.main:
            shutil.rmtree(common.embedder.folder, ignore_errors=True)
        wait_for_everyone(common.machine)
