"""The command line: quick to help, exact about what it takes, one line about what it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny import SIDE, tiny_ladder, tiny_picture

from ladder import __version__
from ladder.cli import main
from ladder.cli.pipeline import ENCODED
from ladder.config.layers import read_file
from ladder.config.load import load
from ladder.data.images import read_picture
from ladder.inference.pipeline import LadderPipeline

ROOT = Path(__file__).parents[2]
STAGES = ("world", "curate", "pretrain", "examine", "encode", "train", "evaluate")
VERBS = (*STAGES, "generate", "edit", "ask")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list:
    """In the repository's root, with `curate` noting where it is, and its settings."""
    notes = []
    monkeypatch.chdir(ROOT)

    def curate(raw, curated, settings):
        notes.append((Path.cwd(), settings))

    monkeypatch.setattr("ladder.data.curation.curate.curate", curate)
    return notes


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    """The one line that `ladder WORDS` says on stderr when it ends with code 2."""
    assert main.main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_help_answers_without_loading_anything_heavy():
    code = (
        "import sys; from ladder.cli.main import main; main(['--help']);"
        "print(sorted({'torch', 'transformers', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("[]")
    for verb in VERBS:
        assert re.search(rf"^│ {verb}\b", shown.stdout, re.MULTILINE), verb
    for section in ("Use a ladder", "Pipeline", "Experiments", "Benchmarks", "Checkpoints"):
        assert f"─ {section} ─" in shown.stdout


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ladder {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture):
    assert main.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"Usage: ladder {verb} " in said
    assert "│ --help " in said


def test_settings_stand_anywhere_after_the_verb(seen: list):
    for words in (
        ["--arm", "last", "--profile", "smoke", "model.queries=8", "seed=3"],
        ["model.queries=8", "--arm", "last", "seed=3", "--profile=smoke"],
        ["seed=3", "model.queries=8", "--profile=smoke", "arm=last"],
    ):
        assert main.main(["curate", *words]) == 0
    expected = load("smoke", "last", ["model.queries=8", "seed=3"], root=ROOT)
    assert seen == [(ROOT, expected.curation)] * 3


def test_a_stage_works_in_the_repository_one_stands_in(seen: list, monkeypatch):
    """Above experiments/ there is another params.yaml, which is none of a run."""
    for folder in ("experiments", "experiments/arms", "src/ladder"):
        monkeypatch.chdir(ROOT / folder)
        assert main.main(["curate"]) == 0
        assert Path.cwd() == ROOT / folder
    assert [where for where, _ in seen] == [ROOT] * 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["curate", "model.querys=8"],
            "ladder curate: command line: unknown key model.querys (did you mean model.queries?)",
        ),
        (["curate", "--arm", "nobody"], "ladder curate: no arm 'nobody' in"),
        (["curate", "--profile", "huge"], "ladder curate: no profile 'huge' in"),
        (["train", "t2i", "8"], "ladder train: '8' must be key=value"),
        (
            ["bench", "step", "60"],
            "ladder bench: N is not of step and sample, got 60",
        ),
    ],
)
def test_bad_settings(words: list[str], complaint: str, seen: list, capsys: pytest.CaptureFixture):
    assert refused(capsys, *words).startswith(complaint)
    assert seen == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["train"],
        ["train", "t2v"],
        ["pretrain", "unet"],
        ["curate", "--amr=last"],
        ["generate", "a star", "--seed", "many"],
        ["generate", "a star", "--steps", "0"],
        ["generate", "a star", "--grid", "many"],
        ["generate", "a star", "--arm", "last"],
        ["edit", "only-a-picture.png"],
        ["ask", "picture.png"],
        ["ask", "picture.png", "what?", "seed=3"],
    ],
)
def test_words_that_are_no_command(words: list[str], seen: list, capsys: pytest.CaptureFixture):
    name = f"ladder {words[0]}" if words and words[0] != "paint" else "ladder"
    assert refused(capsys, *words).startswith(f"{name}: ")
    assert seen == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["genrate", "a star"], "ladder: No such command 'genrate'. Did you mean 'generate'"),
        (["generate", "a star", "--sead", "3"], "ladder generate: No such option: --sead"),
        (
            ["curate", "--amr=last"],
            "ladder curate: No such option: --amr (Possible options: --arm",
        ),
        (["ask", "picture.png", "what?", "--zzz"], "ladder ask: No such option: --zzz;"),
        (["train", "t2v"], "ladder train: Invalid value for 'stage': 't2v' is not one of 't2i', "),
    ],
)
def test_a_misspelt_word_is_answered_by_its_verb(
    words: list[str], said: str, seen: list, capsys: pytest.CaptureFixture
):
    assert refused(capsys, *words).startswith(said)


