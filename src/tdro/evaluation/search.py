"""Exact search: every distinct text is encoded once, every passage is compared with every query.

Texts are tokenized once and encoded in batches of equal numbers of tokens, sorted by tokens. Rejected: one
call of ``model.encode``, which sorts by characters: in a mixture of languages and code that is far from
tokens, 1.5 to 2 times the tokens are padding, and it took 1.5 to 2 times as long (MiniLM in bf16 on two
cores). Rejected too: an index that approximates; at these sizes the matrix product takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from tdro.data.tokens import Tokens, tokenize, tokenize_cached
from tdro.errors import UserError
from tdro.evaluation.beir import BeirData
from tdro.retriever.encode import encode_tokens
from tdro.retriever.machine import Machine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_NO_LIMIT = 1 << 20  # tokens; a static model reads all of a text
_SECONDS_BEFORE_BAR = 5


def encode_texts(
    model: SentenceTransformer,
    lists: Sequence[Sequence[str]],
    machine: Machine,
    *,
    tokens_folder: Path | None = None,
    title: str = "encoding",
    progress: bool = True,
) -> list[Tensor]:
    """Unit-length embeddings of several lists of texts, in one pass; equal texts are encoded once.

    Args:
        model: as it comes; it is put into evaluation mode.
        lists: of texts with their prompts.
        machine: its ``bf16`` says whether to autocast. A static model computes in float32 in any case.
        tokens_folder: where the tokens are kept for the next model with this tokenizer; None does not keep
            them.
        title: what the progress bar says.
        progress: show a bar if it takes more than 5 seconds.

    Returns:
        A float32 tensor (texts, D) a list, on the CPU.

    Raises:
        UserError: the model gives numbers that are not finite.
    """
    place: dict[str, int] = {}
    where = [np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64) for texts in lists]
    limit = int(min(model.max_seq_length or _NO_LIMIT, _NO_LIMIT))
    if tokens_folder is None:
        tokens = tokenize(model, list(place), limit, "test sets")
    else:
        tokens = tokenize_cached(model, list(place), limit, tokens_folder, "test sets")
    vectors = _encode(model.eval(), tokens, machine, title, progress)
    if not np.isfinite(vectors).all():
        raise UserError(f"{title}: the model's embeddings are not all finite numbers; it cannot be evaluated")
    return [torch.from_numpy(vectors[texts]) for texts in where]


def _encode(
    model: SentenceTransformer, tokens: Tokens, machine: Machine, title: str, progress: bool
) -> NDArray[np.float32]:
    """Embeddings of all texts. The bar counts tokens: the longest texts come first."""
    texts = np.arange(len(tokens.lengths))
    ends = np.concatenate([[0], np.cumsum(np.sort(tokens.lengths)[::-1])])
    done = 0
    with tqdm(
        total=int(ends[-1]),
        desc=title,
        unit=" tokens",
        unit_scale=True,
        leave=False,
        delay=_SECONDS_BEFORE_BAR,
        disable=not progress,
    ) as bar:

        def count(number: int) -> None:
            nonlocal done
            bar.update(int(ends[done + number] - ends[done]))
            done += number

        return encode_tokens(model, tokens, texts, machine, done=count)


def search(
    queries: Tensor, passages: Tensor, data: BeirData, k: int = 100
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best passages of each query of a test set.

    Equal scores are ordered by passage id, the larger first, as trec_eval does. A passage with the query's
    own id is left out, as BEIR does.

    Args:
        queries: (queries, D), unit length.
        passages: (passages, D), unit length.
        data: whose queries and passages these are.
        k: how many.

    Returns:
        Places in ``data.passage_ids``, -1 where there are no more, and cosines (-inf there); both
        (queries, min(k, passages)).
    """
    order = np.array(sorted(range(len(data.passage_ids)), key=data.passage_ids.__getitem__, reverse=True))
    place = {data.passage_ids[old]: new for new, old in enumerate(order)}
    own = torch.tensor([place.get(query, -1) for query in data.query_ids])
    top, scores = top_k(queries, passages[torch.from_numpy(order)], k, own)
    found = top.numpy()
    return np.where(found >= 0, order[found], -1), scores.numpy()


def top_k(
    queries: Tensor,
    passages: Tensor,
    k: int,
    own: Tensor | None = None,
    *,
    passages_at_once: int = 32768,
    queries_at_once: int = 1024,
) -> tuple[Tensor, Tensor]:
    """The k largest inner products of each query, best first, of equal ones the first passage first.

    The scores of all pairs are never in memory at once, only ``queries_at_once`` x ``passages_at_once`` of
    them.

    Args:
        queries: (Q, D). passages: (N, D).
        k: how many; fewer if there are fewer passages.
        own: for each query a passage that is not to be found, or -1; (Q,).
        passages_at_once: passages that are compared at a time.
        queries_at_once: queries that are compared at a time.

    Returns:
        Places (-1 where there are no more) and scores (-inf there), each (Q, min(k, N)).
    """
    if own is None:
        own = torch.full((len(queries),), -1)
    parts = [
        _top_of_part(part, passages, k, out, passages_at_once)
        for part, out in zip(queries.split(queries_at_once), own.split(queries_at_once), strict=True)
    ]
    places, scores = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return places.masked_fill(scores == -torch.inf, -1), scores


def _top_of_part(queries: Tensor, passages: Tensor, k: int, own: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    best = torch.empty(len(queries), 0, dtype=torch.long)
    best_scores = torch.empty(len(queries), 0)
    for start in range(0, len(passages), at_once):
        scores = queries @ passages[start : start + at_once].T
        inside = ((own >= start) & (own < start + scores.shape[1])).nonzero()[:, 0]
        scores[inside, own[inside] - start] = -torch.inf
        pick = _first_k(scores, k)
        # The earlier passages come first, so among equal scores the order of columns is that of passages.
        best = torch.cat([best, pick + start], dim=1)
        best_scores = torch.cat([best_scores, scores.gather(1, pick)], dim=1)
        pick = _first_k(best_scores, k)
        best, best_scores = best.gather(1, pick), best_scores.gather(1, pick)
    return best, best_scores


def _first_k(scores: Tensor, k: int) -> Tensor:
    """Columns of the k largest scores of each row in falling order, of equal ones the first column first.

    ``torch.topk`` is quick but may take any of several equal scores, so rows where that matters are mended.
    """
    k = min(k, scores.shape[1])
    column = scores.topk(k, dim=1).indices.sort(dim=1).values
    last = scores.gather(1, column).min(dim=1, keepdim=True).values
    unsure = ((scores >= last).sum(dim=1) > k).nonzero()[:, 0]
    if len(unsure):
        above, equal = scores[unsure] > last[unsure], scores[unsure] == last[unsure]
        room = k - above.sum(dim=1, keepdim=True)
        column[unsure] = (above | (equal & (equal.cumsum(dim=1) <= room))).nonzero()[:, 1].view(-1, k)
    order = scores.gather(1, column).sort(dim=1, descending=True, stable=True).indices
    return column.gather(1, order)
