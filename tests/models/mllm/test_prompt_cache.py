"""What the MLLM has read and kept on disk is what it would read again."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import MLLM_LAYERS, MLLM_WIDTH, tiny_picture

from ladder.models.layer_selection import Taps
from ladder.models.mllm.frozen import Understanding

TAPS = Taps("list", (2, 4, 5), blocks=3, depth=MLLM_LAYERS)
TEXTS = ["a red circle left of a blue star", "make it blue", "", "put both together"]
PICTURES = [[], [tiny_picture(0)], [], [tiny_picture(1, (64, 16)), tiny_picture(2)]]


@pytest.fixture(scope="module")
def anew(foundations):
    return Understanding.from_pretrained(str(foundations / "mllm"))


@pytest.fixture
def keeping(foundations, tmp_path):
    understanding = Understanding.from_pretrained(str(foundations / "mllm"))
    understanding.prompt_cache = tmp_path / "readings"
    return understanding


@pytest.fixture
def queries():
    torch.manual_seed(1)
    return torch.nn.Parameter(0.1 * torch.randn(5, MLLM_WIDTH))


def kept(understanding):
    return sorted(understanding.prompt_cache.rglob("*.safetensors"))


def gradient(understanding, prompts, queries):
    queries.grad = None
    understanding.rungs(prompts, queries, TAPS).square().sum().backward()
    return queries.grad


def test_rungs_and_gradients_are_those_of_reading_anew(anew, keeping, queries):
    prompts = anew.prepare(TEXTS, PICTURES)
    expected = anew.rungs(prompts, queries, TAPS), gradient(anew, prompts, queries)
    for _ in ("read", "recalled"):
        torch.testing.assert_close(keeping.rungs(prompts, queries, TAPS), expected[0])
        wrong = (gradient(keeping, prompts, queries) - expected[1]).abs().max()
        assert wrong < 1e-5 * expected[1].abs().max()
    assert len(kept(keeping)) == len(TEXTS)


def test_a_prompt_that_was_read_is_not_read_again_whatever_stands_beside_it(keeping, queries):
    keeping.rungs(keeping.prepare(TEXTS, PICTURES), queries, TAPS)
    seen = []
    layers = keeping.mllm.model.language_model.layers
    layers[0].register_forward_hook(lambda layer, given, out: seen.append(out.shape[1]))
    order = [3, 0, 1]
    again = keeping.prepare([TEXTS[i] for i in order], [PICTURES[i] for i in order])
    keeping.rungs(again, queries, TAPS)
    assert seen == [len(queries)]
    new = keeping.prepare([TEXTS[0], "two pink hearts"], [[], []])
    keeping.rungs(new, queries, TAPS)
    assert seen[1:] == [int(new.attention_mask[1].sum()), len(queries)]


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ("make it red", [tiny_picture(0)]),
        ("make it blue", [tiny_picture(1)]),
        ("make it blue", [tiny_picture(0, (64, 16))]),
        ("make it blue", [tiny_picture(0), tiny_picture(0)]),
        ("make it blue", []),
    ],
)
def test_another_text_or_picture_is_another_prompt(keeping, queries, text, pictures):
    keeping.rungs(keeping.prepare(["make it blue"], [[tiny_picture(0)]]), queries, TAPS)
    keeping.rungs(keeping.prepare([text], [pictures]), queries, TAPS)
    assert len(kept(keeping)) == 2


def test_other_readers_keep_apart(keeping, queries):
    prompts = keeping.prepare(TEXTS[:1], PICTURES[:1])
    keeping.rungs(prompts, queries, TAPS)
    keeping.rungs(prompts, queries, Taps("list", (1, 2, 3), blocks=3, depth=MLLM_LAYERS))
    keeping.to(torch.bfloat16).rungs(prompts, queries, TAPS)
    assert len({path.parent for path in kept(keeping)}) == len(kept(keeping)) == 3


def test_a_prompt_half_written_is_read_again(keeping, queries, monkeypatch):
    """A process that is killed leaves no file under the prompt's name."""
    prompts = keeping.prepare(TEXTS[:1], PICTURES[:1])

    def killed(tensors, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("ladder.models.mllm.prompt_cache.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        keeping.rungs(prompts, queries, TAPS)
    assert not kept(keeping)
    monkeypatch.undo()
    keeping.rungs(prompts, queries, TAPS)
    assert len(kept(keeping)) == 1
