"""Studies: variants share what they have in common, one and two workers agree, what is stopped goes on."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_mixture
from tdro import cli
from tdro.errors import UserError
from tdro.files import read_json, write_atomic
from tdro.machine import Machine
from tdro.recipe.builtin import find
from tdro.recipe.schema import load_recipe
from tdro.study import pieces, workers
from tdro.study.cost import cost_page
from tdro.study.engine import Question, plan_study, run_study
from tdro.study.pieces import Piece
from tdro.study.schema import Study, built_in, find_study, load_study
from tdro.study.settings import make_setup
from tdro.study.variants import fitting, variants_of
from tdro.study.work import ROUNDS
from tdro.study.workers import InProcesses

STUDY = Study(
    series=(
        {"name": "top", "vary": {"mixture": ["top-50"]}},  # type: ignore[arg-type]
        {"name": "noise", "vary": {"alpha.noise": [0, 2]}, "set": {"mixture": "top-50"}},  # type: ignore[arg-type]
    ),
    seeds=2,
)


def question(folder: Path, study: Study = STUDY, **changes: Any) -> Question:
    return Question("mine", study, tiny_mixture.recipe(folder, **changes))


def copied(finished: Path, folder: Path, without: str) -> Question:
    """The finished study in another folder, without what was made of one kind and after it."""
    root = question(folder).place.root
    shutil.copytree(question(finished).place.root, root, symlinks=True)
    shutil.rmtree(root / "mine")
    for note in root.glob("pieces/*/done.json"):
        if ROUNDS.index(read_json(note)["kind"]) >= ROUNDS.index(without):
            shutil.rmtree(note.parent)
    return question(folder)


def points(asked: Question) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(asked.place.root / asked.name / "study.json")["points"]
    return found


def made(asked: Question, kind: str) -> int:
    notes = [read_json(path) for path in asked.place.root.glob("pieces/*/done.json")]
    return sum(note["kind"] == kind for note in notes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        run_study(question(folder))
    return folder


@pytest.fixture
def cache(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))


# ---- what is made, and what is not


@pytest.mark.usefixtures("cache")
def test_changed_data_follow_test_sets_and_tasks_without_in_batch_negatives(tmp_path: Path) -> None:
    few = Study(vary={"tasks.count": (2,)}, versus={}, seeds=1)

    def changed(**changes: Any) -> str:
        work = question(tmp_path, few, **changes).work(Machine()).on_changed_data()
        return str(next(iter(work.setups.values())).training.data.mixture)

    before = changed()
    assert changed() == before
    (tmp_path / "mixture/tests/unseen/qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nunseen-0\td-unseen-1\t1\n"
    )
    after = changed()
    assert "unseen-0\td-unseen-1" in (Path(after) / "tests/unseen/qrels/test.tsv").read_text()
    hard = changed(data__hard_negatives_only=["task0", "task1", "task2", "task3"])
    assert not any(task["in_batch_negatives"] for task in read_json(Path(hard) / "mixture.json")["tasks"])


def test_variants_share_what_they_have_in_common(finished: Path) -> None:
    """One reference and one set of weights; uniform is trained once a seed; noise of 0 changes nothing."""
    asked = question(finished)
    assert (made(asked, "reference"), made(asked, "weights")) == (1, 1)
    top, without_noise, _ = (point["scores"] for point in points(asked))
    assert top == without_noise
    assert 4 <= made(asked, "score") <= 2 * 3  # noise may select what was selected before


@pytest.mark.usefixtures("cache")
def test_a_finished_study_makes_nothing_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = points(question(finished))
    monkeypatch.setattr(pieces, "make_piece", lambda *_: pytest.fail("made again"))
    run_study(question(finished))
    assert points(question(finished)) == before


@pytest.mark.usefixtures("cache")
def test_more_seeds_and_another_study_add_only_what_they_lack(finished: Path) -> None:
    more = Question("more", STUDY, tiny_mixture.recipe(finished), seeds=3)
    before = made(more, "score")
    run_study(more)
    with_more = made(more, "score")
    assert 2 <= with_more - before <= 3 and made(more, "weights") == 1
    other = Question("other", Study(vary={"mixture": ("top-50", "top-25")}, seeds=1), more.recipe)
    run_study(other)
    assert made(other, "score") == with_more + 1


@pytest.mark.usefixtures("cache")
def test_a_study_that_was_stopped_goes_on(finished: Path, tmp_path: Path) -> None:
    asked, kept = copied(finished, tmp_path, without="score"), 2

    def stopping(todo: list[Piece], root: Path, done: Callable[[Piece, float], None]) -> None:
        for piece in todo:
            if made(asked, "score") == kept:
                raise KeyboardInterrupt
            done(piece, pieces.make_piece(piece, root))

    with pytest.raises(KeyboardInterrupt):
        run_study(asked, stopping)
    seconds = {path: path.stat().st_mtime_ns for path in asked.place.root.glob("pieces/*/done.json")}
    run_study(asked)
    assert {path: path.stat().st_mtime_ns for path in seconds} == seconds
    assert [point["scores"] for point in points(asked)] == [point["scores"] for point in points(question(finished))]


@pytest.mark.usefixtures("cache")
def test_two_workers_give_the_same_numbers_even_if_one_is_killed(finished: Path, tmp_path: Path) -> None:
    asked, killed = copied(finished, tmp_path, without="weights"), []
    with InProcesses(2) as processes:

        def killing(todo: list[Piece], root: Path, done: Callable[[Piece, float], None]) -> None:
            def then_kill(piece: Piece, seconds: float) -> None:
                done(piece, seconds)
                assert processes._workers is not None
                busy = [worker for worker in processes._workers._workers if worker.task is not None]
                if piece.kind == "score" and busy and not killed:
                    killed.append(busy[0].task)
                    os.kill(busy[0].process.pid, signal.SIGKILL)

            processes(todo, root, then_kill)

        run_study(asked, killing)
    assert killed
    assert points(asked) == points(question(finished))


def test_warnings_of_a_piece_are_printed_where_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = partial(logging.getLogger("tdro.dro").warning, "the weights swing")
    monkeypatch.setattr(workers, "make_piece", lambda *_: warning())
    workers.MakePiece(Piece("score", "key", tiny_mixture.recipe(tmp_path), "stage", "top-50 seed 1", 6), tmp_path)()
    assert "the weights swing" in capsys.readouterr().out


# ---- what is said


def test_the_answer_is_a_sentence_a_table_and_what_is_not_known(finished: Path, cache: None) -> None:
    text = str(run_study(question(finished)))
    assert text.startswith("What does mixture and alpha.noise change?\n\nBest is ")
    for words in ("against uniform", "top-50", "alpha.noise 2", "Not known: "):
        assert words in text
    assert max(map(len, text.split("\n\n")[2].splitlines())) <= 140


def test_every_number_is_on_disk(finished: Path) -> None:
    asked = question(finished)
    folder = asked.place.root / "mine"
    found = points(asked)
    assert [point["name"] for point in found] == ["top-50", "alpha.noise 0", "alpha.noise 2"]
    for point in found:
        assert len(point["scores"]["by_seed"]) == 2 and set(point["scores"]["gain"]) >= {"low", "high", "with_seeds"}
        assert set(point["weights"]["measure"]) == {f"task{number}" for number in range(4)}
    assert [point["weights"]["kendall"] == 1 for point in found] == [True, True, False]
    with (folder / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["gain"]) for row in rows] == [point["scores"]["gain"]["difference"] for point in found]


def test_what_is_kept_and_where_it_gains(finished: Path) -> None:
    """Two of four tasks; with noise each seed selects its own. The fifth test set is of no task."""
    top, _, noise = (point["scores"] for point in points(question(finished)))
    assert top["kept"]["tasks"] == noise["kept"]["tasks"] == 0.5 and top["kept"]["steps"] == 1
    used = {name for name, weight in top["training"]["weights"].items() if weight > 0}
    rows = {f"task{number}": number + 1 for number in range(4)}
    assert top["kept"]["rows"] == sum(rows[name] for name in used) / sum(rows.values())
    kinds = top["gain"]["kinds"]
    parts = [np.mean([top["gain"]["tests"][name]["difference"] for name in names]) for names in (used, {"unseen"})]
    assert [kinds["kept"]["difference"], kinds["new"]["difference"]] == pytest.approx(parts)
    whole = 2 * kinds["kept"]["difference"] + 2 * kinds["left out"]["difference"] + kinds["new"]["difference"]
    assert whole / 5 == pytest.approx(top["gain"]["difference"])


def test_the_report_has_a_mark_and_an_interval_for_each_variant(finished: Path) -> None:
    page = (question(finished).place.root / "mine" / "report.html").read_text()
    figure = page.split("<svg", 1)[1].split("</svg>", 1)[0]
    assert figure.count("<g class=") == 3
    assert figure.count("<title>alpha.noise 2: ") == 2  # on the mark and on its interval


def test_only_weights_are_learned_without_seeds(finished: Path, cache: None) -> None:
    study = Study(vary={"weights.offset": (0, 1)}, seeds=0, says="agreement")
    asked = Question("weights", study, tiny_mixture.recipe(finished))
    trained = made(asked, "score")
    text = str(run_study(asked))
    assert made(asked, "score") == trained and made(asked, "weights") == 2
    assert "rank correlation (Kendall)" in text and "nDCG@10" not in text


def test_the_plan_counts_what_is_left(finished: Path, tmp_path: Path, cache: None) -> None:
    text = cost_page(plan_study(question(tmp_path)), 1)
    assert "No time is known yet" in text and not question(tmp_path).place.root.exists()
    assert text.splitlines()[3].split()[-4:-2] == ["8", "0"]
    assert "All of it is done" in cost_page(plan_study(question(finished)), 1)


# ---- variants


def test_several_keys_make_lines() -> None:
    found = variants_of(Study(vary={"weights.steps": ("x0.5", "x1"), "mixture": ("top-50", "reweight")}))
    assert [(one.line, one.name, one.place) for one in found] == [
        ("mixture top-50", "weights.steps x0.5", 0.5),
        ("mixture top-50", "weights.steps x1", 1.0),
        ("mixture reweight", "weights.steps x0.5", 0.5),
        ("mixture reweight", "weights.steps x1", 1.0),
    ]
    assert found[0].versus == {"weights.steps": "x0.5", "mixture": "uniform"}


def test_settings_of_the_proxy_do_not_change_what_is_fine_tuned(tmp_path: Path) -> None:
    recipe = tiny_mixture.recipe(tmp_path)
    setup = make_setup(recipe, {"base.dimension": 4, "reference.steps": "x0.5", "seed": 5, "finetune.batch": 4})
    assert (setup.learning.base.dimension, setup.learning.reference.steps, setup.learning.seed) == (4, 3, 5)
    assert setup.training.base == recipe.base and setup.training.seed == recipe.seed
    group = setup.training.finetune[0]
    assert group.base == recipe.base and (group.batch, group.steps) == (4, 6)


def test_a_reference_of_another_size_leaves_the_proxy_as_it_is(finished: Path, cache: None) -> None:
    """Two references, of two widths, and two sets of weights; with the recipe's own width nothing is made again."""
    study = Study(vary={"reference.dimension": ("x0.5", 8)}, seeds=0, says="agreement")
    asked = Question("sizes", study, tiny_mixture.recipe(finished))
    before = made(asked, "reference"), made(asked, "weights")
    run_study(asked)
    assert (made(asked, "reference"), made(asked, "weights")) == (before[0] + 1, before[1] + 1)
    half, own = points(asked)
    assert own["weights"]["kendall"] == 1 and half["weights"]["alpha"] != own["weights"]["alpha"]
    setup = make_setup(asked.recipe, {"reference.dimension": "x0.5"})
    assert setup.learning.base == asked.recipe.base and setup.reference_base.dimension == 4  # type: ignore[union-attr]


