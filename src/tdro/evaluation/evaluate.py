"""Evaluate a model on test sets: a JSON file per test set, with every query's nDCG@10 and Recall@100.

All texts of all test sets go through the model in one pass. A file whose inputs did not change is read, not
made again; its fingerprint covers the model, the test set's files, the prompts and the precision. Rejected:
sentence-transformers' ``InformationRetrievalEvaluator``, which keeps no value per query (a paired test needs
them), and breaks ties by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from tdro.data.mixture import beir_sha256
from tdro.data.task import TestSet
from tdro.errors import UserError
from tdro.evaluation.beir import BeirData, read_beir
from tdro.evaluation.metrics import gains, judgements, ndcg, recall
from tdro.evaluation.search import encode_texts, search
from tdro.files import fingerprint, read_json, write_json
from tdro.retriever.base import load_model
from tdro.retriever.check import model_fingerprint
from tdro.retriever.machine import Machine, this_machine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_VERSION = 1  # of the measures; part of every fingerprint


def evaluate(model: SentenceTransformer, test: TestSet, *, bf16: bool | None = None) -> dict[str, Any]:
    """Evaluate a model on one test set.

    Args:
        model: any sentence-transformers model of text.
        test: its prompt stands before every query, and before every passage if it is symmetric.
        bf16: autocast to bfloat16; None where the device computes in it.

    Returns:
        What :func:`evaluate_all` writes; the key ``model`` is empty.

    Raises:
        UserError: the test set is broken, or the model's embeddings are not finite.
    """
    machine = _machine(str(model.device), bf16)
    key = _key(model_fingerprint(model), test, machine)
    return _results(model, [test], [key], machine, "", None, progress=True)[0]


def evaluate_all(
    model: SentenceTransformer | Path | str,
    tests: Sequence[TestSet],
    out_folder: Path | str,
    *,
    model_name: str,
    bf16: bool | None = None,
    device: str | None = None,
    tokens_folder: Path | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate a model on every test set and write ``out_folder/model_name/<test>.json``.

    What is there already with the same fingerprint is read instead; the model is loaded only if something is
    missing.

    Args:
        model: a sentence-transformers model, its folder, or a hub id.
        tests: their names are the files' names.
        out_folder: of the group, ``evaluation/<group>`` in a run folder.
        model_name: ``<mixture>-seed<k>`` or ``untrained``, for :func:`tdro.evaluation.compare.compare`.
        bf16: autocast to bfloat16; None where the device computes in it.
        device: of a model given by folder or id, as torch names it; None for the best there is.
        tokens_folder: where the texts' tokens are kept for the next model of the same tokenizer; None
            tokenizes again.
        progress: show a bar if encoding takes more than 5 seconds.

    Returns:
        One dict a test set, in their order: ``test``, ``model``, ``task``, ``trained``, ``fingerprint``,
        ``data`` (the test set's checksum), ``passages`` (how many), ``queries`` (ids), ``ndcg@10`` and
        ``recall@100`` (one value a query, in [0, 1]), ``mean`` of both.

    Raises:
        UserError: a test set or the model is broken.
    """
    if isinstance(model, (str, Path)) and not Path(model).is_dir():
        model = load_model(model, device=device)
    machine = _machine(device or (None if isinstance(model, (str, Path)) else str(model.device)), bf16)
    content = model_fingerprint(model)
    keys = [_key(content, test, machine) for test in tests]
    paths = [Path(out_folder) / model_name / f"{test.name}.json" for test in tests]
    missing = [place for place, path in enumerate(paths) if not _is_current(path, keys[place])]
    if missing:
        if isinstance(model, (str, Path)):
            model = load_model(model, device=machine.device)
        chosen, new = [tests[place] for place in missing], [keys[place] for place in missing]
        results = _results(model, chosen, new, machine, model_name, tokens_folder, progress)
        for place, result in zip(missing, results, strict=True):
            write_json(paths[place], result)
    return [read_json(path) for path in paths]


def _machine(device: str | None, bf16: bool | None) -> Machine:
    precision = "auto" if bf16 is None else "bf16" if bf16 else "fp32"
    return this_machine(device or "auto", precision)


def _key(model: str, test: TestSet, machine: Machine) -> str:
    """The fingerprint of everything that a result depends on."""
    settings = [_VERSION, machine.bf16, test.prompt, test.symmetric, test.task]
    return fingerprint([model, beir_sha256(test.folder), settings])


def _is_current(path: Path, key: str) -> bool:
    """Whether a whole result of the same inputs is there; a broken file is made anew."""
    try:
        found = read_json(path)
    except UserError:
        return False
    return isinstance(found, dict) and found.get("fingerprint") == key


def _results(
    model: SentenceTransformer,
    tests: Sequence[TestSet],
    keys: Sequence[str],
    machine: Machine,
    name: str,
    tokens_folder: Path | None,
    progress: bool,
) -> list[dict[str, Any]]:
    sets = [read_beir(test.folder) for test in tests]
    texts: list[list[str]] = []
    for test, data in zip(tests, sets, strict=True):
        on_passages = test.prompt if test.symmetric else ""
        texts.append([test.prompt + query for query in data.queries])
        texts.append([on_passages + passage for passage in data.passages])
    title = f"evaluating {name}".rstrip()
    vectors = encode_texts(model, texts, machine, tokens_folder=tokens_folder, title=title, progress=progress)
    return [
        {"test": test.name, "model": name, "task": test.task, "trained": test.trained, "fingerprint": key}
        | {"data": beir_sha256(test.folder)[:16], "passages": len(data.passages)}
        | _measured(data, vectors[2 * place], vectors[2 * place + 1])
        for place, (test, data, key) in enumerate(zip(tests, sets, keys, strict=True))
    ]


def _measured(data: BeirData, queries: Tensor, passages: Tensor) -> dict[str, Any]:
    judged = judgements(data)
    top, _ = search(queries, passages, data)
    gained = gains(top, judged)
    values = {"ndcg@10": ndcg(gained, judged, 10), "recall@100": recall(gained, judged, 100)}
    mean = {measure: float(value.mean()) for measure, value in values.items()}
    return {"queries": data.query_ids, **{key: value.tolist() for key, value in values.items()}, "mean": mean}
