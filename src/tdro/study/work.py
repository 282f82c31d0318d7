"""What a study needs done, piece by piece: data first, references, learned weights, then trainings that are scored.

The pieces of a round depend on those of earlier rounds only. What a training samples by is known when its weights are
learned; so is whether two variants come to the same training, which then is done once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tdro.console import say
from tdro.data.mixtures.write import mixture_key, write_mixture
from tdro.data.task import Mixture
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine
from tdro.mixture_name import parse_mixture
from tdro.recipe.schema import Recipe
from tdro.run.folder import Stage
from tdro.run.workspace import Workspace
from tdro.study.pieces import Piece, Place, evaluation_inputs, score_key
from tdro.study.settings import Setup, make_setup
from tdro.study.task_changes import changed_mixture
from tdro.study.variants import Variant, settings_key
from tdro.study.weight_changes import changed_weights
from tdro.weights import TaskWeights

ROUNDS = ("data", "reference", "weights", "score")
_NO_DATA_KEYS = ("sources", "test_sets", "tasks", "tests", "hard_negatives_only")


@dataclass(frozen=True)
class Work:
    """The work of a study.

    Attributes:
        recipe: the user's.
        setups: what each variant, and what it is compared with, comes to; by :func:`settings_key`.
        seeds: of the trainings.
        place: where the pieces are.
        machine: that will do the work.
        own: the recipe as it is, whose weights others are compared with; None where no variant learns any.
    """

    recipe: Recipe
    setups: Mapping[str, Setup]
    seeds: tuple[int, ...]
    place: Place
    machine: Machine
    own: Setup | None = None

    @classmethod
    def of(
        cls, recipe: Recipe, variants: Iterable[Variant], seeds: int, place: Place, machine: Machine, group: int
    ) -> Work:
        """The work of all variants of a study and of what they are compared with.

        Args:
            recipe: the user's.
            variants: of the study.
            seeds: how many trainings each variant has; they have the seeds 1, 2, …
            place: where the pieces are, or will be.
            machine: that will do the work.
            group: which of the recipe's groups of fine-tunings is studied.

        Raises:
            UserError: a variant that the recipe refuses; it names the variant and the key.
        """
        setups: dict[str, Setup] = {}
        for variant in variants:
            compared = (variant.settings, variant.versus) if seeds else (variant.settings,)
            for settings in compared:
                key = settings_key(settings)
                if key not in setups:
                    try:
                        setups[key] = make_setup(recipe, settings, group)
                    except UserError as error:
                        raise UserError(f"variant {variant.name}: {error}") from None
        own = make_setup(recipe, {}, group) if any(setup.learns for setup in setups.values()) else None
        return cls(recipe, setups, tuple(range(1, seeds + 1)), place, machine, own)

    # ---- data

    def workspace(self, recipe: Recipe) -> Workspace:
        """The data and models of a recipe, which all studies share."""
        return self.place.stages(recipe, self.machine).workspace

    def on_changed_data(self) -> Work:
        """The same work after the mixtures that it changes are written."""
        return replace(self, setups={key: self._on_changed_data(setup) for key, setup in self.setups.items()})

    def _on_changed_data(self, setup: Setup) -> Setup:
        changes = setup.task_changes
        learning = setup.learning
        # Negatives are mined by the recipe's seed. Another seed shall change stages 0 and 1, not the data.
        other_seed = setup.learns and learning.seed != self.recipe.seed
        if not changes and not (other_seed and self.workspace(setup.training).data.mining):
            return setup
        changed = self._changed_data(setup.training, changes)
        training = changed if changes else setup.training
        learned_on = learning.model_copy(update={"data": changed.data})
        return replace(setup, learning=learned_on, training=training, task_changes={})

    def _changed_data(self, recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
        """The recipe on the mixture that the changes make of its data; it is written once."""
        data = self.workspace(recipe).data
        # The inputs of trainings say nothing of the test sets, nor of the tasks without in-batch negatives.
        read = mixture_key(Mixture(data.unmined.tasks, data.tests))
        key = fingerprint({"data": data.inputs, "read": read, "changes": dict(changes), "seed": self.recipe.seed})
        folder = self.place.root / "data" / key
        if not (folder / "mixture.json").exists():
            say(f"data of {', '.join(f'{name} {value}' for name, value in changes.items()) or 'the recipe'}")
            write_mixture(changed_mixture(data.mixture, changes, self.recipe.seed), folder)
        content = recipe.model_dump(mode="json")
        content["data"] |= {"mixture": str(folder), **dict.fromkeys(_NO_DATA_KEYS)}
        return Recipe.model_validate(content)

    # ---- pieces

    def pieces(self, kind: str) -> list[Piece]:
        """The pieces of a round, each once; those of earlier rounds must be done."""
        make = {"data": self._data, "reference": self._references, "weights": self._weights, "score": self._scores}[
            kind
        ]
        found: dict[str, Piece] = {}
        own = [self.own] if self.own is not None and kind != "score" else []
        for setup in [*self.setups.values(), *own]:
            for piece in make(setup):
                found.setdefault(piece.key, piece)
        return list(found.values())

    def _data(self, setup: Setup) -> list[Piece]:
        """What the trainings read: the rows with mined negatives, indexed, as tokens of the models that read them."""
        reads = [(setup.training, setup.training.base_of(setup.training.finetune[0]))]
        if setup.learns:
            reads += [(setup.learning, base) for base in (setup.learning.base, setup.reference_base) if base]
        pieces = []
        for recipe, base in reads:
            workspace = self.workspace(recipe)
            model, limits = (
                workspace.models.base(base).fingerprint,
                (recipe.data.query_tokens, recipe.data.passage_tokens),
            )
            key = fingerprint({"data": workspace.data.inputs, "model": model, "limits": limits})
            pieces.append(Piece("data", key, recipe, "data", "data", 0, read_by=base))
        return pieces

    def _references(self, setup: Setup) -> list[Piece]:
        if not setup.learns or not parse_mixture(setup.mixture).uses_alpha:
            return []
        recipe, base = setup.learning, setup.reference_base
        stages = self.place.stages(recipe, self.machine, reference_base=base).references()
        steps = recipe.reference.steps
        return [Piece("reference", one.key, recipe, one.name, one.name, steps, reference_base=base) for one in stages]

    def _weights(self, setup: Setup) -> list[Piece]:
        if not setup.learns:
            return []
        stage = self.weights_stage(setup)
        recipe = setup.learning
        by_gain = stage.name != "weights"
        steps = recipe.gain.training(recipe.reference).steps if by_gain else recipe.weights.steps
        reads = {piece.stage: piece.key for piece in self._references(setup)}
        base = setup.reference_base
        return [Piece("weights", stage.key, recipe, stage.name, stage.name, steps, reads, reference_base=base)]

    def weights_stage(self, setup: Setup) -> Stage:
        """The stage that learns the weights of a setup."""
        base = setup.reference_base
        (stage,) = self.place.stages(setup.learning, self.machine, reference_base=base).learned()
        return stage

    def _scores(self, setup: Setup) -> list[Piece]:
        return [self.score_piece(setup, seed) for seed in self.seeds]

    def score_piece(self, setup: Setup, seed: int) -> Piece:
        """The training of a setup with a seed."""
        group = setup.training.finetune[0].model_copy(update={"seeds": (seed,)})
        recipe = setup.training.model_copy(update={"finetune": (group,)})
        stages = self.place.stages(recipe, self.machine)
        learned = self._sampled_by(setup, seed)
        stage = next(iter(stages.finetune(group, learned)))
        key = score_key(stage, evaluation_inputs(stages))
        title = f"{setup.mixture} seed {seed}"
        return Piece("score", key, recipe, stage.name, title, group.steps, learned=learned)

    def learned(self, setup: Setup) -> LearnedWeights:
        """The weights of a setup as they were learned; uniform ones where it needs none."""
        if not setup.learns:
            return LearnedWeights(TaskWeights.uniform(self.workspace(setup.training).data.facts.names))
        return LearnedWeights.load(self.place.piece(self.weights_stage(setup).key), setup.learning)

    def _sampled_by(self, setup: Setup, seed: int) -> LearnedWeights:
        learned, mixture = self.learned(setup), parse_mixture(setup.mixture)
        if not setup.weight_changes:
            return learned

        def changed(weights: TaskWeights | None) -> TaskWeights | None:
            return None if weights is None else changed_weights(weights, setup.weight_changes, mixture, seed)

        return LearnedWeights(changed(learned.alpha), changed(learned.gain))

    def check(self) -> None:
        """Raise :class:`UserError` for what would otherwise stop a training when its turn comes."""
        if self.seeds and not self.workspace(self.recipe).data.tests:
            raise UserError(
                "the recipe has no test sets, so a study cannot score its variants.\n"
                "Give it some (data.test_sets, or a mixture with tests), or a study with `seeds: 0`."
            )
        for setup in self.setups.values():
            self.place.stages(setup.training, self.machine).check()


def rough_scores(setups: Sequence[Setup], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """The trainings that setups need as far as it is known before weights are learned: a key and steps for each."""
    found: dict[str, int] = {}
    for setup in setups:
        parts: list[Any] = [setup.training.model_dump(mode="json"), setup.task_changes]
        if setup.learns:
            parts += [setup.learning.model_dump(mode="json"), setup.weight_changes, str(setup.reference_base)]
        for seed in seeds:
            found[fingerprint([*parts, seed])] = setup.training.finetune[0].steps
    return list(found.items())
