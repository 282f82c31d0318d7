"""The embedding model that finds candidates: how it is loaded, with which prompts, and where its embeddings are kept.

Each text is encoded once and kept in a file (:mod:`tdro.search.embedding_store`), so that ranks share the work and
little is lost when the process is killed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tdro.console import say
from tdro.data.task import Task
from tdro.data.tokens.cut_warnings import much_cut
from tdro.data.tokens.cuts import Cutter, TaskCut
from tdro.data.tokens.limits import longest_row
from tdro.data.tokens.tokenize import encoder_of
from tdro.evaluation.scoring.model_prompts import Instruction, ModelPrompts, prompts_for, prompts_of, read_prompts
from tdro.machine import Machine, in_turn
from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.dense_candidates import DenseCandidates
from tdro.mining.task_passages import TaskPassages
from tdro.models.fingerprint import model_fingerprint
from tdro.models.kinds import refuse_other_models
from tdro.models.load import load_model
from tdro.models.own_encode import needs_own_encode
from tdro.models.similarity import similarity_of
from tdro.models.sources import encoder_source
from tdro.search.embedding_store import EmbeddingStore, TextList

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SAMPLE = 500  # queries, and passages, of a task that are checked for how much of them the model cuts away
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedder:
    """A model to mine with.

    Attributes:
        load: loads the model; called only if there is something to encode.
        fingerprint: of the model, see :func:`tdro.models.fingerprint.model_fingerprint`.
        folder: keeps embeddings while a task is mined.
        machine: its ranks share the texts.
        prompts: put the tasks' prompts before queries (and before the passages of symmetric tasks), as training does.
            The prompt counts towards the model's ``max_seq_length``.
        own: the model's prompts, for tasks that get no prompt of their own.
        name: for messages.
    """

    load: Callable[[], SentenceTransformer]
    fingerprint: str
    folder: Path
    machine: Machine
    prompts: bool = False
    own: ModelPrompts = field(default_factory=lambda: ModelPrompts({}))
    name: str = "the model"

    def share(self, task: Task, queries: Sequence[str], passages: TaskPassages) -> None:
        """Encode this rank's share of a task's queries and passages."""
        self._store(task, list(dict.fromkeys(queries)), passages, self.machine)

    def search(
        self, task: Task, rows: Sequence[int], queries: Sequence[str], passages: TaskPassages, copies: AnswerCopies
    ) -> DenseCandidates:
        """Get ready to search for some rows of a task; this process encodes whatever is not encoded yet.

        Args:
            task: of the rows.
            rows: their places in the task.
            queries: of these rows, as written.
            passages: of the task.
            copies: tells which passages are copies of a row's answers.
        """
        distinct = {query: place for place, query in enumerate(dict.fromkeys(queries))}
        query_of = np.full(len(task), -1)
        query_of[rows] = [distinct[query] for query in queries]
        store = self._store(task, list(distinct), passages, replace(self.machine, rank=0, world=1))
        return DenseCandidates(store, query_of, passages, copies, self.machine.device)

    def _store(self, task: Task, queries: list[str], passages: TaskPassages, machine: Machine) -> EmbeddingStore:
        """The embeddings of a task's queries (list 0) and passages (list 1)."""
        given = {task.name: Instruction(task.instruction, task.symmetric)} if self.prompts and task.instruction else {}
        before_queries, before_passages = prompts_for([task.name], "", given, self.own)
        lists = [TextList(queries, before_queries, "query"), TextList(passages.texts, before_passages)]
        self._warn_of_cuts(task, {"queries": (queries, before_queries), "passages": (passages.texts, before_passages)})
        store = EmbeddingStore(self.folder, lists, self.load(), self.fingerprint, machine)
        store.encode(title=f"encoding {task.name}")
        return store

    def _warn_of_cuts(self, task: Task, sides: Mapping[str, tuple[Sequence[str], str]]) -> None:
        """Warn if the model cuts away much of a task's queries or passages. Each side comes with its prompt.

        Raises as :meth:`tdro.data.tokens.cuts.Cutter.side`.
        """
        if needs_own_encode(self.load()):  # such a model tokenizes, and cuts, in its own way
            return
        longest = longest_row(self.load())
        cutter = Cutter(encoder_of(self.load()), longest)
        cuts = (
            cutter.side(_sample(texts), prompt, None, f"{what} of task '{task.name}'")
            for what, (texts, prompt) in sides.items()
        )
        if much := much_cut({task.name: TaskCut(*cuts)}, longest):
            logger.warning("mining with %s: %s", self.name, much)


def embedder_of(
    source: str, folder: Path, machine: Machine, *, prompts: bool = False, trust_remote_code: bool = False
) -> Embedder:
    """The embedding model that a recipe's ``negatives.model`` or the option ``--model`` names.

    Raises:
        UserError: it cannot be read, or is no embedding model.
    """
    with in_turn(machine):
        path = encoder_source(source)

    @functools.cache
    def load() -> SentenceTransformer:
        model = load_model(path, device=machine.device, bf16=machine.bf16, trust_remote_code=trust_remote_code)
        if (name := similarity_of(model).name) != "cosine":
            say(f"{source}: candidates and margins are scored by {name}, its own similarity", machine.main)
        return model

    refuse_other_models(path)
    is_folder = (Path(path) / "modules.json").exists()  # of sentence-transformers: read without loading the model
    content = model_fingerprint(path if is_folder else load())
    own = read_prompts(path) if is_folder else prompts_of(vars(load()))
    return Embedder(load, content, folder, machine, prompts, own, source)


def _sample(texts: Sequence[str]) -> list[str]:
    """Up to :data:`_SAMPLE` texts, evenly spaced."""
    return [texts[place] for place in range(0, len(texts), -(-len(texts) // _SAMPLE) or 1)]
