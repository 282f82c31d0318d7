"""How the models scored on the development sets while they trained: a chart for each set, and the steps kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.report.run_contents import RunContents, TrainedModel
from tdro.report.score_chart import ScoreLine, score_chart

Curve = dict[int, float]  # step to score
_MEAN = ""  # under this name, the mean over the sets


def development_view(run: RunContents) -> list[dict[str, Any]]:
    """For each group that was evaluated while it trained: its charts, and the steps that were kept; else nothing."""
    groups: dict[str, dict[str, list[TrainedModel]]] = {}  # group to mixture to its models
    for training in run.trainings:
        if nested(training.facts, "development", "curve"):
            groups.setdefault(training.group, {}).setdefault(training.mixture, []).append(training)
    return [_group(name, mixtures) for name, mixtures in groups.items()]


def _group(name: str, mixtures: Mapping[str, Sequence[TrainedModel]]) -> dict[str, Any]:
    curves = {mixture: [_curves(model) for model in models] for mixture, models in mixtures.items()}
    sets = dict.fromkeys(each for models in curves.values() for model in models for each in model)
    shown = [each for each in sets if each != _MEAN] if len(sets) == 2 else list(sets)  # the mean of one set is it
    charts = []
    for each in shown:
        lines = [line for mixture, models in curves.items() if (line := _line(mixture, each, models))]
        title = each or "mean of the sets"
        drawn = {
            kind: score_chart(lines, width, height, f"nDCG@10 of {title} over the steps of {name}")
            for kind, width, height in (("wide", 900, 260), ("narrow", 340, 260))
            if lines
        }
        if drawn:
            charts.append({"title": title, **drawn})
    seeds = max(map(len, mixtures.values()))
    return {"group": name, "charts": charts, "seeds": seeds, "rows": [_row(*each) for each in mixtures.items()]}


def _curves(model: TrainedModel) -> dict[str, Curve]:
    """The curve of a model's mean score and of each set. What is no number is left out."""
    found: dict[str, Curve] = {_MEAN: {}}
    for entry in nested(model.facts, "development", "curve") or ():
        step = as_number(nested(entry, "step"))
        values = {_MEAN: nested(entry, "score"), **(nested(entry, "sets") or {})}
        for name, value in values.items():
            if math.isfinite(step) and math.isfinite(score := as_number(value)):
                found.setdefault(str(name), {})[int(step)] = score
    return found


def _line(mixture: str, name: str, models: Sequence[Mapping[str, Curve]]) -> ScoreLine | None:
    """The mean over a mixture's seeds, at the steps that all of them have reached."""
    curves = [model.get(name, {}) for model in models]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    scores = [sum(curve[step] for curve in curves) / len(curves) for step in steps]
    return ScoreLine(mixture, steps, scores) if steps else None


def _row(mixture: str, models: Sequence[TrainedModel]) -> dict[str, Any]:
    """The step that is kept and the last one of each seed, in the order of the seeds."""
    models = sorted(models, key=lambda model: model.seed)
    return {
        "mixture": mixture,
        "seeds": [model.seed for model in models],
        **{key: [nested(model.facts, "development", key) for model in models] for key in ("best_step", "last_step")},
    }
