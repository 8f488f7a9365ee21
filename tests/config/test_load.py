"""The configuration: layers win in order, and whatever breaks a rule is refused by name."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import shutil
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.config.layers import build, overlay, read_arguments, read_file, read_yaml
from ladder.config.load import ARM_SECTIONS, Config, ConfigError, Stage, load
from ladder.config.types import RULES

ROOT = Path(__file__).parents[2]
ARMS = sorted(path.stem for path in (ROOT / "experiments/arms").glob("*.yaml"))
SHIPPED = load(root=ROOT)
PROFILES = sorted(path.stem for path in (ROOT / "experiments/profiles").glob("*.yaml"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the shipped configuration that a test may change."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for folder in ("arms", "profiles"):
        shutil.copytree(ROOT / "experiments" / folder, tmp_path / "experiments" / folder)
    return tmp_path


def leaves(values: dict, path: str = "") -> list[tuple[str, object]]:
    """Dotted keys and values; a mapping that is one value (a mixture) counts as a leaf."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict) and name != "mixture":
            found += leaves(value, f"{path}{name}.")
        else:
            found.append((path + name, value))
    return found


# ---- what is shipped ----


def test_params_name_every_key_and_come_back_unchanged(config):
    values = read_file(ROOT / "params.yaml")
    assert config.as_dict() == values
    assert build(Config, json.loads(json.dumps(config.as_dict())), "copy") == config


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_loads_and_changes_only_what_arms_may(arm: str, config):
    changed = dataclasses.asdict(load(arm=arm, root=ROOT))
    assert changed.pop("arm") == arm
    plain = dataclasses.asdict(config)
    assert {key for key in changed if changed[key] != plain[key]} <= set(ARM_SECTIONS)
    assert (arm == "ladder") == all(changed[key] == plain[key] for key in ARM_SECTIONS)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_loads_and_changes_something(profile: str, config):
    assert load(profile=profile, root=ROOT) != config


def test_the_ladder_arm_is_the_paper():
    assert read_file(ROOT / "experiments/arms/ladder.yaml") == {}
    assert load(arm="ladder", root=ROOT).model.scheme == "last_n"


