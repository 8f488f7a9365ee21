"""Training with DeepSpeed's ZeRO stage 2 (arXiv 1910.02054), the mode that the paper trained in.

Each process computes with all weights, but keeps gradients, moments and the copy of the weights
that is stepped for its part only. DeepSpeed averages the gradients of all processes, each to where
it is kept, as the backward pass makes them, and puts the weights together again after a step.

The step itself is torch's: a part is a DTensor, so the monitor, the clipping and AdamW treat it as
they treat the weights of `ladder.training.strategies.fsdp`. DeepSpeed's own step can't be left out
from outside, and its checkpoints are folders for a fixed number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.optim import Optimizer

from ladder.training.strategies.fsdp import whole
from ladder.training.strategies.one_reads import OneReads, placed

BUCKET = 50_000_000
"""Values that are averaged, or gathered, at once, if so many are trained."""


class ZeroStrategy(OneReads, DDPStrategy):
    """Lightning's strategy for whole weights, with DeepSpeed in the place of DDP.

    Lightning's own for DeepSpeed makes DeepSpeed's step and DeepSpeed's checkpoints, and only on
    GPUs. Raises ValueError where the package is missing.

    Letters: F values of a flat tensor.
    """

    def __init__(self) -> None:
        if find_spec("deepspeed") is None:
            raise ValueError(
                "cluster.strategy deepspeed needs a package that isn't installed: "
                "pip install deepspeed"
            )
        super().__init__()
        self._weights: list[list[Tensor]] = []
        """Those of each group of the optimizer, which lie one after the other in a flat tensor."""

    def configure_ddp(self) -> None:
        """Nothing yet: DeepSpeed takes the model together with its optimizer."""

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Make the optimizer, and have it step the parts that DeepSpeed keeps here."""
        import deepspeed

        super().setup_optimizers(trainer)
        (optimizer,) = self.optimizers
        self._weights = [[*group["params"]] for group in optimizer.param_groups]
        os.environ["LOCAL_RANK"] = str(self.local_rank)  # SLURM doesn't set it
        self.model, *_ = deepspeed.initialize(
            model=self.model,
            optimizer=optimizer,
            config=settings(
                sum(value.numel() for group in self._weights for value in group),
                trainer.precision == "bf16-mixed",
            ),
            dist_init_required=False,
        )
        for group in optimizer.param_groups:
            group["params"] = [self._part(value.detach()) for value in group["params"]]

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Around all micro-batches of a step but the last one: gradients add up."""
        self.model.set_gradient_accumulation_boundary(False)
        yield
        self.model.set_gradient_accumulation_boundary(True)

    def post_backward(self, closure_loss: Float[Tensor, ""]) -> None:
        """Hand the averaged gradients to the optimizer, where a monitor sees them."""
        zero = self.model.optimizer
        if self.model.is_gradient_accumulation_boundary():
            for number, group in enumerate(self.optimizers[0].param_groups):
                gradients = zero.averaged_gradients[number]
                zero.averaged_gradients[number] = None
                flat = torch.cat([value.flatten() for value in gradients])
                group["params"][0].grad = self._part(flat)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], **how: Any) -> Any:
        """The step of the own parts; then all weights are put together."""
        result = super().optimizer_step(optimizer, closure, **how)
        self.model.optimizer.update_lp_params()
        return result

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take over what was trained, into the copy that is stepped too."""
        super().load_model_state_dict(checkpoint, strict)
        if self._started:
            self.model.optimizer.refresh_fp32_params()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state as that of whole weights, which all processes must call."""
        state = super().optimizer_state(optimizer)
        flat = state["state"]
        moments, groups = [], []
        for number, (weights, group) in enumerate(
            zip(self._weights, state["param_groups"], strict=True)
        ):
            numbers = range(len(moments), len(moments) + len(weights))
            groups.append(group | {"params": [*numbers]})
            entry = {name: whole(value) for name, value in flat.get(number, {}).items()}
            moments += [
                {name: cut(value, weight) for name, value in entry.items()} for weight in weights
            ]
        # Before the first step there are none.
        return {"state": dict(enumerate(moments)) if flat else {}, "param_groups": groups}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over the own parts of the moments."""
        (optimizer,) = self.optimizers
        (state,) = checkpoint["optimizer_states"]
        flat, groups = {}, []
        for number, (weights, saved, group) in enumerate(
            zip(self._weights, state["param_groups"], optimizer.param_groups, strict=True)
        ):
            groups.append(saved | {"params": [number]})
            moments = [state["state"][key] for key in saved["params"] if key in state["state"]]
            if moments:
                (part,) = group["params"]
                flat[number] = {
                    name: placed(joined([entry[name] for entry in moments], weights, part), part)
                    if value.ndim
                    else value.clone()
                    for name, value in moments[0].items()
                }
        optimizer.load_state_dict({"state": flat, "param_groups": groups})

    def teardown(self) -> None:
        if self._started:
            self.model.destroy()
            self.model = self.lightning_module
        super().teardown()

    @cached_property
    def mesh(self) -> DeviceMesh:
        """All processes, over which parts are spread."""
        return init_device_mesh(self.root_device.type, (self.world_size,))

    @property
    def _started(self) -> bool:
        """Whether DeepSpeed has the model."""
        return self.model is not self.lightning_module

    def _part(self, value: Float[Tensor, " F"]) -> DTensor:
        """What this process keeps of a flat tensor, as such."""
        return DTensor.from_local(value, self.mesh, [Shard(0)])


def settings(trained: int, autocast: bool) -> dict[str, Any]:
    """DeepSpeed's configuration (https://www.deepspeed.ai/docs/config-json/) for so many values.

    Lightning counts the micro-batches, so for DeepSpeed each is a step. Autocast from outside
    DeepSpeed switches off. No module's gradients are averaged in bfloat16: DDP's are not.
    """
    bucket = min(BUCKET, trained + trained % 2)  # it must be even
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "zero_optimization": {
            "stage": 2,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "torch_autocast": {
            "enabled": autocast,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        },
    }


def cut(value: Float[Tensor, "*F"], weight: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """Of a flat tensor what belongs to `weight`; a number, the count of steps, as it is.

    DeepSpeed makes weights views of such a tensor. Each gets a copy of its own: AdamW would count
    a step of a shared number for every weight.
    """
    if value.ndim:
        value = value.narrow(0, weight.storage_offset(), weight.numel()).view(weight.shape)
    return value.clone()


def joined(
    values: Sequence[Float[Tensor, "*_"]],
    weights: Sequence[Float[Tensor, "*_"]],
    like: Float[Tensor, " F"],
) -> Float[Tensor, " F"]:
    """The flat tensor of the shape of `like` of which `cut` gives `values`; of outlines, one."""
    if values[0].is_meta:
        return torch.empty(like.shape, dtype=like.dtype, device="meta")
    flat = torch.zeros(like.shape, dtype=like.dtype)
    for value, weight in zip(values, weights, strict=True):
        flat.narrow(0, weight.storage_offset(), weight.numel()).copy_(value.flatten())
    return flat
