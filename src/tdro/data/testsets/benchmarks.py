"""The benchmarks by name: which test sets they have, on which split, and where a local copy of each may lie.

Names of test sets are mteb's, whatever their data come from, so that results can be compared. MSMARCO is judged on its
dev split, as BEIR and mteb have it; BEIR's CQADupStack is the mean of its 12 forums and counts as one of the 15. MIRACL
is searched in whole, not in mteb's pools of hard negatives. ``tests/test_benchmarks.py`` compares all of it with the
installed mteb. Nothing is read or loaded here. Rejected: mteb's own ``Benchmark`` objects, which need mteb (five
seconds to import) even where all data are local.
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
        task: mteb's name of it, empty if it is none of mteb's.
        subset: mteb's name of the part, a language for instance.
        split: whose judgements count.
        folders: where a copy in BEIR's layout may be, below the folder of local data; the first that is there.
        whole: the test set that this is a part of: its value is the mean of its parts'. Empty for none.
        languages: of queries and passages, as mteb writes them; none if that is not known.
        main_score: mteb's name of the measure that counts.
        exact_split: ``qrels/test.tsv`` of a copy in BEIR's layout is another test set. Else, where it is the only one,
            it has this split's judgements.
    """

    name: str
    task: str
    subset: str = "default"
    split: str = "test"
    folders: tuple[str, ...] = ()
    whole: str = ""
    languages: tuple[str, ...] = ()
    main_score: str = "ndcg_at_10"
    exact_split: bool = False


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
_ENGLISH = ("eng-Latn",)
_MIRACL = {
    **{"ar": "ara-Arab", "bn": "ben-Beng", "de": "deu-Latn", "en": "eng-Latn", "es": "spa-Latn", "fa": "fas-Arab"},
    **{"fi": "fin-Latn", "fr": "fra-Latn", "hi": "hin-Deva", "id": "ind-Latn", "ja": "jpn-Jpan", "ko": "kor-Kore"},
    **{"ru": "rus-Cyrl", "sw": "swa-Latn", "te": "tel-Telu", "th": "tha-Thai", "yo": "yor-Latn", "zh": "zho-Hans"},
}
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
    if task == "MSMARCO":  # its test split is another test set, 43 queries of TREC-DL 2019
        yield Wanted(task, task, split="dev", folders=(folder, task), languages=_ENGLISH, exact_split=True)
        return
    if task != "CQADupstackRetrieval":
        yield Wanted(task, task, folders=(folder, task), languages=_ENGLISH)
        return
    for forum in _FORUMS:
        name = f"CQADupstack{forum.capitalize()}Retrieval"
        folders = (f"{folder}/{forum}", f"{task}/{forum}", name)
        yield Wanted(name, name, folders=folders, whole=task, languages=_ENGLISH)


def _of_miracl() -> Iterator[Wanted]:
    for subset, language in _MIRACL.items():
        name = f"MIRACLRetrieval-{subset}"
        folders = (f"miracl/{subset}", f"MIRACLRetrieval/{subset}", name)
        yield Wanted(name, "MIRACLRetrieval", subset, "dev", folders, languages=(language,))


def _of_nano_beir() -> Iterator[Wanted]:
    for name in _NANO:
        task = f"Nano{name}Retrieval"
        yield Wanted(task, task, split="train", folders=(f"Nano{name}", task), languages=_ENGLISH)


GROUPS = {
    "beir": [wanted for task in _BEIR for wanted in _of_beir(task)],
    "miracl": list(_of_miracl()),
    "nano-beir": list(_of_nano_beir()),
}