def test_every_field_is_documented_beneath():
    files = [ROOT / f"src/ladder/{name}.py" for name in ("config/schema", "config/training_schema")]
    nodes = [node for file in files for node in ast.parse(file.read_text()).body]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    assert len(classes) == 18
    for section in classes:
        for field, beneath in zip(section.body, [*section.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                documented = isinstance(beneath, ast.Expr) and isinstance(
                    beneath.value, ast.Constant
                )
                assert documented, f"{section.name}.{ast.unparse(field)} has no line beneath"


def test_every_section_is_strict():
    """No value is converted to another type, and no key is ignored, in any of them."""
    waiting, seen = [Config], set()
    for section in waiting:
        seen.add(section)
        assert section.__pydantic_config__ == RULES
        assert section.__dataclass_params__.frozen
        kinds = typing.get_type_hints(section).values()
        waiting += [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    assert len(seen) == 19


# ---- layers ----


def test_later_layers_win(tree: Path):
    (tree / "experiments/profiles/mine.yaml").write_text("model: {queries: 4}\nthreads: 3\n")
    (tree / "experiments/arms/mine.yaml").write_text("model: {queries: 5}\n")
    assert load(root=tree) == SHIPPED
    assert load("mine", root=tree).model.queries == 4
    assert load("mine", "mine", root=tree).model.queries == 5
    assert load("mine", "mine", ["model.queries=6"], root=tree).model.queries == 6
    assert load("mine", "mine", ["model.queries=6"], root=tree).threads == 3


def test_the_arm_may_come_from_argument_profile_or_params(tree: Path):
    (tree / "experiments/profiles/mine.yaml").write_text("arm: last\n")
    for config in (
        load(arm="last", root=tree),
        load("mine", root=tree),
        load(arguments=["arm=last"], root=tree),
        load("mine", arm="last", root=tree),
    ):
        assert (config.arm, config.model.scheme) == ("last", "last")
    with pytest.raises(ConfigError, match="two arms are given: last and uniform"):
        load(arm="last", arguments=["arm=uniform"], root=tree)


def test_other_keys_stay_as_they_were(config):
    changed = overlay(config, {"stages": {"t2i": {"steps": 777}}}, "test")
    before, after = dict(leaves(config.as_dict())), dict(leaves(changed.as_dict()))
    assert {key for key in before if before[key] != after[key]} == {"stages.t2i.steps"}


def test_a_mixture_is_replaced_whole(config):
    changed = overlay(config, {"stages": {"ti2i": {"mixture": {"ti2i": 1.0}}}}, "test")
    assert changed.stages.ti2i.mixture == {"ti2i": 1.0}


@given(st.floats(1e-8, 1e-4))
def test_any_number_survives_the_command_line(lr: float):
    config = load(arguments=[f"stages.t2i.lr={lr!r}", "stages.t2i.final_lr=0"], root=ROOT)
    assert config.stages.t2i.lr == lr


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E-3", 0.001), ("1", 1.0), ("+.5", 0.5), ("1e4", 10000.0)],
)
def test_numbers_without_a_point_are_floats(text: str, value: float):
    stage = load(arguments=[f"stages.t2i.lr={text}"], root=ROOT).stages.t2i
    assert (type(stage.lr), stage.lr) == (float, value)


def test_off_is_a_word_as_in_yaml_1_2():
    assert load(arguments=["monitor.rule=off"], root=ROOT).monitor.rule == "off"


def test_explicit_layers_with_the_norm():
    model = load(arguments=["model={scheme: list, layers: [1, 12, norm]}"], root=ROOT).model
    assert model.layers == (1, 12, "norm")


# ---- refusals: each names the source, the key and what would have been right ----


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("model.querys=8", ["model.querys (did you mean model.queries?)", "scheme, layers"]),
        ("modle.queries=8", ["unknown key modle (did you mean model?)", "allowed: seed, arm"]),
        ("stages.t2i.step=8", ["unknown key stages.t2i.step", "steps, batch"]),
        ("model.queries=8.0", ["model.queries must be a whole number, got 8.0 (float)"]),
        ("model.queries=true", ["model.queries must be a whole number, got True (bool)"]),
        ("model.queries='8'", ["model.queries must be a whole number, got '8' (str)"]),
        ("model.queries=", ["model.queries must be a whole number, got null"]),
        ("model.queries=0", ["model.queries must be at least 1, got 0"]),
        ("model=8", ["model must be a mapping of keys to values, got 8 (int)"]),
        ("stages.t2i.lr=1e-3x", ["stages.t2i.lr must be a finite number, got '1e-3x' (str)"]),
        ("stages.t2i.lr=.nan", ["stages.t2i.lr must be a finite number, got nan"]),
        ("stages.t2i.lr=.inf", ["stages.t2i.lr must be a finite number, got inf"]),
        ("stages.t2i.lr=false", ["stages.t2i.lr must be a finite number, got False (bool)"]),
        ("stages.t2i.lr=0", ["stages.t2i.lr must be above 0"]),
        ("stages.t2i.warmup=999999", ["stages.t2i.warmup must be fewer than steps"]),
        ("stages.t2i.accumulate=7", ["stages.t2i.accumulate must divide batch"]),
        ("stages.t2i.mixture={t2i: 0.5}", ["shares above 0 that sum to 1", "{'t2i': 0.5}"]),
        ("stages.t2i.mixture={t2i: one}", ["mixture.t2i must be a finite number, got 'one'"]),
        ("curation.duplicates=yes", ["curation.duplicates must be true or false, got 'yes'"]),
        ("curation.evaluation_share=1", ["evaluation_share must be at most 0.999, got 1 (int)"]),
        ("condition_dropout.edit_text=0.9", ["+ edit_both + edit_image must be at most 1"]),
        ("monitor.rule=strict", ["must be 'off', 'published', 'ema' or 'robust', got 'strict'"]),
        ("model.dora=true", ["model.dora needs lora_rank or mllm_lora_rank, got null for both"]),
        ("model.mllm_lora_rank=0", ["model.mllm_lora_rank must be at least 1, got 0"]),
        ("model.scheme=list", ['model.layers must be given for scheme "list", got None']),
        ("model.layers=[1, 2]", ["must be null but for the schemes", "last_n with layers (1, 2)"]),
        ("model.layers=[one]", ["layers.0 must be a whole number or 'norm', got 'one' (str)"]),
        ("model.queries", ["'model.queries' must be key=value"]),
        ("=8", ["'=8' must be key=value"]),
        ("model..queries=8", ["must be key=value"]),
        ("model.queries=[1", ["command line, model.queries, line 1: not valid YAML"]),
        ("model.queries=!!python/name:os.system", ["not valid YAML"]),
        ("arm=nothing", ["no arm 'nothing' in", "last, last_prenorm, learned"]),
        ("arm=../arms/last", ["no arm '../arms/last'"]),
        ("seed=-1", ["seed must be at least 0, got -1"]),
        ("seed=18446744073709551616", ["seed must be at most 9223372036854775807, got 184467"]),
    ],
)  # fmt: skip
def test_bad_arguments(argument: str, words: list[str]):
    with pytest.raises(ConfigError) as error:
        load(arguments=[argument], root=ROOT)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_argument_given_twice():
    for pair in (["seed=1", "seed=1"], ["model=8", "model.queries=8"]):
        with pytest.raises(ConfigError, match="given twice"):
            load(arguments=pair, root=ROOT)


