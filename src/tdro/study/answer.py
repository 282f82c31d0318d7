"""What a study says: a sentence, a table, what would have shown the opposite, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tdro.evaluation.compare.readable_numbers import fixed, nested, plural, points, signed
from tdro.evaluation.compare.verdict import one_seed, over_queries, seeds_could_turn
from tdro.evaluation.intervals import MOST_SEEDS
from tdro.study.calibration import in_words
from tdro.study.curves import ends, knees, shown, steps_saved
from tdro.study.schema import Study
from tdro.terminal_table import terminal_table

_IN_THIRDS = {"M, first third", "M, last third"}
_SHARES = {"% tasks", "% rows", "% steps"}
_KINDS = {"kept tasks", "left out", "new"}
_NOT_SHOWN = {
    "gain": {"M", "drift"} | _IN_THIRDS,
    "agreement": _SHARES | _KINDS | _IN_THIRDS,
    "measure": _SHARES,
    "forecast": {"M", "drift", "Kendall", "overlap"} | _KINDS | _IN_THIRDS,
}
_ONLY_IF_IT_VARIES = {
    *("Kendall", "overlap", "eff. tasks", "spread of M", "halves agree", "M", "drift"),
    *(_IN_THIRDS | _SHARES),
}
Findings = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """A study's answer, as texts.

    Attributes:
        question: what was asked.
        sentence: what was found.
        head: titles of the table's columns.
        rows: its cells, a row for each variant.
        opposite: what would have shown the opposite.
        unknown: what is not known, a sentence each.
    """

    question: str
    sentence: str
    head: list[str]
    rows: list[list[str]]
    opposite: str
    unknown: list[str]

    def __str__(self) -> str:
        parts = [self.question, self.sentence, terminal_table(self.head, self.rows, left=["line", "variant"])]
        parts += [f"The opposite would have been: {self.opposite}"] if self.opposite else []
        parts += ["Not known: " + " ".join(self.unknown)] if self.unknown else []
        return "\n\n".join(parts)


def answer_of(study: Study, found: Findings, seeds: int, left_out: Sequence[str] = ()) -> Answer:
    """Put findings into words.

    Args:
        study: what was asked.
        found: from :func:`tdro.study.findings.findings_of`.
        seeds: how many trainings each variant has.
        left_out: why lines of the study are left out, a text each.
    """
    sentences = {"gain": _gain, "agreement": _agreement, "measure": _measure, "forecast": in_words}
    head, rows = _table(study, found)
    return Answer(
        question_of(study),
        sentences[study.says](found),
        head,
        rows,
        study.opposite or "",
        [
            *(f"what the line {reason.replace(': ', ' would give, for ')}." for reason in left_out),
            *(_unknown(found, seeds) if seeds else []),
        ],
    )


def question_of(study: Study) -> str:
    """The study's question, or one made from its keys."""
    keys = " and ".join(dict.fromkeys(key for series in study.lines for key in series.vary))
    return study.question or f"What does {keys} change?"


# ---- sentences


def full_name(one: Mapping[str, Any]) -> str:
    """A variant's name, with its line's where there is one."""
    return f"{one['name']} ({one['line']})" if one["line"] else str(one["name"])


def _gain(found: Findings) -> str:
    """Which variant gains most, how many are ahead and behind, and where the gain ends along each line."""
    compared = [one for one in found if nested(one, "scores", "gain") is not None]
    if not compared:
        return "Nothing was compared: each variant is the same trainings as what it is compared with."
    best = max(compared, key=lambda one: one["scores"]["gain"]["difference"])
    gain = best["scores"]["gain"]
    ahead = sum(shown(one["scores"]["gain"]) > 0 for one in compared)
    behind = sum(shown(one["scores"]["gain"]) < 0 for one in compared)
    text = (
        f"Best is {full_name(best)}: {signed(gain['difference'])} nDCG@10 {_interval(gain)} against "
        f"{_against(best)}. Of {plural(len(compared), 'variant')}, {ahead} {'is' if ahead == 1 else 'are'} shown to be "
        f"ahead and {behind} behind."
    )
    return " ".join([text, *ends(found), *knees(found), *steps_saved(found), *_of_the_disturbed(found)])


