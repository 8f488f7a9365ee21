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
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from huggingface_hub import snapshot_download
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ladder.config.load import Foundations, Sampling
from ladder.data.resize import Size, buckets, nearest
from ladder.inference.fit_sources import fitted, one_size
from ladder.inference.guidance import (
    Plan,
    Source,
    one_each,
    plan_branches,
    sources_of,
    texts_of,
)
from ladder.inference.noise import noise
from ladder.inference.rung_attribution import Explanation, Watcher
from ladder.inference.sampler import (
    BranchRows,
    Denoiser,
    Generators,
    check_solver,
    generators_of,
    make_scheduler,
)
from ladder.inference.shipped import shipped_ladder
from ladder.models.generator.autoencoder import (
    Autoencoder,
    compression,
    decoded,
    load_autoencoder,
    require_decodable,
)
from ladder.models.generator.families import patch_size
from ladder.models.ladder import Ladder
from ladder.models.part_settings import SOLVER_RULES, require_file

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
        require_decodable(ladder.generator.config, vae)
        self.register_modules(ladder=ladder, vae=vae, scheduler=scheduler)
        self.image_processor = VaeImageProcessor()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Path | str | None = None, **options: Any
    ) -> LadderPipeline:
        """Load a folder or hub id, by default the ladder that comes with the repository.

        `options` are those of diffusers; `torch_dtype` is float32 unless named. Raises OSError for
        an id that can't be fetched, FileNotFoundError where no ladder comes with ours, and
        ValueError for a setting that can't be used.
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
        require_file(Path(folder) / "scheduler/scheduler_config.json", SOLVER_RULES)
        require_file(Path(folder) / "vae/config.json")
        return super().from_pretrained(folder, **options)

    @classmethod
    def from_ladder(
        cls, ladder: Ladder, foundations: Foundations, sampling: Sampling
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
        and when what a part computes isn't finite.
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
            width, height = one_size(self.size_for(group) for group in sources)
        sides = {"height": height, "width": width}
        start = noise(
            self.ladder.generator, compression(self.vae), count, sides, generators, latents, device
        )
        if fit_sources:
            scale = compression(self.vae)
            drawn = start.shape[3] * scale, start.shape[2] * scale
            sources = fitted(sources, drawn, self.sizes if drawn in self.sizes else (drawn,))
        plan = plan_branches(
            prompts,
            sources,
            negatives,
            guidance_scale,
            image_guidance_scale,
        )
        self._bring_ladder()
        conditions = self._conditions(plan, device)
        if not conditions.isfinite().all():
            raise ValueError("what the MLLM and the connector make of a prompt must be finite")
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
                "the latents that the generator draws must be finite, and aren't with "
                f"guidance_scale {guidance_scale:g} and image_guidance_scale "
                f"{image_guidance_scale:g}"
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

    def _conditions(self, plan: Plan, device: torch.device) -> Float[Tensor, "P NQ C"]:
        texts, pictures = zip(*plan.prompts, strict=True)
        prompts = self.ladder.understanding.prepare(texts, pictures)
        return self.ladder.conditions(prompts.to(device))

    def _decoded(self, latents: Float[Tensor, "B Z H W"], output_type: str) -> Any:
        if output_type == "latent":
            return latents
        pictures = decoded(self.vae, latents)
        if not pictures.isfinite().all():
            raise ValueError("the pictures that the autoencoder decodes must be finite")
        return self.image_processor.postprocess(pictures, output_type=output_type)