def test_lines_that_need_what_the_recipe_lacks_are_left_out(tmp_path: Path) -> None:
    proxy = Question.of(find_study("proxy"), tiny_mixture.recipe(tmp_path))
    assert proxy.left_out == ["fewer layers: the recipe has no base.layers"]
    assert "fewer layers" not in {series.name for series in proxy.fitted.lines}
    layers = Study(series=({"name": "x", "vary": {"base.layers": [1]}, "needs": "base.layers"},))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"nothing of the study fits this recipe. x: the recipe has no base.layers"):
        _ = question(tmp_path, layers).fitted


def test_eta_replaces_eta_times_steps(tmp_path: Path) -> None:
    assert make_setup(tiny_mixture.recipe(tmp_path), {"weights.eta": 0.5}).learning.weights.eta_value == 0.5


@pytest.mark.parametrize("of", ["tiny", "quickstart"])
@pytest.mark.parametrize("name", built_in())
def test_built_in_studies_fit_any_recipe(name: str, of: str, tmp_path: Path) -> None:
    """The quickstart's group has mixtures with fewer seeds, which are those of no variant."""
    study = load_study(find_study(name))
    assert study.question and study.opposite
    recipe = load_recipe(find(of)) if of == "quickstart" else tiny_mixture.recipe(tmp_path, reference__steps=40)
    for variant in variants_of(fitting(study, recipe)[0]):
        make_setup(recipe, variant.settings)
        assert not make_setup(recipe, variant.versus).learns