@pytest.mark.parametrize(
    "key", ["world: {seed: 1}", "seed: 1", "arm: last", "sampling: {steps: 1}"]
)
def test_an_arm_may_not_touch_the_rest(tree: Path, key: str):
    (tree / "experiments/arms/mine.yaml").write_text(key)
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: an arm may not change .*allowed: model, con"
    ):
        load(arm="mine", root=tree)


def test_the_file_that_breaks_a_rule_is_named(tree: Path):
    (tree / "experiments/profiles/mine.yaml").write_text("stages: {t2i: {steps: 20}}")
    with pytest.raises(
        ConfigError, match=r"profiles.mine\.yaml: stages\.t2i\.warmup must be fewer"
    ):
        load("mine", root=tree)
    (tree / "experiments/arms/mine.yaml").write_text("model: {depth: 3}")
    with pytest.raises(
        ConfigError, match=r"arms.mine\.yaml: unknown key model\.depth; allowed: sch"
    ):
        load(arm="mine", root=tree)
    with pytest.raises(
        ConfigError, match=r"no profile 'huge' in .*; there are: ablation, full, mine, paper"
    ):
        load("huge", root=tree)


def test_params_must_be_complete(tree: Path):
    lines = (tree / "params.yaml").read_text().splitlines()
    (tree / "params.yaml").write_text("\n".join(x for x in lines if "  queries:" not in x))
    with pytest.raises(ConfigError, match=r"params\.yaml: model\.queries is missing"):
        load(root=tree)
    (tree / "params.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"params\.yaml"):
        load(root=tree)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", 'line 2: not valid YAML: found duplicate key "seed"'),
        ("seed: !!python/object/apply:os.getcwd []\n", "line 1: not valid YAML: could not"),
        ("- seed\n", "must hold a mapping of keys to values, got"),
        ("seed\n", "must hold a mapping of keys to values, got 'seed' (str)"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: &a [*a]\n", "seed must be a whole number, got"),
        ("model: &a {queries: *a}\n", "model.queries must be a whole number, got"),
        ("stages: &a {t2i: *a}\n", "unknown key stages.t2i.t2i"),
        ("1: 2\n", "unknown key 1"),
        ("[1, 2]: 2\n", "unknown key"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_hostile_files(tree: Path, text: str, words: str):
    (tree / "experiments/profiles/mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load("mine", root=tree)
    assert words in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert len(str(error.value)) < 500


def test_bombs_of_aliases_are_cheap(tree: Path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (tree / "experiments/profiles/mine.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="unknown key a0"):
        load("mine", root=tree)


def test_a_file_that_is_not_text(tree: Path):
    (tree / "experiments/profiles/mine.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(ConfigError, match="must be UTF-8"):
        load("mine", root=tree)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_as_a_configuration(text: str):
    base = SHIPPED
    for read in (
        lambda: overlay(base, {"arm": read_yaml(text, "fuzz")}, "fuzz"),
        lambda: overlay(base, read_arguments([text]), "fuzz"),
    ):
        with contextlib.suppress(ConfigError):
            assert isinstance(read(), Config)


# ---- sections on their own ----


def test_sections_are_frozen_and_checked_where_built(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model.queries = 3
    with pytest.raises(ValueError, match=r"queries\s+.* greater than or equal to 1"):
        dataclasses.replace(config.model, queries=0)
    with pytest.raises(ValueError, match=r"connector_width\s+.* greater than or equal to 1"):
        dataclasses.replace(config.model, connector_width=-1)
    with pytest.raises(ValueError, match="final_lr must be at most lr"):
        dataclasses.replace(config.stages.t2i, final_lr=1.0)


def test_a_skipped_stage_needs_no_warmup(config):
    stage: Stage = dataclasses.replace(config.stages.t2i, steps=0)
    assert stage.steps == 0
