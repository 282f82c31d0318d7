"""Evaluates any models on benchmarks: ``tdro evaluate MODEL… --on NAME…``.

Each model gets a folder with the same files that the stage ``evaluate`` writes, so ``tdro compare`` can read them. Two
benchmarks have parts, whose results are in a folder of the benchmark's name, and one file that combines them
(:mod:`tdro.evaluation.scoring.combine_results`): CQADupStack its forums, MKQA its languages. See docs/decisions.md,
whole-benchmarks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tdro.data.task import TestSet
from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.evaluation.claimed_folder import claim_folder
from tdro.evaluation.formats.mteb_results import write_mteb_whole
from tdro.evaluation.leaks.find_leaks import FILE as LEAKS
from tdro.evaluation.leaks.model_leaks import find_model_leaks
from tdro.evaluation.scoring.bm25_baseline import NAME as BM25
from tdro.evaluation.scoring.bm25_baseline import evaluate_bm25
from tdro.evaluation.scoring.combine_results import average_parts, join_parts
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.evaluation.scoring.evaluate_mkqa import evaluate_mkqa, test_name
from tdro.evaluation.scoring.find_benchmark import Benchmark, find_benchmark, without_repeats
from tdro.evaluation.scoring.mkqa import LANGUAGES
from tdro.evaluation.scoring.model_prompts import (
    Instruction,
    ModelPrompts,
    check_used,
    prompts_for,
    prompts_of,
    read_prompts,
)
from tdro.files import write_json
from tdro.machine import Machine, in_turn, join_ranks, this_machine, wait_for_everyone
from tdro.models.fingerprint import model_fingerprint
from tdro.models.kinds import refuse_other_models
from tdro.models.load import load_model


@dataclass(frozen=True)
class ModelResults:
    """A model's results.

    Attributes:
        name: of the model.
        folder: where the results are.
        benchmarks: a benchmark's name to the results of its test sets, in order.
        leaks: what :func:`tdro.evaluation.leaks.model_leaks.find_model_leaks` found; None on ranks but the first, and
            for BM25.
    """

    name: str
    folder: Path
    benchmarks: dict[str, list[dict[str, Any]]]
    leaks: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Request:
    """The arguments of :func:`evaluate_models` that are the same for every model."""

    out: Path
    instructions: Mapping[str, Instruction]
    data: Path | None
    machine: Machine
    force: bool
    trust_remote_code: bool


def evaluate_models(
    models: Sequence[str],
    on: Sequence[str],
    out: Path | str = "evaluation",
    *,
    data: Path | None = None,
    instructions: Mapping[str, Instruction] | None = None,
    bf16: bool | None = None,
    force: bool = False,
    trust_remote_code: bool = False,
) -> list[ModelResults]:
    """Evaluate models on benchmarks, then look for the test queries in what the models were trained on.

    For each model and test set this writes ``out/<model>/<test>.json``, ``.trec``, and files in mteb's format. A result
    that is there already of the same model, texts and prompts is read instead. Under torchrun every rank calls this.

    Args:
        models: folders or hub ids; ``bm25`` is the baseline that matches words.
        on: names of benchmarks, test sets or folders, see
            :func:`tdro.evaluation.scoring.find_benchmark.find_benchmark`.
        out: gets a folder for each model, named by the last part of the model's path.
        data: a folder where local copies of test sets are looked for first.
        instructions: by the name of a test set, task or benchmark. Without one, the model's own prompts are used.
        bf16: autocast to bfloat16; None: if the device computes in it.
        force: replace the results of another model in ``out``, all that are there.
        trust_remote_code: run code that comes with a model.

    Raises:
        UserError: a model or a test set is broken or missing, or ``out`` has another model's results.
    """
    machine = this_machine("auto", "auto" if bf16 is None else "bf16" if bf16 else "fp32")
    join_ranks(machine)
    names = dict(zip(model_names(models), models, strict=True))
    for name, model in names.items():
        if name != BM25:
            refuse_other_models(model)
    if machine.main:
        check_writable(out, folder=True)
    with in_turn(machine):  # the first rank downloads into the cache, the others find it there
        benchmarks = without_repeats([find_benchmark(name, data) for name in dict.fromkeys(on)])
    request = _Request(Path(out), instructions or {}, data, machine, force, trust_remote_code)
    check_used(request.instructions, {name for found in benchmarks for name in _names(found)})
    _check_names(benchmarks)
    bm25 = [name for name, model in names.items() if model == BM25 and not Path(model).is_dir()]
    if bm25 and (mkqa := next((each.name for each in benchmarks if each.mkqa), "")):
        raise UserError(
            f"bm25 on {mkqa}: questions in other languages share no words with the passages; evaluate it without bm25"
        )
    found = [
        _evaluate_bm25(benchmarks, request) if name in bm25 else _evaluate_model(model, name, benchmarks, request)
        for name, model in names.items()
    ]
    if not machine.main:
        return found
    trained = {name: model for name, model in names.items() if name not in bm25}
    leaks = find_model_leaks(trained, benchmarks, request.out, data)
    return [replace(model, leaks=leaks.get(model.name)) for model in found]


def model_names(models: Sequence[str]) -> list[str]:
    """A name for each model: the last part of its path or hub id, or the last few parts if that is needed to tell the
    models apart: ``a/model`` and ``b/model`` become ``a-model`` and ``b-model``."""
    # abspath and not resolve: a symbolic link has a name of its own.
    named = [os.path.abspath(model) if Path(model).is_dir() else model for model in models]  # noqa: PTH100
    parts = [Path(name).parts for name in named]
    if len(set(parts)) < len(parts):
        raise UserError("a model is named twice")
    length = 1
    while max(Counter(part[-length:] for part in parts).values()) > 1:
        length += 1
    return ["-".join(piece.strip("/") for piece in part[-length:]) for part in parts]


def _check_names(benchmarks: Sequence[Benchmark]) -> None:
    """Raise :class:`UserError` for a test set named ``leaks``: its results would replace ``leaks.json``."""
    for part in (part for each in benchmarks for part in each.parts):
        if f"{part.wanted.whole or part.wanted.name}.json" == LEAKS:
            raise UserError(f"{part.folder}: a test set of this name would replace {LEAKS}; rename the folder")


def _names(found: Benchmark) -> list[str]:
    """The names that an instruction may be given for."""
    of_parts = [name for part in found.parts for name in part.names]
    return [found.name, *of_parts, *(map(test_name, LANGUAGES) if found.mkqa else ())]


def _evaluate_model(model: str, name: str, benchmarks: Sequence[Benchmark], request: _Request) -> ModelResults:
    """The results of one model on all benchmarks."""
    machine = request.machine
    trusted = request.trust_remote_code
    # A folder of sentence-transformers is loaded only if something must be scored.
    is_folder = (Path(model) / "modules.json").is_file()
    loaded = model if is_folder else load_model(model, device=machine.device, trust_remote_code=trusted)
    prompts = read_prompts(loaded) if isinstance(loaded, str) else prompts_of(vars(loaded))
    content = model_fingerprint(loaded) if machine.main else ""
    if machine.main:
        claim_folder(request.out / name, model, content, prompts, _folders(benchmarks), request.force)
    settings: dict[str, Any] = {"bf16": machine.bf16, "device": machine.device if isinstance(loaded, str) else None}
    settings["trust_remote_code"] = trusted

    def score(tests: list[TestSet], folder: str) -> list[dict[str, Any]]:
        return evaluate_all(loaded, tests, request.out, model_name=folder, **settings)

    listed = _scored(score, (name, content), benchmarks, prompts, request)
    for each in benchmarks:
        if each.mkqa is not None:
            questions = {
                language: prompts_for([test_name(language)], each.name, request.instructions, prompts)[0]
                for language in LANGUAGES
            }
            listed[each.name] = evaluate_mkqa(
                *(loaded, each.mkqa, request.out),
                model_name=f"{name}/{each.name}",
                prompts=questions,
                passage_prompt=prompts_for([], each.name, request.instructions, prompts)[1],
                questions_folder=request.data,
                **settings,
            )
            if machine.main:
                write_json(request.out / name / f"{each.name}.json", average_parts(each.name, name, listed[each.name]))
            wait_for_everyone(machine)
    return ModelResults(name, request.out / name, listed)


def _evaluate_bm25(benchmarks: Sequence[Benchmark], request: _Request) -> ModelResults:
    """The results of BM25. It has no prompts; the first rank computes them, the others read its files."""

    def score(tests: list[TestSet], folder: str) -> list[dict[str, Any]]:
        with in_turn(request.machine):
            return evaluate_bm25(tests, request.out, folder)

    if request.machine.main:
        claim_folder(request.out / BM25, BM25, BM25, ModelPrompts({}), _folders(benchmarks), request.force)
    listed = _scored(score, (BM25, BM25), benchmarks, ModelPrompts({}), request)
    return ModelResults(BM25, request.out / BM25, listed)


def _folders(benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """Test set to the folder that it is in."""
    return {part.wanted.name: str(part.folder.resolve()) for each in benchmarks for part in each.parts}


def _scored(
    score: Callable[[list[TestSet], str], list[dict[str, Any]]],
    model: tuple[str, str],
    benchmarks: Sequence[Benchmark],
    prompts: ModelPrompts,
    request: _Request,
) -> dict[str, list[dict[str, Any]]]:
    """The results of a model on the test sets of each benchmark; those of CQADupStack's forums are joined to one.

    Args:
        score: scores some test sets; it takes them and the folder, below ``out``, for their results.
        model: its name and fingerprint.
        benchmarks: what to score on.
        prompts: the model's own.
        request: says the rest.
    """
    tests: dict[str, dict[str, TestSet]] = {}  # by the whole that they are parts of; "" for test sets by themselves
    for each in benchmarks:
        for part in each.parts:
            before = prompts_for(part.names, each.name, request.instructions, prompts)
            tests.setdefault(part.wanted.whole, {}).setdefault(part.wanted.name, part.test_set(before))
    results: dict[str, dict[str, Any]] = {}
    name, machine = model[0], request.machine
    for whole, parts in tests.items():
        found = score(list(parts.values()), f"{name}/{whole}" if whole else name)
        if whole:
            found = [join_parts(whole, name, found)]
            if machine.main:
                write_json(request.out / name / f"{whole}.json", found[0])
                mean = found[0]["mean"]["ndcg@10"]
                write_mteb_whole(request.out / name / "mteb", whole, list(parts.values()), mean, model)
            wait_for_everyone(machine)
        results |= {result["test"]: result for result in found}
    return {
        each.name: [
            results[test] for test in dict.fromkeys(part.wanted.whole or part.wanted.name for part in each.parts)
        ]
        for each in benchmarks
    }
