"""The frozen reference's similarities of the planned rows, computed once and kept on disk.

The plan says which rows stage 1 will read, so the reference scores them before it starts. What is kept are cosine
similarities, (T, B, 1 + N) for T steps of B rows with N hard negatives, in ``scores/<fingerprint>/cosines.npy``. The
fingerprint is of everything that the numbers depend on: the models, the plan, the texts, how they are cut into
micro-batches, and this code. So another η, temperature or measure finds its scores done.

Steps are scored in blocks. A block that is done is marked by an empty file ``block-<n>.done`` and is not scored again.
See docs/decisions.md, scores-ahead-of-training.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from xxhash import xxh3_128_hexdigest

from tdro import __version__
from tdro.console import progress_bar
from tdro.data.plan.row_plans import StepRows
from tdro.disk import reserve_space, writing
from tdro.dro.infonce import hard_negative_similarities
from tdro.files import fingerprint, write_atomic
from tdro.machine import Machine
from tdro.models.encode import encode_tokens
from tdro.training.stacking import embed_columns
from tdro.training.steps import PlannedSteps

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# About so many texts make a block. Their embeddings are held in memory until the block is done.
_TEXTS_PER_BLOCK = 100_000
_CODE = 1  # raise it with every change of this module, or of what it calls, that changes the numbers

ReferenceOf = Callable[[StepRows], NDArray[np.int64]]


def only_reference(rows: StepRows) -> NDArray[np.int64]:
    """Where there is one reference: it scores every row."""
    return np.zeros(len(rows), dtype=np.int64)


def score_plan(
    models: Mapping[str, Callable[[], SentenceTransformer]],
    steps: PlannedSteps,
    folder: Path,
    machine: Machine,
    reference_of: ReferenceOf = only_reference,
    title: str = "scoring the reference",
    chunk_rows: int | None = None,
) -> NDArray[np.float32]:
    """Cosine similarities of every planned row, (T, B, 1 + N), the positive first, memory-mapped.

    Args:
        models: for the fingerprint of each reference, a function that loads it. Called only if something is left to
            score.
        steps: the plan and its data.
        folder: where scores are kept, each in a subfolder of its own.
        machine: device and precision. Every rank scores its share of the blocks.
        reference_of: which of the models, by position, scores each row of a step, shape (B,).
        title: for the progress bar.
        chunk_rows: score in exactly the micro-batches of so many texts that stage 1 will make, rank by rank. Then a
            proxy that equals the reference has equal losses to the bit. None embeds each distinct text of a block once,
            sorted by length, which is faster; the similarities then differ by rounding, because texts are padded
            otherwise: by 1e-7 in fp32, by 1e-3 in bf16 (0.05 nats at τ = 0.02).
    """
    cut = None if chunk_rows is None else [chunk_rows, machine.world]
    # A kill loses at most a block. Large blocks gain only where each distinct text is embedded once.
    texts_per_block = _TEXTS_PER_BLOCK if chunk_rows is None else _TEXTS_PER_BLOCK // 10
    per_block = max(1, texts_per_block // (steps.plan.batch * (2 + steps.negatives)))
    how = [__version__, _CODE, machine.bf16, per_block, cut]
    store = folder / fingerprint([list(models), _plan_state(steps), how, _digest(reference_of(steps.rows(0)[0]))])
    shape = (steps.plan.steps, steps.plan.batch, 1 + steps.negatives)
    similarities = _open(store / "cosines.npy", shape)
    blocks = [range(start, min(start + per_block, shape[0])) for start in range(0, shape[0], per_block)]
    missing = [number for number in range(len(blocks)) if not (store / f"block-{number}.done").exists()]
    # Blocks are dealt out by their number, not by their place among the missing ones: another rank may have finished
    # one of these since this rank looked.
    mine = [number for number in missing if number % machine.world == machine.rank]
    if mine:
        loaded = [load().eval() for load in models.values()]
        total = sum(len(blocks[number]) for number in mine)
        with progress_bar(total=total * steps.plan.batch, title=title, unit=" rows", disable=not machine.main) as bar:
            for number in mine:
                block = blocks[number]
                similarities[block.start : block.stop] = (
                    _score_distinct_texts(loaded, reference_of, steps, block, machine, bar)
                    if chunk_rows is None
                    else _score_micro_batches(loaded, reference_of, steps, block, machine, bar, chunk_rows)
                )
                similarities.flush()
                write_atomic(store / f"block-{number}.done", "")
    return similarities


def _score_distinct_texts(
    models: list[SentenceTransformer],
    reference_of: ReferenceOf,
    steps: PlannedSteps,
    block: range,
    machine: Machine,
    bar: tqdm,
) -> NDArray[np.float32]:
    """Similarities of a block of steps, (steps, B, 1 + N): each model embeds each distinct text of its rows once."""
    planned = [steps.rows(step) for step in block]
    scored_by = np.stack([reference_of(rows) for rows, _ in planned])
    query = np.stack([texts.query for _, texts in planned])
    passages = np.stack([texts.passages for _, texts in planned])
    result = np.empty(passages.shape, dtype=np.float32)
    for number, model in enumerate(models):
        here = scored_by == number
        if not here.any():
            continue
        own_queries, query_place = np.unique(query[here], return_inverse=True)
        own_passages, passage_place = np.unique(passages[here], return_inverse=True)
        texts, rows = len(own_queries) + len(own_passages), int(here.sum())
        end = bar.n + rows

        def advance(count: int, rows_per_text: float = rows / texts) -> None:
            bar.update(int(count * rows_per_text))

        queries = encode_tokens(model, steps.data.queries, own_queries, machine, done=advance)
        found = encode_tokens(model, steps.data.passages, own_passages, machine, done=advance)
        bar.update(end - bar.n)  # what rounding left out
        place = passage_place.reshape(rows, -1)
        for column in range(place.shape[1]):
            result[here, column] = np.einsum("rd,rd->r", queries[query_place], found[place[:, column]])
    return result


def _score_micro_batches(
    models: list[SentenceTransformer],
    reference_of: ReferenceOf,
    steps: PlannedSteps,
    block: range,
    machine: Machine,
    bar: tqdm,
    chunk_rows: int,
) -> NDArray[np.float32]:
    """Similarities of a block of steps, (steps, B, 1 + N), each step cut into micro-batches as stage 1 cuts it."""
    result = np.empty((len(block), steps.plan.batch, 1 + steps.negatives), dtype=np.float32)
    for place, step in enumerate(block):
        rows, texts = steps.rows(step)
        scored_by = reference_of(rows)
        for of_rank in np.split(np.arange(len(rows)), machine.world):
            for number, model in enumerate(models):
                here = of_rank[scored_by[of_rank] == number]
                if len(here):
                    columns = [steps.data.queries.features(texts.query[here])]
                    columns += [steps.data.passages.features(column) for column in texts.passages[here].T]
                    result[place, here] = _similarities(model, columns, machine, chunk_rows)
        bar.update(len(rows))
    return result


def _similarities(
    model: SentenceTransformer, columns: list[dict[str, Tensor]], machine: Machine, chunk_rows: int
) -> NDArray[np.float32]:
    device = model.device
    placed = [{key: value.to(device) for key, value in column.items()} for column in columns]
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=machine.bf16):
        query, *passages = embed_columns(model, placed, chunk_rows)
    return hard_negative_similarities(query, torch.stack(passages, dim=1)).cpu().numpy()


def _plan_state(steps: PlannedSteps) -> list[object]:
    """What the planned texts follow from: the tokens, the rows of the tasks, and the plan's settings."""
    data, plan = steps.data, steps.plan
    arrays: list[NDArray] = [
        data.queries.ids,
        data.queries.starts,
        data.passages.ids,
        data.passages.starts,
        *(steps.subset or []),
    ]
    for task in data.index.tasks:
        arrays += [task.queries]
        arrays += [array for lists in (task.positives, task.negatives) for array in (lists.values, lists.starts)]
    rule = [type(plan).__name__, plan.seed, plan.steps, plan.batch, getattr(plan, "sampling", ""), steps.negatives]
    return [*rule, *(_digest(array) for array in arrays)]


def _open(path: Path, shape: tuple[int, int, int]) -> np.memmap:
    """A memory-mapped array on disk; it is made if it is not there."""
    if not path.exists():
        temporary = path.with_name(f"{os.getpid()}.npy")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape).flush()
                reserve_space(temporary)
                # A rename would replace the array that another rank has made and begun to fill. A link fails instead.
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(temporary)
            finally:
                temporary.unlink(missing_ok=True)
    return np.lib.format.open_memmap(path, mode="r+")


def _digest(array: NDArray) -> str:
    return xxh3_128_hexdigest(np.ascontiguousarray(array).data)
