"""Runs a study: what is missing is made, piece by piece, and then the numbers are put into an answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tdro.console import progress_bar, quiet_libraries, say
from tdro.errors import UserError
from tdro.machine import Machine, this_machine
from tdro.recipe.messages import nearest
from tdro.recipe.schema import Recipe
from tdro.study.answer import Answer, answer_of
from tdro.study.calibration import with_forecasts
from tdro.study.cost import Cost, costs_of
from tdro.study.findings import findings_of
from tdro.study.outputs import write_answer
from tdro.study.pieces import Piece, Place
from tdro.study.schema import Study, load_study
from tdro.study.variants import fitting, variants_of
from tdro.study.work import ROUNDS, Work
from tdro.study.workers import Runner, in_this_process


@dataclass(frozen=True)
class Question:
    """A study of a recipe.

    Attributes:
        name: the study's, which is the name of its folder too.
        study: what varies.
        recipe: of what.
        text: the study's file.
        seeds: trainings of each variant; None for as many as the study says.
        group: the name of the group of fine-tunings that is studied; None for the recipe's first.
    """

    name: str
    study: Study
    recipe: Recipe
    text: str = ""
    seeds: int | None = None
    group: str | None = None

    @classmethod
    def of(cls, path: Path, recipe: Recipe, seeds: int | None = None, group: str | None = None) -> Question:
        """The study in a file; raises :class:`UserError` as :func:`tdro.study.schema.load_study`."""
        return cls(path.stem, load_study(path), recipe, path.read_text(encoding="utf-8"), seeds, group)

    @property
    def place(self) -> Place:
        """Where all studies of the recipe are: beside the recipe's own run folder."""
        folder = self.recipe.folder.absolute()  # workers on other machines have other current folders
        return Place(folder.with_name(f"{folder.name}-studies"))

    @property
    def trainings(self) -> int:
        """How many trainings each variant has."""
        return self.study.seeds if self.seeds is None else self.seeds

    def work(self, machine: Machine) -> Work:
        """What the study needs; everything that can be refused is refused here, before anything is made."""
        variants = variants_of(self.fitted)
        work = Work.of(self.recipe, variants, self.trainings, self.place, machine, self._group())
        work.check()
        return work

    @property
    def fitted(self) -> Study:
        """The study without the lines that this recipe has no use for."""
        return fitting(self.study, self.recipe)[0]

    @property
    def left_out(self) -> list[str]:
        """Why lines are left out, a text each."""
        return fitting(self.study, self.recipe)[1]

    def _group(self) -> int:
        names = [group.name for group in self.recipe.finetune]
        if self.group is None:
            return 0
        if self.group not in names:
            raise UserError(f"--group {self.group}: the recipe has no such group{nearest(self.group, names)}")
        return names.index(self.group)


def plan_study(question: Question) -> list[Cost]:
    """What a study would cost. Nothing is made.

    Raises:
        UserError: as :func:`run_study`.
    """
    quiet_libraries()
    recipe = question.recipe
    work = question.work(this_machine(recipe.device, recipe.precision))
    return costs_of(work)


def run_study(question: Question, runner: Runner = in_this_process, machine: Machine | None = None) -> Answer:
    """Run a study, or what is left of it, and write its answer.

    Args:
        question: which study of which recipe.
        runner: who makes the pieces: :func:`tdro.study.workers.in_this_process`,
            :class:`tdro.study.workers.InProcesses`, or :class:`tdro.study.on_ray.OnRay`.
        machine: what they compute on; None for what this machine has.

    Returns:
        the answer; ``str()`` of it is what the terminal shows. In the study's folder are ``study.json``,
        ``points.csv`` and ``report.html``.

    Raises:
        UserError: an unknown key or an impossible value of a variant, no test sets, or what a stage raises. What was
            done before stays.

    Example::

        question = Question.of(find_study("selection"), load_recipe("mine.yaml"))
        print(run_study(question, InProcesses(2)))
    """
    quiet_libraries()
    recipe, place = question.recipe, question.place
    work = question.work(machine or this_machine(recipe.device, recipe.precision)).on_changed_data()
    place.root.mkdir(parents=True, exist_ok=True)  # by which the machines of a cluster tell that they see it
    with progress_bar(title=question.name, unit=" steps", total=sum(one.steps for one in costs_of(work))) as bar:

        def done(piece: Piece, seconds: float) -> None:
            bar.set_postfix_str(piece.title, refresh=False)
            bar.update(piece.steps)

        for kind in ROUNDS:
            pieces = place.left(work.pieces(kind))
            if kind == "score":  # now it is known which trainings are the same
                bar.total = bar.n + sum(piece.steps for piece in pieces)
            if pieces:
                runner(pieces, place.root, done)
    study = question.fitted
    found = findings_of(study, variants_of(study), work)
    if study.says == "forecast":
        found = with_forecasts(found)
    answer = answer_of(study, found, question.trainings, question.left_out)
    report = write_answer(
        place.root / question.name,
        name=question.name,
        recipe=recipe.name,
        seeds=question.trainings,
        study=study,
        text=question.text,
        answer=answer,
        found=found,
    )
    say(f"report: {report}")
    return answer
