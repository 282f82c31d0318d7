"""Writes the recipe's YAML, with a comment wherever the reader may want to change something."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from tdro.data.quality.languages import shares_text
from tdro.init.columns import Columns
from tdro.init.files_as_tasks import FileTask
from tdro.init.settings_rules import LEAST_STEPS, MOST_STEPS, MOVE, OFFSET, REPEATS, ProposedSettings
from tdro.planning.measured_budget import budget_in_words
from tdro.recipe.json_schema import FIRST_LINE
from tdro.recipe.training_sections import Base

_WIDTH = 110
_EXAMPLE = "Given a question, find the passage that answers it"


@dataclass(frozen=True)
class TestSetEntry:
    """A test set in the recipe. ``task`` is the training task that it is a held-out part of; empty if there is none."""

    __test__ = False  # pytest: not a test class

    name: str
    folder: str
    task: str = ""


@dataclass(frozen=True)
class TaskEntry:
    """A task in the recipe: the user's file, and the file and number of rows that are trained on."""

    task: FileTask
    file: str
    rows: int


def recipe_text(
    name: str,
    sources: Sequence[TaskEntry],
    tests: Sequence[TestSetEntry],
    base: Base,
    settings: ProposedSettings,
    device: str,
) -> str:
    """The YAML of the recipe.

    Args:
        name: of the run.
        sources: the tasks.
        tests: the test sets, possibly none.
        base: the model to fine-tune.
        settings: from :func:`tdro.init.settings_rules.settings_for`.
        device: what the settings are for, such as ``cpu``; stands in the first comment.
    """
    parts = [
        _head(name, device),
        _data(sources, tests, settings),
        _negatives(settings),
        _base(base, settings),
        _stages(base, settings, sources),
        _finetune(base, settings, sources, bool(tests)),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(name: str, device: str) -> list[str]:
    return [
        FIRST_LINE,
        f"# Written by `tdro init` for a machine that trains on {device}. It runs as it is: tdro run FILE",
        "#",
        "#   tdro data check FILE               what is wrong with the rows",
        "#   tdro data dedup FILE --within      copies among them; with --against FOLDER, test queries",
        "#   tdro plan FILE                     what the run will read, need and take",
        "#",
        "# What every key means, and its default: docs/recipe.md, or `tdro recipe --keys`.",
        "",
        f"name: {scalar(name)}",
        f"folder: {scalar(f'runs/{name}')}",
    ]


def _data(sources: Sequence[TaskEntry], tests: Sequence[TestSetEntry], settings: ProposedSettings) -> list[str]:
    lines = ["data:", "  sources:"]
    for source in sources:
        lines += [f"    {line}" for line in _source(source)]
    if tests:
        lines.append("  test_sets:")
        for test in tests:
            inner = f"folder: {scalar(test.folder)}" + (f", task: {scalar(test.task)}" if test.task else "")
            lines.append(f"    {scalar(test.name)}: {{{inner}}}")
    else:
        lines += _comment(
            "No test sets: models are trained and not compared. Folders in BEIR's layout (corpus.jsonl, queries.jsonl, "
            "qrels/test.tsv) go here, one line each; or `tdro init --hold-out 100` makes them of your own rows.",
            "  ",
        )
        name = scalar(sources[0].task.name)
        lines.append(f"  # test_sets: {{{name}: {{folder: FOLDER, task: {name}}}}}")
    longest = settings.longest
    return [
        *lines,
        f"  query_tokens: {settings.query_tokens}    # 95 % of each task's queries are no longer (at most {longest})",
        f"  passage_tokens: {settings.passage_tokens}  # the same of passages; time and memory grow with it",
        "  prompts: false      # true: the instructions stand before the queries; fill them in first",
    ]


def _source(source: TaskEntry) -> list[str]:
    task, card = source.task, source.task.card
    lines = [f"{scalar(task.name)}:", f"  source: {scalar(source.file)}"]
    away = f", {card.rows - source.rows:,} held out" if source.rows != card.rows else ""
    facts = [f"{source.rows:,} rows{away}"]
    if task.built.dropped:
        facts.append(f"{task.built.dropped:,} dropped")
    if card.same_query:
        facts.append(f"{card.same_query:,} with the query of another")
    facts.append(f"languages {shares_text(card.query_languages)} / {shares_text(card.passage_languages)}")
    lines += _comment(", ".join(facts), "  ")
    if source.file == task.source:
        lines += _columns(task.columns)
    lines.append(f'  instruction: ""   # what a query asks for, e.g. "{_EXAMPLE}"')
    lines.append('  licence: ""       # of the texts; shown in the report')
    return lines


def _columns(columns: Columns) -> list[str]:
    if not columns.wanted:
        return _comment(columns.summary, "  ")
    guess = "taken for what their names mean; see that it is right. " if columns.guessed else ""
    inner = ", ".join(f"{what}: {scalar(column)}" for what, column in columns.wanted.items())
    return [*_comment(guess + columns.summary, "  "), f"  columns: {{{inner}}}"]


def _negatives(settings: ProposedSettings) -> list[str]:
    if not settings.mined:
        return [
            "negatives:",
            f"  mine: none          # every row has at least {settings.negatives}",
            f"  per_row: {settings.negatives}",
        ]
    return [
        "negatives:             # passages that look like the answer and are not",
        f"  mine: bm25           # {settings.mined:,} rows have none",
        f"  per_row: {settings.negatives}",
    ]


def _base(base: Base, settings: ProposedSettings) -> list[str]:
    lines = [
        *_comment(
            "The model that learns the weights of the tasks, and that is fine-tuned. A smaller one of the same kind "
            "learns them faster: put it here, and this one under `finetune` as the group's own `base`.",
            "",
        ),
        "base:",
        f"  kind: {base.kind}",
        f"  source: {scalar(base.source)}",
    ]
    if base.kind == "static":
        lines.append("  dimension: 256")
    if settings.lora:
        lines += [
            "  lora: {}             # adapters only: training every weight would not fit into this device's memory",
            "  gradient_checkpointing: true",
        ]
    return lines


def _stages(base: Base, settings: ProposedSettings, sources: Sequence[TaskEntry]) -> list[str]:
    smallest = min(sources, key=lambda source: source.rows)
    times = "once" if round(settings.repeats, 1) == 1 else f"{settings.repeats:.1f} times"
    why = (
        f"Steps: so many that the smallest task ({smallest.task.name}, {smallest.rows:,} rows) is read at most "
        f"{REPEATS} times (here: {times}) if all are drawn equally, but from {LEAST_STEPS} to {MOST_STEPS}. Batch: "
        "a power of two that the device does in seconds, no larger than that task."
    )
    return [
        *_comment("The reference sees all tasks equally. " + why, ""),
        "reference:",
        *_training(base, settings, "  ", min(1, settings.negatives)),
        "",
        *_comment(
            "At each step, tasks on which the model is still far behind the reference gain weight: at most about as "
            "much as with the paper's 25 tasks, and less by the offset, so that no task takes all of it.",
            "",
        ),
        "weights:",
        *_training(base, settings, "  ", settings.negatives),
        f"  eta_times_steps: {settings.eta_times_steps:<6g} # {MOVE:g} x the root of the number of tasks (paper: 20)",
        f"  offset: {OFFSET:<15.1f} # nats, added to both losses: nearly solved tasks stay quiet",
        "  stage1_rows: cross_fit  # rows are scored by a reference that has not seen them",
    ]


def _training(base: Base, settings: ProposedSettings, indent: str, negatives: int) -> list[str]:
    lines = [
        f"steps: {settings.steps}",
        f"batch: {settings.batch}",
        f"negatives: {negatives}",
        "temperature: 0.05",
        f"learning_rate: {settings.learning_rate:g}",
        f"chunk_rows: {settings.chunk_rows}",
    ]
    if base.kind == "static":
        lines.append("weight_decay: 0.0")
    if settings.gradient_caching:
        lines.append("gradient_caching: true   # a batch of any size fits; one more forward pass")
    return [indent + line for line in lines]


def _finetune(base: Base, settings: ProposedSettings, sources: Sequence[TaskEntry], compared: bool) -> list[str]:
    seeds = "[1, 2, 3]" if compared or base.kind == "static" else "[1]"
    fair = "The same steps, batch and seeds for every mixture, so that only the mixture differs."
    budget = budget_in_words(settings.steps, settings.batch, [source.rows for source in sources], base.kind)
    lines = [
        *_comment(f"{fair} {settings.mixtures.why}", ""),
        *_comment(budget, ""),
        "finetune:",
        "  - name: main",
        *_training(base, settings, "    ", min(1, settings.negatives)),
        f"    mixtures: [{', '.join(settings.mixtures.names)}]",
        f"    seeds: {seeds}" + ("     # pairs of the same seed show what is chance" if compared else ""),
    ]
    if base.kind != "static":
        lines.append("    checkpoint_steps: 100    # a stopped training goes on from here")
    return lines


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
    )


def scalar(text: str) -> str:
    """A text as YAML: without quotes if every version of YAML takes it for a text, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z_./][\w./@-]*", text, re.ASCII)
    if plain and text.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "."):
        return text
    return json.dumps(text, ensure_ascii=False)
