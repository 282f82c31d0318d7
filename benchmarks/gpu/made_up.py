"""A mixture of made-up text and a decoder at random weights, for the rehearsal on a CPU."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tdro.files import write_atomic, write_json, write_jsonl

_WORDS = [f"w{number}" for number in range(200)]


def made_up_mixture(folder: Path, tasks: int = 3, rows: int = 16) -> Path:
    """A mixture folder: some tasks with as many test sets. A query's words stand in its positive too."""
    draw = random.Random(0)
    content: dict[str, Any] = {"format": "tdro-mixture/1", "name": "made-up", "tasks": [], "tests": []}
    for number in range(tasks):
        name = f"task{number}"
        write_jsonl(folder / "train" / f"{name}.jsonl", [_row(draw, name, row) for row in range(rows)])
        tests = [_row(draw, f"{name}-test", row) for row in range(8)]
        place = folder / "tests" / name
        write_jsonl(place / "queries.jsonl", [{"_id": row["id"], "text": row["query"]} for row in tests])
        corpus = [{"_id": f"d-{row['id']}", "title": "", "text": row["positives"][0]} for row in tests]
        write_jsonl(place / "corpus.jsonl", corpus)
        judged = "".join(f"{row['id']}\td-{row['id']}\t1\n" for row in tests)
        write_atomic(place / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + judged)
        content["tasks"].append({"name": name, "file": f"train/{name}.jsonl", "licence": "CC0-1.0"})
        content["tests"].append({"name": name, "folder": f"tests/{name}", "task": name})
    write_json(folder / "mixture.json", content)
    return folder


def _row(draw: random.Random, task: str, number: int) -> dict[str, Any]:
    query = draw.choices(_WORDS, k=draw.randint(2, 5))
    answer = [*query, *draw.choices(_WORDS, k=draw.randint(1, 8))]
    negatives = [" ".join(draw.choices(_WORDS, k=draw.randint(2, 9))) for _ in range(4)]
    return {
        **{"id": f"{task}-{number}", "query": " ".join(query), "positives": [" ".join(answer)]},
        "negatives": negatives,
    }


def tiny_decoder(folder: Path, sizes: dict[str, int]) -> Path:
    """A causal language model with a tokenizer of words, as it would lie on the hub."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *_WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    return random_decoder(folder, sizes, tokenizer)


def random_decoder(folder: Path, sizes: dict[str, int], tokenizer: PreTrainedTokenizerBase) -> Path:
    """A Llama of some sizes at random weights, with another model's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        tie_word_embeddings=True,
        num_key_value_heads=sizes["num_attention_heads"],
        **sizes,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
