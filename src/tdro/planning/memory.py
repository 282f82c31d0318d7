"""The memory of a training on each device, by arithmetic.

What is there all the time, in bytes: weights 4·P (frozen ones as they are on disk), gradients 4·T, AdamW's two
moments 8·T, with P parameters in all and T that are trained. On top, what autograd keeps for the backward pass, which
is most of it. It is added up below as transformers' layers are written: Llama's kind (RMSNorm, a gated MLP) and BERT's
(LayerNorm, a plain one); a test compares it with what autograd really keeps. Symbols: w width, q width of all heads, f
width inside the MLP, L the length that a micro-batch is padded to, e bytes of a number (2 under autocast to bfloat16,
else 4).

Under autocast the hidden states stay float32 and every matrix makes its own bfloat16 copy of what goes into it, and
once in each micro-batch of itself.

Rejected: the rule "activations = 34·w a token and layer", which knows no autocast, no LoRA and no attention kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.models.cpu import SHORT_TEXT
from tdro.planning.shape import ModelShape
from tdro.training.micro_batches import micro_batches

# What a process takes before it has loaded anything: Python, torch, transformers and the rest; measured by
# benchmarks/memory.py.
PROCESS = 0.55e9
# What the machine needs for a byte of the tasks' texts: rows in Arrow, distinct texts, their numbers and their tokens.
# Measured on the sample mixture with 8 negatives a row: 0.97 GB for 0.23 GB.
TEXTS = 4.3
# What a CUDA context and its libraries take of the device; an assumption, for it differs by device and driver.
CUDA_CONTEXT = 0.6e9


@dataclass(frozen=True)
class Regime:
    """How a model is trained, as far as memory depends on it.

    Attributes:
        cpu: on the CPU, whose attention kernels are others than a GPU's.
        bf16: under autocast to bfloat16.
        lora: rank of the adapters, or None where every weight is trained.
        lora_dropout: whether the adapters' inputs are dropped out.
        dropout: whether the model's own dropout is on.
        checkpointing: gradient checkpointing.
        caching: gradient caching.
        chunk_rows: texts of a micro-batch.
        ranks: processes that share the batch; each has the whole model.
    """

    cpu: bool = True
    bf16: bool = False
    lora: int | None = None
    lora_dropout: bool = False
    dropout: bool = True
    checkpointing: bool = False
    caching: bool = False
    chunk_rows: int = 32
    ranks: int = 1

    @property
    def number(self) -> int:
        """Bytes of a number that a matrix product gives."""
        return 2 if self.bf16 else 4

    @property
    def noise(self) -> int:
        """Bytes that dropout keeps a number: a CPU keeps what it multiplies with in float32, a GPU a mask."""
        return 4 if self.cpu else 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak. ``activations`` is all that a step needs besides the other three."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    process: float

    @property
    def total(self) -> float:
        """The peak."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.process

    def sharded(self, ranks: int) -> float:
        """The peak where the ranks share weights, gradients and optimizer state among them (FSDP)."""
        return (self.weights + self.gradients + self.optimizer) / ranks + self.activations + self.process


def trained_parameters(shape: ModelShape, how: Regime) -> int:
    """Parameters that an optimizer changes."""
    return shape.parameters if how.lora is None else shape.adapters(how.lora)


def memory(shape: ModelShape, how: Regime, lengths: NDArray[np.int64], rows: int, candidates: int) -> Memory:
    """The memory that one device needs for a batch.

    Args:
        shape: the model's sizes.
        how: how it is trained.
        lengths: tokens of all texts of this rank's part of the batch, longest first.
        rows: queries among them.
        candidates: passages that a query is compared with, over all ranks.
    """
    trained = trained_parameters(shape, how)
    frozen = 0 if how.lora is None else shape.stored * shape.parameters
    # Ranks exchange their gradients in buckets, which are as large as the gradients.
    gradients = 4.0 * trained * (1 if how.ranks == 1 else 2)
    loss = _loss(shape, len(lengths), rows, candidates)
    if shape.static:
        touched = 4.0 * shape.width * float(lengths.sum())
        # A sparse gradient is only of the tokens in the batch; SparseAdam sorts it and makes three more of its size.
        return Memory(4.0 * trained, touched, 8.0 * trained, 4 * touched + loss, _process(how))
    activations = max(_working_set(shape, how, lengths) + loss, 0.0)
    return Memory(frozen + 4.0 * trained, gradients, 8.0 * trained, activations, _process(how))