@pytest.mark.parametrize(
    "option",
    ["--devices=0", "--memory=nan", "--mfu=-1", "--caption=0.5", "--caption=9999999999999"],
)
def test_a_plan_for_no_machine_is_refused(option: str, seen: list, capsys: pytest.CaptureFixture):
    name, _, value = option.partition("=")
    said = refused(capsys, "plan", option)
    assert f"'{name}'" in said
    assert f"got '{value}'" in said


@pytest.mark.parametrize(
    ("verb", "writer"), [("curate", "world"), ("encode", "curate"), ("evaluate", "curate")]
)
def test_the_verb_that_writes_what_is_missing_is_named(
    verb: str, writer: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture
):
    for name in ("params.yaml", "experiments", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, verb).endswith(
        f"No such file or directory; `ladder {writer}` writes it\n"
    )


def test_outside_of_a_repository_one_line_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, "world")
    assert said.startswith("ladder world: this must run inside a clone of the repository")
    assert str(tmp_path) in said
    assert list(tmp_path.iterdir()) == []


def test_under_dvc_a_stage_says_how_far_the_main_job_is(seen: list, monkeypatch, caplog):
    monkeypatch.setenv("DVC_STAGE", "curate")
    with caplog.at_level("INFO"):
        assert main.main(["curate"]) == 0
    stages = read_file(ROOT / "dvc.yaml")["stages"]
    assert caplog.messages == [f"stage {[*stages].index('curate') + 1} of {len(stages)}: curate"]


