"""The published training step and sampling, made anew from their description, to compare with ours.

Written from what arXiv 2508.08098 and its code do, without copying any of it:

- The learnable queries are rows of the MLLM's embedding matrix. The whole matrix is trained; a hook
  on its gradient lets only the rows of the queries through.
- One forward pass of the whole MLLM over prompt, queries and the end of the turn, with gradient;
  all hidden states of all tokens are stacked, and the queries' of the layers wanted cut out.
- Every step encodes its pictures with the autoencoder.
- Sampling runs all branches of guidance for every picture, each with a null prompt of its own and
  whatever the scale is, and projects the conditions anew at each evaluation of the generator.

Connector and generator are ours, rungs and all: what differs is what comes before them.

Letters: B batch, T prompt tokens, Q queries, R branches of all pictures, NQ condition tokens,
C caption channels, Z latent channels, H and W height and width of latents, P pixels of a side.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from diffusers import AutoencoderDC, SchedulerMixin
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.optim import AdamW

from ladder.config.load import Flow, Stage
from ladder.models import rectified_flow
from ladder.models.ladder import Ladder
from ladder.models.mllm.prompts import Prompts
from ladder.training.module import BETAS

CLOSING = ("<|vision_end|>", "<|im_end|>")
"""What follows the queries."""


class Published(nn.Module):
    """A copy of a ladder that is trained and used in the published way, from the same weights."""

    def __init__(self, ladder: Ladder, autoencoder: AutoencoderDC | None = None) -> None:
        """`autoencoder`: of the pictures to train on."""
        super().__init__()
        understanding = ladder.understanding
        self.mllm = copy.deepcopy(understanding.mllm.model)
        self.mllm.set_attn_implementation("eager" if ladder.device.type == "cpu" else "sdpa")
        self.connector = copy.deepcopy(ladder.connector)
        self.generator = copy.deepcopy(ladder.generator)
        self.autoencoder = autoencoder
        self.taps = ladder.taps
        words = self.mllm.get_input_embeddings().weight
        self.vocabulary, self.queries = len(words), len(ladder.queries)
        rows = torch.cat([words.detach(), ladder.queries.detach().to(words)])
        self.embedding = nn.Embedding.from_pretrained(rows, freeze=False)
        self.mllm.set_input_embeddings(self.embedding)
        own = torch.arange(len(rows), device=rows.device)[:, None] >= self.vocabulary
        self.embedding.weight.register_hook(lambda gradient: gradient * own)
        tokenizer = understanding.prompter.tokenizer
        self.closing = tokenizer.convert_tokens_to_ids([*CLOSING])
        self.timestep_scale = ladder.generator.config.timestep_scale

    def optimizer(self, stage: Stage) -> AdamW:
        """Of all that is trained, the whole embedding matrix with it."""
        trained = [value for value in self.parameters() if value.requires_grad]
        return AdamW(trained, stage.lr, BETAS, weight_decay=stage.weight_decay)

    def conditions(self, prompts: Prompts) -> Float[Tensor, "B NQ C"]:
        """What the generator attends to, from one pass over whole sequences."""
        batch, length = prompts.input_ids.shape
        own = torch.arange(self.vocabulary, self.vocabulary + self.queries)
        behind = torch.cat([own, torch.tensor(self.closing)]).to(prompts.input_ids)
        first = prompts.position_ids.amax((0, 2))[:, None] + 1
        positions = first + torch.arange(len(behind), device=first.device)
        states = self.mllm(
            input_ids=torch.cat([prompts.input_ids, behind.expand(batch, -1)], 1),
            attention_mask=torch.cat([prompts.attention_mask, torch.ones_like(positions)], dim=1),
            position_ids=torch.cat([prompts.position_ids, positions.expand(3, -1, -1)], dim=2),
            pixel_values=prompts.pixel_values,
            image_grid_thw=prompts.image_grid_thw,
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        stacked = torch.stack(states)
        rungs = stacked[[*self.taps.layers], :, length : length + self.queries]
        return self.connector(rungs.float()).transpose(0, 1).flatten(1, 2)

    def velocity(
        self,
        latents: Float[Tensor, "B Z H W"],
        timesteps: Float[Tensor, " B"],
        conditions: Float[Tensor, "B NQ C"],
    ) -> Float[Tensor, "B Z H W"]:
        """As `Ladder.velocity`."""
        scaled = timesteps * self.timestep_scale
        return self.generator(latents, encoder_hidden_states=conditions, timestep=scaled).sample

    def loss(
        self,
        pixels: Float[Tensor, "B 3 P P"],
        prompts: Prompts,
        settings: Flow,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Of one step; `generator` draws the noise and the times, in the order of our own step."""
        with torch.no_grad():
            latents = encoded(self.autoencoder, pixels)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        s = rectified_flow.times(len(latents), settings.shift, generator).to(latents.device)
        velocity = self.velocity(
            rectified_flow.noisy(latents, noise, s),
            s * rectified_flow.TIMESTEPS,
            self.conditions(prompts),
        )
        return rectified_flow.loss(velocity, latents, noise)

    @torch.no_grad()
    def sample(
        self,
        ladder: Ladder,
        scheduler: SchedulerMixin,
        texts: Sequence[str],
        sources: Sequence[Image.Image] | None,
        latents: Float[Tensor, "B Z H W"],
        steps: int,
        scales: tuple[float, float],
    ) -> Float[Tensor, "B Z H W"]:
        """Latents of one picture a text, of an edit where there are `sources`.

        `scales`: guidance by the text and by the source; `ladder` prepares the prompts only.
        """
        batch = len(texts)
        nothing, shown = [""] * batch, [[picture] for picture in sources or ()]
        black = [[Image.new("RGB", picture.size)] for (picture,) in shown]
        if sources is None:
            branches = [(nothing, [[]] * batch), (list(texts), [[]] * batch)]
            weights = rectified_flow.guidance(scales[0])
            factors = [weights.nothing, weights.full]
        else:
            branches = [(nothing, black), (nothing, shown), (list(texts), shown)]
            weights = rectified_flow.guidance(*scales)
            factors = [weights.nothing, weights.image, weights.full]
        said = [text for texts, _ in branches for text in texts]
        pictures = [group for _, groups in branches for group in groups]
        prompts = ladder.understanding.prepare(said, pictures).to(latents.device)
        conditions = self.conditions(prompts)
        scheduler.set_timesteps(steps, device=latents.device)
        for timestep in scheduler.timesteps:
            velocities = self.velocity(
                latents.repeat(len(branches), 1, 1, 1),
                timestep.float().expand(len(said)),
                conditions,
            ).chunk(len(branches))
            velocity = sum(w * part for w, part in zip(factors, velocities, strict=True))
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return latents


def encoded(
    autoencoder: AutoencoderDC, pixels: Float[Tensor, "B 3 P P"]
) -> Float[Tensor, "B Z H W"]:
    """Scaled latents."""
    return autoencoder.encode(pixels).latent * autoencoder.config.scaling_factor
