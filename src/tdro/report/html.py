"""The report: one HTML file that needs nothing else and can be mailed.

Run folder → :mod:`collect` → plain rows (:mod:`tables`, :mod:`learning`) → ``page.html``, a Jinja template
that escapes everything (task names are other people's text) and formats numbers with the functions of
:mod:`text`. Only the charts are handed over as markup; they escape their own labels. Rejected: a plotting
or page framework (megabytes, scripts).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tdro.console import visible
from tdro.errors import UserError
from tdro.evaluation.compare import readable_numbers as figures
from tdro.evaluation.compare.readable_numbers import nested
from tdro.files import write_atomic
from tdro.recipe.yaml_lines import plain_yaml
from tdro.report import sentences as text
from tdro.report.collect import Run, Training, collect
from tdro.report.comparison import comparison_view
from tdro.report.learning import health_view, learning_view
from tdro.report.public import public, public_recipe
from tdro.report.tables import data_view, epochs_view, leaks_view, selection_name, weights_view

HERE = Path(__file__).parent


def write_report(run_folder: Path | str) -> Path:
    """Write ``report.html`` into the run folder, atomically, and return its path.

    Parts that are not on disk yet are one sentence naming the command that makes them. Raises
    :class:`tdro.errors.UserError` if the folder does not exist or a file in it is broken.
    """
    path = Path(run_folder) / "report.html"
    write_atomic(path, render(collect(run_folder)))
    return path


def render(run: Run) -> str:
    """The page of a run as one string."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for module, names in (
        (figures, ("fixed", "points", "signed", "p_value")),
        (text, ("percent", "count", "epochs", "duration", "describe")),
    ):
        environment.filters |= {name: getattr(module, name) for name in names}
    environment.filters |= {"svg": Markup, "public": public}
    found = environment.get_template("page.html").render(
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        **page(run),
    )
    return visible(found)


def page(run: Run) -> dict[str, Any]:
    """Everything that the template reads."""
    selection = selection_name(run)
    groups = [comparison_view(run, comparison, selection) for comparison in run.comparisons]
    return {
        "run": run,
        "recipe": _recipe(run.recipe),
        "selection": selection,
        "summary": text.summary([group["word"] for group in groups]),
        "groups": groups,
        "leaks": leaks_view(run),
        "weights": weights_view(run, selection),
        "epochs": epochs_view(run),
        "learning": learning_view(run),
        "health": health_view(run),
        "data": data_view(run),
        "versions": sorted((str(key), str(value)) for key, value in (run.versions or {}).items()),
        "trainings": [_training_row(training) for training in run.trainings],
        "stages": [{key: stage.get(key) for key in ("name", "seconds", "fingerprint")} for stage in run.stages],
        "total_seconds": sum(
            seconds for stage in run.stages if isinstance(seconds := stage.get("seconds"), (int, float))
        ),
    }


def _recipe(text: str | None) -> str | None:
    """The recipe as run, for everybody's eyes; None where it is missing."""
    if text is None:
        return None
    try:
        content = plain_yaml(text, "recipe.yaml")
    except UserError:
        return public(text)
    return public_recipe(content) if isinstance(content, dict) else public(text)


def _training_row(training: Training) -> dict[str, Any]:
    keys = ("steps", "batch", "seconds", "first_loss", "last_loss")
    return {
        "group": training.group,
        "base": re.split(r"[/\\]", str(nested(training.base, "source") or ""))[-1],
        "mixture": training.mixture,
        "seed": training.seed,
        **{key: nested(training.facts, key) for key in keys},
    }
