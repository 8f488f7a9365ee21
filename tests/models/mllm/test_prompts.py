"""Prompts: the chat template's tokens, inert user text, mrope positions, left padding."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tiny import PLAIN_ADDED_TOKENS, SPECIAL_TOKENS, tiny_mllm, tiny_picture
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from ladder.models.mllm.prompts import LADDER, QUESTION, Prompter

ALL_SPECIAL = (*SPECIAL_TOKENS, *PLAIN_ADDED_TOKENS)


@pytest.fixture(scope="module")
def prompter(foundations):
    return Prompter.from_pretrained(foundations / "mllm")


@pytest.fixture(scope="module")
def tokenizer(foundations):
    return AutoTokenizer.from_pretrained(foundations / "mllm")


def ladder_chat(caption, pictures=0):
    content = [{"type": "image"}] * pictures + [{"type": "text", "text": caption}]
    return [
        {"role": "system", "content": LADDER.system},
        {"role": "user", "content": content},
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@example("two pink hearts")
@example("")
@example("\n\n  leading and trailing whitespace \n ")
@example("ａ wide letter, a combining accent: e\u0301, an emoji: \N{GRINNING FACE}")
def test_tokens_are_those_of_the_chat_template(prompter, tokenizer, caption):
    """For text without special tokens, transformers' own way gives the same tokens."""
    text = tokenizer.apply_chat_template(
        ladder_chat(caption), tokenize=False, add_generation_prompt=True
    )
    expected = tokenizer(text + "<|vision_start|>").input_ids
    assert prompter.prepare([caption], [[]]).input_ids[0].tolist() == expected


def test_the_prompt_says_what_the_paper_says(prompter, tokenizer):
    prompts = prompter.prepare(["two pink hearts"], [[tiny_picture(0)]])
    assert tokenizer.decode(prompts.input_ids[0]) == (
        "<|im_start|>system\nYou will be given an image or its caption. Please describe the "
        "content of the image in detail in your own words.<|im_end|>\n<|im_start|>user\n"
        f"<|vision_start|>{'<|image_pad|>' * 16}<|vision_end|>two pink hearts<|im_end|>\n"
        "<|im_start|>assistant\n<|vision_start|>"
    )


@pytest.mark.parametrize("special", ALL_SPECIAL)
@pytest.mark.parametrize("framing", [LADDER, QUESTION])
def test_special_tokens_typed_by_a_user_are_ordinary_characters(prompter, special, framing):
    plain = prompter.prepare(["a  b"], [[tiny_picture(0)]], framing)
    typed = prompter.prepare([f"a {special} b"], [[tiny_picture(0)]], framing)
    special_ids = set(prompter.tokenizer.added_tokens_decoder)
    user_ids = prompter.tokens(f"a {special} b")
    assert not special_ids & set(user_ids)
    assert prompter.tokenizer.decode(user_ids) == f"a {special} b"

    def only_special(prompts):
        return [token for token in prompts.input_ids[0].tolist() if token in special_ids]

    assert only_special(typed) == only_special(plain)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(ALL_SPECIAL), st.text(max_size=8)), max_size=12))
def test_no_text_becomes_a_special_token(prompter, parts):
    text = "".join(parts).encode(errors="ignore").decode()
    assert not set(prompter.tokens(text)) & set(prompter.tokenizer.added_tokens_decoder)


@settings(max_examples=40, deadline=None)
@given(st.text("ab \u00e9\N{GRINNING FACE}", min_size=200, max_size=600))
def test_a_long_caption_is_cut_to_256_tokens(prompter, caption):
    length = len(prompter.prepare([""], [[tiny_picture(0)]]).input_ids[0])
    tokens = prompter.prepare([caption], [[tiny_picture(0)]]).input_ids[0]
    kept = len(tokens) - length
    whole = prompter.tokens(caption)
    assert kept == len(whole) if len(whole) <= 256 else 252 < kept <= 256
    asked = prompter.prepare([caption], [[tiny_picture(0)]], QUESTION).input_ids[0]
    unasked = prompter.prepare([""], [[tiny_picture(0)]], QUESTION).input_ids[0]
    assert len(asked) - len(unasked) == len(whole)


def test_positions_are_those_of_transformers(prompter, foundations):
    """Text only, one picture, two pictures of other sizes, mixed in one left-padded batch."""
    mllm = Qwen2_5_VLForConditionalGeneration.from_pretrained(foundations / "mllm")
    prompts = prompter.prepare(
        ["a red circle", "make it blue", "", "put both together"],
        [
            [],
            [tiny_picture(0)],
            [tiny_picture(1, (64, 16))],
            [tiny_picture(2, (20, 50)), tiny_picture(3)],
        ],
    )
    assert len(set(map(tuple, prompts.image_grid_thw.tolist()))) == 3
    expected, _ = mllm.model.get_rope_index(
        prompts.input_ids,
        mm_token_type_ids=(prompts.input_ids == prompter.image_token).int(),
        image_grid_thw=prompts.image_grid_thw,
        attention_mask=prompts.attention_mask,
    )
    assert torch.equal(prompts.position_ids, expected)


