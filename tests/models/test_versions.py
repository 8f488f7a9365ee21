"""The numbers of the libraries, layer by layer: a version that changes them fails here, loudly.

A tiny Qwen2.5-VL (with a picture), a tiny Sana and a tiny DC-AE run once with weights and inputs
that depend on no random generator. Of what every layer gives, golden/layers.json holds shape, mean,
deviation and largest absolute value, which processors agree on to the tolerance. Written by

    python -m tests.models.test_versions

Do that only when a change of a library is understood and wanted: checkpoints trained before it are
then read by another model.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from diffusers import SanaTransformer2DModel
from packaging.specifiers import SpecifierSet
from tests.tiny import (
    CAPTION_CHANNELS,
    LATENT_SHAPE,
    SIDE,
    tiny_autoencoder,
    tiny_mllm,
    tiny_picture,
    tiny_sana,
)
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

GOLDEN = Path(__file__).parent / "golden/layers.json"
ROOT = Path(__file__).parents[2]
WATCHED = ("torch", "transformers", "diffusers", "lightning", "peft")
"""Libraries whose numbers or file formats a trained ladder depends on."""
Statistics = dict[str, dict[str, list[float]]]


def settled(model: nn.Module) -> nn.Module:
    """`model` with weights of a formula, sine waves around what norms begin with."""
    with torch.no_grad():
        for number, (name, value) in enumerate(model.named_parameters()):
            around = 1.0 if value.ndim == 1 and name.endswith("weight") else 0.0
            value.copy_(around + 0.1 * wave(value.shape, 0.7 + 0.01 * number))
    return model.eval()


def wave(shape: torch.Size | tuple[int, ...], speed: float) -> Tensor:
    """Values between -1 and 1, computed in float64 so that processors agree on them."""
    count = torch.Size(shape).numel()
    return torch.sin(speed * torch.arange(count, dtype=torch.float64)).reshape(shape).float()


def measured(folder: Path) -> Statistics:
    """Statistics of every layer's outcome, of all three models."""
    from ladder.models.mllm.prompts import Prompter

    mllm = settled(Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_mllm(folder / "mllm")))
    mllm.set_attn_implementation("eager")
    prompts = Prompter.from_pretrained(folder / "mllm").prepare(
        ["two pink hearts", "a red circle left of a blue star"], [[tiny_picture(0)], []]
    )
    sana = settled(
        SanaTransformer2DModel.from_pretrained(tiny_sana(folder / "sana"), subfolder="transformer")
    )
    latents, caption = wave((2, *LATENT_SHAPE), 0.3), wave((2, 5, CAPTION_CHANNELS), 0.2)
    autoencoder = settled(tiny_autoencoder())
    pixels = wave((1, 3, SIDE, SIDE), 0.05)
    return {
        "qwen2.5-vl": watched(
            mllm,
            lambda: mllm(
                input_ids=prompts.input_ids,
                attention_mask=prompts.attention_mask,
                position_ids=prompts.position_ids,
                pixel_values=prompts.pixel_values,
                image_grid_thw=prompts.image_grid_thw,
                use_cache=False,
            ),
        ),
        "sana": watched(
            sana,
            lambda: sana(
                latents, encoder_hidden_states=caption, timestep=torch.tensor([100.0, 900.0])
            ),
        ),
        "dc-ae": watched(
            autoencoder, lambda: autoencoder.decode(autoencoder.encode(pixels).latent)
        ),
    }


@torch.no_grad()
def watched(model: nn.Module, run: Callable[[], object]) -> dict[str, list[float]]:
    """For each layer that `run` calls: its outcome's shape, mean, deviation and largest value."""
    found: dict[str, list[float]] = {}

    def keep(name: str, outcome: object) -> None:
        first = outcome[0] if isinstance(outcome, tuple) else outcome
        if isinstance(first, Tensor):
            x = first.double()
            numbers = (x.mean(), x.std(correction=0), x.abs().max())
            found[name] = [*x.shape, *(float(f"{number.item():.5g}") for number in numbers)]

    hooks = [
        part.register_forward_hook(lambda _, __, outcome, name=name: keep(name, outcome))
        for name, part in model.named_modules()
        if name
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


def differences(got: Statistics, golden: Statistics) -> list[str]:
    """The layers, first ones first, that aren't as they were, to 0.1% of their largest value."""
    return [
        f"{model} {name}: {got[model].get(name, 'absent')} instead of {numbers}"
        for model, layers in golden.items()
        for name, numbers in layers.items()
        if got[model].get(name) != pytest.approx(numbers, rel=1e-3, abs=1e-3 * numbers[-1])
    ]


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    return measured(tmp_path_factory.mktemp("models"))


def test_every_layer_gives_the_numbers_it_gave(statistics):
    golden = json.loads(GOLDEN.read_text())
    assert {name: len(layers) for name, layers in golden.items()} == {
        name: len(layers) for name, layers in statistics.items()
    }
    changed = differences(statistics, golden)
    installed = {name: version(name) for name in WATCHED}
    assert not changed, f"{len(changed)} layers changed under {installed}, first {changed[0]}"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("qwen2.5-vl", "model.language_model.layers.3.mlp"),
        ("qwen2.5-vl", "model.visual.blocks.0.attn"),
        ("sana", "transformer_blocks.1.attn2"),
        ("dc-ae", "encoder"),
    ],
)
def test_a_layer_with_other_numbers_is_noticed(statistics, model, name):
    """By one percent, or gone."""
    golden = json.loads(GOLDEN.read_text())
    for numbers in ([*golden[model][name][:-1], golden[model][name][-1] * 1.01], None):
        changed = {key: value for key, value in statistics[model].items() if key != name}
        if numbers:
            changed[name] = numbers
        (line,) = differences(statistics | {model: changed}, golden)
        assert line.startswith(f"{model} {name}: ")


@pytest.mark.parametrize("name", WATCHED)
def test_the_supported_range_has_both_ends_and_holds_what_is_installed(name):
    """Up to the next version that may change something: the tests have seen no later one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (stated,) = (x for x in project["dependencies"] if x.startswith((f"{name}>", f"{name}<")))
    specifier = SpecifierSet(stated.removeprefix(name))
    assert {part.operator for part in specifier} == {">=", "<"}
    assert version(name).partition("+")[0] in specifier


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        outcome = measured(Path(folder))
    GOLDEN.parent.mkdir(exist_ok=True)
    rows = {
        model: ",\n".join(f"  {json.dumps(name)}: {json.dumps(x)}" for name, x in layers.items())
        for model, layers in outcome.items()
    }
    text = ",\n".join(f'"{model}": {{\n{lines}\n}}' for model, lines in rows.items())
    GOLDEN.write_text(f"{{\n{text}\n}}\n")