def _interval(gain: Mapping[str, Any]) -> str:
    both = gain["with_seeds"]
    low, high = (nested(both or gain, key) for key in ("low", "high"))
    over = "queries and seeds" if both else "queries alone"
    return f"(95 % over {over}: {signed(low)} to {signed(high)})"


def _against(one: Mapping[str, Any]) -> str:
    """What a variant is compared with, by the settings in which the two differ."""
    differ = {key: value for key, value in one["versus"].items() if one["settings"].get(key) != value}
    gone = [key for key in one["settings"] if key not in one["versus"]]
    words = [str(value) if key == "mixture" else f"{key} {value}" for key, value in differ.items()]
    return ", ".join([*words, *(f"no {key}" for key in gone)]) or "itself"


def _of_the_disturbed(found: Findings) -> list[str]:
    """What became of a task that was disturbed, line by line."""
    sentences = []
    for line in dict.fromkeys(one["line"] for one in found if one["disturbed"]):
        along = [one for one in found if one["line"] == line]
        weights = ", ".join(f"{fixed(one['disturbed']['times_uniform'], 2)} at {one['name']}" for one in along)
        task = along[0]["disturbed"]["task"]
        sentences.append(f"{line or 'The weights'}: the weight of {task}, as a multiple of uniform, is {weights}.")
    return sentences


def _agreement(found: Findings) -> str:
    """Between which bounds the weights agree with those of the recipe as it is."""
    known = [one for one in found if nested(one, "weights", "kendall") is not None]
    if not known:
        return "No variant's weights could be compared with those of the recipe as it is."
    low = min(known, key=lambda one: one["weights"]["kendall"])
    high = max((one for one in known if one["weights"]["kendall"] < 1 - 1e-9), default=low, key=_kendall)
    overlaps = [one["weights"]["overlap"] for one in known]
    return (
        f"Against the weights of the recipe as it is, the rank correlation (Kendall) is {fixed(_kendall(low), 2)} "
        f"({full_name(low)}) to {fixed(_kendall(high), 2)} ({full_name(high)}), and the selections have "
        f"{100 * min(overlaps):.0f} to {100 * max(overlaps):.0f} % of their tasks in common."
    )


def _kendall(one: Mapping[str, Any]) -> float:
    return float(one["weights"]["kendall"])


def _measure(found: Findings) -> str:
    """The range of M in each variant."""
    parts = []
    for one in found:
        measures = nested(one, "weights", "measure")
        if measures:
            means = [task["mean"] for task in measures.values()]
            spreads = [task["spread"] for task in measures.values()]
            shown = fixed(means[0], 2) if len(means) == 1 else f"{fixed(min(means), 2)} to {fixed(max(means), 2)}"
            parts.append(f"{full_name(one)}: {shown} (± {fixed(max(spreads), 2)} over the steps)")
    return f"Mean M of the tasks: {'; '.join(parts)}." if parts else "No variant has a measure M."


# ---- the table


