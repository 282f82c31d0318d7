"""Writes the model card: ``README.md`` in a fine-tuned model's folder.

The run folder is read into plain data, which fill ``model_card.md``, a Jinja template; huggingface_hub writes the part
of the card that the hub reads. The card is written after training and again after evaluation. It needs neither the
network nor the loaded model, and holds no date and no path of this machine, so the same run gives the same card. See
docs/decisions.md, own-model-card.
"""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tdro.console import visible
from tdro.errors import UserError
from tdro.evaluation.compare.readable_numbers import NOTHING, as_number, fixed, nested, plural, points
from tdro.evaluation.compare.same_model import is_baseline, same_model_sentences
from tdro.evaluation.compare.verdict import verdict
from tdro.evaluation.judged import judged_by_line, without
from tdro.evaluation.leaks.trained_on import CARD_KEY, TrainedDataSet, for_card, of_recipe
from tdro.files import read_json, write_atomic
from tdro.gain.looked_at import TARGET, read_looked_at
from tdro.mixture_name import known_mixture
from tdro.recipe.names import model_name, times_longer
from tdro.report import words
from tdro.report.card_base import CardBase, card_base
from tdro.report.hide_paths import hide_paths, recipe_without_paths, without_paths
from tdro.report.run_contents import RunContents, TrainedModel, read_run_folder, recipe_values

HERE = Path(__file__).parent
TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "tdro")
MEASURES = {"ndcg@10": ("ndcg_at_10", "nDCG@10"), "recall@100": ("recall_at_100", "Recall@100")}
_VERSIONS = ("tdro", "sentence-transformers", "transformers", "torch", "peft", "datasets", "accelerate", "python")


def write_card(run_folder: Path | str, group: str, model: str, evaluated: bool = True) -> Path:
    """Write the card of ``models/<group>/<model>``, atomically, and return its path.

    Args:
        run_folder: the run's folder.
        group: of the model.
        model: ``<mixture>-seed<k>``.
        evaluated: show the results in ``evaluation/``, if there are any. False right after training, when they may be
            those of an older model.

    Raises:
        UserError: there is no such model, or a file of the run is broken.
    """
    folder = Path(run_folder) / "models" / group / model
    run = read_run_folder(run_folder)
    found = [one for one in run.trainings if one.group == group and one.name == model]
    if not found:
        raise UserError(f"{folder}: no trained model there (no training.json); run `tdro finetune RECIPE`")
    write_atomic(folder / "README.md", render(run, found[0], folder, evaluated))
    return folder / "README.md"


def render(run: RunContents, training: TrainedModel, folder: Path, evaluated: bool) -> str:
    """The card of one model, as Markdown. ``folder`` is the model's."""
    recipe = recipe_values(run.recipe) if run.recipe else {}
    base = card_base(recipe, training, folder)
    evaluation = _evaluation(run, training, folder) if evaluated else None
    name = f"{run.name}-{training.group}-{training.name}"
    card = _template().render(
        front_matter=_front_matter(name, base, evaluation, _trained_on(run, training, recipe)),
        name=name,
        training=training,
        facts=training.facts,
        mixture=words.mixture_in_words(training.mixture),
        base=base,
        usage=_usage(training, folder),
        sizes=list(nested(training.facts, "settings", "matryoshka") or ()),
        data=_data(run, training),
        weights=_weights(run, training),
        origin=_origin(run, training, recipe),
        limits=_limits(recipe, folder),
        evaluation=evaluation,
        recipe=recipe_without_paths(recipe),
        versions=[(name, run.versions[name]) for name in _VERSIONS if run.versions and name in run.versions],
    )
    return visible(card)


@functools.cache
def _template() -> Template:
    """The card's template; compiled once, for that takes longer than to fill it in."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=False,  # Markdown; `cell` escapes what is other people's text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"fixed": fixed, "points": points, "percent": words.percent, "epochs": words.epochs}
    environment.filters |= {"cell": cell, "code": code, "thousands": thousands}
    return environment.get_template("model_card.md")


def cell(value: Any) -> str:
    """Other people's text for a Markdown table: one line, without markup and without paths of this machine."""
    line = " ".join(hide_paths(str(value)).split())
    return re.sub(r"([|`*_\[\]<>\\])", r"\\\1", line)


