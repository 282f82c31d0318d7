"""Which test queries judge models: those that no compared model's weights were learned on.

A run whose recipe has ``gain.target`` says in ``weights/gain/target.json`` which test queries it looked at. They are
left out of every comparison that has a model trained by these weights, for all of its models, and the comparison says
so. A test set is known by its checksum, under whatever name it was evaluated. See docs/decisions.md,
looked-at-queries-are-left-out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.evaluation.results import Results, measures_of, note_path, run_and_group
from tdro.files import read_json
from tdro.gain.looked_at import TARGET, LookedAt, read_looked_at
from tdro.mixture_name import known_mixture
from tdro.recipe.names import mixture_and_seed


def on_judging_queries(models: Sequence[Results]) -> tuple[list[Results], dict[str, Any] | None]:
    """The models' results on the queries that may judge them, and what was left out.

    Args:
        models: evaluated on the same test sets.

    Returns:
        the results; and None if all queries judge, else a dict with ``models`` (names of those whose weights were
        learned on some of the queries), ``queries`` and ``of`` (how many were left out, and of how many), ``tests``
        (test set to how many were left out) and ``left_out`` (test sets of which none is left).

    Raises:
        UserError: nothing is left to judge by.
    """
    known = {model.folder: looked_at_by(model_folder(model)) for model in models}
    by_test: dict[str, set[str]] = {}
    for model in models:
        for name, content in model.tests.items():
            for found in known.values():
                hit = found.get(str(content.get("data")))
                by_test.setdefault(name, set()).update(hit.queries if hit else ())
    counts = {name: len(hit.intersection(models[0].tests[name]["queries"])) for name, hit in by_test.items()}
    if not any(counts.values()):
        return list(models), None
    sizes = {name: len(content["queries"]) for name, content in models[0].tests.items()}
    gone = [name for name, size in sizes.items() if counts[name] == size]
    if len(gone) == len(sizes):
        raise UserError(
            f"{', '.join(gone[:3])}: weights of {', '.join(_looking(models, known))} were learned on all of these "
            "queries, so they judge nothing.\nEvaluate on other test sets."
        )
    kept = [
        replace(
            model, tests={name: without(each, by_test[name]) for name, each in model.tests.items() if name not in gone}
        )
        for model in models
    ]
    about = {"models": _looking(models, known), "queries": sum(counts.values()), "of": sum(sizes.values())}
    return kept, {**about, "tests": {name: count for name, count in counts.items() if count}, "left_out": gone}


def judged_by_line(looked_at: Mapping[str, Any]) -> str:
    """What :func:`on_judging_queries` left out, in a sentence or two.

    ``Judged by 1,480 of 2,956 test queries: the weights of gain were learned on the other 1,476.``
    """
    out, every = looked_at["queries"], looked_at["of"]
    line = (
        f"Judged by {every - out:,} of {every:,} test queries: the weights of {_names(looked_at['models'])} were "
        f"learned on the other {out:,}."
    )
    if gone := looked_at["left_out"]:
        line += f" Nothing is left of {_names(gone)}."
    return line


def looked_at_line(name: str, folder: Path, results: Sequence[Mapping[str, Any]]) -> str:
    """What is to be said of a model's scores on whole test sets, on some of whose queries its weights were learned;
    empty if there are none.

    Args:
        name: of the model.
        folder: of its results.
        results: of its test sets.
    """
    found = looked_at_by(_noted_model(folder))
    hits = [(result, set(hit.queries)) for result in results if (hit := found.get(str(result.get("data"))))]
    counts = [(len(queries.intersection(result["queries"])), len(result["queries"])) for result, queries in hits]
    looked, every = sum(count for count, _ in counts), sum(size for _, size in counts)
    if not looked:
        return ""
    sets = _names([str(result["test"]) for result, _ in hits])
    return (
        f"the weights of {name} were learned on {looked:,} of the {every:,} queries of {sets}: these scores do not "
        "judge it. `tdro compare` leaves the queries out"
    )


def looked_at_by(model: Path | None) -> dict[str, LookedAt]:
    """The test queries that a model's weights were learned on, by the checksum of their test set; empty if there are
    none, or if the model is in no run folder.

    Args:
        model: its folder, ``RUN/models/GROUP/gain-seed1``.

    Raises:
        UserError: the run's ``target.json`` is broken.
    """
    if model is None or len(model.parts) < 4 or model.parent.parent.name != "models":
        return {}
    mixture = known_mixture(mixture_and_seed(model.name)[0])
    return read_looked_at(model.parents[2] / TARGET) if mixture is not None and mixture.uses_gain else {}


def model_folder(results: Results) -> Path | None:
    """The folder of the model that results are of, whether it is still there or not; None if that is not known."""
    if (found := run_and_group(results.group)) is not None:
        run, group = found
        return run / "models" / group / results.folder.name
    return _noted_model(results.folder)


def without(content: Mapping[str, Any], queries: Collection[str]) -> dict[str, Any]:
    """The content of a results file without some queries; its means are those of the others."""
    kept = [place for place, query in enumerate(content["queries"]) if query not in queries]
    if len(kept) == len(content["queries"]):
        return dict(content)
    lists = ["queries", *measures_of(content), *(["weights"] if "weights" in content else [])]
    left = {**content, **{key: [content[key][place] for place in kept] for key in lists}}
    left["mean"] = {key: sum(left[key]) / max(len(kept), 1) for key in measures_of(content)}
    return left


def _noted_model(folder: Path) -> Path | None:
    """The model of ``tdro evaluate --on``, as the note beside the results says."""
    note = note_path(folder)
    content = read_json(note) if note.is_file() else None
    found = content.get("model") if isinstance(content, dict) else None
    return Path(found) if isinstance(found, str) else None


def _looking(models: Sequence[Results], known: Mapping[Path, Mapping[str, LookedAt]]) -> list[str]:
    return list(dict.fromkeys(model.name for model in models if known[model.folder]))


def _names(names: Sequence[str]) -> str:
    shown = [*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