def test_an_error_can_be_traced(seen: list):
    with pytest.raises(ValueError, match="unknown key"):
        main.main(["--traceback", "curate", "modle=8"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        (b"", "undecodable"),
        (b"<html>no picture</html>", "undecodable"),
    ],
)
def test_a_picture_that_is_none(
    content: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    path = tmp_path / "picture.png"
    if content is not None:
        path.write_bytes(content)
    for words in (["edit", str(path), "make it red"], ["ask", str(path), "what is it?"]):
        line = refused(capsys, *words, "--model", str(tmp_path))
        assert str(path) in line
        assert complaint in line


def test_a_folder_without_a_ladder(tmp_path: Path, capsys: pytest.CaptureFixture):
    missing = tmp_path / "missing"
    line = refused(capsys, "generate", "a star", "--model", str(missing))
    assert line == f"ladder generate: {missing}: no trained ladder here\n"


def test_what_a_name_holds_never_controls_the_terminal(seen: list, capsys: pytest.CaptureFixture):
    line = refused(capsys, "edit", "no\nsuch\x1b[31m.png", "remove the star")
    assert line.startswith("ladder edit: no such\ufffd[31m.png")
    line = refused(capsys, "curate", "\x9b=1")
    assert line.startswith("ladder curate: command line: unknown key \ufffd;")


def test_a_picture_is_read_upright_and_in_rgb(tmp_path: Path):
    picture = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    read = read_picture(tmp_path / "turned.png")
    assert (read.mode, read.size, read.getpixel((0, 0))) == ("RGB", (30, 40), (255, 255, 255))


# ---- with a tiny ladder ----


@pytest.fixture(scope="module")
def ladder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained ladder between tiny foundations."""
    return tiny_ladder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run(ladder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Runs a verb on the tiny ladder; returns what it says on stdout, and the picture it wrote."""

    def call(*words: str) -> tuple[str, Image.Image | None]:
        output = tmp_path / "drawn.png"
        output.unlink(missing_ok=True)
        options = ["--model", str(ladder_folder)]
        if words[0] != "ask":
            options += ["--steps", "2", "-o", str(output)]
        assert main.main([*words, *options]) == 0
        shown = capsys.readouterr().out
        return shown, Image.open(output).copy() if output.exists() else None

    return call


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        tiny_picture(seed).save(path)
    return [str(path) for path in paths]


def test_generate_draws_what_the_pipeline_draws(run, ladder_folder: Path, tmp_path: Path):
    shown, picture = run("generate", "a red star", "--seed", "3", "--guidance", "2")
    assert shown == f"{tmp_path / 'drawn.png'}\n"
    pipeline = LadderPipeline.from_pretrained(ladder_folder)
    generator = torch.Generator().manual_seed(3)
    expected = pipeline(
        "a red star", num_inference_steps=2, guidance_scale=2.0, generator=generator
    ).images[0]
    assert picture.tobytes() == expected.tobytes()
    assert run("generate", "a red star", "--seed", "4", "--guidance", "2")[1] != picture
    assert run("generate", "a red star", "--seed", "3", "--guidance", "1")[1] != picture


def test_a_grid_has_a_row_for_each_prompt(run):
    _, first = run("generate", "a star", "--grid", "3")
    _, both = run("generate", "a star", "a heart", "--grid", "3")
    assert first.size == (3 * SIDE, SIDE)
    assert both.size == (3 * SIDE, 2 * SIDE)
    upper = np.asarray(both)[:SIDE].astype(int)
    assert np.abs(upper - np.asarray(first)).max() <= 1


def test_edit_depends_on_each_source(run, pictures: list[str]):
    drawn = [
        run("edit", *sources, "make it red")[1]
        for sources in (pictures[:1], pictures[1:], pictures)
    ]
    assert all(picture.size == (SIDE, SIDE) for picture in drawn)
    assert len({picture.tobytes() for picture in drawn}) == 3


def test_ask_says_what_the_pipeline_says(run, ladder_folder: Path, pictures: list[str]):
    shown, _ = run("ask", pictures[0], "what is it?")
    pipeline = LadderPipeline.from_pretrained(ladder_folder)
    assert shown == pipeline.ask(read_picture(Path(pictures[0])), "what is it?") + "\n"


def test_stages_hand_on_what_they_were_told(seen: list, monkeypatch: pytest.MonkeyPatch):
    """`ladder train` passes its words to the stage; the stage itself has its own tests."""
    from ladder.training import stages

    monkeypatch.setattr(stages, "run_stage", lambda *args, **kwargs: seen.append((args, kwargs)))
    monkeypatch.chdir(ROOT / "models")  # where the folder is meant
    assert main.main(["train", "finetune", "seed=5", "--export", "mine"]) == 0
    config = load(arguments=["seed=5"], root=ROOT)
    assert seen == [((config, "finetune", ENCODED), {"export": ROOT / "models/mine"})]


@pytest.mark.parametrize("became", [None, SystemExit, ValueError, RuntimeError])
def test_an_interruption_is_one_whatever_libraries_make_of_it(became, monkeypatch, capsys):
    def stop(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            if became is not None:
                try:
                    raise became("in cleaning up")
                except became as error:
                    raise became("the whole failed") from error

    monkeypatch.setattr("ladder.world.shards.write", stop)
    assert main.main(["world"]) == 130
    assert capsys.readouterr().err == "ladder world: interrupted\n"


def test_an_error_that_is_no_fault_of_the_input_stays_one(monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("ladder.world.shards.write", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main.main(["world"])


def test_a_training_that_diverges_ends_with_code_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    from ladder.training import monitor, stages

    def diverging(*_: object, **__: object) -> None:
        raise monitor.DivergedError("weights must be finite, got queries")

    monkeypatch.setattr(stages, "run_stage", diverging)
    assert main.main(["train", "t2i"]) == 1
    assert capsys.readouterr().err == "ladder train: weights must be finite, got queries\n"