def code(value: Any) -> str:
    """A name or prompt for a Markdown table, in backticks, with every character as it is."""
    return "`" + str(value).replace("\n", "\\n").replace("|", "\\|").replace("`", "'") + "`"


def thousands(value: Any) -> str:
    """A whole number with commas between thousands; a dash for NaN."""
    value = as_number(value)
    return f"{round(value):,}" if value == value else NOTHING


def _trained_on(run: RunContents, training: TrainedModel, recipe: Any) -> list[TrainedDataSet]:
    tasks = [
        {"name": task.name, "rows": 0 if math.isnan(task.rows) else task.rows, "fingerprint": task.fingerprint}
        for task in run.tasks
    ]
    return of_recipe(recipe, tasks, nested(training.facts, "weights"))


def _front_matter(name: str, base: CardBase, evaluation: dict[str, Any] | None, data: list[TrainedDataSet]) -> str:
    """The front matter, which the hub reads.

    A key of our own lists the training data, in which ``tdro evaluate --on`` looks for leaked test queries.
    """
    hub = [found.hub_id for found in data if found.hub_id]
    own: dict[str, Any] = {CARD_KEY: {"tasks": [for_card(each, without_paths(each.place)) for each in data]}}
    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=test["name"],
            dataset_name=test["name"],
            metric_type=kind,
            metric_name=title,
            metric_value=round(test["scores"][0][measure], 5),
        )
        for test in (evaluation or {}).get("tests", [])
        for measure, (kind, title) in MEASURES.items()
    ]
    card = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[*TAGS, "lora"] if base.adapter else list(TAGS),
        base_model=base.hub,
        metrics=[kind for kind, _ in MEASURES.values()] if results else None,
        model_name=name,
        eval_results=results or None,
        datasets=list(dict.fromkeys(hub)) or None,
        **(own if data else {}),
    )
    if not results:
        card.model_name = None  # the hub knows the key in a model-index only
    return card.to_yaml()


def _usage(training: TrainedModel, folder: Path) -> dict[str, Any]:
    """The model's prompts, and the task with the largest weight, for the example of how they are used."""
    config = read_json(folder / "config_sentence_transformers.json")
    prompts = {key: value for key, value in (nested(config, "prompts") or {}).items() if value}
    weights = nested(training.facts, "weights") or {}
    tasks = sorted((name for name in prompts if name in weights), key=lambda name: -weights[name])
    symmetric = [name for name in tasks if f"{name}-document" not in nested(config, "prompts")]
    shown = next((name for name in tasks if name not in symmetric), None)
    return {"prompts": prompts, "task": shown, "symmetric": symmetric, "query": prompts.get("query", "")}


def _data(run: RunContents, training: TrainedModel) -> list[dict[str, Any]]:
    drawn = {task.name: as_number(nested(training.facts, "rows_drawn", task.name)) for task in run.tasks}
    total = sum(drawn.values()) or 1
    return [
        {"name": task.name, "rows": task.rows, "licence": task.licence, "source": task.source}
        | {"share": drawn[task.name] / total, "epochs": as_number(nested(training.facts, "epochs", task.name))}
        for task in run.tasks
    ]


def _weights(run: RunContents, training: TrainedModel) -> list[dict[str, Any]]:
    """The weight of every task, the largest first, and how many times the uniform weight that is."""
    weights = run.weights_of(training.mixture)
    if weights is None:
        return []
    ranked = sorted(weights.as_dict().items(), key=lambda item: -item[1])
    return [{"name": name, "weight": weight, "times": weight * len(ranked)} for name, weight in ranked]


