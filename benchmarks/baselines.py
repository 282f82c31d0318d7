"""What tdro is compared with: the step as the released code does it, and the floor that no implementation passes.

Written plainly on purpose, from the algorithm's description; nothing here is used by tdro itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdro.data.tokens.tokenize import Tokens
from tdro.models.cpu import SHORT_TEXT
from tdro.models.cuda import attention_of_any_shape
from tdro.training.steps import PlannedSteps

LEARNING_RATE, ETA, TEMPERATURE = 1e-4, 0.02, 0.02


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the trainer takes by default, for every contestant."""
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1, fused=True)


class PlainStep:
    """One step as the released code does it: padded to the longest row, the reference in every step, one graph.

    Args:
        proxy: is trained.
        reference: frozen; runs without gradients.
        tasks: how many there are.
        bf16: autocast to it; else fp32.
    """

    def __init__(self, proxy: SentenceTransformer, reference: SentenceTransformer, tasks: int, bf16: bool) -> None:
        self.proxy, self.reference, self.bf16 = proxy.train(), reference.eval(), bf16
        self.optimizer = adamw(proxy)
        self.log_alpha = torch.full((tasks,), -float(np.log(tasks)))

    def __call__(self, steps: PlannedSteps, step: int) -> float:
        """Train on one step of the plan and return the weighted loss."""
        rows, texts = steps.rows(step)
        task = torch.from_numpy(rows.task)
        queries = steps.data.queries.features(texts.query)
        passages = steps.data.passages.features(texts.passages.reshape(-1))
        losses = self._losses(self.proxy, queries, passages)
        with torch.no_grad():
            reference = self._losses(self.reference, queries, passages)
            headroom = _task_means(losses, task, len(self.log_alpha)) / _task_means(
                reference, task, len(self.log_alpha)
            )
            headroom = headroom / headroom.norm().clamp(min=1)
            self.log_alpha = torch.log_softmax(self.log_alpha + ETA * headroom, 0)
            weights = self.log_alpha.exp()[task]
        loss = (weights / weights.sum() * losses).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.proxy.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _losses(self, model: SentenceTransformer, queries: dict[str, Tensor], passages: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            query = model(dict(queries))["sentence_embedding"]
            passage = model(dict(passages))["sentence_embedding"]
        query = torch.nn.functional.normalize(query.float(), dim=1)
        passage = torch.nn.functional.normalize(passage.float(), dim=1).reshape(len(query), -1, query.shape[1])
        scores = torch.einsum("bd,bnd->bn", query, passage) / TEMPERATURE
        return torch.nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long), reduction="none")


def _task_means(losses: Tensor, task: Tensor, count: int) -> Tensor:
    sums = torch.zeros(count).index_add(0, task, losses.detach())
    return sums / torch.bincount(task, minlength=count).clamp(min=1)


class Floor:
    """Forward, backward and optimizer over the same tokens, packed into rows of equal length: no padding, no mask.

    The texts of a step are sorted and cut into chunks as tdro does; the tokens of a chunk are then dealt out into as
    many rows of their mean length (fewer tokens than rows are left over). The transformer alone runs, without the
    modules around it, and the loss is a constant product.

    Args:
        proxy: is trained.
        chunk_rows: rows through the model at a time.
        bf16: autocast to it.
    """

    def __init__(self, proxy: SentenceTransformer, chunk_rows: int, bf16: bool) -> None:
        self.proxy, self.transformer = proxy.train(), proxy[0].auto_model
        self.chunk_rows, self.bf16, self.device = chunk_rows, bf16, proxy.device
        self.optimizer = adamw(proxy)

    def chunks(self, steps: PlannedSteps, step: int) -> list[Tensor]:
        """Token ids of one step, packed; not a part of what is timed."""
        texts = _texts(steps, step)
        return [_packed(texts[start : start + self.chunk_rows]) for start in range(0, len(texts), self.chunk_rows)]

    def __call__(self, chunks: list[Tensor], one_graph: bool = True) -> float:
        """Train on one step: with a backward pass over all chunks together, or one a chunk, which needs less memory."""
        loss = torch.zeros((), device=self.device)
        for ids in chunks:
            with (
                attention_of_any_shape(),
                self._autocast(),
                _kernel(ids.shape[1] if self.bf16 and self.device.type == "cpu" else None),
            ):
                hidden = self.transformer(input_ids=ids.to(self.device)).last_hidden_state
            of_chunk = hidden[:, -1].float().sum() / 1000
            if not one_graph:
                of_chunk.backward()
            loss = loss + (of_chunk if one_graph else of_chunk.detach())
        if one_graph:
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.proxy.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def _kernel(length: int | None) -> contextlib.AbstractContextManager:
    """The faster attention kernel, as in tdro: a floor is no floor with a slower one."""
    return sdpa_kernel(SDPBackend.MATH) if length is not None and length <= SHORT_TEXT else contextlib.nullcontext()


def _texts(steps: PlannedSteps, step: int) -> list[NDArray[np.int32]]:
    """The tokens of all texts of a step, longest first."""
    _, texts = steps.rows(step)
    queries, passages = steps.data.queries, steps.data.passages
    found = [*_each(queries, texts.query), *_each(passages, texts.passages.reshape(-1))]
    return sorted(found, key=len, reverse=True)


def _each(tokens: Tokens, texts: NDArray[np.int64]) -> Iterator[NDArray[np.int32]]:
    return (tokens.ids[tokens.starts[text] : tokens.starts[text + 1]] for text in texts)


def _packed(texts: list[NDArray[np.int32]]) -> Tensor:
    flat = np.concatenate(texts)
    length = max(1, len(flat) // len(texts))
    return torch.from_numpy(flat[: length * len(texts)].reshape(len(texts), length).astype(np.int64))
