"""FSDP: a model whose parameters are cut into shards, one a rank, and how it becomes whole again.

The sharding itself is torch's (``fully_shard``), done by accelerate where its configuration asks for it. Here is what
accelerate and sentence-transformers leave open:

- the units that are gathered one at a time: a sentence-transformers model does not name its layers, the transformer in
  it does;
- ranks on CPUs: accelerate reads the settings on GPUs only, and would train a whole copy on each rank;
- whole again: a checkpoint holds whole parameters and the optimizer's whole state, exactly as that of a run without
  shards. Any number of ranks, sharded or not, continues it, and any library reads the model;
- gradient caching: the ranks exchange gradients in the last micro-batch only, which sentence-transformers sees to for
  DDP alone.

Rejected: FSDP version 1, which transformers deprecates, and sharded checkpoints, which fit one number of ranks and lie
beside a model that no other library can read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import has_static_embedding_input
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from tdro.errors import UserError

_WHERE = "accelerate's configuration (examples/accelerate/fsdp.yaml is one that works)"


def set_up(state: AcceleratorState, model: SentenceTransformer) -> None:
    """Complete accelerate's settings for a model that is going to be sharded; on CPUs, make them.

    Raises:
        UserError: settings that do not work, or a static model, whose gradients are sparse.
    """
    plugin = getattr(state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise UserError(f"FSDP version {plugin.fsdp_version} is not supported: set fsdp_version: 2 in {_WHERE}")
    if plugin.cpu_ram_efficient_loading:
        raise UserError(
            "FSDP: each rank reads models of its own, to score texts and to go on from a checkpoint.\n"
            f"Set fsdp_cpu_ram_efficient_loading: false in {_WHERE}."
        )
    if has_static_embedding_input(model):
        raise UserError(
            "FSDP: a static model has nothing to shard but sparse gradients; train it without, on one process or by DDP"
        )
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = layer_classes(model)
    if state.mixed_precision == "bf16":
        # accelerate would add the ranks' gradients up in bf16 too.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    state.fsdp_plugin, state.distributed_type = plugin, DistributedType.FSDP


def layer_classes(model: SentenceTransformer) -> list[str]:
    """Names of the classes of layers that stay whole: what the transformer says of itself, where it has them."""
    inner = model.transformers_model
    named = set(getattr(inner, "_no_split_modules", None) or ())
    return sorted(named & {type(module).__name__ for module in model.modules()})


@contextlib.contextmanager
def whole_parameters(model: nn.Module) -> Iterator[None]:
    """Within it, rank 0's model has whole parameters on the CPU instead of its shards, so that anything can read them.

    Every rank must enter it: parameter after parameter is gathered. A model without shards stays as it is.
    """
    shards: list[tuple[nn.Module, str, nn.Parameter]] = []
    wholes: dict[nn.Parameter, nn.Parameter] = {}  # tied parameters stay tied
    for module in model.modules():
        for name, shard in module._parameters.items():
            if not isinstance(shard, DTensor):
                continue
            if shard not in wholes:
                wholes[shard] = nn.Parameter(_whole(shard.detach()), requires_grad=shard.requires_grad)
            shards.append((module, name, shard))
    if shards and torch.distributed.get_rank() == 0:
        for module, name, shard in shards:
            module._parameters[name] = wholes[shard]
    try:
        yield
    finally:
        for module, name, shard in shards:
            module._parameters[name] = shard


def whole_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state as if nothing were sharded, on rank 0; the other ranks must ask for it too."""
    return tree_map_only(DTensor, _whole, optimizer.state_dict())


def load_whole_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimizer of shards its part of a whole state, which every rank brings."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        like = parameters[number]
        if isinstance(like, DTensor):
            values |= {
                name: distribute_tensor(value, like.device_mesh, like.placements)
                for name, value in values.items()
                if isinstance(value, torch.Tensor) and value.shape == like.shape
            }
    optimizer.load_state_dict(state)


def exchange_gradients(model: nn.Module, exchange: bool) -> None:
    """Whether the next backward pass through a model of shards ends in an exchange of gradients among the ranks."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(exchange)


def _whole(shard: DTensor) -> torch.Tensor:
    """A whole tensor on rank 0's CPU, an empty one on the others; they take part."""
    whole = shard.full_tensor()
    return whole.cpu() if torch.distributed.get_rank() == 0 else whole.new_empty(0)
