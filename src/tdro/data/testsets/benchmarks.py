"""The benchmarks by name: which test sets they have, which split of each counts, and where local copies may lie.

Test sets have mteb's names, wherever their data come from, so that results can be compared. MSMARCO is judged on its
dev split, as in BEIR and mteb. CQADupStack is the mean of its 12 forums, and counts as one of BEIR's 15 test sets.
MIRACL's whole corpora are searched, not mteb's pools of hard negatives. ``tests/test_benchmarks.py`` compares these
tables with the installed mteb. Nothing is read or loaded here. See docs/decisions.md, benchmark-tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MKQA = "mkqa:"


@dataclass(frozen=True)
class BenchmarkSet:
    """One test set of a benchmark.

    Attributes:
        name: the test set's name, and that of its result files.
        task: mteb's name of the task; empty if mteb does not have it.
        subset: mteb's name of the part of the task; in MIRACL, a language.
        split: the split whose judgements count.
        folders: where a copy in BEIR's layout may be, below the folder of local data. The first that is there counts.
        whole: the larger test set of which this one is a part. Its value is the mean of its parts' values. Empty if
            there is none. Example: ``CQADupstackRetrieval`` for each of the 12 forums.
        languages: the languages of queries and passages, as mteb writes them; empty if they are not known.
        main_score: mteb's name of the measure that it is ranked by.
        exact_split: whether judgements must be in the file that is named after the split, such as ``qrels/dev.tsv``.
            Otherwise, if a copy has nothing but ``qrels/test.tsv``, that file is used.
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


# By mteb's name of the task, the folder's name in BEIR's downloads.
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
# By mteb's name of the subset, its language.
_MIRACL = {
    **{"ar": "ara-Arab", "bn": "ben-Beng", "de": "deu-Latn", "en": "eng-Latn", "es": "spa-Latn", "fa": "fas-Arab"},
    **{"fi": "fin-Latn", "fr": "fra-Latn", "hi": "hin-Deva", "id": "ind-Latn", "ja": "jpn-Jpan", "ko": "kor-Kore"},
    **{"ru": "rus-Cyrl", "sw": "swa-Latn", "te": "tel-Telu", "th": "tha-Thai", "yo": "yor-Latn", "zh": "zho-Hans"},
}
_NANO = (
    *("ArguAna", "ClimateFever", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO"),
    *("NFCorpus", "NQ", "Quora", "SCIDOCS", "SciFact", "Touche2020"),
)


def benchmark(name: str) -> list[BenchmarkSet]:
    """The test sets that a name stands for; none if it is not a known name.

    Args:
        name: ``beir``, ``miracl`` or ``nano-beir`` for all their test sets; or one of BEIR's test sets, by its name in
            BEIR or in mteb (``fiqa``, ``FiQA2018``).
    """
    if name in GROUPS:
        return GROUPS[name]
    task = next((task for task, folder in _BEIR.items() if name in (task, folder)), None)
    return list(_of_beir(task)) if task else []


def _of_beir(task: str) -> Iterator[BenchmarkSet]:
    """The test sets of one of BEIR's tasks: one, or CQADupStack's 12 forums."""
    folder = _BEIR[task]
    if task == "MSMARCO":  # its split "test" is another test set: the 43 queries of TREC-DL 2019
        yield BenchmarkSet(task, task, split="dev", folders=(folder, task), languages=_ENGLISH, exact_split=True)
        return
    if task != "CQADupstackRetrieval":
        yield BenchmarkSet(task, task, folders=(folder, task), languages=_ENGLISH)
        return
    for forum in _FORUMS:
        name = f"CQADupstack{forum.capitalize()}Retrieval"
        folders = (f"{folder}/{forum}", f"{task}/{forum}", name)
        yield BenchmarkSet(name, name, folders=folders, whole=task, languages=_ENGLISH)


def _of_miracl() -> Iterator[BenchmarkSet]:
    """MIRACL's test sets, one for each language."""
    for subset, language in _MIRACL.items():
        name = f"MIRACLRetrieval-{subset}"
        folders = (f"miracl/{subset}", f"MIRACLRetrieval/{subset}", name)
        yield BenchmarkSet(name, "MIRACLRetrieval", subset, "dev", folders, languages=(language,))


def _of_nano_beir() -> Iterator[BenchmarkSet]:
    """The test sets of NanoBEIR."""
    for name in _NANO:
        task = f"Nano{name}Retrieval"
        yield BenchmarkSet(task, task, split="train", folders=(f"Nano{name}", task), languages=_ENGLISH)


GROUPS = {
    "beir": [wanted for task in _BEIR for wanted in _of_beir(task)],
    "miracl": list(_of_miracl()),
    "nano-beir": list(_of_nano_beir()),
}
