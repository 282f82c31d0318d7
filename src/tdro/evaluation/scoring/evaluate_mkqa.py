"""Evaluates a model on MKQA and writes, for each language, the same files as for other test sets.

The passages are millions and the same for all languages, so the questions of all languages are searched in one pass.
When a passage counts as an answer is decided in :mod:`tdro.evaluation.scoring.mkqa`. See docs/decisions.md,
mkqa-by-answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tdro.data.testsets.beir_data import BeirData
from tdro.data.testsets.passages import Passages, read_passages
from tdro.errors import UserError
from tdro.evaluation.formats.trec_run import trec_run
from tdro.evaluation.scoring.evaluate import RANKS, is_current
from tdro.evaluation.scoring.mkqa import LANGUAGES, Questions, accuracies, answer_ranks, mkqa_file, read_mkqa
from tdro.files import fingerprint, read_json, sha256, write_atomic, write_json
from tdro.machine import join_ranks, this_machine, wait_for_everyone
from tdro.models.fingerprint import model_fingerprint
from tdro.models.load import load_model
from tdro.search.embedding_store import EmbeddingStore, TextList
from tdro.search.exact import search

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_VERSION = 3  # of the files; raise it when their content changes, so that older ones are made again
_PROBLEMS_KEPT = 100


def test_name(language: str) -> str:
    """The name of a language's test set."""
    return f"mkqa-{language}"


def evaluate_mkqa(
    model: SentenceTransformer | Path | str,
    folder: Path | str,
    out_folder: Path | str,
    *,
    model_name: str,
    languages: Sequence[str] = LANGUAGES,
    prompts: Mapping[str, str] | None = None,
    passage_prompt: str = "",
    questions_folder: Path | None = None,
    bf16: bool | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate a model on MKQA and write ``mkqa-<language>.json`` and ``.trec`` into ``out_folder/model_name``.

    Results with the same fingerprint are read instead. Under torchrun every rank calls this.

    Args:
        model: a sentence-transformers model, its folder, or a hub id.
        folder: holds the English passages, ``corpus.jsonl`` as in BEIR, and ``mkqa.jsonl.gz``.
        out_folder: holds a folder for each model.
        model_name: the name of the model's folder there.
        languages: of the questions.
        prompts: language to the text before its questions; no text for languages that are not there.
        passage_prompt: the text before the passages.
        questions_folder: where ``mkqa.jsonl.gz`` is looked for if it is not beside the passages.
        bf16: autocast to bfloat16; None: if the device computes in it.
        device: of a model given by folder or id, as torch names it; None for the best there is.
        trust_remote_code: run code that comes with a model given by folder or id.
        progress: show a bar if encoding takes more than 5 seconds.

    Returns:
        A dict for each language: ``test``, ``model``, ``task``, ``trained``, ``fingerprint``, ``data``, ``similarity``,
        ``prompts``, ``passages`` (how many), ``problems``, ``queries`` (their ids), ``accuracy@10`` and
        ``accuracy@100`` (one value for each question), and ``mean`` of each.

    Raises:
        UserError: the passages, the questions or the model are broken.
    """
    folder, out = Path(folder), Path(out_folder) / model_name
    if isinstance(model, (str, Path)) and not Path(model).is_dir():
        model = load_model(model, device=device, trust_remote_code=trust_remote_code)
    kind = device or (None if isinstance(model, (str, Path)) else str(model.device))
    machine = this_machine(kind or "auto", "auto" if bf16 is None else "bf16" if bf16 else "fp32")
    join_ranks(machine)
    source = mkqa_file(folder, questions_folder)
    checksum = _checksum(folder, source)
    content = model_fingerprint(model)
    before = {language: (prompts or {}).get(language, "") for language in languages}
    keys = {
        language: fingerprint([_VERSION, content, checksum, language, machine.bf16, before[language], passage_prompt])
        for language in languages
    }
    missing = [name for name in languages if not is_current(out / f"{test_name(name)}.json", keys[name])]
    wait_for_everyone(machine)  # every rank has looked before one writes
    if missing:
        if isinstance(model, (str, Path)):
            model = load_model(model, device=machine.device, trust_remote_code=trust_remote_code)
        questions = read_mkqa(source, missing)
        passages, problems = read_passages(folder / "corpus.jsonl")
        lists = [TextList(questions.texts[name], before[name], "query") for name in missing]
        scratch = out / ".embeddings"
        store = EmbeddingStore(scratch, [*lists, TextList(passages.texts, passage_prompt)], model, content, machine)
        store.encode(title=f"evaluating {model_name}", progress=progress)
        wait_for_everyone(machine)
        data = _all_questions(questions, missing, passages)
        vectors = torch.cat([store.whole(number) for number in range(len(missing))]).to(machine.device)
        top, scores = search(vectors, store.blocks(len(missing)), data, RANKS, machine, store.similarity.matrix)
        if machine.main:
            ranks = answer_ranks(top, questions.answers * len(missing), passages.texts)
            for number, name in enumerate(missing):
                rows = slice(number * len(questions.ids), (number + 1) * len(questions.ids))
                own = BeirData(questions.ids, questions.texts[name], passages, {})
                write_atomic(out / f"{test_name(name)}.trec", trec_run(own, top[rows], scores[rows], model_name))
                values = accuracies(ranks[rows])
                result = {
                    **{"test": test_name(name), "model": model_name, "task": "", "trained": False},
                    **{"fingerprint": keys[name], "data": checksum[:16], "similarity": store.similarity.name},
                    **{"prompts": {"query": before[name], "document": passage_prompt}, "passages": len(passages)},
                    **{"problems": problems[:_PROBLEMS_KEPT], "queries": questions.ids},
                    **{measure: each.tolist() for measure, each in values.items()},
                    "mean": {measure: float(each.mean()) for measure, each in values.items()},
                }
                write_json(out / f"{test_name(name)}.json", result)
            shutil.rmtree(scratch, ignore_errors=True)
        wait_for_everyone(machine)
    return [read_json(out / f"{test_name(name)}.json") for name in languages]


def _checksum(folder: Path, questions: Path) -> str:
    path = folder / "corpus.jsonl"
    try:
        return fingerprint([sha256(path), sha256(questions)])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _all_questions(questions: Questions, languages: Sequence[str], passages: Passages) -> BeirData:
    """The questions of all languages, one language after the other.

    The language is put before each id, so that no question has the id of a passage, which would not be retrieved.
    """
    ids = [f"{test_name(language)}/{identity}" for language in languages for identity in questions.ids]
    return BeirData(ids, [text for language in languages for text in questions.texts[language]], passages, {})
