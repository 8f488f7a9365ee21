"""The frozen MLLM: it reads the prompt, carries the queries past it, and still answers questions.

Letters: B batch, T prompt tokens, Q queries, D width, K states read, R tokens of a question with
its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, TextIteratorStreamer

from ladder.models.layer_selection import NORM, Taps
from ladder.models.lora import acting, is_adapter
from ladder.models.mllm.cached_forward import CachedPass
from ladder.models.mllm.families import (
    Embedded,
    language_model,
    load_mllm,
    require_whole_prompt,
    sees,
)
from ladder.models.mllm.prompt_cache import PromptCache
from ladder.models.mllm.prompts import LADDER, QUESTION, Framing, Prompter, Prompts
from ladder.models.reference import Reference


class Understanding(nn.Module):
    """A frozen MLLM: without gradient, always in eval mode, untouched.

    An adapter that it was given acts in the pass of the queries, and learns.
    """

    def __init__(
        self,
        mllm: PreTrainedModel,
        prompter: Prompter,
        reference: Reference,
    ) -> None:
        super().__init__()
        require_whole_prompt(mllm.config)
        self.mllm = mllm.requires_grad_(False).eval()
        self.prompter = prompter
        self.reference = reference
        self.prompt_cache: Path | None = None
        """A folder in which what was read for rungs is kept; None: each prompt is read anew."""
        self.checkpointing = False
        """Whether the backward pass through the queries' layers runs these anew, to save memory."""
        self._attention = mllm.config._attn_implementation

    @classmethod
    def from_pretrained(
        cls, source: str | Reference, dtype: torch.dtype = torch.float32
    ) -> Understanding:
        """Load a folder, or an id on the hub (`id` or `id@revision`), to compute in `dtype`.

        Raises ValueError for a model that no ladder reads with (`ladder.models.mllm.families`), and
        when weights are missing or left over.
        """
        reference = source if isinstance(source, Reference) else Reference.of(source)
        mllm = load_mllm(reference.folder, dtype)
        return cls(mllm, Prompter.from_pretrained(reference.folder), reference)

    @property
    def depth(self) -> int:
        """L, the layers of the language model."""
        return len(language_model(self.mllm).layers)

    @property
    def width(self) -> int:
        """D."""
        return self.mllm.config.get_text_config().hidden_size

    @property
    def embedding_std(self) -> float:
        """The scale of the token embeddings, and so that of a fresh query."""
        return self.mllm.get_input_embeddings().weight.float().std().item()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Understanding:
        """Move or cast, but for the frequencies of the rotary embeddings, which are moved only.

        Rounded to bfloat16 they would blur every position, and no saved state would show it. An
        adapter is moved only too: small steps of training would be lost in bfloat16.
        """
        exact = [
            (module, name, buffer)
            for module in self.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if name.endswith("inv_freq")
        ]
        learnt = {n: value.data for n, value in self.named_parameters() if is_adapter(n)}
        super()._apply(fn, recurse)
        for module, name, buffer in exact:
            setattr(module, name, buffer.to(getattr(module, name).device))
        for name, value in learnt.items():
            parameter = self.get_parameter(name)
            parameter.data = value.to(parameter.device)
        return self

    def train(self, mode: bool = True) -> Understanding:
        """Stays in eval mode, whatever `mode` says."""
        return super().train(False)

    def prepare(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> Prompts:
        """The ladder's prompts for B texts with their pictures: see `Prompter.prepare`."""
        return self.prompter.prepare(texts, images, LADDER)

    def rungs(
        self, prompts: Prompts, queries: Float[Tensor, "Q D"], taps: Taps
    ) -> Float[Tensor, "K B Q D"]:
        """The states of the queries after each prompt, at the K layers of `taps`.

        Only `taps.highest` layers run. The gradient reaches the queries, an adapter and nothing
        else.
        """
        self._choose_attention(queries.device)
        running = CachedPass(self.mllm, taps.highest, self.checkpointing)
        with torch.no_grad():
            mask = self._read(prompts, running)
        first = prompts.position_ids.amax((0, 2))[:, None] + 1
        positions = first + torch.arange(len(queries), device=first.device)
        with acting(self.mllm):
            states = running.run(
                Embedded(queries.to(self.mllm.dtype).expand(len(prompts), -1, -1)),
                positions.expand(3, -1, -1),
                torch.cat([mask, torch.ones_like(positions)], dim=1),
                keep={self.depth if layer == NORM else layer for layer in taps.layers},
            )
        if NORM in taps.layers:
            states[NORM] = language_model(self.mllm).norm(states[self.depth])
        return torch.stack([states[layer] for layer in taps.layers])

    def ask(self, image: Image.Image | None, question: str, max_tokens: int = 256) -> str:
        """The MLLM's greedy answer to a question about a picture, or about none."""
        return self.ask_all([image], [question], max_tokens)[0]

    def ask_all(
        self,
        images: Sequence[Image.Image | None],
        questions: Sequence[str],
        max_tokens: int = 256,
        framing: Framing = QUESTION,
    ) -> list[str]:
        """The answers to B questions, each about its own picture, found in one batch.

        `framing` is what is said around the questions.
        """
        inputs = self._question_inputs(images, questions, framing)
        answers = self._generate(inputs, max_tokens)[:, inputs["input_ids"].shape[1] :]
        return self.prompter.tokenizer.batch_decode(answers, skip_special_tokens=True)

    def stream(
        self, image: Image.Image | None, question: str, max_tokens: int = 256
    ) -> Iterator[str]:
        """The answer of `ask` piece by piece, as it is found."""
        inputs = self._question_inputs([image], [question])
        streamer = TextIteratorStreamer(
            self.prompter.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        with ThreadPoolExecutor(1) as worker:
            answer = worker.submit(self._generate, inputs, max_tokens, streamer)
            # However generation ends, the reader is let go; an error is raised after it.
            answer.add_done_callback(lambda _: streamer.on_finalized_text("", stream_end=True))
            yield from (piece for piece in streamer if piece)
            answer.result()

    def _choose_attention(self, device: torch.device) -> None:
        """Eager attention on CPUs, where the backward of fused kernels is 3x slower in bfloat16."""
        wanted = "eager" if device.type == "cpu" else self._attention
        if self.mllm.config._attn_implementation != wanted:
            self.mllm.set_attn_implementation(wanted)

    def _read(self, prompts: Prompts, running: CachedPass) -> Int[Tensor, "B T"]:
        """Read the prompts, or recall what was made of them before; returns which tokens count."""
        if self.prompt_cache is None:
            return running.read(prompts)
        dtype = str(self.mllm.dtype).removeprefix("torch.")
        reader = f"{self.reference.digest[:16]}-{running.layers}-{dtype}"
        return PromptCache(self.prompt_cache, reader).read(prompts, running)

    def _question_inputs(
        self,
        images: Sequence[Image.Image | None],
        questions: Sequence[str],
        framing: Framing = QUESTION,
    ) -> dict[str, Any]:
        pictures = [[] if image is None else [image] for image in images]
        prompts = self.prompter.prepare(questions, pictures, framing).to(self.mllm.device)
        inputs = {
            "input_ids": prompts.input_ids,
            "attention_mask": prompts.attention_mask,
        }
        if sees(self.mllm):
            # Without these, transformers silently falls back to one-dimensional positions.
            inputs["mm_token_type_ids"] = (prompts.input_ids == self.prompter.image_token).int()
        if prompts.pixel_values is not None:
            inputs["pixel_values"] = prompts.pixel_values
            inputs["image_grid_thw"] = prompts.image_grid_thw
        return inputs

    def _generate(
        self,
        inputs: dict[str, Any],
        max_tokens: int,
        streamer: TextIteratorStreamer | None = None,
    ) -> Int[Tensor, "B R"]:
        self._choose_attention(self.mllm.device)
        try:
            return self.mllm.generate(
                **inputs, do_sample=False, max_new_tokens=max_tokens, streamer=streamer
            )
        finally:
            # transformers leaves the positions of its last call on the model; ours is stateless.
            if sees(self.mllm):
                self.mllm.model.rope_deltas = None
