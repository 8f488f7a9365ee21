"""Conversations about the toy world that teach the MLLM, packed into rows of equal length.

A row is a shared beginning (system text and perhaps a picture) with many independent turns behind
it. Each turn sees the beginning and itself but no other turn, through a block mask and restarted
positions: to the model every turn is a conversation of its own, at a fraction of the cost.

In most turns the model answers in words, one after the other. In the others, which open as if a
picture was to follow, it fills in a slot template (`ladder.world.slot_template`), all fields at
once: what is to be seen, read off the states at the names of the fields. A large MLLM has such
states in itself; this one has to be taught to hold the whole scene before its eyes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ladder.pretraining.conversation_mix import ConversationMix
from ladder.pretraining.tokenizer import SYSTEMS
from ladder.world import edits, questions, sampling, slot_template
from ladder.world.language import Caption, choose, grid, held_out
from ladder.world.scenes import GRID, Scene, draw_scene

DESCRIBE, ASSIST = SYSTEMS
UNCHANGED = 0.1
"""Share of turns about edits without an instruction."""
NOTHING = 0.03
"""Share of turns about captions that are empty, where templates are left open."""
TEMPLATES = 0.6
"""Share of turns about edits and captions in which a template is filled in."""
CHANGED, IMAGINED = 3.0, 0.3
"""Weight of a field that an edit changes, and of one of which nothing is said."""
VISUAL_TOKENS = GRID**2
REPLY = "<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class PackedRows:
    """Packed rows; B rows of L tokens.

    `targets` holds the token that each position must predict, -100 where nothing is asked;
    `weights` its share in the loss; `turns` numbers the turns (0: the shared beginning); `fields`
    tells which field of a template each position is, -1 where it is none.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    turns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    fields: torch.Tensor
    scenes: list[Scene | None]

    def mask(self) -> torch.Tensor:
        """Additive attention mask (B, 1, L, L): causal, and blind to other turns."""
        query, key = self.turns[:, :, None], self.turns[:, None, :]
        length = self.turns.shape[1]
        seen = ((key == query) | (key == 0)) & torch.ones(length, length, dtype=torch.bool).tril()
        return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]


def draw_rows(
    rng: np.random.Generator,
    tokenizer: PreTrainedTokenizerBase,
    mix: ConversationMix,
    count: int,
    length: int,
) -> PackedRows:
    kinds = rng.choice([*mix.rows], size=count, p=[*mix.rows.values()])
    packed = [_pack(rng, tokenizer, mix, str(kind), length) for kind in kinds]
    stack = {
        name: torch.from_numpy(np.stack([row[name] for row, _ in packed]))
        for name in ("input_ids", "positions", "turns", "targets", "weights", "fields")
    }
    stack["positions"] = stack["positions"].transpose(0, 1)
    return PackedRows(**stack, scenes=[scene for _, scene in packed])


def beginning(system: str, picture: bool) -> str:
    """Chat text up to the user's own words."""
    vision = "<|vision_start|>" + "<|image_pad|>" * VISUAL_TOKENS + "<|vision_end|>"
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
    return text + (vision if picture else "")


@dataclass(frozen=True)
class Turn:
    """Tokens of a turn with what must be predicted at each, as in `PackedRows`."""

    tokens: list[int]
    targets: list[int]
    weights: list[float]
    fields: int = 0
    """How many tokens at the end are fields of a template."""

    @classmethod
    def of_words(cls, tokenizer: PreTrainedTokenizerBase, words: str, answer: str) -> Turn:
        """The user's words and the answer, of which each token is predicted from the one before."""
        asked = tokenizer(f"{words}{REPLY}").input_ids
        answered = tokenizer(f"{answer}<|im_end|>").input_ids
        silent = len(asked) - 1
        return cls(
            asked + answered,
            [-100] * silent + answered + [-100],
            [0.0] * silent + [len(answered) ** -0.5] * len(answered) + [0.0],
        )

    @classmethod
    def of_template(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        words: str,
        fields: Sequence[str | None],
        weights: Sequence[float],
    ) -> Turn:
        """The user's words and a template, with what is to stand at each of its fields."""
        asked = tokenizer(f"{words}{REPLY}<|vision_start|>").input_ids
        # A word within a text is one token, which holds the space before it.
        template = tokenizer.convert_tokens_to_ids([f"Ġ{name}" for name in slot_template.SLOTS])
        targets = [
            -100 if field is None else tokenizer.convert_tokens_to_ids(f"Ġ{field}")
            for field in fields
        ]
        weights = [weight * len(template) ** -0.5 for weight in weights]
        silent = len(asked)
        return cls(
            asked + template,
            [-100] * silent + targets,
            [0.0] * silent + weights,
            fields=len(template),
        )