def test_a_batch_holds_its_single_prompts_padded_on_the_left(prompter):
    texts = ["a red circle left of a blue star", "", "make it blue"]
    images = [[], [tiny_picture(0)], [tiny_picture(1), tiny_picture(2)]]
    batch = prompter.prepare(texts, images)
    padded = batch.input_ids.shape[1]
    pixels = []
    for index, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        single = prompter.prepare([text], [pictures])
        length = single.input_ids.shape[1]
        assert torch.equal(batch.input_ids[index, -length:], single.input_ids[0])
        assert torch.equal(batch.position_ids[:, index, -length:], single.position_ids[:, 0])
        assert batch.attention_mask[index].tolist() == [0] * (padded - length) + [1] * length
        if pictures:
            pixels.append(single.pixel_values)
    assert torch.equal(batch.pixel_values, torch.cat(pixels))


@pytest.mark.parametrize(
    ("texts", "images", "ends_before"),
    [
        (["x", "a b", "a"], [[], [], []], "x"),
        (["a b", "a b"], [[tiny_picture(0)], [tiny_picture(1)]], "<|image_pad|>"),
        (["a b", "a b"], [[], [tiny_picture(1)]], "a"),
        (["a b", "a b"], [[], []], "<|vision_start|>"),
    ],
)
def test_what_prompts_share_is_the_same_text_in_each(prompter, texts, images, ends_before):
    """Never a picture, whose tokens look alike; and at least one token of each isn't shared."""
    prompts = prompter.prepare(texts, images)
    assert prompts.shared > 0
    starts = (prompts.attention_mask == 0).sum(1).tolist()
    rows = [ids[start:] for ids, start in zip(prompts.input_ids.tolist(), starts, strict=True)]
    assert all(row[: prompts.shared] == rows[0][: prompts.shared] for row in rows)
    assert prompter.tokenizer.decode(rows[0][prompts.shared]).strip() == ends_before
    assert prompter.prepare(texts[:1], images[:1]).shared == 0


def test_prompts_survive_the_way_from_a_worker(prompter):
    prompts = prompter.prepare(["make it blue"], [[tiny_picture(0)]])
    copy = pickle.loads(pickle.dumps(prompts)).to("cpu")
    assert len(copy) == 1
    assert torch.equal(copy.pixel_values, prompts.pixel_values)
    again = pickle.loads(pickle.dumps(prompter)).prepare(["make it blue"], [[tiny_picture(0)]])
    assert torch.equal(again.input_ids, prompts.input_ids)


def test_a_tiny_picture_is_resized_and_an_endless_one_refused(prompter):
    assert prompter.prepare(["x"], [[tiny_picture(0, (1, 1))]]).image_grid_thw.tolist() == [
        [1, 8, 8]
    ]
    with pytest.raises(ValueError, match="aspect ratio"):
        prompter.prepare(["x"], [[tiny_picture(0, (2000, 2))]])


def test_a_template_without_the_users_text_is_an_error(prompter, monkeypatch):
    other = pickle.loads(pickle.dumps(prompter))
    other.tokenizer.chat_template = "{% for message in messages %}{{ message.role }}{% endfor %}"
    other._templates.clear()
    with pytest.raises(ValueError, match="must show the user's text once, got 0 times"):
        other.prepare(["x"], [[]])


def test_texts_and_pictures_must_pair_up(prompter):
    with pytest.raises(ValueError, match="got 2 texts and 1 lists"):
        prompter.prepare(["a", "b"], [[]])


@pytest.mark.parametrize("size", [(32, 32), (320, 240), (240, 320), (1024, 1024), (17, 40)])
def test_a_picture_of_any_size_becomes_as_many_tokens_as_asked_for(foundations, size):
    """About 36, since both sides are rounded to whole tokens; exactly, of a square."""
    prompter = Prompter.from_pretrained(foundations / "mllm")
    prompter.see_by(36)
    prompts = prompter.prepare(["x"], [[tiny_picture(0, size)]])
    tokens = int((prompts.input_ids == prompter.image_token).sum())
    assert abs(tokens - 36) <= (0 if size[0] == size[1] else 8)


def test_what_reads_text_only_has_no_visual_tokens(tmp_path):
    blind = Prompter.from_pretrained(tiny_mllm(tmp_path, kind="qwen3"))
    with pytest.raises(ValueError, match="reads text only, got 36 tokens"):
        blind.see_by(36)
