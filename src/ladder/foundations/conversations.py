"""Conversations about the toy world that teach the MLLM, packed into rows of equal length.

A row is a shared beginning (system text and perhaps a picture) with many independent turns behind
it. Each turn sees the beginning and itself but no other turn, through a block mask and restarted
positions: to the model every turn is a conversation of its own, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ladder.foundations.tokenizer import SYSTEMS
from ladder.world import draws, edits, questions
from ladder.world.language import choose, grid
from ladder.world.scenes import GRID, Scene, draw_scene

DESCRIBE, ASSIST = SYSTEMS
ROW_KINDS = {"edits": 0.36, "questions": 0.30, "captions": 0.34}
"""Share of rows about changing a picture, about a picture, and about a caption."""
VISUAL_TOKENS = GRID**2


@dataclass(frozen=True)
class Rows:
    """Packed rows; B rows of L tokens.

    `targets` holds the token that each position must predict, -100 where nothing is asked;
    `weights` its share in the loss; `turns` numbers the turns (0: the shared beginning).
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    turns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    scenes: list[Scene | None]

    def mask(self) -> torch.Tensor:
        """Additive attention mask (B, 1, L, L): causal, and blind to other turns."""
        query, key = self.turns[:, :, None], self.turns[:, None, :]
        length = self.turns.shape[1]
        seen = ((key == query) | (key == 0)) & torch.ones(length, length, dtype=torch.bool).tril()
        return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]


def draw_rows(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerBase, count: int, length: int
) -> Rows:
    kinds = rng.choice([*ROW_KINDS], size=count, p=[*ROW_KINDS.values()])
    packed = [_pack(rng, tokenizer, str(kind), length) for kind in kinds]
    stack = {
        name: torch.from_numpy(np.stack([row[name] for row, _ in packed]))
        for name in ("input_ids", "positions", "turns", "targets", "weights")
    }
    stack["positions"] = stack["positions"].transpose(0, 1)
    return Rows(**stack, scenes=[scene for _, scene in packed])


def beginning(system: str, picture: bool) -> str:
    """Chat text up to the user's own words."""
    vision = "<|vision_start|>" + "<|image_pad|>" * VISUAL_TOKENS + "<|vision_end|>"
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
    return text + (vision if picture else "")


def _turns(rng: np.random.Generator, kind: str, scene: Scene | None) -> Iterator[tuple[str, str]]:
    """Endless turns (the user's words, the answer) of a row."""
    if kind == "edits":
        yield "", grid(scene)
        while True:
            edit = edits.draw_edit(rng, 1, scene=scene)
            yield edit.instructions[0], grid(edit.after)
    while kind == "questions":
        question = questions.draw_question(rng, scene, choose(rng, questions.KINDS))
        if question:
            yield question.text, question.answer
    while True:
        caption = draws.draw_captioned(rng, 1).captions[0]
        if caption.tag != "dense" or rng.random() < 0.6:
            yield caption.text, caption.specification


def _pack(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerBase, kind: str, length: int
) -> tuple[dict[str, np.ndarray], Scene | None]:
    """One row, filled with as many turns as fit."""
    scene = None if kind == "captions" else draw_scene(rng, choose(rng, (*edits.OBJECTS, 6)))
    start = tokenizer(beginning(ASSIST if kind == "questions" else DESCRIBE, scene is not None))
    ids, targets, weights, turns = list(start.input_ids), [-100] * length, [0.0] * length, []
    positions = _beginning_positions(ids, tokenizer, scene is not None)
    turns += [0] * len(ids)
    first = int(positions.max()) + 1
    columns = [positions]
    for number, (words, answer) in enumerate(_turns(rng, kind, scene), start=1):
        asked = tokenizer(f"{words}<|im_end|>\n<|im_start|>assistant\n").input_ids
        answered = tokenizer(f"{answer}<|im_end|>").input_ids
        turn = asked + answered
        if len(ids) + len(turn) > length:
            break
        begin = len(ids) + len(asked)
        for offset, token in enumerate(answered):
            targets[begin + offset - 1] = token
            weights[begin + offset - 1] = len(answered) ** -0.5
        ids += turn
        turns += [number] * len(turn)
        columns.append(np.tile(first + np.arange(len(turn)), (3, 1)))
    padding = length - len(ids)
    columns.append(np.zeros((3, padding), int))
    return {
        "input_ids": np.array(ids + [tokenizer.pad_token_id] * padding),
        "positions": np.concatenate(columns, 1),
        "turns": np.array(turns + [-1] * padding),
        "targets": np.array(targets),
        "weights": np.array(weights, np.float32),
    }, scene


def _beginning_positions(
    ids: list[int], tokenizer: PreTrainedTokenizerBase, picture: bool
) -> np.ndarray:
    """Qwen2.5-VL's positions (time, height, width): a picture's tokens share one time."""
    if not picture:
        return np.tile(np.arange(len(ids)), (3, 1))
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    before = ids.index(image)
    rows, columns = np.divmod(np.arange(VISUAL_TOKENS), GRID)
    visual = before + np.stack([np.zeros(VISUAL_TOKENS, int), rows, columns])
    after = before + GRID + np.arange(len(ids) - before - VISUAL_TOKENS)
    return np.concatenate(
        [np.tile(np.arange(before), (3, 1)), visual, np.tile(after, (3, 1))], axis=1
    )
