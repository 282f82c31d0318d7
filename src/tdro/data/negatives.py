"""Hard negatives: passages of the same task that look like the answer and are not.

BM25 over the task's own distinct positives, searched with the row's query *and* its first positive: in a
cross-lingual task the query shares no word with any passage, but its answer does. Half of what a row lacks
comes from the best ranks, the other half at random, for negatives that are all hard make a weak model worse.
Never taken: a passage whose normalised text is the row's query, one of its positives, or a positive of any
row with the same query; and one that scores above a share of the row's own positive, which is most likely the
same answer in other words.

A search looks at the rarest words only (:data:`QUERY_TOKENS` and :data:`QUERY_POSTINGS`); common words cost
nearly all of the time and decide nearly nothing. Rejected: mining with an embedding model (minutes on a CPU,
and it hands that model's mistakes to the reference), stop words and stemmers (one language each), and bm25s'
own ``retrieve`` (it scores every passage for every query: ten times slower than a sparse product over its
index).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from tdro.data.same_text import normalise
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, read_jsonl, write_json, write_jsonl

if TYPE_CHECKING:
    from datasets import Dataset
    from scipy.sparse import csr_matrix

    from tdro.data.task import Mixture, Task

QUERY_TOKENS = 12  # a search takes so many of its rarest tokens,
QUERY_POSTINGS = 2000  # or fewer, once they stand in so many passages together
PASSAGE_TOKENS = 256  # of a longer passage the rest is not indexed
_ROWS_AT_ONCE = 1024
_VERSION = 1  # of the algorithm: a change of what is mined changes it

# Scripts that put no spaces between words (Hangul does, but inflects the words): pairs of neighbours stand
# for them.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# A word keeps its combining marks (Hindi, Tamil, accents that have no composed form).
_WORD = rf"[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])*"
_PIECES = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|{_WORD}")


def tokens(text: str) -> list[str]:
    """Words of a normalised text; runs of a script without spaces as overlapping pairs of characters."""
    found: list[str] = []
    for piece in _PIECES.finditer(text):
        word = piece.group()
        if piece.lastgroup and len(word) > 1:
            found += [word[place : place + 2] for place in range(len(word) - 1)]
        else:
            found.append(word)
    return found


@dataclass(frozen=True)
class Passages:
    """The distinct positives of a task, numbered, and what each row may not take.

    Attributes:
        texts: as first written.
        number: normalised text to index in ``texts``.
        positive: each row's first positive, as index.
        forbidden: for each row the indices that are no negatives of it.
    """

    texts: list[str]
    number: dict[str, int]
    positive: list[int]
    forbidden: list[set[int]]


def passages_of(queries: Sequence[str], positives: Sequence[Sequence[str]]) -> Passages:
    """Number the distinct positives of a task's rows; ``queries`` are normalised already."""
    texts: list[str] = []
    number: dict[str, int] = {}
    answers: dict[str, set[int]] = {}
    first: list[int] = []
    for query, own in zip(queries, positives, strict=True):
        indices = []
        for text in own:
            index = number.setdefault(normalise(text), len(texts))
            if index == len(texts):
                texts.append(text)
            indices.append(index)
        first.append(indices[0])
        answers.setdefault(query, set()).update(indices)
    for query, answer in answers.items():
        if (echo := number.get(query)) is not None:
            answer.add(echo)
    return Passages(texts, number, first, [answers[query] for query in queries])


