"""The recipe's sections ``data`` and ``negatives``: training tasks, test sets, and the mining of hard negatives.

The other sections are in :mod:`tdro.recipe.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tdro.files import exists
from tdro.recipe import rules
from tdro.recipe.builtin import sources_file
from tdro.recipe.messages import nearest, short, wrong
from tdro.recipe.section import Section, Several
from tdro.recipe.source_kinds import is_hub_file
from tdro.recipe.yaml_lines import read_yaml


class Source(Section):
    """The data of one training task, under the task's name. If only `source` is needed: `name: SOURCE`."""

    source: Annotated[str, AfterValidator(rules.check_data_source)] = Field(
        description="a file (JSONL, Parquet, CSV, TSV; .gz too, and JSONL in a .tar.gz); a folder of such files, "
        "in BEIR's layout, or of save_to_disk; hf://datasets/OWNER/NAME/FILE; or the id of a data "
        "set on the hub"
    )
    subset: str | None = Field(default=None, description="which subset of a data set on the hub (null: its default)")
    split: str | None = Field(
        default=None,
        description="which split of a data set on the hub or of a folder with splits, or which qrels of a BEIR "
        "folder (null: train)",
    )
    columns: Annotated[dict[str, str], AfterValidator(rules.check_columns)] | None = Field(
        default=None,
        description="which column is the id, query, positives and negatives, for instance {query: question}; and "
        "which is the label: only rows with 1 or true there are read (null: told by the columns' "
        "names; an empty name: there is none)",
    )
    limit: int | None = Field(default=None, ge=1, description="read only so many of the first rows (null: all)")
    instruction: str = Field(
        default="", description="what a query asks for; is put before the queries if data.prompts is true"
    )
    symmetric: bool = Field(
        default=False, description="queries and passages are texts of one kind, so the prompt is put before both"
    )
    in_batch_negatives: bool = Field(
        default=True,
        description="false: a row never takes other rows' passages as negatives, for instance because they are "
        "class labels",
    )
    licence: str = Field(default="", description="licence of the texts; is shown in the report and the model cards")

    @model_validator(mode="before")
    @classmethod
    def _source_alone(cls, data: Any) -> Any:
        return {"source": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _keys_fit(self) -> Source:
        if exists(self.source) or is_hub_file(self.source):
            if self.subset is not None:
                raise wrong("only a data set on the hub has subsets; remove it, or give the subset's file", "subset")
            if self.split is not None and not Path(self.source).expanduser().is_dir():
                raise wrong("only a data set on the hub or a folder has splits; remove it", "split")
        return self


class TestFolder(Section):
    """One test set in BEIR's layout, under its name. If only `folder` is needed: `name: FOLDER`."""

    __test__ = False  # pytest: not a test class

    folder: Annotated[str, AfterValidator(rules.check_beir_folder)] = Field(
        description="a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"
    )
    task: str | None = Field(
        default=None, description="the training task that it is a held-out part of (null: it is of no task in training)"
    )
    instruction: str | None = Field(default=None, description="what a query asks for (null: as its task has it)")
    symmetric: bool | None = Field(default=None, description="as in a task (null: as its task has it)")

    @model_validator(mode="before")
    @classmethod
    def _folder_alone(cls, data: Any) -> Any:
        return {"folder": data} if isinstance(data, str) else data


def _from_file(value: Any) -> Any:
    """The value of ``data.sources``: read from a YAML file if the name of one is given instead of the sources."""
    if not isinstance(value, str):
        return value
    path = sources_file(value)
    if path is None:
        raise wrong(f"no such file: {short(value)}{nearest(value, ['paper'])}")
    return read_yaml(path)[0]


class Data(Section):
    """The training data and the test sets."""

    mixture: Annotated[str, AfterValidator(rules.check_mixture)] | None = Field(
        default="sample",
        description='"sample" (built from packages of the index) or a folder with a mixture.json; null if there '
        "are sources",
    )
    sources: (
        Annotated[
            dict[str, Source],
            Field(min_length=1),
            BeforeValidator(_from_file),
            AfterValidator(rules.check_keys_name_folders),
        ]
        | None
    ) = Field(
        default=None,
        description="the training tasks by name, instead of a mixture: see `data.sources.<name>`; or a YAML file with "
        'them; or "paper": the 25 tasks of the paper',
    )
    test_sets: Annotated[dict[str, TestFolder], AfterValidator(rules.check_keys_name_folders)] | None = Field(
        default=None, description="the test sets by name, if there are sources: see `data.test_sets.<name>`"
    )
    development_sets: Annotated[dict[str, TestFolder], AfterValidator(rules.check_keys_name_folders)] | None = Field(
        default=None,
        description="sets by name that models are scored on while they train (finetune.evaluate_every), with the keys "
        "of `data.test_sets.<name>`; no query of them may be in a test set",
    )
    tasks: Several[str] | None = Field(default=None, description="train on these tasks only (null: all)")
    tests: Several[str] | None = Field(default=None, description="evaluate these test sets only (null: all)")
    hard_negatives_only: Several[str] | None = Field(
        default=None,
        description="tasks whose rows never take other rows' passages as negatives, for instance because one "
        "answer fits many queries (class labels)",
    )
    query_tokens: int = Field(
        default=64, gt=1, description="tokens after which a query is cut, its instruction not counted (the paper: 128)"
    )
    passage_tokens: int = Field(default=128, gt=1, description="tokens after which a passage is cut (the paper: 512)")
    prompts: bool = Field(
        default=False,
        description="put `Instruct: {instruction}\\nQuery: ` before each query (the paper: true)",
    )

    @model_validator(mode="before")
    @classmethod
    def _sources_are_the_mixture(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mixture") is None:
            return {**data, "mixture": "sample" if data.get("sources") is None else None}
        return data

    @model_validator(mode="after")
    def _names_exist(self) -> Data:
        chosen = {"tasks": self.tasks, "tests": self.tests, "hard_negatives_only": self.hard_negatives_only}
        if self.sources is not None and self.mixture is not None:
            raise wrong("give data.mixture or data.sources, not both", "sources")
        if self.sources is None and self.test_sets is not None:
            raise wrong("a mixture has its own test sets; these stand beside data.sources only", "test_sets")
        if self.mixture is not None:
            rules.check_names_in_mixture(self.mixture, chosen)
        else:
            self._names_in_sources(chosen)
        return self

    def _names_in_sources(self, chosen: Mapping[str, Sequence[str] | None]) -> None:
        """Raise for a chosen task or test set, or a test set's task, that is not among the sources and test sets."""
        tasks, tests = list(self.sources or {}), list(self.test_sets or {})
        for kind, names in chosen.items():
            known = tests if kind == "tests" else tasks
            for index, wanted in enumerate(names or ()):
                if wanted not in known:
                    what = "test set" if kind == "tests" else "source"
                    raise wrong(f"there is no {what} {short(wanted)}{nearest(wanted, known)}", kind, index)
        for section in ("test_sets", "development_sets"):
            for key, test in (getattr(self, section) or {}).items():
                if test.task is not None and test.task not in tasks:
                    raise wrong(
                        f"there is no source {short(test.task)}{nearest(test.task, tasks)}", section, key, "task"
                    )


class Negatives(Section):
    """Hard negatives. They are mined once, before training, for the rows that have too few."""

    per_row: int = Field(default=8, ge=1, description="hard negatives that each row has after mining")
    mine: Literal["bm25", "dense", "both", "none"] = Field(
        default="bm25",
        description="how rows that have fewer are filled: half of what they lack is searched by BM25, by an "
        "embedding model (dense), or by both in turn, the other half is drawn by chance; none: they "
        "are not",
    )
    model: Annotated[str, AfterValidator(rules.check_embedding_model)] = Field(
        default="minilm", description='the embedding model, for dense and both: "minilm", a folder or a hub id'
    )
    ranks: Annotated[tuple[int, int], Field(strict=False), AfterValidator(rules.check_ranks)] = Field(
        default=(1, 50),
        description="first and last rank to take from; answers of the row and passages above the margins are not "
        "counted",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        description="leave out a passage that scores above the row's positive less this (null: no such limit)",
    )
    relative_margin: float | None = Field(
        default=0.05,
        ge=0,
        description="leave out a passage that scores above the row's positive less this share of that score",
    )
