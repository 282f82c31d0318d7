"""Writes a study's answer: ``study.json`` with every number, ``points.csv`` for plots, and ``report.html``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tdro.console import visible
from tdro.evaluation.compare.readable_numbers import nested
from tdro.files import write_atomic, write_json
from tdro.report import report_page
from tdro.study.answer import Answer
from tdro.study.figure import figure
from tdro.study.schema import Study
from tdro.versions import versions

FORMAT = "tdro-study/1"
_CAPTIONS = {
    "gain": "Gain of each variant over what it is compared with, in points of nDCG@10, with its 95 % interval over "
    "queries and seeds. A mark whose interval touches zero shows nothing.",
    "agreement": "Rank correlation (Kendall) of each variant’s weights with those of the recipe as it is. 1: the same "
    "order of all tasks; 0: no relation.",
    "forecast": "Gain of each mixture over uniform against its forecast, both in points of nDCG@10, with the gain’s "
    "95 % interval over queries and seeds. A good forecast would have all marks near the diagonal.",
    "measure": "Mean M over the steps of stage 1. The line through a mark is the range of the tasks; with one task, "
    "one standard deviation over the steps.",
}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "ndcg@10": ("scores", "mean"),
    "spread": ("scores", "spread"),
    "baseline": ("scores", "baseline"),
    "gain": ("scores", "gain", "difference"),
    "low": ("scores", "gain", "with_seeds", "low"),
    "high": ("scores", "gain", "with_seeds", "high"),
    "low_queries": ("scores", "gain", "low"),
    "high_queries": ("scores", "gain", "high"),
    "p": ("scores", "gain", "p"),
    "seeds_needed": ("scores", "gain", "with_seeds", "needed"),
    "kendall": ("weights", "kendall"),
    "overlap": ("weights", "overlap"),
    "effective_tasks": ("weights", "effective_tasks"),
    "spread_of_m": ("weights", "spread"),
    "forecast": ("forecast",),
    "halves_agree": ("weights", "signs", "agreement"),
}


def write_answer(
    folder: Path,
    *,
    name: str,
    recipe: str,
    seeds: int,
    study: Study,
    text: str,
    answer: Answer,
    found: Sequence[Mapping[str, Any]],
) -> Path:
    """Write the three files and return the path of the report.

    Args:
        folder: of the study.
        name: the study's.
        recipe: the recipe's name.
        seeds: how many trainings each variant has.
        study: what was asked.
        text: the study's file.
        answer: in words.
        found: all numbers, from :func:`tdro.study.findings.findings_of`.
    """
    content = {
        **{"format": FORMAT, "study": name, "recipe": recipe, "seeds": seeds},
        **{"question": answer.question, "sentence": answer.sentence, "opposite": answer.opposite},
        **{"unknown": answer.unknown, "definition": study.model_dump(mode="json"), "versions": versions()},
        "points": list(found),
    }
    write_json(folder / "study.json", content)
    write_atomic(folder / "points.csv", _csv(found))
    path = folder / "report.html"
    write_atomic(path, _page(name, recipe, seeds, study, text, answer, found))
    return path


def _csv(found: Sequence[Mapping[str, Any]]) -> str:
    """A row for each variant; scores are shares of 1, and cells without a number are empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["line", "key", "value", "settings", *_COLUMNS])
    for one in found:
        cells = [nested(one, *keys) for keys in _COLUMNS.values()]
        settings = json.dumps(one["settings"], ensure_ascii=False)
        writer.writerow([one["line"], one["axis"], one["value"], settings, *cells])
    return file.getvalue()


def _page(
    name: str, recipe: str, seeds: int, study: Study, text: str, answer: Answer, found: Sequence[Mapping[str, Any]]
) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["svg"] = Markup
    style = (report_page.HERE / "report_page.css").read_text(encoding="utf-8")
    page = environment.get_template("study_page.html").render(
        style=Markup(style),
        name=name,
        recipe=recipe,
        seeds=seeds,
        text=text,
        answer=answer,
        figure=figure(study, found),
        caption=_CAPTIONS[study.says],
    )
    return visible(page)
