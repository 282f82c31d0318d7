"""Writes ``report.html``: one file that needs nothing else, so it can be mailed.

The run folder is read into plain data (:mod:`tdro.report.run_contents`), each section of the page turns its part into
plain rows (``*_section.py``), and ``report_page.html``, a Jinja template, formats them with the functions of
:mod:`tdro.report.words`. The template escapes every text, since names of tasks come from other people. Only the charts
are handed over as markup; they escape their own labels. See docs/decisions.md, report-without-libraries.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from tdro.console import visible
from tdro.errors import UserError
from tdro.evaluation.compare import readable_numbers
from tdro.evaluation.compare.readable_numbers import nested
from tdro.files import write_atomic
from tdro.report import words
from tdro.report.comparison_section import comparison_view
from tdro.report.data_section import data_view, leaks_view
from tdro.report.development_section import development_view
from tdro.report.gain_section import gain_view
from tdro.report.hide_paths import hide_paths, recipe_without_paths
from tdro.report.learning_section import health_view, learning_view
from tdro.report.run_contents import RunContents, TrainedModel, read_run_folder, recipe_values
from tdro.report.weights_section import epochs_view, selection_name, weights_view

HERE = Path(__file__).parent


def write_report(run_folder: Path | str) -> Path:
    """Write ``report.html`` into the run folder, atomically, and return its path.

    For a part that is not there yet the page names the command that makes it.

    Raises:
        UserError: there is no such folder, or a file in it is broken.
    """
    path = Path(run_folder) / "report.html"
    write_atomic(path, render(read_run_folder(run_folder)))
    return path


def render(run: RunContents) -> str:
    """The page of a run, as HTML."""
    found = _template().render(
        style=Markup((HERE / "report_page.css").read_text(encoding="utf-8")),
        **page_contents(run),
    )
    return visible(found)


@functools.cache
def _template() -> Template:
    """The page's template; compiled once, for that takes longer than to fill it in."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for module, names in (
        (readable_numbers, ("fixed", "points", "signed", "p_value")),
        (words, ("percent", "count", "epochs", "duration")),
    ):
        environment.filters |= {name: getattr(module, name) for name in names}
    environment.filters |= {"svg": Markup, "public": hide_paths}
    return environment.get_template("report_page.html")


def page_contents(run: RunContents) -> dict[str, Any]:
    """Everything that the template reads, by name."""
    selection = selection_name(run)
    groups = [comparison_view(run, comparison, selection) for comparison in run.comparisons]
    return {
        "run": run,
        "recipe": _recipe(run.recipe),
        "selection": selection,
        "summary": words.headline(
            [group["word"] for group in groups], selection, any(group["judged_by"] for group in groups)
        ),
        "groups": groups,
        "gain": gain_view(run),
        "leaks": leaks_view(run),
        "development": development_view(run),
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
    """The recipe as run, as it may be shown to everybody; None if it is missing."""
    if text is None:
        return None
    try:
        content = recipe_values(text)
    except UserError:
        return hide_paths(text)
    return recipe_without_paths(content) if isinstance(content, dict) else hide_paths(text)


def _training_row(training: TrainedModel) -> dict[str, Any]:
    keys = ("steps", "batch", "seconds", "first_loss", "last_loss")
    return {
        "group": training.group,
        "base": re.split(r"[/\\]", str(nested(training.base, "source") or ""))[-1],
        "mixture": training.mixture,
        "seed": training.seed,
        **{key: nested(training.facts, key) for key in keys},
    }
