"""Small inputs of every kind, and what lies in a folder: for tests of commands that are called again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

import tiny
from tdro.data.task import Task
from tdro.files import write_atomic, write_json, write_jsonl

PER_ROW = 2
# run.log is a log: each call appends its lines, with the time.
NOT_COMPARED = ("run.log",)


def rows(task: Task, kind: str) -> list[dict[str, Any]]:
    """The task's rows with negatives ``enough``, only ``some`` (every second row has fewer), or ``none``."""
    made = task.rows.to_list()
    for number, row in enumerate(made):
        keep = {"enough": 3, "some": 3 if number % 2 else 1, "none": 0}[kind]
        row["negatives"] = row["negatives"][:keep]
    return made


def write_data(folder: Path, kind: str) -> None:
    """Two tasks as files, as a mixture, and a test set."""
    entries = []
    for number in range(2):
        task = tiny.task(f"task{number}", rows=8 + 4 * number, negatives=3)
        write_jsonl(folder / "train" / f"{task.name}.jsonl", rows(task, kind))
        entries.append({"name": task.name, "file": f"train/{task.name}.jsonl", "instruction": f"w{number} find"})
    test = tiny.task("task0", rows=5, seed=1).rows
    place = folder / "tests" / "task0"
    write_jsonl(place / "queries.jsonl", ({"_id": row["id"], "text": row["query"]} for row in test))
    write_jsonl(place / "corpus.jsonl", ({"_id": row["id"] + "p", "text": row["positives"][0]} for row in test))
    qrels = "".join(f"{row['id']}\t{row['id']}p\t1\n" for row in test)
    write_atomic(place / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\n{qrels}")
    tests = [{"name": "task0", "folder": "tests/task0", "task": "task0"}]
    write_json(folder / "mixture.json", {"format": "tdro-mixture/1", "name": "a", "tasks": entries, "tests": tests})


def recipe(folder: Path, data: str, mine: str, prompts: bool, **changes: Any) -> Path:
    """A recipe over what :func:`write_data` wrote into ``folder``; ``weights__eta=1`` changes a section's key."""
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    tiny.tokenizer(eos=False).save(str(tokenizer / "tokenizer.json"))
    if not (folder / "miner").exists():
        tiny.static_model().save(str(folder / "miner"))
    training = {"steps": 3, "batch": 4, "negatives": 1, "temperature": 0.05, "learning_rate": 0.01}
    training["checkpoint_steps"] = 1
    source = {
        f"task{n}": {"source": str(folder / "train" / f"task{n}.jsonl"), "instruction": f"w{n} find"} for n in range(2)
    }
    where = {
        "sources": {"sources": source, "test_sets": {"task0": {"folder": f"{folder}/tests/task0", "task": "task0"}}},
        "mixture": {"mixture": str(folder)},
        "sample": {"mixture": "sample"},
    }[data]
    content: dict[str, Any] = {
        "name": "a",
        "folder": str(folder / "run"),
        "precision": "fp32",
        "device": "cpu",
        "data": {**where, "query_tokens": 12, "passage_tokens": 16, "prompts": prompts},
        "negatives": {"per_row": PER_ROW, "mine": mine, "model": str(folder / "miner"), "ranks": [1, 3]},
        "base": {"kind": "static", "source": str(tokenizer), "dimension": 8},
        "reference": dict(training),
        "weights": dict(training),
        "finetune": [{**training, "name": "main", "mixtures": ["uniform", "top-50"]}],
        "evaluate": {"permutations": 20, "bootstrap": 20},
    }
    for key, value in changes.items():
        section, _, inner = key.partition("__")
        if not inner:
            content[section] = value
        else:
            (content[section][0] if section == "finetune" else content[section])[inner] = value
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def state(folder: Path, times: bool = True) -> dict[str, tuple[str, int]]:
    """Every file and folder with the digest of what it holds, and when a file was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name not in NOT_COMPARED:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
            found[str(path.relative_to(folder))] = content, path.stat().st_mtime_ns if times and path.is_file() else 0
    return found