def _working_set(shape: ModelShape, how: Regime, lengths: NDArray[np.int64]) -> float:
    """What a step needs besides weights, gradients and optimizer at its peak.

    The backward pass begins with the micro-batch of the shortest texts, when there is no gradient yet. With all graphs
    kept (A_1 … A_m) the peak is the largest of: all graphs, no gradients; all but the last one, and gradients; all but
    the last two, gradients, and a second gradient of the embedding table, which is dense and added to the first.
    With gradient caching there is one graph at a time, and gradients from the second one on.

    On a CPU, glibc keeps about as much as the largest micro-batch needs in holes that no later tensor fits: 0.4 to 1.7
    times that were measured, growing with steps, and next to nothing with ``MALLOC_MMAP_THRESHOLD_=262144``.
    """
    rows = micro_batches(lengths, how.chunk_rows)
    starts = np.cumsum([0, *rows[:-1]])
    batches = list(zip(rows, lengths[starts].tolist(), strict=True))
    gradients = 4.0 * trained_parameters(shape, how)
    table = 4.0 * shape.vocabulary * shape.width if how.lora is None else 0.0
    kept = [graph_bytes(shape, how, *batch) for batch in batches]
    backward = max(backward_bytes(shape, how, *batch) for batch in batches)
    holes = max(kept) + backward if how.cpu else 0.0
    if how.caching:
        return max(kept[0] - gradients, *kept[1:], table if len(kept) > 1 else 0.0, 0.0) + backward + holes
    before_last = [sum(kept[:-1]), sum(kept[:-2]) + table] if len(kept) > 1 else [0.0]
    return max(sum(kept) - gradients, *before_last) + backward + holes


def graph_bytes(shape: ModelShape, how: Regime, rows: int, length: int) -> float:
    """What autograd keeps of a micro-batch of ``rows`` texts padded to ``length`` tokens.

    A token and layer: :func:`layer_bytes`, or 4·w with gradient checkpointing, the layer's input. Outside of the
    layers: 12·w, for the embeddings and the pooling. Under autocast also a bfloat16 copy of every float32 matrix.
    """
    per_layer = 4.0 * shape.width if how.checkpointing else layer_bytes(shape, how, length)
    copies = 0.0 if how.checkpointing else _matrix_copies(shape, how)
    return rows * length * (shape.layers * per_layer + 12.0 * shape.width) + copies


def backward_bytes(shape: ModelShape, how: Regime, rows: int, length: int) -> float:
    """What the backward pass of a micro-batch adds: gradients of one layer's activations, and with gradient
    checkpointing the layer itself, computed again.
    """
    tokens = rows * length
    gradients = tokens * (2.0 * how.number * shape.inner + 12.0 * shape.width)
    if not how.checkpointing:
        return gradients
    return gradients + tokens * layer_bytes(shape, how, length) + _matrix_copies(shape, how) / shape.layers


def layer_bytes(shape: ModelShape, how: Regime, length: int) -> float:
    """Bytes that autograd keeps of one token in one layer, in a text padded to ``length``: the sum of

    - norms: their input 4·n, n numbers normalised; RMSNorm, where its scale is trained, also what the scale is applied
      to: 8·n;
    - inputs of the matrices: e a number, float32 ones shared by matrices that read the same, bfloat16 copies not. A
      frozen matrix keeps none, but its adapter keeps a bfloat16 copy and its dropout's noise;
    - MLP: what goes into its activation, e·f; with a gate also what comes out, and what that is multiplied with: 3·e·f;
    - attention: queries, keys and values, e·3·q, by a fused kernel (which also keeps its output, e·q, where the matrix
      after it does not). The plain kernel keeps them in float32, 12·q, and the probabilities, 4·heads·L, with dropout
      three times;
    - dropout of hidden states, twice w.
    """
    e, w = how.number, shape.width
    norms = (8.0 if shape.rms and how.lora is None else 4.0) * shape.normalised
    mlp = (3 if shape.gated else 1) * e * shape.inner
    dropped = 2.0 * how.noise * w if shape.dropout and how.dropout else 0.0
    return norms + _inputs(shape, how) + mlp + _attention(shape, how, length) + dropped


def _inputs(shape: ModelShape, how: Regime) -> float:
    every = sum(inputs for inputs, _ in shape.matrices)
    if how.lora is not None and how.lora_dropout:
        return (how.noise + how.number) * every
    if how.bf16:
        return 2.0 * every
    return 4.0 * (2 * shape.width + shape.queries + shape.inner)


def _attention(shape: ModelShape, how: Regime, length: int) -> float:
    dropped = shape.attention_dropout and how.dropout
    # As tdro.models.cpu chooses; a CPU has no fused kernel with dropout.
    plain = how.cpu and (dropped or (how.bf16 and length <= SHORT_TEXT and not how.checkpointing))
    if not plain:
        return how.number * shape.queries * (3.0 if how.lora is None else 4.0)
    return 12.0 * shape.queries + 4.0 * shape.heads * length * (3 if dropped else 1)


def _matrix_copies(shape: ModelShape, how: Regime) -> float:
    return 2.0 * shape.products if how.bf16 and (how.lora is None or shape.stored == 4) else 0.0


def _loss(shape: ModelShape, texts: int, rows: int, candidates: int) -> float:
    """Embeddings with their gradients and normalised copies, and the table of similarities, four times and a mask."""
    return 4.0 * 4 * texts * shape.width + 17.0 * rows * candidates


def _process(how: Regime) -> float:
    return PROCESS if how.cpu else CUDA_CONTEXT


def largest(estimates: Sequence[Memory]) -> Memory:
    """The estimate with the highest peak."""
    return max(estimates, key=lambda one: one.total)
