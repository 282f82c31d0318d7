"""Evaluate a model on test sets: a JSON file per test set with every query's measures, and the run itself.

All texts of all test sets go through the model in one pass. A file whose inputs did not change is read, not
made again; its fingerprint covers the model, the test set's files, the prompts and the precision. A model is
scored by its own similarity, and with its own prompts where a test set has no instruction. Rejected:
sentence-transformers' ``InformationRetrievalEvaluator``, which keeps no value per query (a paired test needs
them), and breaks ties by chance.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tdro.data.mixtures.folder import beir_sha256
from tdro.data.task import TestSet
from tdro.data.testsets.beir_data import BeirData, read_beir
from tdro.data.tokens.cut_warnings import much_cut
from tdro.data.tokens.cuts import Cutter, TaskCut
from tdro.data.tokens.limits import longest_row
from tdro.data.tokens.tokenize import encoder_of
from tdro.errors import UserError
from tdro.evaluation.formats.mteb_results import write_mteb
from tdro.evaluation.formats.trec_run import trec_run
from tdro.evaluation.scoring.metrics import gains, judgements, measure
from tdro.evaluation.scoring.model_prompts import prompts_of, read_prompts, with_prompts
from tdro.files import fingerprint, read_json, write_atomic, write_json
from tdro.machine import Machine, join_ranks, this_machine, wait_for_everyone
from tdro.models.fingerprint import model_fingerprint
from tdro.models.load import load_model
from tdro.models.own_encode import needs_own_encode
from tdro.search.embedding_store import EmbeddingStore, TextList
from tdro.search.exact import search

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MEASURES = ("ndcg@10", "recall@100", "mrr@10", "map@100", "accuracy@10", "accuracy@100")
RANKS = 100  # passages that are kept of each query
_VERSION = 3  # of what is written; part of every fingerprint
_PROBLEMS_KEPT = 100
_LOOKED_AT = 1_000  # first texts of a side that are looked at for what the model cuts away
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringJob:
    """A test set to evaluate: ``checksum`` is that of its files, ``key`` the fingerprint of everything that the result
    depends on, ``model`` that of the model alone."""

    test: TestSet
    checksum: str
    key: str
    model: str = ""


@dataclass(frozen=True)
class Ranking:
    """What is found on a test set: places in ``data.passages`` by rank, -1 where there are no more, and their scores by
    the model's ``similarity``; both (queries, ranks)."""

    data: BeirData
    top: NDArray[np.int64]
    scores: NDArray[np.float32]
    similarity: str


def evaluate(model: SentenceTransformer, test: TestSet, *, bf16: bool | None = None) -> dict[str, Any]:
    """Evaluate a model on one test set, in this process alone.

    Args:
        model: any sentence-transformers model of text.
        test: its prompts stand before every query and every passage; the model's own where it has none.
        bf16: autocast to bfloat16; None where the device computes in it.

    Returns:
        What :func:`evaluate_all` writes; the key ``model`` is empty.

    Raises:
        UserError: the test set is broken, or the model's embeddings are not finite.
    """
    found = _machine(str(model.device), bf16)
    machine = Machine(found.device, found.bf16)
    content = model_fingerprint(model)
    job = _job(content, with_prompts(test, prompts_of(vars(model))), machine)
    with TemporaryDirectory() as folder:
        (result,) = _search_all(model, content, [job], Path(folder), machine)
    return _result(job, result, "")


