"""Writes the results in docs/studies.md and its figures from results/studies/*.json.

python benchmarks/studies_docs.py

What a result means is for people to say: two sentences for each study in ``results/studies/meaning.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from tdro.files import read_json, write_atomic
from tdro.recipe.builtin import built_in as recipes
from tdro.report import report_page
from tdro.study.figure import figure
from tdro.study.schema import Study
from tdro.study.schema import built_in as studies

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results" / "studies", HERE.parent / "docs"
START, END = "<!-- results: written by benchmarks/studies_docs.py -->", "<!-- end of results -->"
ORDER = [
    "selection",
    "perturb",
    "own_weights-decoder",
    "selection-decoder",
    "perturb-decoder",
    "measures",
    "reference",
    "budget",
    "noise",
    "imbalance",
    "proxy",
    "single",
    "diversity",
    "forecast",
]
KINDS = {  # of the sample mixture's test sets, by the beginning of their names
    "translations": r"ui_.._en",
    "titles": r"ui_title2desc",
    "definitions": r"dict_|bio_",
    "code and commands": r"cli_|api_|code_",
    "dialogue and quotes": r"dialog_|quotes_|faq_",
}
_RULES = ("svg", ".mark", ".zero", ".grid", ".line", ".lead", ".s0", ".s4")


def markdown(found: dict[str, Any]) -> str:
    """The section of a study."""
    name = f"{found['study']}"
    built_in = name.removesuffix(f"-{found['group']}")
    seeds = f" --seeds {found['seeds']}" if found["seeds"] != found["definition"]["seeds"] else ""
    study, recipe = _file(built_in, studies()), _file(found["recipe"], recipes())
    command = f"tdro study {study} {recipe}{seeds} --workers 2"
    parts = [f"### `{name}`", found["question"], f"```sh\n{command}\n```", found["sentence"]]
    parts += [meaning] if (meaning := meanings().get(name)) else []
    parts += [f"![{found['question']}](study-{name}.svg)"] if drawing(found) else []
    parts += [table(found["head"], found["rows"])]
    parts += [kinds] if (kinds := by_kind(found)) and built_in == "selection" else []
    parts += [f"The opposite would have been: {found['opposite']}"] if found["opposite"] else []
    parts += ["Not known: " + " ".join(found["unknown"])] if found["unknown"] else []
    parts += [f"Numbers: `benchmarks/results/studies/{name}.json`. {_time(found['took'])}"]
    return "\n\n".join(parts)


def _file(name: str, built_in: Sequence[str]) -> str:
    """What a command line calls a study or a recipe: one that does not come with tdro is in this folder."""
    return name if name in built_in else f"benchmarks/{name}.yaml"


def meanings() -> dict[str, str]:
    """What people say of the results."""
    path = RESULTS / "meaning.yaml"
    return dict(yaml.safe_load(path.read_text("utf-8"))) if path.exists() else {}


def _time(took: dict[str, Any]) -> str:
    if "core seconds" not in took:
        return "Its time was not measured: the machine was busy."
    return f"All pieces together take {took['core seconds']['all'] / 60:.0f} minutes of one core."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def by_kind(found: dict[str, Any]) -> str:
    """The mean gain on each kind of test sets, for each variant that selects tasks or steps."""
    rows = []
    for one in found["points"]:
        gain = (one["scores"] or {}).get("gain")
        if gain is None:
            continue
        cells = []
        for pattern in KINDS.values():
            values = [test["difference"] for name, test in gain["tests"].items() if re.match(pattern, name)]
            cells.append(f"{100 * mean(values):+.1f}" if values else "–")
        rows.append([one["line"], one["name"], *cells])
    title = "Gain by kind of test set, points of nDCG@10:\n\n"
    return title + table(["line", "variant", *KINDS], rows) if rows else ""


def drawing(found: dict[str, Any]) -> str:
    """The figure as a file of its own, with the colours of the report; empty if there is none."""
    svg = figure(Study.model_validate(found["definition"]), found["points"])
    css = (report_page.HERE / "report_page.css").read_text("utf-8")
    colours, rest = css.split("* {", 1)
    rules = [line for line in rest.splitlines() if line.startswith(_RULES)]
    style = f"<style>{colours}{' '.join(rules)} text {{ fill: var(--ink); }}</style>"
    start, middle, end = svg.partition("<title>")
    return start.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ') + style + middle + end if svg else ""


def main() -> None:
    """Write the figures and the docs' part; say which studies have no results."""
    files = {path.stem: read_json(path) for path in sorted(RESULTS.glob("*.json"))}
    names = sorted(files, key=lambda name: (name not in ORDER, ORDER.index(name) if name in ORDER else 0, name))
    for name in names:
        if svg := drawing(files[name]):
            write_atomic(DOCS / f"study-{name}.svg", svg)
    page = DOCS / "studies.md"
    before, _, rest = page.read_text("utf-8").partition(START)
    after = rest.partition(END)[2]
    results = "\n\n".join(markdown(files[name]) for name in names)
    write_atomic(page, f"{before}{START}\n\n{results}\n\n{END}{after}")
    print(f"written: {', '.join(names)}; without results: {', '.join(set(ORDER) - set(names)) or 'none'}")


if __name__ == "__main__":
    main()
