"""``tdro data mine``: a mixture or data files in, a new mixture with hard negatives and samples of them out.

Nothing is changed in place. While it works, finished tasks and embeddings lie beside the output, in a hidden folder
that the same command goes on with after a kill.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tdro.data.mixture_of import mixture_of
from tdro.data.task import Mixture, Task
from tdro.data.write_mixture import check_new_folder, write_mixture
from tdro.mining.corpus import read_corpus
from tdro.mining.dense import embedder_of
from tdro.mining.mine import mine_mixture
from tdro.mining.settings import Mining
from tdro.retriever.machine import in_turn, join_ranks, this_machine, wait_for_everyone

SAMPLES_FILE = "samples.txt"
_SHOWN = 160  # characters of a text in a sample


@dataclass(frozen=True)
class Options:
    """What to mine with.

    Attributes:
        settings: how negatives are chosen.
        model: an embedding model's folder or hub id, or ``minilm``.
        corpus: of more passages, see :func:`tdro.mining.corpus.read_corpus`.
        prompts: put the tasks' prompts before queries.
        samples: rows of each task in ``samples.txt``.
    """

    settings: Mining
    model: str = "minilm"
    corpus: str | None = None
    prompts: bool = False
    samples: int = 10


def mine_files(paths: Sequence[str], options: Options, out: Path, force: bool = False) -> str | None:
    """Mine hard negatives into a new mixture folder. Under torchrun every rank calls this.

    Args:
        paths: a mixture folder; a recipe, for its sources; or any number of sources, a task each.
        options: what to mine with.
        out: a new folder.
        force: replace a mixture that is there.

    Returns:
        A table, and samples of each task; None on all ranks but the first.

    Raises:
        UserError: an input that is not there or broken, or an output that is there.
    """
    machine = this_machine()
    join_ranks(machine)
    read = [Path(path).expanduser() for path in [*paths, *([options.corpus] if options.corpus else [])]]
    check_new_folder(out, [path for path in read if path.exists()], force)
    with in_turn(machine):
        mixture = mixture_of(paths)
    corpus = read_corpus(options.corpus) if options.corpus else None
    scratch = out.resolve().parent / f".{out.resolve().name}.mining"
    embedder = None
    if options.settings.dense:
        embedder = embedder_of(options.model, scratch / "embeddings", machine, prompts=options.prompts)
    mined = mine_mixture(mixture, options.settings, 0, scratch, corpus=corpus, embedder=embedder, machine=machine)
    if machine.main:
        samples = "\n".join(
            samples_text(before, after, options.samples)
            for before, after in zip(mixture.tasks, mined.tasks, strict=True)
        )
        text = f"{_table(mixture, mined, options.settings.per_row)}\n\n{samples}"
        write_mixture(mined, out, force, {SAMPLES_FILE: text})
        shutil.rmtree(scratch, ignore_errors=True)
    wait_for_everyone(machine)
    return text if machine.main else None


def samples_text(before: Task, after: Task, count: int) -> str:
    """``count`` rows from everywhere among those that got negatives: query, positives, and what was mined."""
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
    """A line that can be printed: control characters in data must not reach a terminal."""
    line = " ".join(text[: 4 * _SHOWN].split())
    line = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


def _table(before: Mixture, after: Mixture, per_row: int) -> str:
    """Each task's rows, those that got negatives, the negatives mined, and rows that have fewer than asked for."""
    table: list[tuple[str, ...]] = [("task", "rows", "mined for", "negatives", "short")]
    for task, mined in zip(before.tasks, after.tasks, strict=True):
        had = [len(own) for own in task.rows["negatives"]]
        have = [len(own) for own in mined.rows["negatives"]]
        gained = [now - then for now, then in zip(have, had, strict=True)]
        numbers = (len(task), sum(map(bool, gained)), sum(gained), sum(own < per_row for own in have))
        table.append((task.name, *(f"{number:,}" for number in numbers)))
    name, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    return "\n".join(
        f"{row[0]:{name}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))
        for row in table
    )