def _origin(run: RunContents, training: TrainedModel, recipe: Any) -> str:
    """Where the weights came from, and whether this model's training used them."""
    weights = run.weights_of(training.mixture)
    if weights is None:
        return ""
    known, loaded = weights.provenance, nested(recipe, "weights", "load")
    if known.get("method") == "gain":
        how = f"{known.get('steps')} steps, {known.get('rounds')} rounds, seed {known.get('seed')}"
        origin = f"Learned by this run by transfer gain, which measures which task helps which ({how})."
        if parts := known.get("target"):
            origin += f" They are towards a target: {', '.join(f'`{part}`' for part in parts)}."
    elif loaded == "paper":
        origin = "Not learned here: the weights that the paper's authors released."
    elif loaded:
        learner = f", as the run `{known['recipe']}` learned them" if known.get("recipe") else ""
        origin = f"Loaded from `{without_paths(str(loaded))}`{learner}."
    else:
        how = f"{known.get('steps')} steps, η·T {known.get('eta_times_steps', 0):.4g}, seed {known.get('seed')}"
        origin = f"Learned by this run in stage 1 of tDRO{f' ({how})' if known.get('steps') else ''}"
        which = words.alpha_in_words(known.get("alpha"))
        origin += f": {which}." if which else "."
    mixture = known_mixture(training.mixture)
    longer = times_longer(training.mixture) is not None
    unused = longer or (mixture is not None and not (mixture.uses_alpha or mixture.uses_gain))
    used = "This model does not depend on them." if unused else "The mixture is made from them."
    share = as_number(nested(training.facts, "settings", "uniform_last"))
    last = f" In the last {100 * share:g} % of the steps all tasks were sampled equally." if share > 0 else ""
    return f"{origin} {used}{'' if training.mixture == 'uniform' else last}"


def _limits(recipe: Any, folder: Path) -> dict[str, Any] | None:
    """Tokens after which training cut queries and passages, and how many the model reads by itself; None if unknown."""
    found = {key: nested(recipe, "data", f"{key}_tokens") for key in ("query", "passage")}
    if None in found.values():
        return None
    path = folder / "tokenizer_config.json"
    longest = nested(read_json(path), "model_max_length") if path.is_file() else None
    if isinstance(longest, int):
        found = {key: min(limit, longest) for key, limit in found.items()}
    return {**found, "longest": longest}


def _evaluation(run: RunContents, training: TrainedModel, folder: Path) -> dict[str, Any] | None:
    """Scores of this model, of uniform with the same seed and of the untrained base on each test set; None if there are
    none yet."""
    comparison = next((one for one in run.comparisons if one["group"] == training.group), None)
    if comparison is None:
        return None
    results = folder.parents[2] / "evaluation" / training.group
    looked_at = read_looked_at(folder.parents[2] / TARGET) if comparison.get("looked_at") else {}

    def judged(content: dict[str, Any]) -> dict[str, Any]:
        """The results without the queries that the comparison left out."""
        hit = looked_at.get(str(content.get("data")))
        return without(content, set(hit.queries)) if hit else content

    uniform = model_name("uniform", training.seed)
    # Results that an earlier recipe has left in the folder may be of other models.
    of_recipe = {one.name for one in run.trainings if one.group == training.group}
    if any(nested(row, "mixture") == "untrained" for row in comparison["rows"]):
        of_recipe.add("untrained")
    asked = dict.fromkeys([folder.name, uniform, "untrained"])
    models = [name for name in asked if name in of_recipe and (results / name).is_dir()]
    tests = []
    for test in comparison["tests"]:
        paths = [results / model / f"{test['name']}.json" for model in models]
        if all(path.is_file() for path in paths):
            contents = [judged(read_json(path)) for path in paths]
            tests.append({**test, "scores": [content["mean"] for content in contents]})
    if not tests or folder.name not in models:
        return None
    columns = {uniform: "uniform", folder.name: "this model"}
    mean = [
        {key: sum(scores[key] for scores in column) / len(tests) for key in MEASURES}
        for column in zip(*(test["scores"] for test in tests), strict=True)
    ]
    return {
        "columns": [columns.get(name, name) for name in models],
        "measures": [(key, title) for key, (_, title) in MEASURES.items()],
        "tests": tests,
        "mean": mean,
        "verdict": _verdict(comparison, training.mixture),
        "judged_by": judged_by_line(comparison["looked_at"]) if looked_at else "",
    }


def _verdict(comparison: dict[str, Any], mixture: str) -> str:
    """What the paired test of this model's mixture against uniform says, over all seeds."""
    rows = {nested(row, "mixture"): row for row in comparison["rows"]}
    difference = nested(rows.get(mixture), "versus", "ndcg@10", "all")
    if difference is None:
        return ""
    if is_baseline(rows[mixture]):
        return same_model_sentences([rows[mixture]])[0]
    scores = [nested(rows.get(name), "ndcg@10", "all") for name in (mixture, "uniform")]
    sentence = verdict(mixture, difference, scores[0], scores[1], len(comparison["tests"]))[1]
    seeds = plural(int(nested(rows[mixture], "seeds") or 1), "seed")
    return f"Over {seeds}, tested query by query: {sentence}"
