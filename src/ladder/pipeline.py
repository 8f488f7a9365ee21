"""Pictures from prompts and edits of pictures, as a diffusers pipeline.

    LadderPipeline.from_pretrained()("a red star above two blue hearts").images[0]

A call may mix prompts with none, one or several source pictures: each gets the branches of guidance
that it needs, and is drawn as it would be alone. The MLLM reads every distinct prompt once a call.

Letters: B pictures to draw, R branches of all of them, P distinct prompts, NQ tokens of a
condition, C caption channels, Z latent channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    ImagePipelineOutput,
)
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ladder import config, flow
from ladder.branches import Plan, Source, one_each, plan_branches, sources_of
from ladder.model.generator import ConditionsOnce, load_part
from ladder.model.ladder import Ladder

SHIPPED = Path(__file__).resolve().parents[2] / "models/ladder"
"""The trained ladder that comes with the repository."""
Scheduler = DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler
Generators = torch.Generator | Sequence[torch.Generator] | None


class LadderPipeline(DiffusionPipeline):
    """Text to image, editing, and questions about pictures."""

    model_cpu_offload_seq = "ladder->vae"
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012 (as diffusers has it)

    def __init__(self, ladder: Ladder, vae: AutoencoderDC, scheduler: Scheduler) -> None:
        super().__init__()
        self.register_modules(ladder=ladder, vae=vae, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Path | str | None = None, **options: Any
    ) -> LadderPipeline:
        """Load a folder or hub id, by default the ladder that comes with the repository.

        `options` are those of diffusers; `torch_dtype` is float32 unless named.
        """
        if pretrained_model_name_or_path is None and not SHIPPED.is_dir():
            raise FileNotFoundError(f"there must be a trained ladder at {SHIPPED}, got none")
        return super().from_pretrained(str(pretrained_model_name_or_path or SHIPPED), **options)

    @classmethod
    def from_ladder(
        cls, ladder: Ladder, foundations: config.Foundations, sampling: config.Sampling
    ) -> LadderPipeline:
        """Put a ladder together with the autoencoder of its generator and a solver."""
        vae = load_part(AutoencoderDC, foundations.generator, "vae")
        return cls(ladder, vae, make_scheduler(sampling))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        image: Source | Sequence[Source] = None,
        negative_prompt: str | Sequence[str] = "",
        num_inference_steps: int = 20,
        guidance_scale: float = 3.0,
        image_guidance_scale: float = 1.5,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        latents: Float[Tensor, "B Z H W"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Tensor]] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw `num_images_per_prompt` pictures for each prompt, in the order of the prompts.

        - `image`: the source of every prompt, or a list with an entry for each prompt: a picture,
          a list of pictures, or None for text to image
        - `negative_prompt`: what guidance leads away from, one for all prompts or one each
        - `guidance_scale`, `image_guidance_scale`: towards the text and towards the sources; 1
          switches guidance off, and its work is saved
        - `generator`: one for all noise, or one for each picture, which then doesn't depend on
          what else is drawn
        - `latents`: the noise itself, in place of a generator
        - `output_type`: "pil", "np", "pt" or "latent"
        - `callback_on_step_end`: called as f(pipeline, step, timestep, {"latents": ...}); may
          return other latents

        Raises ValueError when the numbers of prompts, sources and generators don't fit together.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or num_images_per_prompt < 1:
            raise ValueError(
                "there must be a prompt and a picture to draw, got "
                f"{len(prompts)} prompts with {num_images_per_prompt} pictures each"
            )
        plan = plan_branches(
            prompts,
            sources_of(image, len(prompts)),
            one_each("negative_prompt", negative_prompt, len(prompts)),
            guidance_scale,
            image_guidance_scale,
        )
        device = self._execution_device
        latents = self._noise(len(prompts) * num_images_per_prompt, generator, latents, device)
        conditions = self._conditions(plan, device)
        # A row for each branch of each picture, since pictures may differ in their branches.
        rows = [
            (owner, branch)
            for owner in range(len(latents))
            for branch in plan.branches[owner // num_images_per_prompt]
        ]
        owners = torch.tensor([owner for owner, _ in rows], device=device)
        weights = torch.tensor(
            [branch.weight for _, branch in rows], dtype=torch.float32, device=device
        )
        conditions = conditions[[branch.prompt for _, branch in rows]]

        self.scheduler.set_timesteps(num_inference_steps, device=device)
        once = ConditionsOnce(self.ladder.generator)
        for step, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            with once:
                velocities = self.ladder.velocity(
                    latents[owners].to(conditions.dtype),
                    timestep.float().expand(len(rows)),
                    conditions,
                )
            velocity = flow.guide(velocities, weights, owners, len(latents))
            latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            if callback_on_step_end is not None:
                returned = callback_on_step_end(self, step, timestep, {"latents": latents})
                latents = returned.get("latents", latents)

        images = self._decoded(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images) if return_dict else (images,)

    def ask(self, image: Image.Image | None, question: str, max_tokens: int = 256) -> str:
        """The answer of the untouched MLLM to a question about a picture (or about none)."""
        return self.ladder.understanding.ask(image, question, max_tokens)

    def stream(
        self, image: Image.Image | None, question: str, max_tokens: int = 256
    ) -> Iterator[str]:
        """The answer of `ask` piece by piece, as it is found."""
        return self.ladder.understanding.stream(image, question, max_tokens)

    def _noise(
        self,
        count: int,
        generator: Generators,
        latents: Float[Tensor, "B Z H W"] | None,
        device: torch.device,
    ) -> Float[Tensor, "B Z H W"]:
        """Noise in float32, drawn picture by picture."""
        settings = self.ladder.generator.config
        shape = (count, settings.in_channels, settings.sample_size, settings.sample_size)
        if latents is None:
            # One generator, too, draws picture by picture, so that a longer batch only adds some.
            single = isinstance(generator, torch.Generator)
            generators = [generator] * count if single else generator
            if generators is not None and len(generators) != count:
                raise ValueError(f"{count} pictures need as many generators, got {len(generators)}")
            latents = randn_tensor(shape, generators, device, torch.float32)
        elif len(latents) != count or latents.shape[1] != shape[1]:
            raise ValueError(f"latents must be ({count}, {shape[1]}, H, W), got {latents.shape}")
        return latents.to(device, torch.float32)

    def _conditions(self, plan: Plan, device: torch.device) -> Float[Tensor, "P NQ C"]:
        texts, pictures = zip(*plan.prompts, strict=True)
        prompts = self.ladder.understanding.prepare(texts, pictures)
        return self.ladder.conditions(prompts.to(device))

    def _decoded(self, latents: Float[Tensor, "B Z H W"], output_type: str) -> Any:
        if output_type == "latent":
            return latents
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        pictures = self.vae.decode(scaled, return_dict=False)[0]
        return self.image_processor.postprocess(pictures, output_type=output_type)


def make_scheduler(sampling: config.Sampling) -> Scheduler:
    """The solver of the flow's equation: DPM-Solver++ (second order) or Euler."""
    if sampling.solver == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=sampling.shift)
    return DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=sampling.shift, prediction_type="flow_prediction"
    )
