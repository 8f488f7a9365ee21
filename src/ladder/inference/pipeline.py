"""Pictures from prompts and edits of pictures, as a diffusers pipeline.

    LadderPipeline.from_pretrained()("a red star above two blue hearts").images[0]

A call may mix prompts with none, one or several source pictures: each gets the branches of guidance
that it needs, and is drawn as it would be alone. The MLLM reads every distinct prompt once a call.

Letters: B pictures to draw, P distinct prompts, NQ tokens of a condition, C caption channels,
Z latent channels, H and W latent height and width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    ImagePipelineOutput,
    SchedulerMixin,
)
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from huggingface_hub import snapshot_download
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ladder.config.load import load
from ladder.data.resize import Size, buckets, fit, nearest, similar
from ladder.inference.guidance import (
    Plan,
    Source,
    one_each,
    plan_branches,
    sources_of,
    texts_of,
)
from ladder.inference.rung_attribution import Explanation, Watcher
from ladder.inference.sampler import BranchRows, Denoiser, Generators, check_solver, generators_of
from ladder.inference.shipped import shipped_ladder
from ladder.models.generator.autoencoder import Autoencoder, compression, decoded, load_autoencoder
from ladder.models.generator.families import patch_size
from ladder.models.ladder import Ladder

# diffusers looks parts up by the module that a saved ladder names; in version 0.1 it was this one.
sys.modules.setdefault("ladder.model.ladder", sys.modules[Ladder.__module__])

FILES = ("*.json", "*.safetensors")
"""What is fetched of a ladder on the hub."""
FETCHING = ("revision", "token", "cache_dir", "force_download", "local_files_only")
"""Options of `from_pretrained` that are about the hub."""


@dataclass
class LadderPipelineOutput(ImagePipelineOutput):
    """`images`, and with `explain=True` what each rung did for them."""

    images: list[Image.Image] | np.ndarray | Tensor
    explanation: Explanation | None = None


class LadderPipeline(DiffusionPipeline):
    """Text to image, editing, and questions about pictures."""

    model_cpu_offload_seq = "ladder->vae"
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012 (as diffusers has it)

    def __init__(self, ladder: Ladder, vae: Autoencoder, scheduler: SchedulerMixin) -> None:
        super().__init__()
        self.register_modules(ladder=ladder, vae=vae, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Path | str | None = None, **options: Any
    ) -> LadderPipeline:
        """Load a folder or hub id, by default the ladder that comes with the repository.

        `options` are those of diffusers; `torch_dtype` is float32 unless named. Raises OSError for
        an id that can't be fetched, and FileNotFoundError where no ladder comes with ours.
        """
        folder = str(pretrained_model_name_or_path or shipped_ladder())
        if not Path(folder).is_dir():
            # diffusers' own download refuses parts whose classes are neither its own nor in the
            # repository; this one is installed.
            fetching = {name: options.pop(name) for name in FETCHING if name in options}
            try:
                folder = snapshot_download(folder, allow_patterns=list(FILES), **fetching)
            except (OSError, ValueError) as error:
                raise OSError(
                    f"there must be a ladder in a folder or on the hub, got {folder}: {error}"
                ) from error
        return super().from_pretrained(folder, **options)

    @classmethod
    def from_ladder(
        cls, ladder: Ladder, foundations: load.Foundations, sampling: load.Sampling
    ) -> LadderPipeline:
        """Put a ladder together with the autoencoder of its generator and a solver."""
        vae = load_autoencoder(foundations.generator)
        return cls(ladder, vae, make_scheduler(sampling))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        image: Source | Sequence[Source] = None,
        negative_prompt: str | Sequence[str] | None = "",
        num_inference_steps: int = 20,
        guidance_scale: float = 3.0,
        image_guidance_scale: float = 1.5,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        generator: Generators = None,
        latents: Float[Tensor, "B Z H W"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Tensor]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        explain: bool = False,
        fit_sources: bool = True,
    ) -> LadderPipelineOutput | tuple[Any, ...]:
        """Draw `num_images_per_prompt` pictures for each prompt, in the order of the prompts.

        - `image`: the source of every prompt, or a list with an entry for each prompt: a picture,
          a list of pictures, or None for text to image; a picture is a PIL image or a path
        - `fit_sources`: scale and crop sources to the sizes that they would have had in training;
          else the MLLM sees them as they are
        - `negative_prompt`: what guidance leads away from, one for all prompts or one each
        - `guidance_scale`, `image_guidance_scale`: towards the text and towards the sources; 1
          switches guidance off, and its work is saved
        - `height`, `width`: of the pictures in pixels; by default what the generator was trained
          on, and of edits the shape of the first source, as far as the ladder was trained on it
        - `generator`: one for all noise, or one for each picture, which then doesn't depend on
          what else is drawn
        - `latents`: the noise itself, in place of a generator
        - `output_type`: "pil", "np", "pt" or "latent"
        - `callback_on_step_end`: called as f(pipeline, step, timestep, {"latents": ...}); may
          return other latents
        - `explain`: also return what each rung did; draws everything once more for each rung
          (without the callback; a solver that adds noise of its own draws it anew)

        Raises ValueError when the numbers of prompts, sources and generators don't fit together,
        and when what is drawn isn't finite.
        """
        prompts = texts_of("prompt", prompt)
        if not prompts or num_images_per_prompt < 1:
            raise ValueError(
                "there must be a prompt and a picture to draw, got "
                f"{len(prompts)} prompts with {num_images_per_prompt} pictures each"
            )
        check_solver(self.scheduler, num_inference_steps)
        if not {*callback_on_step_end_tensor_inputs} <= {*self._callback_tensor_inputs}:
            raise ValueError(
                f"a callback may be given {self._callback_tensor_inputs}, "
                f"got {[*callback_on_step_end_tensor_inputs]}"
            )
        if explain and not guidance_scale:
            raise ValueError("explain needs a guidance_scale other than 0, which hears no text")
        sources = sources_of(image, len(prompts))
        negatives = one_each("negative_prompt", negative_prompt or "", len(prompts))
        device = self._execution_device
        count = len(prompts) * num_images_per_prompt
        generators = generators_of(generator, count)
        if latents is None and height is None and width is None:
            width, height = self._size_of_all(sources)
        start = self._noise(count, generators, latents, height, width, device)
        plan = plan_branches(
            prompts,
            self._fitted(sources, start) if fit_sources else sources,
            negatives,
            guidance_scale,
            image_guidance_scale,
        )
        self._bring_ladder()
        conditions = self._conditions(plan, device)
        branches = [plan.branches[owner // num_images_per_prompt] for owner in range(count)]
        draw = Denoiser(
            self.ladder,
            self.scheduler,
            num_inference_steps,
            start,
            BranchRows.of(branches, conditions),
            generators,
            self.progress_bar,
        )

        def after(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
            given = dict.fromkeys(callback_on_step_end_tensor_inputs, latents)
            return callback_on_step_end(self, step, timestep, given).get("latents", latents)

        watcher = None
        if explain:
            # The branch with text and sources is the last of a picture's.
            full = [own[-1].prompt for own in branches]
            watcher = Watcher(self.ladder, conditions[full])
        latents = draw(watcher, after if callback_on_step_end else None)
        if not latents.isfinite().all():
            raise ValueError(
                "what is drawn must be finite, and isn't with guidance_scale "
                f"{guidance_scale:g} and image_guidance_scale {image_guidance_scale:g}"
            )
        decode = partial(self._decoded, output_type=output_type)
        explanation = watcher.explained(latents, draw, decode) if explain else None
        output = LadderPipelineOutput(decode(latents), explanation)
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def ask(self, image: Image.Image | None, question: str, max_tokens: int = 256) -> str:
        """The answer of the untouched MLLM to a question about a picture (or about none).

        If the ladder has an adapter of the MLLM, it has no part in it: it acts on queries alone.
        """
        self._bring_ladder()
        answer = self.ladder.understanding.ask(image, question, max_tokens)
        self.maybe_free_model_hooks()
        return answer

    def stream(
        self, image: Image.Image | None, question: str, max_tokens: int = 256
    ) -> Iterator[str]:
        """The answer of `ask` piece by piece, as it is found."""
        self._bring_ladder()
        yield from self.ladder.understanding.stream(image, question, max_tokens)
        self.maybe_free_model_hooks()

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the pipeline to the hub; `options` are those of diffusers.

        Raises ValueError for a ladder whose MLLM isn't on the hub, and couldn't be found there.
        """
        reference = self.ladder.understanding.reference
        if reference.revision is None:
            raise ValueError(
                "a ladder on the hub needs an MLLM on the hub, which it names by id and revision, "
                f"got the folder {reference.source}"
            )
        return super().push_to_hub(repo_id, **options)

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        """Not possible, since it would take the rungs from the blocks; None leaves all as it is."""
        if slice_size is not None:
            self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """What would replace the attention to rungs, or bring parts of a ladder one by one."""
        raise NotImplementedError(
            "a ladder's attention can't be replaced, nor its layers be moved one by one; "
            "enable_model_cpu_offload() saves memory"
        )

    enable_sequential_cpu_offload = _refuse
    enable_group_offload = _refuse
    enable_xformers_memory_efficient_attention = _refuse

    def _bring_ladder(self) -> None:
        """Under model offloading, move the ladder to where it computes: by itself this happens
        before `forward` only. What decodes sends it back."""
        if hasattr(self.ladder, "_hf_hook"):
            self.ladder._hf_hook.pre_forward(self.ladder)

    def _noise(
        self,
        count: int,
        generators: list[torch.Generator] | None,
        latents: Float[Tensor, "B Z H W"] | None,
        height: int | None,
        width: int | None,
        device: torch.device,
    ) -> Float[Tensor, "B Z H W"]:
        """Noise in float32, drawn picture by picture."""
        if latents is not None and (height or width):
            raise ValueError("latents say how large pictures are, got height or width too")
        sides = self._side("height", height), self._side("width", width)
        shape = (count, self.ladder.generator.config.in_channels, *sides)
        if latents is None:
            latents = randn_tensor(shape, generators, device, torch.float32)
        elif len(latents) != count or latents.shape[1] != shape[1]:
            raise ValueError(f"latents must be ({count}, {shape[1]}, H, W), got {latents.shape}")
        return latents.to(device, torch.float32)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of the pictures that the ladder was trained on: one for each aspect ratio."""
        scale = compression(self.vae)
        unit = scale * patch_size(self.ladder.generator)
        side = self.ladder.generator.config.sample_size * scale
        return buckets(side, self.ladder.aspects, unit)

    def size_for(self, sources: Sequence[Image.Image]) -> Size:
        """The size in which an edit of `sources` is drawn: that which the first would have had in
        training; without any, that of the generator's training."""
        if sources:
            return nearest(sources[0].size, self.sizes)
        side = self.ladder.generator.config.sample_size * compression(self.vae)
        return side, side

    def _size_of_all(self, sources: list[list[Image.Image]]) -> Size:
        sizes = sorted({self.size_for(group) for group in sources})
        if len(sizes) > 1:
            raise ValueError(
                "pictures of a call must be of one size, which are these by their sources: "
                f"{', '.join(f'{width}x{height}' for width, height in sizes)}; "
                "give height and width, or call once for each"
            )
        return sizes[0]

    def _side(self, name: str, pixels: int | None) -> int:
        """The latents along a side of a picture, by default as many as in training."""
        generator, scale = self.ladder.generator, compression(self.vae)
        if pixels is None:
            return generator.config.sample_size
        unit = scale * patch_size(generator)
        if pixels < unit or pixels % unit:
            raise ValueError(f"{name} must be a multiple of {unit}, got {pixels}")
        return pixels // scale

    def _fitted(
        self, sources: list[list[Image.Image]], start: Float[Tensor, "B Z H W"]
    ) -> list[list[Image.Image]]:
        """The sources, scaled and cropped as those of training were: the first of a prompt, and
        those of about its shape, to what is drawn, others to their own shapes.

        A picture that occurs several times stays one, and its prompt is read once.
        """
        scale = compression(self.vae)
        drawn = start.shape[3] * scale, start.shape[2] * scale
        fitted: dict[tuple[int, Size], Image.Image] = {}

        def brought(picture: Image.Image, first: Image.Image) -> Image.Image:
            size = drawn if similar(picture.size, first.size) else nearest(picture.size, sizes)
            return fitted.setdefault((id(picture), size), fit(picture, size))

        sizes = self.sizes if drawn in self.sizes else (drawn,)
        return [[brought(picture, group[0]) for picture in group] for group in sources]

    def _conditions(self, plan: Plan, device: torch.device) -> Float[Tensor, "P NQ C"]:
        texts, pictures = zip(*plan.prompts, strict=True)
        prompts = self.ladder.understanding.prepare(texts, pictures)
        return self.ladder.conditions(prompts.to(device))

    def _decoded(self, latents: Float[Tensor, "B Z H W"], output_type: str) -> Any:
        if output_type == "latent":
            return latents
        return self.image_processor.postprocess(decoded(self.vae, latents), output_type=output_type)


def make_scheduler(sampling: load.Sampling) -> SchedulerMixin:
    """The solver of the flow's equation: DPM-Solver++ (second order) or Euler."""
    if sampling.solver == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=sampling.shift)
    return DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=sampling.shift, prediction_type="flow_prediction"
    )