class Searcher:
    """BM25 (Lucene's, k1 1.5, b 0.75, by bm25s) over the distinct passages of a task."""

    def __init__(self, normalised: Iterable[str]) -> None:
        import bm25s
        from scipy.sparse import csc_matrix

        self.vocabulary: dict[str, int] = {}
        known = self.vocabulary
        self.documents = [
            [known.setdefault(token, len(known)) for token in tokens(text)[:PASSAGE_TOKENS]] for text in normalised
        ]
        known.setdefault("", len(known))  # bm25s wants at least one token
        index = bm25s.BM25(backend="numpy")
        with np.errstate(invalid="ignore"):  # passages without a single word have an average length of 0
            index.index((self.documents, known), show_progress=False, create_empty_token=False)
        scores = index.scores
        shape = (len(self.documents), len(scores["indptr"]) - 1)
        by_token = csc_matrix((scores["data"], scores["indices"], scores["indptr"]), shape=shape)
        self.by_token: csr_matrix = by_token.T.tocsr()  # (tokens, passages)
        self.by_passage: csr_matrix = by_token.tocsr()  # (passages, tokens)
        self.frequency: list[int] = np.diff(by_token.indptr).tolist()

    def query(self, text: str, positive: int) -> tuple[list[int], list[int]]:
        """The tokens to search with, rarest first, and those that only the positive has."""
        wanted = {self.vocabulary[token] for token in tokens(text) if token in self.vocabulary}
        wanted.update(self.documents[positive])
        frequency = self.frequency
        own: list[int] = []
        shared: list[int] = []
        for token in wanted:
            (shared if frequency[token] > 1 else own).append(token)
        shared.sort(key=lambda token: (frequency[token], token))
        searched: list[int] = []
        postings = 0
        for token in shared[:QUERY_TOKENS]:
            postings += frequency[token]
            if searched and postings > QUERY_POSTINGS:
                break
            searched.append(token)
        return searched, own

    def scores(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        """BM25 of every passage with a common token, sparse, shape (queries, passages)."""
        return self._matrix(queries) @ self.by_token

    def own_scores(self, queries: Sequence[Sequence[int]], positives: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of each query's own positive, shape (queries,)."""
        product = self._matrix(queries).multiply(self.by_passage[np.asarray(positives)])
        return np.asarray(product.sum(axis=1), dtype=np.float32).ravel()

    def _matrix(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        from scipy.sparse import csr_matrix

        starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])])
        flat = np.fromiter((token for query in queries for token in query), dtype=np.int32, count=int(starts[-1]))
        ones = np.ones(len(flat), dtype=np.float32)
        return csr_matrix((ones, flat, starts), shape=(len(queries), self.by_token.shape[0]))


def mine_bm25(task: Task, per_row: int, *, seed: int, depth: int = 50, skip_top: int = 0, margin: float = 0.95) -> Task:
    """Fill the negatives of the rows that have fewer than ``per_row``; the others stay as they are.

    Args:
        task: its rows' own positives are the passages to choose from.
        per_row: negatives that a row has in the end. Fewer only where the task has no other passage left; a
            row all of whose passages are its own answers keeps none.
        seed: row i's random negatives are a function of (seed, task name, i) and the task's passages.
        depth: look at so many best candidates of a row, in rank order.
        skip_top: leave out so many best ones (after the exclusions), where unlabelled answers are likely.
        margin: leave out candidates that score above this share of the row's own positive. The positive also
            scores with the words that only it has, so a passage that differs in one telling word stays a
            candidate.

    Raises:
        UserError: a task with fewer than two distinct passages, or ``per_row``, ``depth``, ``skip_top`` or
            ``margin`` out of range.
    """
    _check_settings(per_row, depth, skip_top, margin)
    queries = [normalise(query) for query in task.rows["query"][:]]
    negatives = task.rows["negatives"][:]
    lacking = [row for row, own in enumerate(negatives) if len(own) < per_row]
    if not lacking:
        return task
    passages = passages_of(queries, task.rows["positives"][:])
    if len(passages.texts) < 2:
        raise UserError(
            f"task '{task.name}' has {len(passages.texts)} distinct passage(s): too few to mine.\n"
            "Give its rows negatives, or leave the task out."
        )
    taken = [{passages.number.get(normalise(text), -1) for text in own} for own in negatives]
    searcher = Searcher(passages.number)
    random = _RandomPassages(len(passages.texts), per_row, seed, task.name, len(queries))
    for start in range(0, len(lacking), _ROWS_AT_ONCE):
        rows = lacking[start : start + _ROWS_AT_ONCE]
        for row, ranked in zip(rows, _ranked(searcher, passages, queries, rows, depth, margin), strict=True):
            barred = passages.forbidden[row] | taken[row]
            missing = per_row - len(negatives[row])
            hard = [index for index in ranked if index not in barred][skip_top : skip_top + math.ceil(missing / 2)]
            rest = random.draw(row, missing - len(hard), barred.union(hard))
            negatives[row] += [passages.texts[index] for index in [*hard, *rest]]
    return replace(task, rows=_with_negatives(task, negatives))


def _check_settings(per_row: int, depth: int, skip_top: int, margin: float) -> None:
    if per_row < 1 or depth < 1 or skip_top < 0 or not margin > 0:
        raise UserError(
            "mining negatives: per_row and depth must be at least 1, skip_top at least 0 and margin above 0, "
            f"found {per_row}, {depth}, {skip_top} and {margin}"
        )


