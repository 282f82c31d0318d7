"""Learned weights as settings of other trainers: text to paste into a shell or a script.

Each function assumes that the data of a task is the file ``<task>.jsonl``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping

import numpy as np

from tdro.errors import UserError
from tdro.weights import TaskWeights


def sentence_transformers(weights: TaskWeights, sizes: Mapping[str, int], rows: int | None) -> str:
    """A script that trains a model with sentence-transformers and draws each batch from one task, by the weights.

    The stock samplers draw tasks by their sizes or in turn only, so the script takes :class:`tdro.WeightedTaskSampler`.
    """
    shares = json.dumps(_shares(weights), indent=4)
    steps = "1000  # of all tasks together" if rows is None else f"{rows} // BATCH"
    return f'''"""Train MODEL on the files <task>.jsonl beside this script: python train.py MODEL OUT"""

import sys

from datasets import DatasetDict, load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from tdro import WeightedTaskSampler

WEIGHTS = {shares}
BATCH = 64
STEPS = {steps}

model = SentenceTransformer(sys.argv[1])
files = {{task: f"{{task}}.jsonl" for task in WEIGHTS}}  # columns of each: anchor, positive, and maybe negatives
tasks = DatasetDict({{task: load_dataset("json", data_files=file, split="train") for task, file in files.items()}})
args = SentenceTransformerTrainingArguments(
    sys.argv[2],
    max_steps=STEPS,
    per_device_train_batch_size=BATCH,
    batch_sampler="no_duplicates",
    multi_dataset_batch_sampler=WeightedTaskSampler.using(WEIGHTS, STEPS, names=tasks),
    report_to="none",
)
SentenceTransformerTrainer(model, args, train_dataset=tasks, loss=MultipleNegativesRankingLoss(model)).train()
model.save_pretrained(sys.argv[2])'''


def ms_swift(weights: TaskWeights, sizes: Mapping[str, int], rows: int | None) -> str:
    """The arguments of ``swift sft`` that draw each row from a data set with its weight as the probability."""
    shares = _shares(weights)
    files = " ".join(shlex.quote(f"{name}.jsonl") for name in shares)
    return (
        "# ms-swift draws each row, not each batch, from a data set by these probabilities, and goes on until each\n"
        "# data set was read once; what is read before that is read again.\n"
        f"--dataset {files} \\\n"
        f"--interleave_prob {' '.join(str(share) for share in shares.values())} \\\n"
        "--stopping_strategy all_exhausted"
    )


def flag_embedding(weights: TaskWeights, sizes: Mapping[str, int], rows: int | None) -> str:
    """A shell script that writes files whose sizes are the weights, for FlagEmbedding reads each row once an epoch.

    Args:
        weights: of the tasks.
        sizes: how many rows each task has.
        rows: how many rows the files have together; None: as many as the tasks of these weights have.

    Raises:
        UserError: sizes are not known, or a task would get no row.
    """
    shares = _shares(weights)
    if missing := [name for name in shares if name not in sizes]:
        raise UserError(
            f"--for flagembedding: the rows of task {missing[0]!r} are not known; name a run's weights/weights.json"
        )
    total = rows or sum(sizes[name] for name in shares)
    lines = [_take(name, round(share * total), sizes[name]) for name, share in shares.items()]
    return "\n".join(
        [
            "# FlagEmbedding reads each row of each file once an epoch, so a task's share is its number of rows.",
            "# Run this beside your files <task>.jsonl; it writes mixed/<task>.jsonl. A task that is to have more rows",
            "# than there are is repeated.",
            "set -e; mkdir -p mixed",
            *lines,
            "# Then train with: --train_data mixed --same_dataset_within_batch True --small_threshold 0",
        ]
    )


SETTINGS: dict[str, Callable[[TaskWeights, Mapping[str, int], int | None], str]] = {
    "sentence-transformers": sentence_transformers,
    "ms-swift": ms_swift,
    "flagembedding": flag_embedding,
}


def _shares(weights: TaskWeights) -> dict[str, float]:
    """The tasks with a weight, the largest first; 9 decimals, and a sum of 1 to far more than a trainer checks."""
    names = sorted((name for name in weights.names if weights[name] > 0), key=lambda name: -weights[name])
    shares = {name: round(weights[name], 9) for name in names}
    shares[names[0]] = round(shares[names[0]] + 1 - float(np.sum(list(shares.values()))), 9)
    return {name: share for name, share in shares.items() if share > 0}


def _take(name: str, wanted: int, there: int) -> str:
    """The shell line that writes ``wanted`` rows of a file that has ``there``, the same rows each time."""
    if wanted < 1:
        raise UserError(f"--for flagembedding: task {name!r} would get no row; give more with --rows")
    source, target = shlex.quote(f"{name}.jsonl"), shlex.quote(f"mixed/{name}.jsonl")
    whole, rest = divmod(wanted, there)
    parts = [f"awk 1 {source}"] * whole  # ends the last line too, which cat would not
    if rest:
        parts.append(f"shuf -n {rest} --random-source=<(yes) {source}")
    return f"{{ {'; '.join(parts)}; }} > {target}  # {wanted} rows, from {there}"
