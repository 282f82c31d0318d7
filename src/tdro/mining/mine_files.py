"""``tdro data mine``: reads a mixture or data files, writes a new mixture with hard negatives and samples of them.

The input is not changed. Until the output is whole, finished tasks and embeddings are in a hidden folder beside it;
after a kill, the same command continues from there.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tdro.data.mixtures.from_paths import mixture_of
from tdro.data.mixtures.write import made_before, mixture_key, write_mixture
from tdro.data.task import Mixture, Task
from tdro.files import fingerprint
from tdro.machine import Machine, in_turn, join_ranks, this_machine, wait_for_everyone
from tdro.mining.corpus import read_corpus
from tdro.mining.embedder import Embedder, embedder_of
from tdro.mining.mine_mixture import corpus_digest, mine_mixture
from tdro.mining.mine_task import VERSION
from tdro.mining.mining_settings import MiningSettings
from tdro.terminal_table import terminal_table

SAMPLES_FILE = "samples.txt"
_TEXT_LENGTH = 160  # characters of a text that a sample shows


@dataclass(frozen=True)
class MiningOptions:
    """The options of ``tdro data mine``.

    Attributes:
        settings: how negatives are chosen.
        model: the folder or hub id of an embedding model, or ``minilm``.
        corpus: where more passages are, see :func:`tdro.mining.corpus.read_corpus`.
        prompts: put the tasks' prompts before queries.
        samples: how many rows of each task are shown in ``samples.txt``.
        trust_remote_code: run code that comes with the model.
    """

    settings: MiningSettings
    model: str = "minilm"
    corpus: str | None = None
    prompts: bool = False
    samples: int = 10
    trust_remote_code: bool = False


class Mined(NamedTuple):
    """What was mined.

    Attributes:
        text: a table and samples of each task, or "done before" if the same command made the output before.
        tasks: for each task its ``rows``, how many were ``mined_for``, how many ``negatives`` they got, and how many
            rows are ``short`` of what was asked; None if it was done before.
    """

    text: str
    tasks: dict[str, dict[str, int]] | None = None


def mine_files(paths: Sequence[str], options: MiningOptions, out: Path, force: bool = False) -> Mined | None:
    """Mine hard negatives into a new mixture folder. Under torchrun every rank calls this.

    Args:
        paths: a mixture folder; a recipe, for its sources; or any number of sources, each becoming a task.
        options: how to mine.
        out: the new mixture folder.
        force: replace a mixture that is in ``out`` already.

    Returns:
        What was mined; None on all ranks but the first.

    Raises:
        UserError: an input is missing or broken, or there is something else in ``out``.
    """
    machine = this_machine()
    join_ranks(machine)
    inputs = [Path(path).expanduser() for path in [*paths, *([options.corpus] if options.corpus else [])]]
    scratch = out.resolve().parent / f".{out.resolve().name}.mining"

    @functools.cache
    def read() -> _Inputs:
        with in_turn(machine):
            mixture = mixture_of(paths)
        corpus = read_corpus(options.corpus) if options.corpus else None
        embedder = None
        if options.settings.dense:
            embedder = embedder_of(
                *(options.model, scratch / "embeddings", machine),
                prompts=options.prompts,
                trust_remote_code=options.trust_remote_code,
            )
        return _Inputs(mixture, corpus, embedder)

    def key() -> str:
        return _key(read(), options, machine)

    if made_before(out, key, [path for path in inputs if path.exists()], force):
        wait_for_everyone(machine)
        if machine.main:
            shutil.rmtree(scratch, ignore_errors=True)  # left by a kill after the output was whole
        return Mined("done before") if machine.main else None
    mixture, corpus, embedder = read()
    mined = mine_mixture(mixture, options.settings, 0, scratch, corpus=corpus, embedder=embedder, machine=machine)
    if machine.main:
        samples = "\n".join(
            samples_text(before, after, options.samples)
            for before, after in zip(mixture.tasks, mined.tasks, strict=True)
        )
        tasks = _counts(mixture, mined, options.settings.per_row)
        text = f"{_table(tasks)}\n\n{samples}"
        write_mixture(mined, out, force, key(), {SAMPLES_FILE: text})
        shutil.rmtree(scratch, ignore_errors=True)
    wait_for_everyone(machine)
    return Mined(text, tasks) if machine.main else None


class _Inputs(NamedTuple):
    """The mixture to mine, the corpus if there is one, and the model if one is needed."""

    mixture: Mixture
    corpus: dict[str, str] | None
    embedder: Embedder | None


def _key(inputs: _Inputs, options: MiningOptions, machine: Machine) -> str:
    """The fingerprint of everything that decides what the output is."""
    model = inputs.embedder and [inputs.embedder.fingerprint, machine.bf16, options.prompts]
    settings = [asdict(options.settings), options.samples, model]
    return fingerprint(["mine", VERSION, mixture_key(inputs.mixture), corpus_digest(inputs.corpus or {}), settings])


def samples_text(before: Task, after: Task, count: int) -> str:
    """Query, positives and mined negatives of ``count`` rows, evenly spaced among those that got negatives."""
    had = [len(own) for own in before.rows["negatives"]]
    mined = [row for row, own in enumerate(after.rows["negatives"]) if len(own) > had[row]]
    chosen = [mined[place * len(mined) // count] for place in range(count)] if count < len(mined) else mined
    lines = [f"## {after.name}: {len(chosen)} of {len(mined):,} rows that got negatives", ""]
    for row in chosen:
        values = after.rows[row]
        texts = [("query", values["query"])]
        texts += [("positive", text) for text in values["positives"]]
        texts += [("negative", text) for text in values["negatives"][had[row] :]]
        lines += [f"{what:8}  {_shown(text)}" for what, text in texts]
        lines.append("")
    return "\n".join(lines)


def _shown(text: str) -> str:
    """The start of a text on one line, safe to print: control characters in data must not reach a terminal."""
    line = " ".join(text[: 4 * _TEXT_LENGTH].split())
    line = line if len(line) <= _TEXT_LENGTH else f"{line[: _TEXT_LENGTH - 3]}..."
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


def _counts(before: Mixture, after: Mixture, per_row: int) -> dict[str, dict[str, int]]:
    """For each task: its rows, those that got negatives, the negatives mined, and the rows that still have too few."""
    counts = {}
    for task, mined in zip(before.tasks, after.tasks, strict=True):
        had = [len(own) for own in task.rows["negatives"]]
        have = [len(own) for own in mined.rows["negatives"]]
        gained = [now - then for now, then in zip(have, had, strict=True)]
        counts[task.name] = {"rows": len(task), "mined_for": sum(map(bool, gained)), "negatives": sum(gained)}
        counts[task.name]["short"] = sum(own < per_row for own in have)
    return counts


def _table(counts: dict[str, dict[str, int]]) -> str:
    lines = [(name, *(f"{count:,}" for count in each.values())) for name, each in counts.items()]
    return terminal_table(("task", "rows", "mined for", "negatives", "short"), lines)