def evaluate_all(
    model: SentenceTransformer | Path | str,
    tests: Sequence[TestSet],
    out_folder: Path | str,
    *,
    model_name: str,
    bf16: bool | None = None,
    device: str | None = None,
    tokens_folder: Path | None = None,
    embeddings_folder: Path | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate a model on every test set and write ``<test>.json``, ``<test>.trec`` (the 100 best passages of each
    query) and ``mteb/<Task>.json`` (mteb's format; ``mteb-own/<test>.json`` where mteb has no such task) into
    ``out_folder/model_name``.

    What is there already with the same fingerprint is read instead; the model is loaded only if something is
    missing. Under torchrun every rank calls this; each encodes and searches its share, and all return the same.

    Args:
        model: a sentence-transformers model, its folder, or a hub id.
        tests: their names are the files' names.
        out_folder: of the group, ``evaluation/<group>`` in a run folder.
        model_name: ``<mixture>-seed<k>`` or ``untrained``, for :func:`tdro.evaluation.compare.compare.compare`.
        bf16: autocast to bfloat16; None where the device computes in it.
        device: of a model given by folder or id, as torch names it; None for the best there is.
        tokens_folder: where the texts' tokens are kept for the next model of the same tokenizer; None
            tokenizes again.
        embeddings_folder: where embeddings are kept for other test sets with these texts, 4 x dimension bytes a text.
            None: beside the results, until these are whole; so an interrupted evaluation goes on in either case.
        trust_remote_code: run code that comes with a model given by folder or id.
        progress: show a bar if encoding takes more than 5 seconds.

    Returns:
        One dict a test set, in their order: ``test``, ``model``, ``task``, ``trained``, ``fingerprint``,
        ``data`` (the test set's checksum), ``similarity`` (the function that scored), ``prompts`` (the texts before
        ``query`` and ``document``), ``passages`` (how many), ``problems`` (see
        :class:`tdro.data.testsets.beir_data.BeirData`; the first 100), ``queries`` (ids), each of :data:`MEASURES` (one
        value a query, in [0, 1]), ``mean`` of each.

    Raises:
        UserError: a test set or the model is broken.
    """
    if isinstance(model, (str, Path)) and not Path(model).is_dir():
        model = load_model(model, device=device, trust_remote_code=trust_remote_code)
    machine = _machine(device or (None if isinstance(model, (str, Path)) else str(model.device)), bf16)
    join_ranks(machine)
    content = model_fingerprint(model)
    own = read_prompts(model) if isinstance(model, (str, Path)) else prompts_of(vars(model))
    jobs = [_job(content, with_prompts(test, own), machine) for test in tests]
    folder = Path(out_folder) / model_name
    scratch = folder / ".embeddings"
    missing = [job for job in jobs if not is_current(folder / f"{job.test.name}.json", job.key)]
    wait_for_everyone(machine)  # all have looked before anyone writes
    if missing:
        if isinstance(model, (str, Path)):
            model = load_model(model, device=machine.device, trust_remote_code=trust_remote_code)
        found = _search_all(
            *(model, content, missing, embeddings_folder or scratch, machine),
            tokens_folder=tokens_folder,
            title=f"evaluating {model_name}",
            progress=progress,
        )
        for job, result in zip(missing, found, strict=True):
            if machine.main:
                write_found(folder, job, result, model_name)
        wait_for_everyone(machine)
    if machine.main:
        shutil.rmtree(scratch, ignore_errors=True)  # also what was left by a kill after the results were whole
    return [read_json(folder / f"{test.name}.json") for test in tests]


def _machine(device: str | None, bf16: bool | None) -> Machine:
    precision = "auto" if bf16 is None else "bf16" if bf16 else "fp32"
    return this_machine(device or "auto", precision)


def _job(model: str, test: TestSet, machine: Machine) -> ScoringJob:
    checksum = beir_sha256(test.folder)
    settings = [_VERSION, machine.bf16, test.prompt, test.passage_prompt, test.task]
    return ScoringJob(test, checksum, fingerprint([model, checksum, settings]), model)


def is_current(path: Path, key: str) -> bool:
    """Whether ``path`` holds a whole result of the same inputs; a broken file does not count."""
    try:
        found = read_json(path)
    except UserError:
        return False
    return isinstance(found, dict) and found.get("fingerprint") == key


def _search_all(
    model: SentenceTransformer,
    content: str,
    jobs: Sequence[ScoringJob],
    embeddings: Path,
    machine: Machine,
    *,
    tokens_folder: Path | None = None,
    title: str = "evaluating",
    progress: bool = True,
) -> Iterator[Ranking]:
    """Encode the texts of all test sets together, then search one test set after the other."""
    sets = [read_beir(job.test.folder) for job in jobs]
    lists: list[TextList] = []
    for job, data in zip(jobs, sets, strict=True):
        lists.append(TextList(data.queries, job.test.prompt, "query"))
        lists.append(TextList(data.passages.texts, job.test.passage_prompt))
    _say_cuts(model, jobs, lists)
    store = EmbeddingStore(embeddings, lists, model, content, machine)
    store.encode(tokens_folder, title, progress)
    wait_for_everyone(machine)
    for number, data in enumerate(sets):
        queries = store.whole(2 * number).to(machine.device)
        passages, similarity = store.blocks(2 * number + 1), store.similarity
        top, scores = search(queries, passages, data, RANKS, machine, similarity.matrix)
        yield Ranking(data, top, scores, similarity.name)


def _say_cuts(model: SentenceTransformer, jobs: Sequence[ScoringJob], lists: Sequence[TextList]) -> None:
    """Warn of test sets of which the model reads too little; prompts count here, as they do in its own ``encode``.

    Raises:
        UserError: a prompt leaves nothing of the texts.
    """
    if needs_own_encode(model):  # whose tokenizers, and limits, are its own affair
        return
    longest = longest_row(model)
    cutter = Cutter(encoder_of(model), longest)
    cuts = {}
    for job, queries, passages in zip(jobs, lists[::2], lists[1::2], strict=True):
        sides = (
            cutter.side(list(texts.texts[:_LOOKED_AT]), texts.prompt, None, f"{what} of test set '{job.test.name}'")
            for texts, what in ((queries, "queries"), (passages, "passages"))
        )
        cuts[job.test.name] = TaskCut(*sides)
    if much := much_cut(cuts, longest):
        logger.warning("evaluation: %s", much)


def write_found(folder: Path, job: ScoringJob, found: Ranking, model_name: str) -> None:
    """Write all files of one test set into ``folder``; the one that says that they are there comes last."""
    name, data = job.test.name, found.data
    judged = judgements(data)
    write_atomic(folder / f"{name}.trec", trec_run(data, found.top, found.scores, model_name))
    write_mteb(
        *(folder / "mteb", job.test, job.checksum, gains(found.top, judged), judged), model=(model_name, job.model)
    )
    write_json(folder / f"{name}.json", _result(job, found, model_name))


def _result(job: ScoringJob, found: Ranking, model_name: str) -> dict[str, Any]:
    test, data = job.test, found.data
    judged = judgements(data)
    gained = gains(found.top, judged)
    values = {name: measure(name, gained, judged) for name in MEASURES}
    return {
        **{"test": test.name, "model": model_name, "task": test.task, "trained": test.trained},
        **{"fingerprint": job.key, "data": job.checksum[:16], "similarity": found.similarity},
        **{"prompts": {"query": test.prompt, "document": test.passage_prompt}, "passages": len(data.passages)},
        **{"problems": data.problems[:_PROBLEMS_KEPT], "queries": data.query_ids},
        **{name: value.tolist() for name, value in values.items()},
        "mean": {name: float(value.mean()) for name, value in values.items()},
    }
