"""A piece of work: data made ready, a reference, learned weights, or a training that is scored. Each is made once.

A piece is kept under the fingerprint of all its inputs, the one that a run's stage has. So variants that have a
reference in common share it, and so do the studies of one recipe: what is there is not made again. See
docs/decisions.md, pieces-by-fingerprint.

On disk::

    runs/mine-studies/
      shared/         mined negatives, index, tokens and scores of rows; each part has its own fingerprints
      data/<key>/     mixtures that a study has changed
      pieces/<key>/   done.json, and what was made: a model, weights, or scores.json
      <study>/        the answer of a study
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import fingerprint, make_once, read_json, write_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine, this_machine
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.run.folder import Stage
from tdro.run.stages import Stages
from tdro.run.workspace import shared_workspace

Kind = Literal["data", "reference", "weights", "score"]
_KEPT = ("ndcg@10", "recall@100")  # measures of each query that are kept of a training


@dataclass(frozen=True)
class Piece:
    """A piece of work, as it is sent to whoever does it.

    Attributes:
        kind: what is made.
        key: the fingerprint of all that it is made from.
        recipe: that it is a stage of.
        stage: the stage's name there, such as ``reference-2``.
        title: for people.
        steps: how many training steps it takes: its share of the progress bar; 0 for data.
        reads: for the names of other stages, the keys of the pieces that made them.
        learned: the weights that a training samples by.
        reference_base: the reference's model where it is not the proxy's.
        read_by: of data, the model whose tokens are made of them.
    """

    kind: Kind
    key: str
    recipe: Recipe
    stage: str
    title: str
    steps: int
    reads: Mapping[str, str] = field(default_factory=dict)
    learned: LearnedWeights | None = None
    reference_base: Base | None = None
    read_by: Base | None = None


@dataclass(frozen=True)
class Place:
    """The folder of all studies of a recipe."""

    root: Path

    def piece(self, key: str) -> Path:
        """The folder of a piece."""
        return self.root / "pieces" / key

    def done(self, key: str) -> dict[str, Any] | None:
        """What is noted of a piece that is done; None while it is not."""
        path = self.piece(key) / "done.json"
        return read_json(path) if path.exists() else None

    def stages(self, recipe: Recipe, machine: Machine, key: str = "", reference_base: Base | None = None) -> Stages:
        """The stages of a recipe with this place's data; made in the folder of the piece ``key``."""
        workspace = shared_workspace(recipe, self.root / "shared", machine)
        return Stages(recipe, workspace, self.piece(key), reference_base)


def score_key(stage: Stage, evaluation: Mapping[str, Any]) -> str:
    """The fingerprint of a training that is scored."""
    return fingerprint({"training": stage.key, "evaluation": evaluation})


def evaluation_inputs(stages: Stages) -> dict[str, Any]:
    """What scores depend on besides the model: the test sets and the precision."""
    stage = stages.evaluation(stages.recipe.finetune[0], {}, {"bf16": stages.workspace.machine.bf16})
    return dict(stage.inputs)


def make_piece(piece: Piece, root: Path) -> float:
    """Make a piece unless it is there; several processes may come here at once.

    Args:
        piece: what to make.
        root: the folder of all studies of the recipe.

    Returns:
        seconds that it took; 0 if it was there.

    Raises:
        UserError: as the stage itself.
        RuntimeError: this machine makes something else of the same recipe, for instance since it computes in another
            precision.
    """
    place, started, cpu = Place(root), time.monotonic(), time.process_time()
    made = False

    def make() -> None:
        nonlocal made
        made = True
        folder = place.piece(piece.key)
        machine = this_machine(piece.recipe.device, piece.recipe.precision)
        stages = place.stages(piece.recipe, machine, piece.key, piece.reference_base)
        with _on_one_core(machine):
            if piece.read_by is not None:
                stages.workspace.tokens(stages.workspace.models.base(piece.read_by))  # they are mined for that, too
            else:
                _make_stage(piece, stages, folder, place)
        note = {
            **{"title": piece.title, "kind": piece.kind, "steps": piece.steps},
            "seconds": round(time.monotonic() - started, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "device": machine.device.partition(":")[0],
        }
        write_json(folder / "done.json", note)

    make_once(place.piece(piece.key) / "done.json", make)
    return time.monotonic() - started if made else 0.0


def _make_stage(piece: Piece, stages: Stages, folder: Path, place: Place) -> None:
    """Make the stage of a piece in the piece's folder, and score it if it is a training."""
    if piece.kind == "weights":
        _link(place, folder, piece.reads)
    stage, key = _stage(stages, piece)
    if key != piece.key:
        raise RuntimeError(f"{piece.title}: planned as {piece.key}, and this machine would make {key}")
    stage.make()
    if piece.kind == "score":
        _score(stages, folder, folder / stage.name, place)
    shutil.rmtree(folder / f"{stage.name}.training", ignore_errors=True)
    shutil.rmtree(folder / stage.name / "training", ignore_errors=True)


def _link(place: Place, folder: Path, reads: Mapping[str, str]) -> None:
    """Show the pieces that are read under the names of their stages, and the scores of rows that all share."""
    links = {name: place.piece(key) / name for name, key in reads.items()} | {"scores": place.root / "shared/scores"}
    (place.root / "shared" / "scores").mkdir(parents=True, exist_ok=True)
    for name, target in links.items():
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(target.absolute(), target_is_directory=True)


def _stage(stages: Stages, piece: Piece) -> tuple[Stage, str]:
    """The stage that makes a piece, and the key that the piece then has."""
    if piece.kind == "score":
        assert piece.learned is not None
        stage = next(iter(stages.finetune(piece.recipe.finetune[0], piece.learned)))
        return stage, score_key(stage, evaluation_inputs(stages))
    known = stages.references() if piece.kind == "reference" else stages.learned()
    stage = next(stage for stage in known if stage.name == piece.stage)
    return stage, stage.key


def _score(stages: Stages, folder: Path, model: Path, place: Place) -> None:
    """Score a trained model, keep each query's values in ``scores.json``, and remove the model."""
    machine, tests = stages.workspace.machine, stages.workspace.data.tests
    results = evaluate_all(
        model,
        tests,
        folder / "evaluation",
        model_name="model",
        bf16=machine.bf16,
        device=machine.device,
        tokens_folder=place.root / "shared" / "tokens",
        trust_remote_code=stages.recipe.trust_remote_code,
        progress=False,
    )
    about = ("task", "trained", "data", "queries", *_KEPT)
    training = read_json(model / "training.json")
    kept = {key: training[key] for key in ("weights", "rows_drawn", "epochs", "first_loss", "last_loss")}
    scores = {result["test"]: {key: result[key] for key in about} for result in results}
    write_json(folder / "scores.json", {"training": kept, "tests": scores})
    shutil.rmtree(folder / "evaluation", ignore_errors=True)
    shutil.rmtree(folder / "models", ignore_errors=True)


@contextlib.contextmanager
def _on_one_core(machine: Machine) -> Iterator[None]:
    """Compute on one core inside, whoever runs this: more cores would add up numbers in another order.

    With N workers on a machine each has a core of its own in any case, so one worker and ten give the same numbers.
    See docs/decisions.md, one-core-a-piece.
    """
    before = torch.get_num_threads()
    if machine.device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
