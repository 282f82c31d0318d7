"""The report: what a reader relies on, from the made-up run of fake_run_folder.py."""

import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_run_folder import MIXTURES, NAMES, fake_run, names_for
from tdro.errors import UserError
from tdro.evaluation.compare import readable_numbers as figures
from tdro.evaluation.compare.verdict import verdict
from tdro.files import read_json, write_json
from tdro.report import charts, words
from tdro.report.report_page import write_report
from tdro.report.run_contents import read_run_folder
from tdro.report.weights_section import kept_tasks, selection_name
from tdro.weights import TaskWeights

HOSTILE = '<script>alert("x")</script>&\'"'


class Checker(HTMLParser):
    """Well-formed tags, and what they refer to."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}:
                self.references.append(value)
            assert not key.startswith("on"), f"script in {tag}"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


def read(path):
    """The page and its checker, having asserted what holds for every report."""
    page = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert "script" not in checker.tags and "link" not in checker.tags and "img" not in checker.tags
    assert all(reference.startswith("#") and reference[1:] in checker.ids for reference in checker.references)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|Undefined", " ".join(checker.words)), "a number was not formatted"
    assert "nan" not in re.sub(
        r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    )
    assert len(page.encode()) < 2_000_000
    return page, checker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html"))


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def visible_text(checker):
    return " ".join(" ".join(checker.words).split())


def test_whole_page(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    _, checker = read(path)
    said = visible_text(checker)
    for name in NAMES + MIXTURES:
        assert name in said
    assert "tDRO’s selection beat uniform sampling with 1 of 2 models." in said, "the other group has one seed"
    assert said.count("; over queries and 3 pairs of seeds ") == 1
    assert "To show a difference of this size takes about 4 seeds." in said
    assert "On these queries, with one training each, top-70 came out " in said
    assert "keeps 11 of 16 tasks" in said
    assert "effective tasks of 16" in said
    assert "Apache-2.0" in said and "2.13.0" in said and "eta: 0.05" in said
    assert checker.ids == ["comparison", "weights", "epochs", "steps", "losses", "health", "data", "settings"]
    assert not list(folder.glob(".report*"))
    before = path.read_text()
    assert write_report(folder).read_text() == before, "the same folder gives the same page"


def test_seeds_needed_are_said_once_whatever_the_verdict(copy):
    def said_with(over_queries, p, with_seeds):
        def edited(value):
            found = next(row for row in value["rows"] if row["mixture"] == "top-70")["versus"]["ndcg@10"]["all"]
            both = dict(zip(("low", "high"), with_seeds, strict=True), pairs=3, needed=9)
            found.update(low=over_queries[0], high=over_queries[1], p=p, with_seeds=both)

        edit(copy / "comparison/static.json", edited)
        return visible_text(read(write_report(copy))[1]).count("9 seeds")

    assert said_with((-0.01, 0.03), 0.4, (-0.02, 0.04)) == 1, "not shown over queries"
    assert said_with((0.001, 0.03), 0.01, (-0.02, 0.04)) == 1, "other seeds could turn it"
    assert said_with((0.001, 0.03), 0.01, (0.001, 0.04)) == 1, "shown"


def test_needs_no_torch():
    code = "import sys, tdro.report.report_page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_verdict_that_other_seeds_could_turn():
    difference = {"difference": 0.006, "low": 0.001, "high": 0.01, "p": 0.011, "with_seeds": {"low": 0.0, "high": 0.02}}
    word, said = verdict("top-70", difference, 0.45, 0.44, 20)
    assert word == "Not shown" and said.endswith("but other seeds could turn that.")
    difference["with_seeds"] |= {"pairs": 3, "needed": 7}
    word, said = verdict("top-70", difference, 0.45, 0.44, 20)
    assert said.endswith("could turn that; a difference of this size would need about 7 seeds.")
    assert "over queries and 3 pairs of seeds 0.00 to +2.00" in said
    difference["with_seeds"]["needed"] = None
    assert verdict("top-70", difference, 0.45, 0.44, 20)[1].endswith("need more queries, or over 100 seeds.")
    difference["with_seeds"]["low"] = 0.001
    assert verdict("top-70", difference, 0.45, 0.44, 20)[0] == "Yes"


@pytest.mark.parametrize(
    ("gain", "interval", "p", "word", "says"),
    [
        (0.01, (0.006, 0.014), 0.0002, "Yes", "top-70 beat uniform by 1.00 points"),
        (-0.01, (-0.014, -0.006), 0.0002, "No", "top-70 did worse than uniform by 1.00 points"),
        (0.002, (-0.001, 0.005), 0.2, "Not shown", "0.20 points ahead of uniform, too little"),
        (-0.002, (-0.005, 0.001), 0.2, "Not shown", "0.20 points behind uniform, too little"),
        (0.0, (-0.001, 0.001), 1.0, "Not shown", "level with uniform"),
        (0.002, (0.0001, 0.005), 0.06, "Not shown", "ahead of uniform, too little"),
        (None, (None, None), None, "Unknown", "no measured difference"),
        (math.nan, (math.nan, math.nan), math.nan, "Unknown", "no measured difference"),
    ],
)
def test_verdict_is_plain_either_way(copy, gain, interval, p, word, says):
    (copy / "comparison" / "smollm2.json").unlink()

    def change(comparison):
        (row,) = (row for row in comparison["rows"] if row["mixture"] == "top-70")
        row["versus"]["ndcg@10"]["all"] = {
            "difference": gain,
            "low": interval[0],
            "high": interval[1],
            "p": p,
            "with_seeds": {"low": interval[0], "high": interval[1]},
        }

    edit(copy / "comparison" / "static.json", change)
    said = visible_text(read(write_report(copy))[1])
    assert (
        f"static {word} {'' if word == 'Unknown' else 'top-70 '}" in said.replace(" top-70 has", " has")
        or word == "Unknown"
    )
    assert says in said
    heading = {
        "Yes": "selection beat uniform sampling.",
        "No": "did worse than",
        "Not shown": "does not show",
        "Unknown": "not known",
    }
    assert heading[word] in said


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (["Yes", "Yes"], "with both models"),
        (["Yes", "No"], "with 1 of 2 models, and did worse with 1"),
        (["Not shown", "No"], "with none of 2 models, and did worse with 1"),
        (["Yes"] * 3, "with all 3 models"),
        ([], "not known yet"),
    ],
)
def test_summary_counts_losses(found, says):
    assert says in words.headline(found)


@pytest.mark.parametrize(
    ("gone", "command"),
    [
        ("run.json", "run"),
        ("recipe.yaml", "run"),
        ("versions.json", "run"),
        ("weights/weights.json", "learn"),
        ("weights/steps.jsonl", "learn"),
        ("weights/health.json", "learn"),
        ("models", "finetune"),
        ("comparison", "evaluate"),
    ],
)
def test_a_missing_part_names_its_command(copy, gone, command):
    target = copy / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    page, _ = read(write_report(copy))
    assert page.count(f"<code>tdro {command} RECIPE</code> makes it.") >= 1


def test_an_empty_folder_is_a_page_of_commands(tmp_path):
    said = visible_text(read(write_report(tmp_path))[1])
    for command in ("run", "learn", "finetune", "evaluate"):
        assert f"tdro {command} RECIPE makes it." in said
    assert "not known yet" in said


def test_no_folder_and_broken_files_are_named(tmp_path, copy):
    with pytest.raises(UserError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    edit(copy / "comparison" / "static.json", lambda value: value.pop("rows"))
    with pytest.raises(UserError, match=r"static\.json"):
        write_report(copy)
    (copy / "comparison" / "static.json").write_text("{")
    with pytest.raises(UserError, match=r"static\.json, line 1"):
        write_report(copy)
    (copy / "comparison" / "static.json").unlink()
    lines = (copy / "weights" / "steps.jsonl").read_text().splitlines()
    short = json.dumps({**json.loads(lines[2]), "alpha": [0.5, 0.5]})
    (copy / "weights" / "steps.jsonl").write_text("\n".join([*lines[:2], short]))
    with pytest.raises(UserError, match=r"steps\.jsonl, step line 3: 2 values of 'alpha' for 16 tasks"):
        write_report(copy)
    assert not (copy / "report.html").exists()


def test_hostile_names_stay_text(tmp_path):
    names = [HOSTILE, "</style><b>b", '" onload="x', "{{ run }}", *NAMES[:12]]
    folder = fake_run(tmp_path / "run", names=names, steps=30)
    edit(folder / "run.json", lambda value: value.update(name=HOSTILE))
    edit(
        folder / "run.json",
        lambda value: value["tasks"][0].update(source=HOSTILE, licence=HOSTILE, instruction=HOSTILE),
    )
    edit(folder / "weights" / "health.json", lambda value: value["warnings"].append(HOSTILE))
    (folder / "recipe.yaml").write_text(HOSTILE)
    test = read_json(folder / "comparison" / "static.json")["tests"][0]["name"]
    example = {"query_id": "1", "query": HOSTILE, "task": HOSTILE, "row": 7, "train_query": HOSTILE, "similarity": 1.0}
    leak = {"test": test, "queries": 3, "leaked": 1, "tasks": {HOSTILE: 1}, "example": example}
    found = {"format": "tdro-leaks/2", "looked_at": {"a": 1}, "tests": {test: {"queries": 3}}, "leaks": [leak]}
    write_json(folder / "leaks.json", found)
    (folder / "comparison" / "static.json").rename(folder / "comparison" / "other.json")
    edit(folder / "comparison" / "other.json", lambda value: value.update(group=HOSTILE))
    page, checker = read(write_report(folder))
    assert "<script" not in page
    assert "1 of 1 test set shares queries with the training data, 1 of 3 queries in all" in visible_text(checker)
    assert HOSTILE in visible_text(checker), "the name is still shown, as text"
    assert "{{ run }}" in visible_text(checker)


def test_nothing_known_is_a_dash(copy):
    def blank(value):
        if isinstance(value, dict):
            return {key: blank(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [blank(inner) for inner in value]
        return math.nan if isinstance(value, float) else value

    path = copy / "weights" / "health.json"
    path.write_text(json.dumps(blank(json.loads(path.read_text()))))
    for path in copy.glob("comparison/*.json"):
        path.write_text(json.dumps(blank(json.loads(path.read_text()))))
    steps = [blank(json.loads(line)) for line in (copy / "weights" / "steps.jsonl").read_text().splitlines()]
    (copy / "weights" / "steps.jsonl").write_text("\n".join(json.dumps(step) for step in steps))
    edit(copy / "run.json", lambda value: value["stages"].append({"name": "half done", "seconds": None}))
    read(write_report(copy))


@pytest.mark.parametrize(("n", "steps"), [(1, 1), (2, 3), (50, 400)])
def test_few_and_many_tasks(tmp_path, n, steps):
    names = names_for(n) if n > 1 else ["only_one", "other"][:1]
    if n == 1:
        folder = fake_run(tmp_path / "run", names=["only_one", "other"], steps=steps)
    else:
        folder = fake_run(tmp_path / "run", names=names, steps=steps)
    _, checker = read(write_report(folder))
    assert all(name in visible_text(checker) for name in names)


def test_selection_as_trained_wins_over_the_computed_one(copy):
    run = read_run_folder(copy)
    assert selection_name(run) == "top-70"
    assert sum(kept_tasks(run, "top-70")) == 11
    first = sorted(copy.glob("models/*/top-70-seed1/training.json"))[0]
    edit(
        first,
        lambda value: (
            value["weights"].update({name: 0.0 for name in NAMES[1:]}) or value["weights"].update(cli_aws=1.0)
        ),
    )
    assert kept_tasks(read_run_folder(copy), "top-70") == [name == "cli_aws" for name in NAMES]
    shutil.rmtree(copy / "models")
    kept = kept_tasks(read_run_folder(copy), "top-70")
    weights = read_run_folder(copy).weights.on(NAMES)
    assert sum(kept) == 11 and min(weights[kept]) >= max(weights[~np.array(kept)])


def test_a_run_of_a_selection_with_an_exponent_only(copy):
    for folder in (copy / "models/static", copy / "evaluation/static"):
        for path in sorted(folder.glob("top-70-seed*")):
            path.rename(path.with_name(path.name.replace("top-70", "top-70^0.5")))
    shutil.rmtree(copy / "comparison")
    for path in copy.glob("models/*/top-70*/training.json"):
        edit(path, lambda value: value.update(mixture="top-70^0.5"))
    run = read_run_folder(copy)
    assert selection_name(run) == "top-70^0.5"
    assert sum(kept_tasks(run, "top-70^0.5")) == sum(kept_tasks(run, "top-70")) == 11
    assert "top-70^0.5 keeps 11 of 16 tasks" in visible_text(read(write_report(copy))[1])


@pytest.mark.parametrize(
    ("mixtures", "load", "alpha", "stage_one", "gain"),
    [
        (["uniform", "top-70"], "null", True, True, False),
        (["uniform", "gain"], "null", False, False, True),
        (["uniform", "reweight", "gain^0.5"], "null", True, True, True),
        (["uniform"], "w.json", True, False, False),
    ],
)
def test_weights_that_an_earlier_recipe_left_are_not_shown(copy, mixtures, load, alpha, stage_one, gain):
    left = TaskWeights.uniform(NAMES)
    left.save(copy / "weights" / "gain" / "weights.json")
    groups = json.dumps([{"name": "static", "mixtures": mixtures, "seeds": [1, 2, 3], "fewer_seeds": {"uniform": 2}}])
    (copy / "recipe.yaml").write_text(f"name: quickstart\nweights: {{load: {load}}}\nfinetune: {groups}\n")
    made = ["reference", "weights", "weights/gain", "models/static/uniform-seed2", "evaluation/static"]
    left_there = ["models/static/uniform-seed3", "models/old/uniform-seed1", "evaluation/old"]
    edit(copy / "run.json", lambda value: value.update(stages=[{"name": name} for name in made + left_there]))
    run = read_run_folder(copy)
    asked = {"reference": stage_one, "weights": alpha, "weights/gain": gain}
    assert [stage["name"] for stage in run.stages] == [name for name in made if asked.get(name, True)]
    assert (run.weights != left, run.steps is not None, run.gain_weights == left) == (alpha, stage_one, gain)
    assert (run.health is not None) == stage_one
    assert [model.name for model in run.trainings if model.mixture == "uniform"] == ["uniform-seed1", "uniform-seed2"]


def test_the_plain_selection_is_what_the_report_is_about(copy):
    first = sorted(copy.glob("models/*/uniform-seed*/training.json"))[0]
    edit(first, lambda value: value.update(mixture="top-50^0.5"))
    assert selection_name(read_run_folder(copy)) == "top-70"


@pytest.mark.parametrize(("alpha", "said"), [("last", False), ("mean", True), (None, False)])
def test_the_mean_of_alpha_is_said(copy, alpha, said):
    edit(copy / "weights/weights.json", lambda value: value["provenance"].update(alpha=alpha))
    assert ("the mean of α over all steps" in visible_text(read(write_report(copy))[1])) == said


def test_unequal_budgets_are_said(copy):
    edit(copy / "models/static/top-70-seed2/training.json", lambda value: value.update(steps=4000))
    assert "not trained for the same steps" in visible_text(read(write_report(copy))[1])


def test_collapse_is_said(copy):
    collapsed = {name: 0.985 if at == 4 else 0.001 for at, name in enumerate(NAMES)}
    edit(copy / "weights/weights.json", lambda value: value.update(weights=collapsed))
    said = visible_text(read(write_report(copy))[1])
    assert "That is a collapse" in said and "98.5 % of the batches from ui_title2desc_en" in said


@pytest.mark.parametrize(
    ("formatted", "expected"),
    [
        (figures.points(0.2154), "21.5"),
        (figures.signed(0.0098), "+0.98"),
        (figures.signed(-0.0098), "−0.98"),
        (figures.signed(-0.00001), "0.00"),
        (figures.p_value(0.00002), "< 0.001"),
        (figures.p_value(0.034), "0.034"),
        (figures.p_phrase(None), "p unknown"),
        (words.percent(0.00001), "< 0.1 %"),
        (words.count(433120), "433\u202f120"),
        (words.duration(7.06), "7.1 s"),
        (words.duration(125), "2 min 05 s"),
        (words.duration(3780), "1 h 03 min"),
        (words.epochs(0.0), "0"),
        (words.epochs(8.31), "8.31"),
        (figures.fixed(None), "–"),
        (figures.fixed(True), "–"),
        (figures.fixed(math.inf), "–"),
        (words.mixture_in_words("top-70"), "the 70 % of tasks with the largest α, equally often"),
        (words.mixture_in_words("top-70^0.5"), "the 70 % of tasks with the largest α, by α^0.5"),
        (words.mixture_in_words("bottom-12.5"), "the 12.5 % of tasks with the smallest α, equally often"),
        (words.mixture_in_words("reweight^0.5"), "α^0.5 as sampling ratios"),
        (words.mixture_in_words("reweight"), "α itself as sampling ratios"),
        (words.mixture_in_words("proportional^0.5"), "tasks in proportion to rows^0.5"),
        (words.mixture_in_words("mine"), ""),
        (words.mixture_in_words("top-70^x"), ""),
    ],
)
def test_formats(formatted, expected):
    assert formatted == expected


@given(st.lists(st.floats(-50, 400), min_size=1, max_size=20))
def test_labels_never_collide(wanted):
    places = charts.spread_labels(wanted, 15, 0, 300)
    gap = min(15, 300 / max(len(wanted) - 1, 1))
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in places)
    ordered = sorted(places)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ordered))
    assert [places[at] for at in sorted(range(len(wanted)), key=lambda at: wanted[at])] == ordered


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low, span):
    if low + span > low:
        found = charts.ticks(low, low + span)
        assert len(found) <= 8
        assert all(low - 1e-3 * span <= at <= low + span + 1e-3 * span for at in found)


def test_a_gap_lifts_the_pen():
    assert charts.path([0, 1, 2, 3], [1, 2, math.nan, 4]) == "M0.0 1.0L1.0 2.0M3.0 4.0h2"
    values = np.array([1.0, math.nan, 3.0, 5.0])
    assert charts.smooth(values, 1).tolist()[2:] == [3.0, 5.0] and math.isnan(charts.smooth(values, 1)[1])
    assert charts.smooth(values[:, None], 3)[1, 0] == 2.0
