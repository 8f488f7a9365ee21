"""The frozen MLLM: its rungs and its answers are those of transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import MLLM_LAYERS, MLLM_WIDTH, MLLMS, tiny_gemma_config, tiny_mllm, tiny_picture
from transformers import AutoTokenizer, Gemma2ForCausalLM, Qwen2VLImageProcessorPil

from ladder.models.layer_selection import Taps
from ladder.models.mllm.families import language_model, sees
from ladder.models.mllm.frozen import Understanding

EVERYTHING = Taps(
    "list", (*range(MLLM_LAYERS + 1), "norm"), blocks=MLLM_LAYERS + 2, depth=MLLM_LAYERS
)
TEXTS = ["a red circle left of a blue star", "make it blue", "", "put both together"]
PICTURES = [[], [tiny_picture(0)], [], [tiny_picture(1, (64, 16)), tiny_picture(2)]]


@pytest.fixture(scope="module", params=MLLMS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pictures(kind):
    """One list for each of TEXTS; empty ones for an MLLM that reads text only."""
    return PICTURES if kind != "qwen3" else [[] for _ in TEXTS]


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return tiny_mllm(tmp_path_factory.mktemp(kind), kind=kind)


@pytest.fixture(scope="module")
def understanding(folder):
    return Understanding.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def stock(kind, folder):
    """What transformers loads from the same folder, untouched by us."""
    return MLLMS[kind].from_pretrained(folder).eval()


@pytest.fixture
def queries():
    torch.manual_seed(1)
    return torch.nn.Parameter(0.1 * torch.randn(5, MLLM_WIDTH))


def stock_states(stock, prompts, queries):
    """All states at the queries of one stock forward, in which they are rows of the embedding.

    transformers finds the positions itself. Its last state is normalised; a hook gets the raw one.
    """
    mllm = copy.deepcopy(stock)
    vocabulary, count = mllm.config.get_text_config().vocab_size, len(queries)
    mllm.resize_token_embeddings(vocabulary + count, mean_resizing=False)
    rows = torch.cat([stock.get_input_embeddings().weight.detach(), queries])
    mllm.get_input_embeddings().weight = torch.nn.Parameter(rows.detach())
    raw = []
    language_model(mllm).layers[-1].register_forward_hook(lambda *call: raw.append(call[2]))
    batch = len(prompts)
    ids = torch.arange(vocabulary, vocabulary + count).expand(batch, -1)
    ids = torch.cat([prompts.input_ids, ids], dim=1)
    mask = torch.cat([prompts.attention_mask, torch.ones(batch, count, dtype=torch.long)], dim=1)
    if sees(mllm):
        inputs = {
            "mm_token_type_ids": (ids == mllm.config.image_token_id).int(),
            "pixel_values": prompts.pixel_values,
            "image_grid_thw": prompts.image_grid_thw,
        }
    else:
        # Of left-padded rows, transformers takes the positions to begin with the padding.
        inputs = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    states = mllm(
        input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False, **inputs
    ).hidden_states
    states = torch.stack([*states[:-1], raw[0], states[-1]])[:, :, -count:]
    return states, mllm.get_input_embeddings().weight


@pytest.mark.parametrize("chosen", [[0], [1], [3], [0, 2], [0, 0], [1, 3], [0, 1, 2, 3]])
def test_every_state_is_that_of_one_stock_forward(understanding, stock, queries, chosen, pictures):
    """Layers 0 .. L, L before the norm, and the norm; left padding, with and without pictures."""
    prompts = understanding.prepare([TEXTS[i] for i in chosen], [pictures[i] for i in chosen])
    expected, _ = stock_states(stock, prompts, queries)
    states = understanding.rungs(prompts, queries, EVERYTHING)
    assert states.shape == (MLLM_LAYERS + 2, len(chosen), 5, MLLM_WIDTH)
    assert expected.std(dim=(1, 2, 3)).min() > 0.05
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(states[-1], states[-2], atol=0.1)


def test_the_gradient_of_the_queries_is_that_of_one_stock_forward(
    understanding, stock, queries, pictures
):
    prompts = understanding.prepare(TEXTS, pictures)
    expected, embedding = stock_states(stock, prompts, queries)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected * weights).sum().backward()
    (understanding.rungs(prompts, queries, EVERYTHING) * weights).sum().backward()
    reference = embedding.grad[-len(queries) :]
    assert (queries.grad - reference).norm() < 1e-4 * reference.norm()


def test_a_batch_equals_its_single_prompts(understanding, queries, pictures):
    batch = understanding.rungs(understanding.prepare(TEXTS, pictures), queries, EVERYTHING)
    for index, (text, shown) in enumerate(zip(TEXTS, pictures, strict=True)):
        single = understanding.prepare([text], [shown])
        states = understanding.rungs(single, queries, EVERYTHING)
        torch.testing.assert_close(batch[:, index], states[:, 0], atol=1e-5, rtol=1e-5)


def test_what_is_said_matters_from_layer_one_on(understanding, queries):
    prompts = understanding.prepare(["a red circle", "two pink hearts"], [[], []])
    difference = understanding.rungs(prompts, queries, EVERYTHING).diff(dim=1).abs().amax((1, 2, 3))
    assert difference[0] == 0
    assert difference[1:].min() > 1e-3


@pytest.fixture
def runs(understanding):
    """The (batch, tokens) of each run of each layer."""
    seen = [[] for _ in range(MLLM_LAYERS)]

    def watch(index):
        def hook(layer, arguments, output):
            seen[index].append(tuple(output.shape[:2]))

        return hook

    layers = language_model(understanding.mllm).layers
    hooks = [layer.register_forward_hook(watch(index)) for index, layer in enumerate(layers)]
    yield seen
    for hook in hooks:
        hook.remove()


def test_what_prompts_share_runs_once_and_layers_above_the_highest_tap_never(
    understanding, queries, runs, pictures
):
    prompts = understanding.prepare(TEXTS, pictures)
    taps = Taps("list", (1, 4, 2), blocks=3, depth=MLLM_LAYERS)
    understanding.rungs(prompts, queries, taps)
    length, shared = prompts.input_ids.shape[1], prompts.shared
    assert shared > 40
    passes = [(1, shared), (4, length - shared), (4, len(queries))]
    assert runs == [passes, passes, passes, passes, [], []]


def test_frozen_means_no_gradient_and_eval_mode_whatever_came_in(understanding, stock):
    mllm = copy.deepcopy(stock).train().requires_grad_()
    frozen = Understanding(mllm, understanding.prompter, understanding.reference)
    for state in (frozen, frozen.train()):
        assert not any(module.training for module in state.modules())
        assert not any(value.requires_grad for value in state.parameters())


def test_a_cast_leaves_the_rotary_frequencies_exact(understanding):
    """Frequencies that no float of 16 bits holds; no saved state would show that they changed."""
    module = copy.deepcopy(understanding)
    before = {n: b.clone() for n, b in module.named_buffers() if n.endswith("inv_freq")}
    assert before
    assert any((b != b.bfloat16().float()).any() for b in before.values())
    module.to(torch.bfloat16)
    assert {value.dtype for value in module.parameters()} == {torch.bfloat16}
    after = dict(module.named_buffers())
    for name, value in before.items():
        assert torch.equal(after[name], value)


def stock_answer(stock, folder, picture, question):
    """The tokens that transformers generates for the MLLM's own chat prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pictures = [] if picture is None else [{"type": "image"}]
    chat = [{"role": "user", "content": [*pictures, {"type": "text", "text": question}]}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = {}
    if picture is not None:
        processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        inputs = processor([picture], return_tensors="pt")
        count = int(inputs["image_grid_thw"].prod()) // processor.merge_size**2
        text = text.replace("<|image_pad|>", "<|image_pad|>" * count)
    tokens = tokenizer(text, return_tensors="pt")
    if sees(stock):
        inputs["mm_token_type_ids"] = (tokens.input_ids == stock.config.image_token_id).int()
    return stock.generate(
        **tokens,
        **inputs,
        do_sample=False,
        max_new_tokens=12,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("seen", [True, False])
def test_answers_are_those_of_the_untouched_mllm_token_for_token(
    understanding, stock, folder, queries, monkeypatch, seed, seen, pictures
):
    picture = tiny_picture(seed) if seen and sees(stock) else None
    question = "What is in the image?"[seed:]
    expected = stock_answer(stock, folder, picture, question)
    understanding.rungs(understanding.prepare(TEXTS, pictures), queries, EVERYTHING)
    generated = []
    generate = understanding.mllm.generate

    def recorded(**inputs):
        generated.append(generate(**inputs))
        return generated[-1]

    monkeypatch.setattr(understanding.mllm, "generate", recorded)
    answer = understanding.ask(picture, question, max_tokens=12)
    assert torch.equal(generated[0], expected)
    assert "".join(understanding.stream(picture, question, max_tokens=12)) == answer


def test_answers_in_a_batch_are_the_single_answers(understanding, stock):
    pictures = [None, tiny_picture(0), tiny_picture(1)] if sees(stock) else [None] * 3
    questions = ["What is in the image?", "two pink hearts", "make it blue please"]
    answers = understanding.ask_all(pictures, questions, max_tokens=8)
    assert answers == [
        understanding.ask(picture, question, max_tokens=8)
        for picture, question in zip(pictures, questions, strict=True)
    ]


def test_an_answer_leaves_nothing_behind(understanding, queries, pictures):
    """transformers keeps `rope_deltas` on the model, which would shift the next positions."""
    prompts = understanding.prepare(TEXTS, pictures)
    before = understanding.rungs(prompts, queries, EVERYTHING)
    picture = tiny_picture(0) if sees(understanding.mllm) else None
    understanding.ask(picture, "What is in the image?", max_tokens=3)
    assert getattr(understanding.mllm.model, "rope_deltas", None) is None
    assert torch.equal(understanding.rungs(prompts, queries, EVERYTHING), before)


def test_an_error_while_streaming_reaches_the_reader(understanding, monkeypatch):
    def broken(**_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(understanding.mllm, "generate", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(understanding.stream(None, "What is in the image?"))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_dont_fit_are_an_error(tmp_path, change):
    folder = tiny_mllm(tmp_path / "mllm")
    weights = load_file(folder / "model.safetensors")
    if change == "missing":
        del weights["model.layers.2.mlp.up_proj.weight"]
    else:
        weights["model.layers.2.mlp.extra.weight"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"must fit the MLLM, got .*{change}_keys.*layers.2.mlp"):
        Understanding.from_pretrained(str(folder))


def test_what_reads_text_only_refuses_pictures(tmp_path):
    blind = Understanding.from_pretrained(str(tiny_mllm(tmp_path, kind="qwen3")))
    with pytest.raises(ValueError, match="this MLLM reads text only, got 2 pictures"):
        blind.prepare(TEXTS[:2], [[tiny_picture(0)], [tiny_picture(1)]])
    with pytest.raises(ValueError, match="reads text only"):
        blind.ask(tiny_picture(0), "What is in the image?")


def test_a_model_that_no_ladder_reads_with_is_an_error(tmp_path):
    Gemma2ForCausalLM(tiny_gemma_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"one of qwen2_5_vl, qwen3_vl, qwen3; .* holds gemma2"):
        Understanding.from_pretrained(str(tmp_path))