# ---- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights.ofset": 1}, r"weights.ofset: unknown key; did you mean 'offset'\?"),
        ({"finetune.stepps": 1}, r"finetune.stepps: unknown key; did you mean 'steps'\?"),
        ({"weights.offset": -1}, r"weights.offset: must be at least 0, found -1"),
        ({"weights.offset": "x2"}, None),
        ({"weights.max_norm": "x2", "weights.eta": "x2"}, r"weights.eta: x2 is a multiple of the recipe's own number"),
        ({"alpha.nose": 1}, r"alpha.nose: unknown key; did you mean 'alpha.noise'\?"),
        ({"alpha.noise": "much"}, r"alpha.noise: must be a number of at least 0, found 'much'"),
        ({"alpha.exchanged": 1, "mixture": "reweight"}, r"alpha.exchanged: exchanges tasks of a selection"),
        ({"tasks.zip": 1}, r"tasks.zip: unknown key; did you mean 'tasks.zipf'\?"),
        ({"tasks.rows": 2}, r"tasks.rows: must be at most 1"),
        ({"tasks.count": 0.5}, r"tasks.count: must be a whole number, found 0.5"),
        ({"tasks.share": 0}, r"tasks.share: must be above 0"),
        ({"reference.layers": 2}, r"reference.layers: only a decoder can be cut"),
        ({"reference.layers": "x0.5"}, r"reference.layers: x0.5 is a multiple"),
        ({"mixture": "top"}, r"finetune.mixtures"),
        ({"finetune.seeds": [1]}, r"finetune.seeds: is no key of a study; give the study's seeds"),
        ({"folder": "x"}, r"folder: is no key of a study"),
        ({"seed.x": 1}, r"seed.x: unknown key"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, Any], message: str | None) -> None:
    recipe = tiny_mixture.recipe(tmp_path)
    if message is None:
        make_setup(recipe, settings)
    else:
        with pytest.raises(UserError, match=message):
            make_setup(recipe, settings)


