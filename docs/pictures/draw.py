"""Draws the pictures of docs/why.md from benchmarks/results/quickstart.json and mixtures.json.

python docs/pictures/draw.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from svg import WIDTH, bar, dot, line, save, text

from tdro import TaskWeights
from tdro.files import read_json

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"
LEFT = 20


def draw(folder: Path) -> None:
    """Write all pictures to a folder."""
    run, mixtures = read_json(RESULTS / "quickstart.json"), read_json(RESULTS / "mixtures.json")
    stages(run, mixtures, folder)
    one_step(run, folder)
    shares(run, mixtures, folder)


def stages(run: dict[str, Any], mixtures: dict[str, Any], folder: Path) -> None:
    """The three stages and the comparison, one below the other, with what the quickstart gave at each."""
    tasks = len(run["tasks"])
    body = _heading(26, "0", "Reference: all tasks equally", "A small model is fine-tuned on every task alike.")
    body += _columns([1 / tasks] * tasks, LEFT, 66, WIDTH - 2 * LEFT, 30)
    body += text(LEFT, 112, f"{tasks} tasks, {100 / tasks:.2f} % of the steps each", "soft")
    body += _heading(
        158, "1", "Weights: where the copy is still behind", "A second copy learns; weights move at each step."
    )
    body += _alpha(run, 196, 150)
    body += _heading(412, "2", "Fine-tuning: by a mixture of the weights", "Any model; here top-70^0.5.")
    selected = TaskWeights.from_dict(run["weights"]).transfer("top-70^0.5")
    drawn = [selected.get(name, 0.0) for name in run["tasks"]]
    body += _columns(drawn, LEFT, 450, WIDTH - 2 * LEFT, 70)
    body += text(LEFT, 536, "share of the steps; the 5 tasks with the least weight are left out", "soft")
    body += _heading(582, "3", "Comparison: did it help?", "nDCG@10 × 100 minus uniform's, 95 % intervals, 8 seeds")
    names = ["proportional^0.5", "top-70", "top-70^0.5", "gain"]
    body += _differences(mixtures, names, 624)
    save("stages", "Reference, weights, fine-tuning and comparison of the quickstart", 752, body, folder)


def one_step(run: dict[str, Any], folder: Path) -> None:
    """What one step of stage 1 does: losses, their ratio, and how the weight moves, for every task."""
    step = run["one_step"]
    order = sorted(range(len(run["tasks"])), key=lambda g: -step["measure"][g])
    highest = max(*step["proxy_loss"], *step["reference_loss"])
    x, width, top = 134, 150, 92
    body = text(LEFT, 26, f"Step {step['step']} of 400", "title")
    body += dot(LEFT + 5, 46) + text(LEFT + 16, 50, "loss of the copy")
    body += dot(LEFT + 135, 46, "other") + text(LEFT + 146, 50, "loss of the reference, in nats")
    body += text(x, 78, "0", "soft", "middle") + text(x + width, 78, f"{highest:.1f}", "soft", "middle")
    body += text(348, 78, "M", "title", "end") + text(WIDTH - LEFT, 78, "weight, in %", "title", "end")
    for row, g in enumerate(order):
        y = top + 22 * row
        mine, other = (x + width * step[key][g] / highest for key in ("proxy_loss", "reference_loss"))
        body += text(LEFT, y + 4, _short_name(run["tasks"][g]))
        body += line([(x, y), (x + width, y)]) + line(
            [(other, y), (mine, y)], "line strong" if mine > other else "line"
        )
        body += dot(other, y, "other") + dot(mine, y)
        body += text(348, y + 4, f"{step['measure'][g]:.2f}", "", "end")
        before, after = 100 * step["before"][g], 100 * step["after"][g]
        body += text(WIDTH - LEFT, y + 4, f"{before:.3f} {'↑' if after > before else '↓'} {after:.3f}", "", "end")
    label = "One step of stage 1: losses of copy and reference, their ratio M and the new weight of each task"
    save("step", label, top + 22 * len(order) + 4, body, folder)


def shares(run: dict[str, Any], mixtures: dict[str, Any], folder: Path) -> None:
    """For each mixture how often each task is drawn, and what it gave."""
    weights = TaskWeights.from_dict(run["weights"])
    order = sorted(range(len(run["tasks"])), key=lambda g: -weights.values[g])
    found = {row["mixture"]: row["versus"] for row in mixtures["rows"]}
    body = text(LEFT, 24, "How often each task is drawn", "title")
    body += text(WIDTH - LEFT, 24, "nDCG@10", "title", "end") + text(WIDTH - LEFT, 43, "minus uniform", "soft", "end")
    body += text(LEFT, 43, "16 tasks, the largest learned weight first", "soft")
    names = ["uniform", "proportional^0.5", "top-70", "reweight^0.5", "top-70^0.5", "reweight", "gain"]
    for at, name in enumerate(names):
        drawn = TaskWeights.from_dict(run["gain"]) if name == "gain" else weights.transfer(name, run["rows"])
        y = 64 + 68 * at
        body += text(LEFT, y + 28, name) + _columns(
            [drawn.get(run["tasks"][g], 0.0) for g in order], 150, y, 200, 56, 0.26
        )
        body += text(WIDTH - LEFT, y + 28, _gave(found.get(name), name), "soft", "end")
    save("mixtures", "How often each mixture draws each task", 64 + 68 * len(names), body, folder)


def _gave(versus: dict[str, Any] | None, name: str) -> str:
    if versus is None:
        return "–" if name == "uniform" else "not measured"
    return _signed(versus["ndcg@10"]["all"]["difference"])


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _heading(y: float, number: str, title: str, more: str) -> str:
    badge = f'<circle cx="{LEFT + 10}" cy="{y - 5}" r="11" class="bar"/>'
    badge += f'<text x="{LEFT + 10}" y="{y - 0.5}" text-anchor="middle" style="fill: var(--paper)">{number}</text>'
    return badge + text(LEFT + 30, y, title, "title") + text(LEFT + 30, y + 19, more, "soft")


def _columns(values: list[float], x: float, y: float, width: float, height: float, highest: float | None = None) -> str:
    """Columns that stand on a line; each as high as its share of ``highest`` (the largest value)."""
    each, highest = width / len(values), highest or max(values)
    drawn = [
        bar(x + each * at, y + height * (1 - value / highest), each - 3, height * value / highest)
        for at, value in enumerate(values)
    ]
    return "".join(drawn) + line([(x, y + height), (x + width - 3, y + height)])


def _alpha(run: dict[str, Any], y: float, height: float) -> str:
    """α of every task over the steps; the tasks with the largest last α have a name."""
    steps, alpha = run["alpha"]["step"], run["alpha"]["alpha"]
    last, highest, width = alpha[-1], max(alpha[-1]) * 1.04, 330
    named = sorted(range(len(last)), key=lambda g: -last[g])[:5]
    body = ""
    for g in sorted(range(len(last)), key=lambda g: g in named):
        points = [
            (LEFT + width * step / steps[-1], y + height * (1 - row[g] / highest))
            for step, row in zip(steps, alpha, strict=True)
        ]
        body += line(points, "line strong" if g in named else "line")
    places: list[float] = []
    for g in named:  # names below each other, at least 15 apart
        at = y + height * (1 - last[g] / highest) + 4
        places.append(max(at, places[-1] + 15) if places else at)
        body += text(LEFT + width + 8, places[-1], f"{run['tasks'][g]} {100 * last[g]:.0f} %")
    body += line([(LEFT, y + height), (LEFT + width, y + height)])
    return body + text(LEFT, y + height + 18, f"weights over {steps[-1] + 1} steps", "soft")


def _differences(mixtures: dict[str, Any], names: list[str], y: float) -> str:
    """A row for each mixture: the difference from uniform and its interval over queries and seeds."""
    found = {row["mixture"]: row["versus"]["ndcg@10"]["all"] for row in mixtures["rows"] if row["versus"]}
    zero, scale = 270, 55
    body = line([(zero, y - 4), (zero, y + 26 * len(names) - 8)]) + text(
        zero, y + 26 * len(names) + 8, "uniform", "soft", "middle"
    )
    for row, name in enumerate(names):
        at, part = y + 26 * row + 8, found[name]
        low, high = (zero + scale * 100 * part["with_seeds"][end] for end in ("low", "high"))
        middle = zero + scale * 100 * part["difference"]
        css = "line strong" if middle > zero else "line against"
        body += text(LEFT, at + 4, name) + line([(low, at), (high, at)], css)
        body += dot(middle, at, "bar" if middle > zero else "other")
        body += text(WIDTH - LEFT, at + 4, _signed(part["difference"]), "", "end")
    return body


def _short_name(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


if __name__ == "__main__":
    draw(HERE)
