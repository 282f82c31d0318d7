"""The memory of a training on each device, in four parts: weights, gradients, optimizer, and activations.

In bytes, for P parameters of which T are trained: weights 4·P (frozen ones as they are on disk), gradients 4·T, AdamW's
two moments 8·T. Activations, what autograd keeps for the backward pass, are most of it. They are estimated by one
measured factor: what a layer keeps of a token is proportional to the numbers that go into and come out of its matrices
(:data:`KEPT`). Two things are added, without which the estimate is off by more than 25 %: the probabilities of a CPU's
plain attention kernel, and under autocast the bfloat16 copy of every float32 matrix.

benchmarks/README.md, "Memory", compares the estimates with what was measured. See docs/decisions.md,
memory-by-one-factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.models.cpu import SHORT_TEXT
from tdro.planning.shape import ModelShape
from tdro.training.micro_batches import micro_batches

# What autograd keeps of a token in a layer: so many bytes for each number that goes into or comes out of the layer's
# matrices. Measured for Llama's and BERT's layers, with and without dropout: 2.7 to 3.7 where all is trained in bf16,
# 3.8 to 4.9 in fp32, 4.1 to 4.7 with LoRA in bf16 on a CPU, 3.2 on a GPU.
KEPT, KEPT_BF16 = 4.4, 3.2
# The gradients of one layer's activations, which the backward pass adds, as a share of what autograd keeps of the
# layer.
GRADIENTS = 0.35
# What glibc keeps on a CPU in holes that no later tensor fits, as a share of what the largest micro-batch needs. It
# grows with steps and micro-batches: 0.3 to 2.1 were measured in bf16, and 0 to 0.2 in fp32.
HOLES, HOLES_BF16 = 0.25, 0.7
# What a process takes before it has loaded anything: Python, torch, transformers and the rest; measured by
# benchmarks/memory.py.
PROCESS = 0.55e9
# What the machine needs for a byte of the tasks' texts: rows in Arrow, distinct texts, their numbers and their tokens.
# Measured on the sample mixture with 8 negatives a row: 0.97 GB for 0.23 GB.
TEXTS = 4.3
# What a CUDA context and its libraries take of the device: on an H200 0.79 GB. It differs by device and driver.
CUDA_CONTEXT = 0.8e9


@dataclass(frozen=True)
class Regime:
    """How a model is trained, as far as memory depends on it.

    Attributes:
        cpu: on the CPU, which has other attention kernels than a GPU.
        bf16: under autocast to bfloat16.
        lora: the rank of the adapters; None where every weight is trained.
        dropout: whether the model's own dropout is on.
        checkpointing: gradient checkpointing.
        caching: gradient caching.
        chunk_rows: texts of a micro-batch.
        ranks: processes that share the batch; each has the whole model.
    """

    cpu: bool = True
    bf16: bool = False
    lora: int | None = None
    dropout: bool = True
    checkpointing: bool = False
    caching: bool = False
    chunk_rows: int = 32
    ranks: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak. ``activations`` is all that a step needs besides the other parts."""

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
        """The peak where the ranks divide weights, gradients and optimizer state among them (FSDP)."""
        return (self.weights + self.gradients + self.optimizer) / ranks + self.activations + self.process


def trained_parameters(shape: ModelShape, how: Regime) -> int:
    """How many parameters the optimizer changes."""
    return shape.parameters if how.lora is None else shape.adapters(how.lora)


def memory(shape: ModelShape, how: Regime, lengths: NDArray[np.int64], rows: int, candidates: int) -> Memory:
    """The memory that one device needs for a batch.

    Args:
        shape: the model's sizes.
        how: how it is trained.
        lengths: tokens of each text of this rank's part of the batch, longest first.
        rows: how many queries are among the texts.
        candidates: how many passages a query is compared with, over all ranks.
    """
    trained = trained_parameters(shape, how)
    process = PROCESS if how.cpu else CUDA_CONTEXT
    # Embeddings with their gradients and normalised copies; similarities four times, and a mask.
    loss = 16.0 * len(lengths) * shape.width + 17.0 * rows * candidates
    if shape.static:
        # A sparse gradient has only the tokens of the batch; SparseAdam sorts it and makes three more of its size.
        touched = 4.0 * shape.width * float(lengths.sum())
        return Memory(4.0 * trained, touched, 8.0 * trained, 4 * touched + loss, process)
    frozen = 0 if how.lora is None else shape.stored * shape.parameters
    # Ranks exchange gradients in buckets, which take as much again.
    gradients = 4.0 * trained * (1 if how.ranks == 1 else 2)
    return Memory(frozen + 4.0 * trained, gradients, 8.0 * trained, _activations(shape, how, lengths) + loss, process)


def _activations(shape: ModelShape, how: Regime, lengths: NDArray[np.int64]) -> float:
    """The graphs that are kept at once, and what the backward pass of one adds.

    Without gradient caching all micro-batches' graphs are kept, with it one at a time. On a CPU the holes between
    tensors (:data:`HOLES`) come on top.
    """
    rows = micro_batches(lengths, how.chunk_rows)
    starts = np.cumsum([0, *rows[:-1]])
    batches = list(zip(rows, lengths[starts].tolist(), strict=True))
    graphs = [graph_bytes(shape, how, *batch) for batch in batches]
    layer = max(count * length * layer_bytes(shape, how, length) for count, length in batches)
    backward = (GRADIENTS + how.checkpointing) * layer  # a checkpointed layer is computed again
    holes = (HOLES_BF16 if how.bf16 else HOLES) * (max(graphs) + backward) if how.cpu else 0.0
    return (max(graphs) if how.caching else sum(graphs)) + backward + holes


def graph_bytes(shape: ModelShape, how: Regime, rows: int, length: int) -> float:
    """What autograd keeps of a micro-batch of ``rows`` texts padded to ``length`` tokens.

    With gradient checkpointing that is only the input of each layer, 4 bytes a number.
    """
    if how.checkpointing:
        return 4.0 * rows * length * shape.layers * shape.width
    copies = 2.0 * shape.products if how.bf16 and (how.lora is None or shape.stored == 4) else 0.0
    return rows * length * shape.layers * layer_bytes(shape, how, length) + copies


def layer_bytes(shape: ModelShape, how: Regime, length: int) -> float:
    """What autograd keeps of one token in one layer, in a text padded to ``length`` tokens."""
    # With LoRA a CPU keeps as much in bf16 as in fp32; a GPU keeps as much as without LoRA (both measured).
    factor = KEPT_BF16 if how.bf16 and (how.lora is None or not how.cpu) else KEPT
    kept = factor * sum(inputs + outputs for inputs, outputs in shape.matrices)
    # A CPU has no fused attention kernel with dropout, and for short texts in bf16 tdro.models.cpu chooses the plain
    # one. It keeps the probabilities in float32, with dropout three times.
    dropped = shape.attention_dropout and how.dropout
    if how.cpu and (dropped or (how.bf16 and length <= SHORT_TEXT and not how.checkpointing)):
        kept += 4.0 * shape.heads * length * (3 if dropped else 1)
    return kept


def largest(estimates: Sequence[Memory]) -> Memory:
    """The estimate with the highest peak."""
    return max(estimates, key=lambda one: one.total)
