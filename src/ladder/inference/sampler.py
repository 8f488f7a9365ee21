"""From noise to latents: the steps of a solver over pictures that differ in their branches.

Letters: B pictures, R branches of all of them, P distinct prompts, NQ tokens of a condition, C
caption channels, Z latent channels, H and W latent height and width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from jaxtyping import Float, Int
from torch import Tensor

from ladder.config.load import Sampling
from ladder.inference.guidance import Branch
from ladder.models import rectified_flow
from ladder.models.generator.rung_attention import ConditionsOnce
from ladder.models.ladder import Ladder
from ladder.models.part_settings import SOLVER_RULES, require_settings

Generators = torch.Generator | Sequence[torch.Generator] | None
"""What a call may be given."""


@dataclass(frozen=True)
class BranchRows:
    """The velocities of a step: a row for each branch of each picture."""

    conditions: Float[Tensor, "R NQ C"]
    weights: Float[Tensor, " R"]
    owners: Int[Tensor, " R"]
    """Which picture each row belongs to."""

    @classmethod
    def of(
        cls, branches: Sequence[Sequence[Branch]], conditions: Float[Tensor, "P NQ C"]
    ) -> BranchRows:
        """The rows for the branches of each picture, from the conditions of the prompts."""
        rows = [(owner, branch) for owner, own in enumerate(branches) for branch in own]
        device = conditions.device
        return cls(
            conditions[[branch.prompt for _, branch in rows]],
            torch.tensor([branch.weight for _, branch in rows], dtype=torch.float32, device=device),
            torch.tensor([owner for owner, _ in rows], device=device),
        )


@dataclass(frozen=True)
class Denoiser:
    """A ladder, a solver, and what to draw; each call draws it from its beginning."""

    ladder: Ladder
    scheduler: SchedulerMixin
    steps: int
    start: Float[Tensor, "B Z H W"]
    """The noise."""
    rows: BranchRows
    generators: list[torch.Generator] | None
    """For a solver that adds noise of its own: one for each picture."""
    bar: Callable[[Iterable[Tensor]], Iterable[Tensor]]
    """Shows the progress over the times it is given."""

    def __call__(
        self,
        before: Callable[[Tensor, Tensor], None] | None = None,
        after: Callable[[int, Tensor, Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B Z H W"]:
        """The latents at the end.

        `before` gets the latents and the time of each step, and `after` its number, its time and
        what came out, which it may change.
        """
        chance = inspect.signature(self.scheduler.step).parameters.keys() & {"generator"}
        noise = dict.fromkeys(chance, self.generators)
        latents, rows = self.start, self.rows
        once = ConditionsOnce(self.ladder.generator)
        self.scheduler.set_timesteps(self.steps, device=latents.device)
        for step, timestep in enumerate(self.bar(self.scheduler.timesteps)):
            if before is not None:
                before(latents, timestep)
            with once:
                velocities = self.ladder.velocity(
                    latents[rows.owners].to(rows.conditions.dtype),
                    timestep.float().expand(len(rows.owners)),
                    rows.conditions,
                )
            velocity = rectified_flow.guide(velocities, rows.weights, rows.owners, len(latents))
            stepped = self.scheduler.step(velocity, timestep, latents, return_dict=False, **noise)
            latents = stepped[0] if after is None else after(step, timestep, stepped[0])
        return latents


def make_scheduler(sampling: Sampling) -> SchedulerMixin:
    """The solver of the flow's equation: DPM-Solver++ (second order) or Euler."""
    if sampling.solver == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=sampling.shift)
    return DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=sampling.shift, prediction_type="flow_prediction"
    )


def check_solver(scheduler: SchedulerMixin, steps: int) -> None:
    """Raises ValueError unless a flow can be solved by `scheduler` in `steps` steps."""
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, got {steps}")
    name = type(scheduler).__name__
    if not (scheduler.config.get("use_flow_sigmas") or name.startswith("FlowMatch")):
        raise ValueError(
            f"the scheduler must solve flows (FlowMatch.., or with use_flow_sigmas), got {name}"
        )
    require_settings(scheduler.config, name, SOLVER_RULES)


def generators_of(generator: Generators, count: int) -> list[torch.Generator] | None:
    """One for each of `count` pictures. A single one draws picture by picture too, so that a longer
    batch only adds some. Raises ValueError for another number of them.
    """
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if generator is None:
        return None
    if len(generator) != count:
        raise ValueError(f"{count} pictures need as many generators, got {len(generator)}")
    return list(generator)