def _ranked(
    searcher: Searcher,
    passages: Passages,
    queries: Sequence[str],
    rows: Sequence[int],
    depth: int,
    margin: float,
) -> list[list[int]]:
    """Candidates of each row, best first, equal scores in the passages' order."""
    positives = [passages.positive[row] for row in rows]
    pairs = [searcher.query(queries[row], positive) for row, positive in zip(rows, positives, strict=True)]
    found = searcher.scores([searched for searched, _ in pairs])
    limits = margin * searcher.own_scores([searched + own for searched, own in pairs], positives)
    ranked = []
    for place, limit in enumerate(limits):
        part = slice(found.indptr[place], found.indptr[place + 1])
        scores, indices = found.data[part], found.indices[part]
        near = scores <= limit
        scores, indices = scores[near], indices[near]
        if len(scores) > depth:  # all that tie with the last stay, so that their order cannot matter
            best = scores >= np.partition(scores, -depth)[-depth]
            scores, indices = scores[best], indices[best]
        ranked.append(indices[np.lexsort((indices, -scores))][:depth].tolist())
    return ranked


class _RandomPassages:
    """Random passages of a row, whatever rows were asked for before."""

    def __init__(self, n_passages: int, per_row: int, seed: int, name: str, rows: int) -> None:
        key = int(fingerprint([seed, name]), 16)
        # More than needed, for some will be barred; a fixed number of draws a row keeps the rows independent.
        draws = np.random.default_rng(key).random((rows, 2 * per_row + 8))
        self.draws: NDArray[np.int64] = np.minimum((draws * n_passages).astype(np.int64), n_passages - 1)
        self.n_passages = n_passages

    def draw(self, row: int, count: int, barred: set[int]) -> list[int]:
        """``count`` different passages that are not barred, or all there are."""
        chosen: dict[int, None] = {}
        for index in self._sequence(row):
            if len(chosen) >= count:
                break
            if index not in barred:
                chosen[index] = None
        return list(chosen)

    def _sequence(self, row: int) -> Iterable[int]:
        drawn = self.draws[row].tolist()
        yield from drawn
        yield from ((drawn[0] + step) % self.n_passages for step in range(self.n_passages))


def _with_negatives(task: Task, negatives: list[list[str]]) -> Dataset:
    """The task's rows with other negatives, by way of Arrow (``from_dict`` encodes every text by itself)."""
    import pyarrow
    from datasets import Dataset

    table = task.rows.with_format("arrow")[:]
    place = table.column_names.index("negatives")
    column = pyarrow.array(negatives, type=pyarrow.list_(pyarrow.string()))
    return Dataset(table.set_column(place, "negatives", column))


def mine_mixture(
    mixture: Mixture, per_row: int, seed: int, folder: Path | str, *, depth: int = 50, skip_top: int = 0
) -> Mixture:
    """Mine every task, keeping each task's rows in ``folder/<task>.jsonl``; what is there already is read.

    A task is mined again where its rows, its name or the settings changed (``folder/<task>.json`` has their
    fingerprint, and is written last). Raises as :func:`mine_bm25`.
    """
    folder = Path(folder)
    done = []
    with tqdm(total=sum(mixture.sizes), desc="hard negatives", unit=" rows") as bar:
        for task in mixture.tasks:
            bar.set_postfix_str(task.name)
            done.append(_mined(task, per_row, seed, folder, depth, skip_top))
            bar.update(len(task))
    return replace(mixture, tasks=done)


def _mined(task: Task, per_row: int, seed: int, folder: Path, depth: int, skip_top: int) -> Task:
    rows, key_file = folder / f"{task.name}.jsonl", folder / f"{task.name}.json"
    columns = {name: task.rows[name][:] for name in ("query", "positives", "negatives")}
    key = fingerprint([_VERSION, task.name, columns, per_row, seed, depth, skip_top])
    if rows.exists() and key_file.exists() and read_json(key_file).get("key") == key:
        negatives = [row["negatives"] for row in read_jsonl(rows)]
        return replace(task, rows=_with_negatives(task, negatives))
    mined = mine_bm25(task, per_row, seed=seed, depth=depth, skip_top=skip_top)
    key_file.unlink(missing_ok=True)  # until the new rows are whole, no key says that they are
    write_jsonl(rows, mined.rows)
    write_json(key_file, {"key": key})
    return mined