def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `tdro study …` prints to the error stream when it refuses."""
    recipe = tmp_path / "r.yaml"
    if not recipe.exists():
        write_atomic(recipe, tiny_mixture.recipe(tmp_path).to_yaml())
    assert cli.main(["study", *(str(recipe) if each == "RECIPE" else each for each in arguments)]) == 2
    assert not (tmp_path / "run-studies").exists()
    return capsys.readouterr().err


def test_the_command_line_refuses_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'selection'?" in typed(tmp_path, capsys, "selektion", "RECIPE")
    assert "there are: " in typed(tmp_path, capsys, "zzz", "RECIPE")
    assert "mine.yaml: no such file" in typed(tmp_path, capsys, str(tmp_path / "mine.yaml"), "RECIPE")
    assert "name the recipe too" in typed(tmp_path, capsys, "selection")
    assert "no such group; did you mean 'main'?" in typed(tmp_path, capsys, "selection", "RECIPE", "--group", "mian")
    own = tmp_path / "own.yaml"
    own.write_text("question: What?\nvari: {weights.offset: [0]}\n")
    assert "own.yaml, line 2: vari: unknown key; did you mean 'vary'?" in typed(tmp_path, capsys, str(own), "RECIPE")
    own.write_text("vary: {weights.ofset: [0]}\n")
    assert "variant weights.ofset 0: weights.ofset: unknown key" in typed(tmp_path, capsys, str(own), "RECIPE")
    own.write_text("vary: {weights.offset: [1, 1]}\n")
    assert "the variant weights.offset 1 is there twice" in typed(tmp_path, capsys, str(own), "RECIPE")


@pytest.mark.usefixtures("cache")
def test_a_recipe_without_test_sets_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "mixture", tmp_path / "mixture")
    content = read_json(tmp_path / "mixture" / "mixture.json")
    write_atomic(tmp_path / "mixture" / "mixture.json", json.dumps({**content, "tests": []}))
    with pytest.raises(UserError, match="no test sets"):
        run_study(question(tmp_path))


def test_the_list_has_a_question_for_each_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study"]) == 0
    printed = capsys.readouterr().out
    for name in built_in():
        assert f"\n{name} " in printed
