"""FSDP: train a model whose parameters are cut into shards, one for each rank, and make it whole again.

torch does the sharding (``fully_shard``), and accelerate asks for it where its configuration says so. This file adds
what accelerate and sentence-transformers lack:

- which layers are gathered one at a time: sentence-transformers models do not say, so the transformer inside is asked;
- FSDP on CPUs: accelerate reads its settings on GPUs only, and would train a whole copy on each rank;
- checkpoints with whole parameters and the optimizer's whole state, exactly as those of a run without shards. So a run
  can be continued on any number of ranks, sharded or not, and any library can read the model;
- gradient caching: ranks exchange gradients after the last micro-batch only. sentence-transformers does this for DDP
  alone.

See docs/decisions.md, whole-checkpoints.
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
    """Complete accelerate's settings of FSDP before a model is sharded; on CPUs, where there are none, make them.

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
        # Otherwise accelerate would also sum the gradients of the ranks in bf16.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    state.fsdp_plugin, state.distributed_type = plugin, DistributedType.FSDP


def layer_classes(model: SentenceTransformer) -> list[str]:
    """The class names of the model's layers, each of which is gathered as a whole: ``["BertLayer"]``.

    transformers lists the classes of an architecture in ``_no_split_modules``; those that the model really has count.
    """
    inner = model.transformers_model
    listed = set(getattr(inner, "_no_split_modules", None) or ())
    return sorted(listed & {type(module).__name__ for module in model.modules()})


@contextlib.contextmanager
def whole_parameters(model: nn.Module) -> Iterator[None]:
    """Inside it, rank 0's model has whole parameters on the CPU instead of its shards, so that it can be saved.

    Every rank must enter it, because all ranks take part in gathering the parameters, one after the other. A model
    without shards stays as it is.
    """
    shards: list[tuple[nn.Module, str, nn.Parameter]] = []
    wholes: dict[nn.Parameter, nn.Parameter] = {}  # by shard, so that tied parameters stay tied
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
    """The state of an optimizer as if nothing were sharded; on rank 0 only, but every rank must call it."""
    return tree_map_only(DTensor, _whole, optimizer.state_dict())


def load_whole_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state that :func:`whole_state` made into an optimizer of shards; every rank must bring the whole state."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state["state"].items():
        parameter = parameters[index]
        if isinstance(parameter, DTensor):
            values |= {
                name: distribute_tensor(value, parameter.device_mesh, parameter.placements)
                for name, value in values.items()
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape
            }
    optimizer.load_state_dict(state)


def exchange_gradients(model: nn.Module, exchange: bool) -> None:
    """Set whether the next backward pass exchanges gradients among ranks. Does nothing without shards."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(exchange)


def _whole(shard: DTensor) -> torch.Tensor:
    """The whole tensor on rank 0's CPU, and an empty one on the other ranks. Every rank must call it."""
    whole = shard.full_tensor()
    return whole.cpu() if torch.distributed.get_rank() == 0 else whole.new_empty(0)