def _turns(
    rng: np.random.Generator,
    tokenizer: PreTrainedTokenizerBase,
    mix: ConversationMix,
    kind: str,
    scene: Scene | None,
) -> Iterator[Turn]:
    """Endless turns of a row."""
    if kind == "questions":
        kinds = [kind for kind, times in mix.questions.items() for _ in range(times)]
        while True:
            question = questions.draw_question(rng, scene, choose(rng, kinds))
            if question:
                yield Turn.of_words(tokenizer, question.text, question.answer)
    while True:
        if kind == "edits":
            yield _change(rng, tokenizer, mix, scene)
        else:
            yield _caption(rng, tokenizer, mix)


def _change(
    rng: np.random.Generator,
    tokenizer: PreTrainedTokenizerBase,
    mix: ConversationMix,
    scene: Scene,
) -> Turn:
    """What a picture shows after an edit, or, without an instruction, what it shows now."""
    words, after = "", scene
    if rng.random() > UNCHANGED:
        possible = [k for k in mix.edits if k != "swap" or len(scene.things) > 1]
        kind = choose(rng, [k for k in possible for _ in range(mix.edits[k])])
        edit = edits.draw_edit(rng, 1, kind, scene)
        words, after = edit.instructions[0], edit.after
    if rng.random() > TEMPLATES:
        return Turn.of_words(tokenizer, words, grid(after))
    fields, before = slot_template.seen(after), slot_template.seen(scene)
    weights = [CHANGED if new != old else 1.0 for new, old in zip(fields, before, strict=True)]
    unasked = slot_template.UNASKED if mix.blank else (None,) * slot_template.ASKED
    weights = [IMAGINED] * slot_template.ASKED + weights
    return Turn.of_template(tokenizer, words, (*unasked, *fields), weights)


def _caption(
    rng: np.random.Generator, tokenizer: PreTrainedTokenizerBase, mix: ConversationMix
) -> Turn:
    """What a caption means, in words or in a template with the scene that it was said of."""
    if mix.blank and rng.random() < NOTHING:
        nothing = slot_template.UNASKED + slot_template.UNSEEN
        return Turn.of_template(tokenizer, "", nothing, [IMAGINED] * len(nothing))
    scene, caption = _captioned(rng, mix)
    if rng.random() > TEMPLATES:
        return Turn.of_words(tokenizer, caption.text, caption.specification)
    asked, seen = slot_template.asked(caption.specification), slot_template.seen(scene)
    of_asked, of_seen = CHANGED, CHANGED if caption.tag == "dense" else IMAGINED
    if mix.blank and caption.tag == "dense":
        asked, of_asked = slot_template.UNASKED, IMAGINED
    elif mix.blank:
        seen = slot_template.UNSEEN
    weights = [of_asked] * len(asked) + [of_seen] * len(seen)
    return Turn.of_template(tokenizer, caption.text, (*asked, *seen), weights)


def _captioned(rng: np.random.Generator, mix: ConversationMix) -> tuple[Scene, Caption]:
    """A scene with a training caption of it."""
    if mix.reasoning and rng.random() < sum(mix.reasoning.values()):
        shares = np.array([*mix.reasoning.values()])
        name = str(rng.choice([*mix.reasoning], p=shares / shares.sum()))
        kind, speaker = sampling.REASONING[name]
        while True:
            scene = sampling.draw_kind(rng, kind)
            caption = speaker(rng, scene)
            if not held_out(caption.text):
                return scene, caption
    captioned = sampling.draw_captioned(rng, 1)
    return captioned.scene, captioned.captions[0]


def _pack(
    rng: np.random.Generator,
    tokenizer: PreTrainedTokenizerBase,
    mix: ConversationMix,
    kind: str,
    length: int,
) -> tuple[dict[str, np.ndarray], Scene | None]:
    """One row, filled with as many turns as fit."""
    scene = None if kind == "captions" else draw_scene(rng, choose(rng, (*edits.OBJECTS, 6)))
    start = tokenizer(beginning(ASSIST if kind == "questions" else DESCRIBE, scene is not None))
    ids = list(start.input_ids)
    targets, weights, turns = [-100] * len(ids), [0.0] * len(ids), [0] * len(ids)
    fields = [-1] * len(ids)
    columns = [_beginning_positions(ids, tokenizer, scene is not None)]
    first = int(columns[0].max()) + 1
    for number, turn in enumerate(_turns(rng, tokenizer, mix, kind, scene), start=1):
        if len(ids) + len(turn.tokens) > length:
            break
        ids += turn.tokens
        targets += turn.targets
        weights += turn.weights
        turns += [number] * len(turn.tokens)
        fields += [-1] * (len(turn.tokens) - turn.fields) + [*range(turn.fields)]
        columns.append(np.tile(first + np.arange(len(turn.tokens)), (3, 1)))
    padding = length - len(ids)
    columns.append(np.zeros((3, padding), int))
    return {
        "input_ids": np.array(ids + [tokenizer.pad_token_id] * padding),
        "positions": np.concatenate(columns, 1),
        "turns": np.array(turns + [-1] * padding),
        "targets": np.array(targets + [-100] * padding),
        "weights": np.array(weights + [0.0] * padding, np.float32),
        "fields": np.array(fields + [-1] * padding),
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
