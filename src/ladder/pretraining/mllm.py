"""The toy MLLM before its tuning: a small `Qwen2_5_VLForConditionalGeneration`, from scratch.

First the vision tower learns to name what each visual token shows (dense labels, a minute); then
the whole model learns to describe pictures, to answer questions, to foresee edits and to say
plainly what a caption means. What is found by its place (what is at the north?) is learned first,
what is found by what it is (where is the star?) last; a second part of the training therefore asks
more for the latter. Loss is taken on answers only. One visual token is one grid cell.
`ladder.pretraining.mllm_tuning` goes on from here.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from tqdm import trange
from transformers import (
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from ladder.config.files import replacing_folder
from ladder.config.load import Config
from ladder.pretraining.conversation_mix import BASE, FOUND, ConversationMix
from ladder.pretraining.conversations import PackedRows, draw_rows
from ladder.pretraining.muon import muon_and_adamw, trapezoid
from ladder.pretraining.tokenizer import train_tokenizer
from ladder.world.render import SIDE, render
from ladder.world.scenes import BACKGROUNDS, COLORS, GRID, SHAPES, SIZES, Scene, draw_scene

log = logging.getLogger(__name__)

PATCH, MERGE = 16, 2
WIDTH, LAYERS = 128, 12
VISION_BATCH = 64
BATCH, ROW_LENGTH = 16, 224
COMPILED = 500
"""Steps from which on compiling the layers (half a minute, a fifth faster) pays."""
LABELS = (len(SHAPES) + 1, len(COLORS) + 1, len(SIZES) + 1, len(BACKGROUNDS), GRID**2)
"""Classes of a cell's shape, colour and size (the last one: none), of the background, and of the
place of the cell itself: the tower's own positions are relative, and a token that doesn't say where
it stands can hardly be found by a word like `northwest`."""


def main(config: Config) -> None:
    """The stage: train and save to the folder that the configuration names."""
    toy = config.pretraining
    steps = (toy.vision_steps, toy.mllm_base_steps, toy.mllm_found_steps)
    train(steps, toy.seed, Path(toy.mllm_base))


def train(steps: tuple[int, int, int], seed: int, folder: Path) -> None:
    """Train tokenizer, vision tower and MLLM; save all with the image processor to `folder`.

    `steps` of the vision tower, of the base mix, and of the one with more to be found.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 20])
    tokenizer = train_tokenizer(seed)
    model = build(tokenizer)
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=MERGE, size={"shortest_edge": SIDE**2, "longest_edge": SIDE**2}
    )
    vision_steps, base_steps, found_steps = steps
    train_vision(model, image_processor, rng, vision_steps)
    train_conversation(model, tokenizer, image_processor, BASE, rng, base_steps)
    save(model, tokenizer, image_processor, folder)
    model, rng = load(folder), np.random.default_rng([seed, 21])
    train_conversation(model, tokenizer, image_processor, FOUND, rng, found_steps)
    save(model, tokenizer, image_processor, folder)
    log.info("saved the base MLLM to %s", folder)


