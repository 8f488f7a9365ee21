"""Sharded training (torch's FSDP2, after arXiv 2304.11277): each process keeps a part of weights.

Each layer of the MLLM and each block of the generator gathers its weights just before it computes
and lets them go after. Gradients, moments and averages stay in parts too. What leaves a run is
whole: its checkpoints are those of any other strategy, on any number of processes. While one is
written, and at the end, all that is trained lies in the memory of every process.

All processes must compute the same layers equally often, or they wait for each other for ever.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Shaped
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy
from torch import Tensor
from torch.distributed import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ladder.models.ladder import Ladder
from ladder.models.mllm.families import language_model
from ladder.training.strategies.one_reads import OneReads


class ShardedStrategy(OneReads, ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over so many `processes`, with whole checkpoints.

    Lightning's own would look for the frozen MLLM in a checkpoint, and name moments by parameters.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(
            data_parallel_size=processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Tensor]:
        """What is trained, whole."""
        state = self.lightning_module.state_dict()
        return {name: whole(value) for name, value in state.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state with whole moments."""
        state = ParallelStrategy.optimizer_state(self, optimizer)
        moments = {
            number: {name: whole(value) for name, value in entry.items()}
            for number, entry in state["state"].items()
        }
        return state | {"state": moments}


def shard(ladder: Ladder, mesh: DeviceMesh) -> None:
    """Spread the weights of `ladder` over the processes of `mesh`, in place and for good.

    Of the MLLM only the layers are; its embeddings, vision tower and head stay whole. A UNet, which
    has no list of equal blocks, gathers all of its weights at once.
    """
    layers = language_model(ladder.understanding.mllm).layers
    # Left gathered after a pass, weights would miss what an average or a checkpoint writes.
    how = {"mesh": mesh, "reshard_after_forward": True}
    blocks = getattr(ladder.generator, "transformer_blocks", ())
    for part in (*layers, *blocks, ladder.generator):
        fully_shard(part, **how)
    spread = {value for layer in layers for value in layer.parameters()}
    kept = {value for value in ladder.understanding.parameters() if value not in spread}
    fully_shard(ladder, ignored_params=kept, **how)
    for method in ("conditions", "velocity"):
        register_fsdp_forward_method(ladder, method)


def whole(value: Shaped[Tensor, "*S"]) -> Shaped[Tensor, "*S"]:
    """A tensor put together on the CPU from its parts; one that has no parts, as it is.

    All processes must call it.
    """
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value
