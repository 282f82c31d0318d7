"""Evaluates a model on test sets: a JSON file for each test set with the measures of every query, and a TREC run file.

All texts of all test sets go through the model in one pass. A result is computed again only if its inputs changed: the
model, the test set's files, the prompts, or the precision. A model is scored by its own similarity; with its own
prompts if a test set has no instruction. See docs/decisions.md, own-evaluator.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
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
from tdro.evaluation.scoring.metrics import MEASURES, gains, judgements, measure
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

RANKS = 100  # passages that are kept for each query
_VERSION = 3  # of the files; raise it when their content changes, so that older ones are made again
_PROBLEMS_KEPT = 100
_SAMPLE = 1_000  # first queries, and passages, that are checked for how much of them the model cuts away
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringJob:
    """A test set to evaluate.

    Attributes:
        test: the test set, with prompts.
        checksum: of its files.
        key: the fingerprint of everything that the result depends on.
        model: the fingerprint of the model.
        size: how many of an embedding's first numbers are used; None: all.
    """

    test: TestSet
    checksum: str
    key: str
    model: str = ""
    size: int | None = None

    def at(self, size: int | None) -> ScoringJob:
        """The same with cut embeddings."""
        return self if size is None else replace(self, key=fingerprint([self.key, size]), size=size)


@dataclass(frozen=True)
class Ranking:
    """The passages that were found for each query of a test set, best first.

    Attributes:
        data: the test set.
        top: places in ``data.passages``, -1 where there are no more; (queries, ranks).
        scores: of these passages; (queries, ranks).
        similarity: the name of what scored, such as ``cosine``.
    """

    data: BeirData
    top: NDArray[np.int64]
    scores: NDArray[np.float32]
    similarity: str


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
    sizes: Mapping[int, Path] | None = None,
    warn: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate a model on test sets and write the results into ``out_folder/model_name``.

    The files of a test set are ``<test>.json``, ``<test>.trec`` (the 100 best passages of each query) and
    ``mteb/<Task>.json`` in mteb's format (``mteb-own/<test>.json`` if mteb has no such task).

    Results with the same fingerprint are read instead; the model is loaded only if a result is missing. Under torchrun
    every rank calls this: each encodes and searches its share, and all return the same.

    Args:
        model: a sentence-transformers model, its folder, or a hub id.
        tests: their names are the files' names.
        out_folder: of the group, ``evaluation/<group>`` in a run folder.
        model_name: ``<mixture>-seed<k>`` or ``untrained``, for :func:`tdro.evaluation.compare.compare.compare`.
        bf16: autocast to bfloat16; None: if the device computes in it.
        device: of a model given by folder or id, as torch names it; None for the best there is.
        tokens_folder: where the texts' tokens are kept for the next model with the same tokenizer; None keeps none.
        embeddings_folder: where embeddings are kept for other test sets with these texts; they take 4 x dimension bytes
            a text. None: beside the results, until these are whole. An interrupted evaluation goes on in either case.
        trust_remote_code: run code that comes with a model given by folder or id.
        progress: show a bar if encoding takes more than 5 seconds.
        sizes: also score embeddings that are cut to this many numbers, from the same pass through the model; each size
            with the folder that is its ``out_folder``. Its results have the key ``size`` besides.
        warn: log a warning if much of the texts is cut away.

    Returns:
        A dict for each test set, in their order: ``test``, ``model``, ``task``, ``trained``, ``fingerprint``, ``data``
        (the test set's checksum), ``similarity`` (what scored), ``prompts`` (the texts before ``query`` and
        ``document``), ``passages`` (how many), ``problems`` (the first 100, see
        :class:`tdro.data.testsets.beir_data.BeirData`), ``queries`` (ids), each of
        :data:`tdro.evaluation.scoring.metrics.MEASURES` with one value in [0, 1] for each query, and ``mean`` with the
        mean of each measure.

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
    places: dict[int | None, Path] = {None: folder}
    places |= {size: place / model_name for size, place in (sizes or {}).items()}
    missing = [
        job
        for job in jobs
        if not all(is_current(place / f"{job.test.name}.json", job.at(size).key) for size, place in places.items())
    ]
    wait_for_everyone(machine)  # every rank has looked before one writes
    if missing:
        if isinstance(model, (str, Path)):
            model = load_model(model, device=machine.device, trust_remote_code=trust_remote_code)
        found = search_all(
            *(model, content, missing, embeddings_folder or scratch, machine),
            tokens_folder=tokens_folder,
            title=f"evaluating {model_name}",
            progress=progress,
            warn=warn,
            sizes=tuple(places),
        )
        for (job, (size, place)), result in zip(product(missing, places.items()), found, strict=True):
            if machine.main:
                write_ranking(place, job.at(size), result, model_name)
        wait_for_everyone(machine)
    if machine.main:
        shutil.rmtree(scratch, ignore_errors=True)  # also if a kill left it after the results were whole
    return [read_json(folder / f"{test.name}.json") for test in tests]


def _machine(device: str | None, bf16: bool | None) -> Machine:
    precision = "auto" if bf16 is None else "bf16" if bf16 else "fp32"
    return this_machine(device or "auto", precision)


def _job(model: str, test: TestSet, machine: Machine) -> ScoringJob:
    checksum = beir_sha256(test.folder)
    settings = [_VERSION, machine.bf16, test.prompt, test.passage_prompt, test.task]
    return ScoringJob(test, checksum, fingerprint([model, checksum, settings]), model)


def is_current(path: Path, key: str) -> bool:
    """Whether a file holds the result with this fingerprint; a broken file does not."""
    try:
        found = read_json(path)
    except UserError:
        return False
    return isinstance(found, dict) and found.get("fingerprint") == key


def search_all(
    model: SentenceTransformer,
    content: str,
    jobs: Sequence[ScoringJob],
    embeddings: Path,
    machine: Machine,
    *,
    tokens_folder: Path | None = None,
    title: str = "evaluating",
    progress: bool = True,
    warn: bool = True,
    sizes: Sequence[int | None] = (None,),
) -> Iterator[Ranking]:
    """Encode the texts of all test sets together, then search one test set after the other, each at all sizes.

    Args:
        model: encodes; it is put into evaluation mode.
        content: its fingerprint; embeddings of the same fingerprint that are in ``embeddings`` are read instead.
        jobs: the test sets, with the prompts to use.
        embeddings: the folder for embeddings.
        machine: device, precision and the ranks that share the work.
        tokens_folder: see :func:`evaluate_all`, as for ``progress``.
        title: of the progress bar.
        progress: show a bar if encoding takes more than 5 seconds.
        warn: see :func:`evaluate_all`.
        sizes: to how many numbers the embeddings are cut for each search; None: they are whole.
    """
    sets = [_test_set(Path(job.test.folder).absolute(), job.checksum) for job in jobs]
    lists: list[TextList] = []
    for job, data in zip(jobs, sets, strict=True):
        lists.append(TextList(data.queries, job.test.prompt, "query"))
        lists.append(TextList(data.passages.texts, job.test.passage_prompt))
    if warn:
        _warn_of_cuts(model, jobs, lists)
    store = EmbeddingStore(embeddings, lists, model, content, machine)
    store.encode(tokens_folder, title, progress)
    wait_for_everyone(machine)
    for (number, data), size in product(enumerate(sets), sizes):
        queries = store.whole(2 * number, size).to(machine.device)
        passages, similarity = store.blocks(2 * number + 1, size), store.similarity
        top, scores = search(queries, passages, data, RANKS, machine, similarity.matrix)
        yield Ranking(data, top, scores, similarity.name)


@lru_cache(maxsize=64)
def _test_set(folder: Path, checksum: str) -> BeirData:
    """A test set, which is read once for all models that are scored on it.

    ``checksum``: of its files, so that they are read again if they change.
    """
    return read_beir(folder)


def _warn_of_cuts(model: SentenceTransformer, jobs: Sequence[ScoringJob], lists: Sequence[TextList]) -> None:
    """Warn of test sets much of whose texts the model cuts away. Prompts count, as they do in the model's ``encode``.

    Raises:
        UserError: a prompt is so long that nothing of the texts is left.
    """
    if needs_own_encode(model):  # such a model tokenizes, and cuts, in its own way
        return
    longest = longest_row(model)
    cutter = Cutter(encoder_of(model), longest)
    cuts = {}
    for job, queries, passages in zip(jobs, lists[::2], lists[1::2], strict=True):
        sides = (
            cutter.side(list(texts.texts[:_SAMPLE]), texts.prompt, None, f"{what} of test set '{job.test.name}'")
            for texts, what in ((queries, "queries"), (passages, "passages"))
        )
        cuts[job.test.name] = TaskCut(*sides)
    if much := much_cut(cuts, longest):
        logger.warning("evaluation: %s", much)


def write_ranking(folder: Path, job: ScoringJob, ranking: Ranking, model_name: str) -> None:
    """Write all files of one test set into ``folder``; the JSON file, whose fingerprint says they are there, last."""
    name, data = job.test.name, ranking.data
    judged = judgements(data)
    write_atomic(folder / f"{name}.trec", trec_run(data, ranking.top, ranking.scores, model_name))
    write_mteb(
        *(folder / "mteb", job.test, job.checksum, gains(ranking.top, judged), judged), model=(model_name, job.model)
    )
    write_json(folder / f"{name}.json", _result(job, ranking, model_name))


def _result(job: ScoringJob, ranking: Ranking, model_name: str) -> dict[str, Any]:
    test, data = job.test, ranking.data
    judged = judgements(data)
    gained = gains(ranking.top, judged)
    values = {name: measure(name, gained, judged) for name in MEASURES}
    return {
        **{"test": test.name, "model": model_name, "task": test.task, "trained": test.trained},
        **{"fingerprint": job.key, "data": job.checksum[:16], "similarity": ranking.similarity},
        **{"prompts": {"query": test.prompt, "document": test.passage_prompt}, "passages": len(data.passages)},
        **({} if job.size is None else {"size": job.size}),
        **{"problems": data.problems[:_PROBLEMS_KEPT], "queries": data.query_ids},
        **{name: value.tolist() for name, value in values.items()},
        "mean": {name: float(value.mean()) for name, value in values.items()},
    }
