"""The toy tokenizer: byte-level BPE as Qwen2's, with Qwen's special tokens and chat template.

Trained on the toy world's own texts, so that each of their words is one token, while any other text
falls back to bytes. The folder it is saved in opens with `transformers.AutoTokenizer`.
"""

from __future__ import annotations

import numpy as np
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import Qwen2TokenizerFast

from ladder.world import edits, questions, sampling, slot_template
from ladder.world.language import choose
from ladder.world.scenes import draw_scene

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Special tokens of Qwen2.5-VL: https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's rule of splitting text before BPE."""
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""
SYSTEMS = (
    "You will be given an image or its caption. Please describe the content of the image in detail "
    "in your own words.",
    "You are a helpful assistant.",
)
"""The system texts of the ladder (paper, method) and of plain conversation (Qwen's default)."""


def train_tokenizer(seed: int, texts: int = 4000, size: int = 1024) -> Qwen2TokenizerFast:
    """A tokenizer of at most `size` entries, trained on `texts` draws of each kind of text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_regex(), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed, texts), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def _regex():
    from tokenizers import Regex

    return Regex(WORDS)


def _corpus(seed: int, texts: int):
    rng = np.random.default_rng(seed)
    for _ in range(texts):
        captioned = sampling.draw_captioned(rng, 2)
        for caption in captioned.captions:
            yield caption.text
            yield "\n" + caption.specification
            yield "".join(f" {word}" for word in slot_template.asked(caption.specification) if word)
        yield "".join(
            f" {word}" for word in (*slot_template.SLOTS, *slot_template.seen(captioned.scene))
        )
        yield edits.draw_edit(rng, 1).instructions[0]
    for kind in questions.KINDS * (texts // 20):
        scene = draw_scene(rng, choose(rng, questions.OBJECTS))
        if question := questions.draw_question(rng, scene, kind):
            yield question.text
            yield "\n" + question.answer
    yield from ("system\n", "user\n", "assistant\n") * 100
    yield from SYSTEMS * 100
