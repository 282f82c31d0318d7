"""Checks models that were evaluated on benchmarks: were they trained on the test queries?

The first rank does this after the evaluation. It reads each model's training data, as far as it is known and at hand,
looks for the test queries in it, and writes to ``leaks.json``, in the folder of the model's results, what was found,
what was looked at and what could not be. Missing or broken training data never ends an evaluation. Models of one run
share what was read and found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdro.data.testsets.test_texts import TestTexts, beir_texts
from tdro.errors import UserError
from tdro.evaluation.leaks.find_leaks import FILE, Memo, look_for_leaks
from tdro.evaluation.leaks.trained_on import TrainedOn, trained_on
from tdro.evaluation.leaks.training_queries import TrainingQueries
from tdro.evaluation.scoring.evaluate_mkqa import test_name
from tdro.evaluation.scoring.find_benchmark import Benchmark
from tdro.evaluation.scoring.mkqa import mkqa_file, read_mkqa


def find_model_leaks(
    models: Mapping[str, str], benchmarks: Sequence[Benchmark], out: Path, data: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Look for the benchmarks' queries in the training data of each model, as far as that is known and at hand.

    Args:
        models: a model's name to its folder or hub id.
        benchmarks: what the models were evaluated on.
        out: holds a folder for each model.
        data: a folder where local copies of training data may be, too.

    Returns:
        By name, what :func:`tdro.evaluation.leaks.find_leaks.look_for_leaks` returns, with ``told_by`` and
        ``not_looked_at`` (data set to the reason).

    Raises:
        UserError: a test set is broken.
    """
    reader = TrainingQueries([Path(), *([data] if data else [])])
    tests: list[TestTexts] | None = None
    memo: Memo = {}
    found = {}
    for name, model in models.items():
        known = trained_on(model)
        train, about = _read(known, reader)
        if train and tests is None:
            tests = list(test_texts(benchmarks, data))
        found[name] = look_for_leaks(out / name / FILE, train, tests or () if train else (), about, memo)
    return found


def test_texts(benchmarks: Sequence[Benchmark], data: Path | None = None) -> Iterator[TestTexts]:
    """The queries of every test set that has a result.

    CQADupStack's forums are one test set, with the forum before each query's id. MKQA is one for each language, and one
    for all.
    """
    wholes: dict[str, dict[str, str]] = {}
    for part in dict.fromkeys(part for each in benchmarks for part in each.parts):
        queries, whole = beir_texts(part.folder, part.wanted.name).queries, part.wanted.whole
        before = f"{part.wanted.name}/" if whole else ""
        wholes.setdefault(whole or part.wanted.name, {}).update({before + key: text for key, text in queries.items()})
    for each in benchmarks:
        if each.mkqa is not None:
            questions = read_mkqa(mkqa_file(each.mkqa, data))
            everything = wholes[each.name] = {}
            for language, texts_of_language in questions.texts.items():
                name = test_name(language)
                wholes[name] = dict(zip(questions.ids, texts_of_language, strict=True))
                everything.update({f"{name}/{key}": text for key, text in wholes[name].items()})
    for name, texts in wholes.items():
        yield TestTexts(name, texts)


def _read(known: TrainedOn, reader: TrainingQueries) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Data set to its training queries, and what ``leaks.json`` says about where they are from and what is missing."""
    train: dict[str, list[str]] = {}
    gone = dict.fromkeys(known.unnamed, "its card does not say where it is")
    for data in known.data:
        try:
            queries, partly = reader.read(data, known.homes)
        except UserError as error:
            gone[data.name] = " ".join(str(error).split())
            continue
        train[data.name] = [*train.get(data.name, ()), *queries]
        if partly:
            gone[f"the rest of {data.name}"] = partly
    return train, {"told_by": known.told_by, "not_looked_at": gone}