def load(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    """The model in `folder`, to be trained on."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def save(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    image_processor: Qwen2VLImageProcessorPil,
    folder: Path,
) -> None:
    """Write all that is needed to open the model, its weights in bfloat16."""
    with replacing_folder(folder, "config.json") as part:
        tokenizer.save_pretrained(part)
        image_processor.save_pretrained(part)
        model.to(torch.bfloat16).save_pretrained(part)


def build(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """A random model of about 3.2 million parameters for the toy tokenizer."""
    special = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {
            "vision_start": "vision_start", "vision_end": "vision_end", "image": "image_pad",
            "video": "video_pad",
        }.items()
    }  # fmt: skip
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 352,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6],
        },
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "window_size": SIDE,
        "fullatt_block_indexes": [3],
        "out_hidden_size": WIDTH,
        "initializer_range": 0.05,
    }
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, **special
    )
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def train_vision(
    model: Qwen2_5_VLForConditionalGeneration,
    image_processor: Qwen2VLImageProcessorPil,
    rng: np.random.Generator,
    steps: int,
) -> None:
    """Teach the vision tower to name, at each visual token, what it shows and where it stands."""
    tower, head = model.model.visual, nn.Linear(WIDTH, sum(LABELS))
    optimizer = muon_and_adamw([*tower.named_parameters(), *head.named_parameters()], 0.015, 2e-3)
    progress = trange(steps, desc="vision tower", mininterval=5)
    for step in progress:
        trapezoid(optimizer, step, steps)
        scenes = [draw_scene(rng, int(rng.integers(1, 8))) for _ in range(VISION_BATCH)]
        logits = head(see(model, image_processor, scenes)).split(LABELS, -1)
        labels = torch.tensor([_cell_labels(scene) for scene in scenes]).flatten(0, 1)
        loss = sum(F.cross_entropy(logits[i], labels[:, i]) for i in range(len(LABELS)))
        optimizer.step_on(loss)
        if step % 25 == 0 or step == steps - 1:
            right = (torch.stack([part.argmax(-1) for part in logits], 1) == labels).all(1)
            progress.set_postfix(loss=f"{loss.item():.3f}", right=f"{right.float().mean():.3f}")


def see(
    model: Qwen2_5_VLForConditionalGeneration,
    image_processor: Qwen2VLImageProcessorPil,
    scenes: list[Scene],
) -> torch.Tensor:
    """Visual tokens of rendered scenes: (len(scenes) * 9, WIDTH), picture by picture."""
    inputs = image_processor([render(scene) for scene in scenes], return_tensors="pt")
    found = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    return torch.cat(found.pooler_output)


def _cell_labels(scene: Scene) -> list[tuple[int, ...]]:
    """A class of each of LABELS, cell by cell."""
    ground = [*BACKGROUNDS].index(scene.background)
    labels = []
    for cell in range(GRID**2):
        what = (len(SHAPES), len(COLORS), len(SIZES))
        if thing := scene.at(cell):
            color, size = [*COLORS].index(thing.color), [*SIZES].index(thing.size)
            what = (SHAPES.index(thing.shape), color, size)
        labels.append((*what, ground, cell))
    return labels


def train_conversation(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    image_processor: Qwen2VLImageProcessorPil,
    mix: ConversationMix,
    rng: np.random.Generator,
    steps: int,
    beside: nn.Module | None = None,
) -> None:
    """Teach the whole model, vision tower included, what conversations of the mix say.

    `beside` is trained along and thrown away: of the model, its states and the rows it makes a
    further loss, and says what the progress shows of it.
    """
    named = [*model.named_parameters(), *(beside.named_parameters() if beside else ())]
    optimizer = muon_and_adamw(named, 0.015, 2e-3)
    if steps >= COMPILED and shutil.which("g++"):
        for layer in model.model.language_model.layers:
            layer.compile()
    progress = trange(steps, desc="mllm", mininterval=5)
    for step in progress:
        trapezoid(optimizer, step, steps)
        rows = draw_rows(rng, tokenizer, mix, BATCH, ROW_LENGTH)
        states = hidden_states(model, image_processor, rows)
        loss, right = answer_loss(model, states[-1], rows, rows.targets != -100)
        shown = {"loss": f"{loss:.4f}", "right": f"{right:.3f}"}
        if beside:
            more, told = beside(model, states, rows)
            loss, shown = loss + more, shown | told
        optimizer.step_on(loss)
        if step % 25 == 0 or step == steps - 1:
            progress.set_postfix(shown)


def answer_loss(
    model: Qwen2_5_VLForConditionalGeneration,
    states: Float[Tensor, "B L D"],
    rows: PackedRows,
    asked: Bool[Tensor, "B L"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The weighted loss at the positions `asked`, and the share of them that are right."""
    logits, targets, weights = (
        model.lm_head(states[asked]),
        rows.targets[asked],
        rows.weights[asked],
    )
    losses = F.cross_entropy(logits, targets, reduction="none")
    right = (logits.argmax(-1) == targets).float().mean()
    return (losses * weights).sum() / weights.sum(), right


def hidden_states(
    model: Qwen2_5_VLForConditionalGeneration,
    image_processor: Qwen2VLImageProcessorPil,
    rows: PackedRows,
) -> tuple[Float[Tensor, "B L D"], ...]:
    """The embeddings of the rows, the states after each layer but the last, and, last, those
    after the final norm."""
    embedded = model.get_input_embeddings()(rows.input_ids)
    scenes = [scene for scene in rows.scenes if scene is not None]
    if scenes:
        visual = see(model, image_processor, scenes)
        places = (rows.input_ids == model.config.image_token_id)[..., None].expand_as(embedded)
        embedded = embedded.masked_scatter(places, visual.to(embedded.dtype))
    return model.model.language_model(
        inputs_embeds=embedded,
        position_ids=rows.positions,
        attention_mask={"full_attention": rows.mask()},
        use_cache=False,
        output_hidden_states=True,
    ).hidden_states
