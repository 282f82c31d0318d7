"""The benchmarks by name: which test sets they have, on which split, and where a local copy of each may lie.

Names of test sets are mteb's, whatever their data come from, so that results can be compared. MSMARCO is judged on its
dev split, as BEIR and mteb have it; BEIR's CQADupStack is the mean of its 12 forums and counts as one of the 15.
Nothing is read or loaded here. Rejected: mteb's own ``Benchmark`` objects, which need mteb (five seconds to import)
even where all data are local.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MKQA = "mkqa:"


@dataclass(frozen=True)
class Wanted:
    """One test set of a benchmark.

    Attributes:
        name: of the test set, and so of the result files.
        task: mteb's name of it.
        subset: mteb's name of the part, a language for instance.
        split: whose judgements count.
        folders: where a copy in BEIR's layout may be, below the folder of local data; the first that is there.
        whole: the test set that this is a part of: its value is the mean of its parts'. Empty for none.
    """

    name: str
    task: str
    subset: str = "default"
    split: str = "test"
    folders: tuple[str, ...] = ()
    whole: str = ""


# mteb's name → the folder's name in BEIR's downloads
_BEIR = {
    "TRECCOVID": "trec-covid",
    "NFCorpus": "nfcorpus",
    "NQ": "nq",
    "HotpotQA": "hotpotqa",
    "FiQA2018": "fiqa",
    "ArguAna": "arguana",
    "Touche2020": "webis-touche2020",
    "CQADupstackRetrieval": "cqadupstack",
    "QuoraRetrieval": "quora",
    "DBPedia": "dbpedia-entity",
    "SCIDOCS": "scidocs",
    "FEVER": "fever",
    "ClimateFEVER": "climate-fever",
    "SciFact": "scifact",
    "MSMARCO": "msmarco",
}
_FORUMS = (
    *("android", "english", "gaming", "gis", "mathematica", "physics"),
    *("programmers", "stats", "tex", "unix", "webmasters", "wordpress"),
)
_MIRACL = ("ar", "bn", "de", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th", "yo", "zh")
_NANO = (
    *("ArguAna", "ClimateFever", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO"),
    *("NFCorpus", "NQ", "Quora", "SCIDOCS", "SciFact", "Touche2020"),
)


def benchmark(name: str) -> list[Wanted]:
    """The test sets of ``beir``, ``miracl``, ``nano-beir`` or one of BEIR's by mteb's or BEIR's name; else none."""
    if name in GROUPS:
        return GROUPS[name]
    task = next((task for task, folder in _BEIR.items() if name in (task, folder)), None)
    return list(_of_beir(task)) if task else []


def _of_beir(task: str) -> Iterator[Wanted]:
    folder = _BEIR[task]
    if task != "CQADupstackRetrieval":
        yield Wanted(task, task, split="dev" if task == "MSMARCO" else "test", folders=(folder, task))
        return
    for forum in _FORUMS:
        name = f"CQADupstack{forum.capitalize()}Retrieval"
        yield Wanted(name, name, folders=(f"{folder}/{forum}", f"{task}/{forum}", name), whole=task)


def _of_miracl() -> Iterator[Wanted]:
    for language in _MIRACL:
        folders = (f"miracl/{language}", f"MIRACLRetrieval/{language}", f"MIRACLRetrieval-{language}")
        yield Wanted(f"MIRACLRetrieval-{language}", "MIRACLRetrieval", language, "dev", folders)


def _of_nano_beir() -> Iterator[Wanted]:
    for name in _NANO:
        task = f"Nano{name}Retrieval"
        yield Wanted(task, task, split="train", folders=(f"Nano{name}", task))


GROUPS = {
    "beir": [wanted for task in _BEIR for wanted in _of_beir(task)],
    "miracl": list(_of_miracl()),
    "nano-beir": list(_of_nano_beir()),
}
