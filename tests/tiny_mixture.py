"""A mixture folder and a recipe of tiny tasks, for tests of whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
from tdro.data.task import Task
from tdro.files import write_atomic, write_json, write_jsonl
from tdro.recipe.schema import Recipe


def mixture(folder: Path, tasks: int = 4, negatives: int = 0, queries: int = 10) -> Path:
    """``tasks`` training tasks of 12, 24, … rows, a test set for each, and one that training never sees."""
    entries: dict[str, list[dict[str, Any]]] = {"tasks": [], "tests": []}
    for number in range(tasks):
        task = tiny.task(f"task{number}", rows=12 * (number + 1), negatives=negatives)
        write_jsonl(folder / "train" / f"{task.name}.jsonl", task.rows)
        entries["tasks"].append({"name": task.name, "file": f"train/{task.name}.jsonl", "licence": "CC0-1.0"})
    for number in range(tasks + 1):
        name = f"task{number}" if number < tasks else "unseen"
        write_beir(folder / "tests" / name, tiny.task(name, rows=queries, seed=1))
        entries["tests"].append({"name": name, "folder": f"tests/{name}", "task": name if number < tasks else ""})
    write_json(folder / "mixture.json", {"format": "tdro-mixture/1", "name": "tiny", **entries})
    return folder


def write_beir(place: Path, test: Task) -> Path:
    """The rows of a task as a test set in BEIR's layout."""
    write_jsonl(place / "queries.jsonl", ({"_id": r["id"], "text": r["query"]} for r in test.rows))
    write_jsonl(
        place / "corpus.jsonl",
        ({"_id": f"d-{r['id']}", "title": "", "text": r["positives"][0]} for r in test.rows),
    )
    qrels = "".join(f"{r['id']}\td-{r['id']}\t1\n" for r in test.rows)
    write_atomic(place / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + qrels)
    return place


def recipe(folder: Path, /, **changes: Any) -> Recipe:
    """A recipe of a few steps with a static base over the tiny mixture; ``weights__eta=1`` changes a section's key."""
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True, exist_ok=True)
    tiny.tokenizer(eos=False).save(str(tokenizer / "tokenizer.json"))
    if not (folder / "mixture" / "mixture.json").exists():
        mixture(folder / "mixture")
    training = {"steps": 6, "batch": 8, "temperature": 0.05, "learning_rate": 0.01, "schedule": "linear"}
    content: dict[str, Any] = {
        "name": "tiny",
        "folder": str(folder / "run"),
        "precision": "fp32",
        "device": "cpu",
        "data": {"mixture": str(folder / "mixture"), "query_tokens": 16, "passage_tokens": 24},
        "negatives": {"per_row": 3},
        "base": {"kind": "static", "source": str(tokenizer), "dimension": 8},
        "reference": training,
        "weights": {**training, "negatives": 2},
        "finetune": [{**training, "name": "main", "mixtures": ["uniform", "top-50"], "seeds": [1]}],
        "evaluate": {"permutations": 200, "bootstrap": 100},
    }
    for key, value in changes.items():
        section, _, inner = key.partition("__")
        if not inner:
            content[section] = value
        elif section == "finetune":
            content["finetune"][0][inner] = value
        else:
            content[section] = {**content[section], inner: value}
    return Recipe.model_validate(content)