def _table(study: Study, found: Findings) -> tuple[list[str], list[list[str]]]:
    """Columns that are empty in every row are left out; some of them, too, where all rows say the same."""
    columns = {
        "line": lambda one: one["line"],
        "variant": lambda one: one["name"],
        "% tasks": lambda one: points(nested(one, "scores", "kept", "tasks"), 0),
        "% rows": lambda one: points(nested(one, "scores", "kept", "rows"), 0),
        "% steps": lambda one: points(nested(one, "scores", "kept", "steps"), 0),
        "nDCG@10": lambda one: points(nested(one, "scores", "mean")),
        "±": lambda one: points(nested(one, "scores", "spread")),
        "forecast": lambda one: fixed(one.get("forecast"), 2) if one.get("forecast") is not None else "",
        "gain": lambda one: signed(nested(one, "scores", "gain", "difference")),
        "95 %, queries and seeds": _bounds,
        "against": lambda one: _against(one) if nested(one, "scores", "gain") else "",
        "shown": _shown,
        "kept tasks": lambda one: signed(nested(one, "scores", "gain", "kinds", "kept", "difference")),
        "left out": lambda one: signed(nested(one, "scores", "gain", "kinds", "left out", "difference")),
        "new": lambda one: signed(nested(one, "scores", "gain", "kinds", "new", "difference")),
        "task": lambda one: nested(one, "disturbed", "task") or "",
        "its weight × k": lambda one: fixed(nested(one, "disturbed", "times_uniform"), 2),
        "its M": lambda one: fixed(nested(one, "disturbed", "measure"), 2),
        "selected": lambda one: {True: "yes", False: "no"}.get(nested(one, "disturbed", "selected"), ""),
        "Kendall": lambda one: fixed(nested(one, "weights", "kendall"), 2),
        "overlap": lambda one: points(nested(one, "weights", "overlap"), 0),
        "eff. tasks": lambda one: fixed(nested(one, "weights", "effective_tasks")),
        "spread of M": lambda one: fixed(nested(one, "weights", "spread"), 2),
        "halves agree": lambda one: fixed(nested(one, "weights", "signs", "agreement"), 2),
        "M": lambda one: _range_of_measure(one, "mean"),
        "M, first third": lambda one: _range_of_measure(one, "first_third"),
        "M, last third": lambda one: _range_of_measure(one, "last_third"),
        "drift": lambda one: points(_largest(nested(one, "weights", "drift")), 0),
    }
    cells = {title: [cell(one) for one in found] for title, cell in columns.items()}
    told = {title: {text for text in column if text not in ("", "–")} for title, column in cells.items()}
    kept = [title for title in told if title not in _NOT_SHOWN[study.says]]
    kept = [title for title in kept if len(told[title]) > (title in _ONLY_IF_IT_VARIES and len(found) > 1)]
    return kept, [[cells[title][at] for title in kept] for at in range(len(found))]


def _bounds(one: Mapping[str, Any]) -> str:
    gain = nested(one, "scores", "gain")
    if gain is None:
        return ""
    bounds = gain["with_seeds"] or gain
    return f"{signed(bounds['low'])} to {signed(bounds['high'])}" + ("" if gain["with_seeds"] else " (queries)")


def _shown(one: Mapping[str, Any]) -> str:
    if nested(one, "scores", "gain") is None:
        return ""
    return {1: "ahead", -1: "behind", 0: "no"}[shown(one["scores"]["gain"])]


def _range_of_measure(one: Mapping[str, Any], key: str) -> str:
    means = [task[key] for task in (nested(one, "weights", "measure") or {}).values() if task[key] is not None]
    return f"{fixed(min(means), 2)}–{fixed(max(means), 2)}" if len(means) > 1 else fixed(means[0], 2) if means else ""


def _largest(values: Mapping[str, float | None] | None) -> float | None:
    known = [value for value in (values or {}).values() if value is not None]
    return max(known) if known else None


# ---- what is not known


def _unknown(found: Findings, seeds: int) -> list[str]:
    gains = [(one, one["scores"]["gain"]) for one in found if nested(one, "scores", "gain") is not None]
    if any(one_seed(gain) for _, gain in gains):
        return ["what another seed gives, for each variant was trained once; add --seeds 3 or more."]
    open_ones = [(one, gain) for one, gain in gains if over_queries(gain) and seeds_could_turn(gain)]
    level = [one for one, gain in gains if not over_queries(gain)]
    said = []
    for one, gain in open_ones[:3]:
        needed = nested(gain, "with_seeds", "needed")
        more = f"about {needed - seeds} more seeds" if needed and needed > seeds else f"over {MOST_SEEDS} seeds"
        said.append(f"{full_name(one)} could turn with other seeds; {more} would show a difference of this size.")
    if len(open_ones) > 3:
        said.append(f"{len(open_ones) - 3} more could turn too, see the table.")
    if level:
        names = ", ".join(full_name(one) for one in level[:3]) + (" and others" if len(level) > 3 else "")
        said.append(f"{names}: too near to what they are compared with for these test queries to tell.")
    return said
